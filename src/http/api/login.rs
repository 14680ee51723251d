//! Handlers of `POST /login`, `/refresh` and `/logout`.

use serde_json::{Map, Value};

use super::documents::Empty;
use super::state::Api;
use crate::auth::Caller;
use crate::http::http_response::HttpResponse;
use crate::http::problem::Problem;
use crate::http::server::service::MatchedRequest;
use crate::http::services::CommandService;
use crate::http::{form, problem, respond};
use crate::login::{Login, LoginError};
use crate::users;
use crate::users::UserError;

/// `POST /login`.
pub(super) async fn login<C: CommandService>(
    api: &Api<C>,
    request: MatchedRequest<'_>,
) -> Result<HttpResponse, Problem> {
    let login = api.login()?;
    if let Some(limits) = &api.limits {
        limits.login(request.client).await?;
    }
    let client = request.client;
    let members = read(api, request).await?;
    let users::LoginForm { name, password } = users::credentials(members).map_err(UserError::Invalid)?;
    Ok(respond::json(&login.login(&name, password, client).await?))
}

/// `POST /refresh`.
pub(super) async fn refresh<C: CommandService>(
    api: &Api<C>,
    request: MatchedRequest<'_>,
) -> Result<HttpResponse, Problem> {
    let login = api.login()?;
    let token = users::refresh_token(read(api, request).await?).map_err(UserError::Invalid)?;
    Ok(respond::json(&login.refresh(token.expose()).await?))
}

/// `POST /logout`, with the access token in `Authorization` or a refresh token in the body.
pub(super) async fn logout<C: CommandService>(
    api: &Api<C>,
    login: &Login,
    request: MatchedRequest<'_>,
    caller: Caller,
) -> Result<HttpResponse, Problem> {
    if let Caller::Authenticated(principal) = caller {
        login.logout(&principal).await?;
    } else {
        let token = users::refresh_token(read(api, request).await?).map_err(UserError::Invalid)?;
        login.logout_by_refresh_token(token.expose()).await?;
    }
    Ok(respond::json(&Empty {}))
}

async fn read<C: CommandService>(
    api: &Api<C>,
    request: MatchedRequest<'_>,
) -> Result<Map<String, Value>, Problem> {
    Ok(form::read(&api.bodies, api.max_body, request).await?.members)
}

impl From<LoginError> for Problem {
    fn from(error: LoginError) -> Self {
        match error {
            LoginError::WrongCredentials => Self::new(
                &problem::WRONG_CREDENTIALS,
                "Check both. The response does not say which one is wrong.",
            ),
            LoginError::Token(error) => error.into(),
            LoginError::Busy(message) => Self::new(&problem::BUSY, message),
            LoginError::Hashing { retry_after } => {
                let busy =
                    Self::new(&problem::BUSY, "Too many passwords wait to be checked. Try again later.");
                Self { retry_after: Some(retry_after), ..busy }
            }
            LoginError::Limited(limited) => limited.into(),
            LoginError::Database => {
                Self::new(&problem::DATABASE_UNAVAILABLE, "The login failed. Try again later.")
            }
            LoginError::Stopping => Self::new(&problem::STOPPING, "The login failed. Try again later."),
            LoginError::NoKeys => {
                Self::new(&problem::NOT_FOUND, "Logins are disabled: no signing key is configured.")
            }
        }
    }
}
