//! Handlers that register, change and delete users. They submit commands to the log.

use bytes::Bytes;
use hyper::header::HeaderValue;
use hyper::{StatusCode, header};

use super::errors;
use super::requests::{UserRequest, check_rate_limit, context, read};
use crate::auth::Caller;
use crate::command::{CommandState, CommandStatus};
use crate::http::api::access::{Administrator, SelfOrAdmin};
use crate::http::api::state::Api;
use crate::http::api::{access, receipt, status};
use crate::http::headers::Prefer;
use crate::http::http_response::HttpResponse;
use crate::http::media_type::Format;
use crate::http::problem::Problem;
use crate::http::server::service::MatchedRequest;
use crate::http::services::CommandService;
use crate::ingest::Receipt;
use crate::users;
use crate::users::{UserError, Users};

const USERS: &str = "/v1/users/";

/// `POST /v1/users`.
pub async fn register<C: CommandService>(
    api: &Api<C>,
    request: MatchedRequest<'_>,
    caller: Caller,
) -> Result<HttpResponse, Problem> {
    let users = api.users()?;
    check_rate_limit(api, &request, &caller).await?;
    let trace = request.trace;
    let UserRequest { members, context, prefer } = read(api, request, &caller).await?;
    let user = users::new_user(members, users.phone_region()).map_err(UserError::Invalid)?;
    let name = user.name.clone();
    let receipt = map_error(api, users.register(user, context).await)?;
    trace.set_commands(&receipt.ids);
    let Some(status) = await_final_status(api, &receipt, prefer).await else {
        return Ok(receipt::accepted_response(&receipt, Format::Single, prefer));
    };
    if status.state != CommandState::Applied {
        return Err(errors::rejected(&status));
    }
    users.refresh(&name).await;
    let mut response = receipt::final_response(&[status], Format::Single, &receipt, prefer);
    *response.status_mut() = StatusCode::CREATED;
    if let Ok(location) = HeaderValue::try_from(format!("{USERS}{name}")) {
        response.headers_mut().insert(header::LOCATION, location);
    }
    Ok(response)
}

/// `PUT /v1/users/{name}`.
pub async fn update<C: CommandService>(
    api: &Api<C>,
    users: &Users,
    request: MatchedRequest<'_>,
    caller: SelfOrAdmin,
) -> Result<HttpResponse, Problem> {
    let (caller, name) = (caller.caller(), caller.user());
    check_rate_limit(api, &request, caller).await?;
    let trace = request.trace;
    let UserRequest { members, context, prefer } = read(api, request, caller).await?;
    let change = users::change(members, name, users.phone_region()).map_err(UserError::Invalid)?;
    let receipt = map_error(api, users.update(name, change, context).await)?;
    trace.set_commands(&receipt.ids);
    Ok(respond_after_wait(api, users, name, &receipt, prefer).await)
}

/// `PUT /v1/users/{name}/password`. An administrator need not send the old password.
pub async fn set_password<C: CommandService>(
    api: &Api<C>,
    users: &Users,
    request: MatchedRequest<'_>,
    caller: SelfOrAdmin,
) -> Result<HttpResponse, Problem> {
    let (caller, name) = (caller.caller(), caller.user());
    check_rate_limit(api, &request, caller).await?;
    let client = request.client;
    let trace = request.trace;
    let UserRequest { members, context, prefer } = read(api, request, caller).await?;
    let change = users::password_change(members, name).map_err(UserError::Invalid)?;
    // The rate limit of logins applies, so that passwords cannot be guessed faster here.
    let tried = match &api.limits {
        Some(limits) if change.old.is_some() => Some(limits.password_attempt(name, client).await?),
        _ => None,
    };
    let outcome = users.set_password(name, change, caller.is_admin(), context).await;
    if let Some(tried) = tried.filter(|_| !matches!(outcome, Err(UserError::WrongPassword))) {
        tried.give_back().await;
    }
    let receipt = map_error(api, outcome)?;
    trace.set_commands(&receipt.ids);
    Ok(respond_after_wait(api, users, name, &receipt, prefer).await)
}

/// `DELETE /v1/users/{name}`.
pub async fn delete<C: CommandService>(
    api: &Api<C>,
    users: &Users,
    request: MatchedRequest<'_>,
    caller: Administrator,
) -> Result<HttpResponse, Problem> {
    let caller = caller.caller();
    let name = access::user_name(request.parameter)?;
    check_rate_limit(api, &request, caller).await?;
    let prefer = Prefer::of(&request.head.headers);
    let context = context(&request, Bytes::new(), caller)?;
    let receipt = map_error(api, users.delete(&name, context).await)?;
    request.trace.set_commands(&receipt.ids);
    Ok(respond_after_wait(api, users, &name, &receipt, prefer).await)
}

fn map_error<C: CommandService, T>(api: &Api<C>, outcome: Result<T, UserError>) -> Result<T, Problem> {
    outcome.map_err(|error| match error {
        UserError::Submit(error) => {
            let retry_after = api.commands.retry_after(&error);
            Problem::from_submit_error(&error, retry_after)
        }
        error => error.into(),
    })
}

/// The final status of an accepted command. `None` if the client requested no wait, or the wait was too short.
async fn await_final_status<C: CommandService>(
    api: &Api<C>,
    receipt: &Receipt,
    prefer: Prefer,
) -> Option<CommandStatus> {
    status::final_statuses(&api.commands, &receipt.ids, true, prefer.wait?).await?.pop()
}

/// Waits as long as the client requested, then responds with the final status, or with 202 if there is none yet.
async fn respond_after_wait<C: CommandService>(
    api: &Api<C>,
    users: &Users,
    name: &str,
    receipt: &Receipt,
    prefer: Prefer,
) -> HttpResponse {
    match await_final_status(api, receipt, prefer).await {
        Some(status) => {
            users.refresh(name).await;
            receipt::final_response(&[status], Format::Single, receipt, prefer)
        }
        None => receipt::accepted_response(receipt, Format::Single, prefer),
    }
}
