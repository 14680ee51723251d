//! `/v1/users`: from bytes on a socket to the user service, and back.

use std::borrow::Cow;
use std::time::Duration;

use bytes::Bytes;
use hyper::StatusCode;
use hyper::Uri;
use hyper::header;
use hyper::header::HeaderValue;
use serde_json::Map;
use serde_json::Value;

use super::access;
use super::access::Administrator;
use super::access::SelfOrAdmin;
use super::documents::UserPage;
use super::receipt;
use super::state::Public;
use super::status;
use crate::auth::Caller;
use crate::auth::TokenError;
use crate::command::State;
use crate::command::Status;
use crate::http::answer::Answer;
use crate::http::backend::Commands;
use crate::http::form;
use crate::http::headers;
use crate::http::headers::Format;
use crate::http::headers::Prefer;
use crate::http::problem;
use crate::http::problem::Place;
use crate::http::problem::Problem;
use crate::http::respond;
use crate::http::server::service::Call;
use crate::ingest::Idempotency;
use crate::ingest::Receipt;
use crate::ratelimit;
use crate::users;
use crate::users::Context;
use crate::users::UserError;
use crate::users::Users;

const USERS: &str = "/v1/users/";

/// A request about users, read and understood.
struct Asked {
    members: Map<String, Value>,
    context: Context,
    prefer: Prefer,
}

/// `POST /v1/users`.
pub(super) async fn register<C: Commands>(
    public: &Public<C>,
    call: Call<'_>,
    caller: Caller,
) -> Result<Answer, Problem> {
    let users = public.users()?;
    limited(public, &call, &caller).await?;
    let Asked { members, context, prefer } = read(public, call, &caller).await?;
    let user = users::new_user(members, users.phone_region()).map_err(UserError::Invalid)?;
    let name = user.name.clone();
    let receipt = answered(public, users.register(user, context).await)?;
    let Some(status) = decided(public, &receipt, prefer).await else {
        return Ok(receipt::accepted(&receipt, Format::Single, prefer));
    };
    if status.state != State::Applied {
        return Err(refused(&status));
    }
    users.refresh(&name).await;
    let mut answer = receipt::waited(&[status], Format::Single, &receipt, prefer);
    *answer.status_mut() = StatusCode::CREATED;
    if let Ok(location) = HeaderValue::try_from(format!("{USERS}{name}")) {
        answer.headers_mut().insert(header::LOCATION, location);
    }
    Ok(answer)
}

/// `PUT /v1/users/{name}`.
pub(super) async fn update<C: Commands>(
    public: &Public<C>,
    users: &Users,
    call: Call<'_>,
    caller: SelfOrAdmin,
) -> Result<Answer, Problem> {
    let (caller, name) = (caller.caller(), caller.user());
    limited(public, &call, caller).await?;
    let Asked { members, context, prefer } = read(public, call, caller).await?;
    let change = users::change(members, name, users.phone_region()).map_err(UserError::Invalid)?;
    let receipt = answered(public, users.update(name, change, context).await)?;
    Ok(followed(public, users, name, &receipt, prefer).await)
}

/// `PUT /v1/users/{name}/password`. An administrator need not know the old one.
pub(super) async fn set_password<C: Commands>(
    public: &Public<C>,
    users: &Users,
    call: Call<'_>,
    caller: SelfOrAdmin,
) -> Result<Answer, Problem> {
    let (caller, name) = (caller.caller(), caller.user());
    limited(public, &call, caller).await?;
    let client = call.client;
    let Asked { members, context, prefer } = read(public, call, caller).await?;
    let change = users::password_change(members, name).map_err(UserError::Invalid)?;
    // The old password is no easier to guess here than at a login.
    let tried = match &public.limits {
        Some(limits) if change.old.is_some() => Some(limits.password_try(name, client).await?),
        _ => None,
    };
    let outcome = users.set_password(name, change, caller.is_admin(), context).await;
    if let Some(tried) = tried.filter(|_| !matches!(outcome, Err(UserError::WrongPassword))) {
        tried.give_back().await;
    }
    let receipt = answered(public, outcome)?;
    Ok(followed(public, users, name, &receipt, prefer).await)
}

/// `DELETE /v1/users/{name}`.
pub(super) async fn delete<C: Commands>(
    public: &Public<C>,
    users: &Users,
    call: Call<'_>,
    caller: Administrator,
) -> Result<Answer, Problem> {
    let caller = caller.caller();
    let name = access::user_name(call.parameter)?;
    limited(public, &call, caller).await?;
    let prefer = Prefer::of(&call.head.headers);
    let context = context(&call, Bytes::new(), caller)?;
    let receipt = answered(public, users.delete(&name, context).await)?;
    Ok(followed(public, users, &name, &receipt, prefer).await)
}

/// `GET /v1/users/{name}`.
pub(super) async fn get<C: Commands>(
    _: &Public<C>,
    users: &Users,
    _: Call<'_>,
    caller: SelfOrAdmin,
) -> Result<Answer, Problem> {
    let (caller, name) = (caller.caller(), caller.user());
    Ok(respond::json(&*users.profile(name, caller.owner()).await?))
}

/// `GET /v1/users?limit=&cursor=`.
pub(super) async fn list<C: Commands>(
    _: &Public<C>,
    users: &Users,
    call: Call<'_>,
    _: Administrator,
) -> Result<Answer, Problem> {
    let Query { limit, cursor } = Query::of(&call.head.uri)?;
    let refusal = |detail: &'static str, field: &'static str| {
        Problem::new(&problem::BAD_PARAMETER, detail).field(field)
    };
    let limit = users::page_limit(limit.as_deref())
        .ok_or_else(|| refusal("A number of users, 1 or more; more than 1000 are 1000.", "limit"))?;
    let page = users.page(cursor.as_deref(), limit).await?;
    let page =
        page.ok_or_else(|| refusal("Send the `next_cursor` of the page before, as it was.", "cursor"))?;
    Ok(respond::sorted_json(&UserPage { users: &page.users, next_cursor: page.next.as_deref() }))
}

/// One command more of whoever calls.
async fn limited<C>(public: &Public<C>, call: &Call<'_>, caller: &Caller) -> Result<(), Problem> {
    public.limited(caller.name().as_deref(), call.client).await
}

async fn read<C: Commands>(public: &Public<C>, call: Call<'_>, caller: &Caller) -> Result<Asked, Problem> {
    let prefer = Prefer::of(&call.head.headers);
    // Everything of the head, before the body takes the call apart.
    let mut context = context(&call, Bytes::new(), caller)?;
    let form = form::read(&public.bodies, public.max_body, call).await?;
    if let Some(idempotency) = &mut context.idempotency {
        idempotency.body = form.bytes;
    }
    Ok(Asked { members: form.members, context, prefer })
}

fn context(call: &Call<'_>, body: Bytes, caller: &Caller) -> Result<Context, Problem> {
    let headers = &call.head.headers;
    let route = format!("{} {}", call.head.method, call.head.uri.path());
    let key = headers::idempotency_key(headers)?;
    Ok(Context {
        traceparent: headers::traceparent(headers).map(str::to_owned),
        idempotency: key.map(|key| Idempotency { key, body, route: Some(route) }),
        principal: caller.owner(),
        client: ratelimit::network(call.client),
    })
}

fn answered<C: Commands, T>(public: &Public<C>, outcome: Result<T, UserError>) -> Result<T, Problem> {
    outcome.map_err(|error| match error {
        UserError::Submit(error) => {
            let retry_after = public.commands.retry_after(&error);
            Problem::submit(&error, retry_after)
        }
        error => error.into(),
    })
}

/// What became of an accepted command, if the client waits and it comes in time.
async fn decided<C: Commands>(public: &Public<C>, receipt: &Receipt, prefer: Prefer) -> Option<Status> {
    let wait: Duration = prefer.wait?;
    status::final_statuses(&public.commands, &receipt.ids, true, wait).await?.pop()
}

async fn followed<C: Commands>(
    public: &Public<C>,
    users: &Users,
    name: &str,
    receipt: &Receipt,
    prefer: Prefer,
) -> Answer {
    match decided(public, receipt, prefer).await {
        Some(status) => {
            users.refresh(name).await;
            receipt::waited(&[status], Format::Single, receipt, prefer)
        }
        None => receipt::accepted(receipt, Format::Single, prefer),
    }
}

/// A registration that the database refused after it was accepted.
fn refused(status: &Status) -> Problem {
    let reason = status.reason.as_deref().unwrap_or_default();
    match reason.strip_prefix("taken: ") {
        Some(field) => taken(field.to_owned().into()),
        None => Problem::new(&problem::REJECTED, format!("The registration was refused: {reason}.")),
    }
}

fn taken(field: Cow<'static, str>) -> Problem {
    Problem::new(&problem::TAKEN, format!("This {field} is taken.")).field(field)
}

/// The query of the list.
#[derive(Default)]
struct Query {
    limit: Option<String>,
    cursor: Option<String>,
}

impl Query {
    fn of(uri: &Uri) -> Result<Self, Problem> {
        let mut query = Self::default();
        for (name, value) in form_urlencoded::parse(uri.query().unwrap_or_default().as_bytes()) {
            let place = match &*name {
                "limit" => &mut query.limit,
                "cursor" => &mut query.cursor,
                _ => {
                    let refusal = "There are `limit` and `cursor`, and no other parameters.";
                    return Err(Problem::new(&problem::BAD_PARAMETER, refusal));
                }
            };
            if place.replace(value.into_owned()).is_some() {
                let refusal = Problem::new(&problem::BAD_PARAMETER, "This parameter may stand only once.");
                return Err(refusal.field(name.into_owned()));
            }
        }
        Ok(query)
    }
}

impl From<UserError> for Problem {
    fn from(error: UserError) -> Self {
        match error {
            UserError::Invalid(errors) => {
                let mut problem = Self::new(&problem::INVALID_USER, "See `errors` for each member.");
                problem.field = errors.first().map(|error| Cow::Owned(error.field.clone()));
                let place = |e: &users::FieldError| Place::new(format!("/{}", e.field), &*e.detail);
                problem.errors = errors.iter().map(place).collect();
                problem
            }
            UserError::Taken(field) => taken(Cow::Borrowed(field)),
            UserError::NotFound => Self::new(&problem::NOT_FOUND, "No user has this name."),
            UserError::FormerUser => TokenError::Invalid.into(),
            UserError::WrongPassword => {
                Self::new(&problem::WRONG_PASSWORD, "The old password is wrong.").field("old_password")
            }
            UserError::UnderWay => Self::new(
                &problem::UNDER_WAY,
                "Somebody, perhaps you, is just asking for the same; ask again to see who got it.",
            ),
            UserError::ClockBehind { retry_after } => {
                let detail = "Nothing was accepted: it would be superseded. An operator has to set the clocks of the \
                              daemons right.";
                Self { retry_after: Some(retry_after), ..Self::new(&problem::CLOCK_BEHIND, detail) }
            }
            UserError::Markers => {
                Self::new(&problem::MARKERS_UNAVAILABLE, "Nothing was accepted; try again.")
            }
            UserError::Database => {
                Self::new(&problem::DATABASE_UNAVAILABLE, "Nothing was accepted; try again.")
            }
            UserError::Crowded => {
                Self::new(&problem::OVERLOADED, "Too many commands wait to be checked; try again.")
            }
            UserError::Hashing { retry_after } => {
                let busy = Self::new(&problem::HASHING_BUSY, "Nothing was accepted; try again.");
                Self { retry_after: Some(retry_after), ..busy }
            }
            UserError::Submit(error) => Self::submit(&error, Duration::from_secs(1)),
        }
    }
}
