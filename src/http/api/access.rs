//! Access rules of routes. A handler receives a value that proves that its rule was checked.

use hyper::header;
use percent_encoding::percent_decode_str;

use crate::auth::{AuthError, Authenticator, Caller, TokenError};
use crate::http::problem::Problem;
use crate::http::server::service::MatchedRequest;
use crate::http::{headers, problem};
use crate::users;
use crate::users::UserError;

/// The callers that may use a route.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Access {
    /// All callers. `Authorization` is ignored.
    Public,
    /// All callers. A token is not required, but an invalid token is refused.
    Optional,
    /// Callers with a valid token.
    Authenticated,
    /// The user whose name is in the path, and administrators.
    SelfOrAdmin,
    /// Administrators.
    Admin,
}

/// The caller of a route with [`Access::Authenticated`]. Only [`authenticated`] creates it.
pub struct Authenticated(Caller);

/// The caller of a route with [`Access::SelfOrAdmin`]. Only [`self_or_admin`] creates it.
pub struct SelfOrAdmin {
    caller: Caller,
    user: String,
}

/// The caller of a route with [`Access::Admin`]. Only [`admin`] creates it.
pub struct Administrator(Caller);

impl Authenticated {
    pub fn caller(&self) -> &Caller {
        &self.0
    }
}

impl SelfOrAdmin {
    pub fn caller(&self) -> &Caller {
        &self.caller
    }

    /// The user name in the path.
    pub fn user(&self) -> &str {
        &self.user
    }
}

impl Administrator {
    pub fn caller(&self) -> &Caller {
        &self.0
    }
}

/// The caller, from the `Authorization` header. Error: the header or its token is invalid.
pub async fn caller(authenticator: &Authenticator, request: &MatchedRequest<'_>) -> Result<Caller, Problem> {
    let header = headers::single(&request.head.headers, &header::AUTHORIZATION)?;
    Ok(authenticator.caller(header.map(|value| value.as_bytes())).await?)
}

/// Refuses callers without a token.
pub fn authenticated(caller: Caller) -> Result<Authenticated, Problem> {
    match caller {
        Caller::Anonymous => {
            Err(Problem::new(&problem::UNAUTHENTICATED, "Send `Authorization: Bearer TOKEN`."))
        }
        Caller::OpenMode | Caller::Authenticated(_) => Ok(Authenticated(caller)),
    }
}

/// Refuses all callers except administrators.
pub fn admin(caller: Caller) -> Result<Administrator, Problem> {
    let Authenticated(caller) = authenticated(caller)?;
    match caller.is_admin() {
        true => Ok(Administrator(caller)),
        false => Err(Problem::new(&problem::FORBIDDEN, "Only an administrator may do this.")),
    }
}

/// Refuses all callers except administrators and the user in the path. The response does not depend on whether the
/// user exists.
pub fn self_or_admin(caller: Caller, parameter: &str) -> Result<SelfOrAdmin, Problem> {
    let user = user_name(parameter)?;
    let Authenticated(caller) = authenticated(caller)?;
    match caller.is(&user) || caller.is_admin() {
        true => Ok(SelfOrAdmin { caller, user }),
        false => Err(Problem::new(&problem::FORBIDDEN, "Only the user or an administrator may do this.")),
    }
}

/// The user name in a path. Text that is not a valid name gets the same error as an unknown user.
pub fn user_name(parameter: &str) -> Result<String, Problem> {
    let decoded = percent_decode_str(parameter).decode_utf8().ok();
    let exact = decoded.and_then(|text| users::normal_name(&text).ok().filter(|name| *name == *text));
    exact.ok_or_else(|| UserError::NotFound.into())
}

impl From<AuthError> for Problem {
    fn from(error: AuthError) -> Self {
        let detail = match error {
            AuthError::Malformed => "Send `Authorization: Bearer TOKEN`.",
            AuthError::Token(error) => return error.into(),
        };
        Self::new(&problem::UNAUTHENTICATED, detail)
    }
}

impl From<TokenError> for Problem {
    fn from(error: TokenError) -> Self {
        let detail = match error {
            TokenError::Expired => "The token has expired. Refresh it, or log in again.",
            TokenError::UserChanged => {
                "The token's `sub` must have 1 to 255 characters, without control characters."
            }
            TokenError::Invalid => "The token is invalid, or it was revoked. Log in again.",
        };
        Self::new(&problem::INVALID_TOKEN, detail)
    }
}
