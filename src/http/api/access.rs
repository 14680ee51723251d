//! Who may call a route, and the proof that the route's handler gets of it.

use hyper::header;
use percent_encoding::percent_decode_str;

use crate::auth::{AuthError, Authenticator, Caller, TokenError};
use crate::http::problem::Problem;
use crate::http::server::service::MatchedRequest;
use crate::http::{headers, problem};
use crate::users;
use crate::users::UserError;

/// Who may call a route.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Access {
    /// Everybody. `Authorization` is ignored.
    Public,
    /// Everybody. A token is not required, but an invalid one is refused.
    Optional,
    /// Every caller with a valid token.
    Authenticated,
    /// The user whose name is in the path, and administrators.
    SelfOrAdmin,
    /// Administrators.
    Admin,
}

/// The caller of a route for [`Access::Authenticated`]. Only [`authenticated`] makes one.
pub struct Authenticated(Caller);

/// The caller of a route for [`Access::SelfOrAdmin`]. Only [`self_or_admin`] makes one.
pub struct SelfOrAdmin {
    caller: Caller,
    user: String,
}

/// The caller of a route for [`Access::Admin`]. Only [`admin`] makes one.
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

    /// The name in the path.
    pub fn user(&self) -> &str {
        &self.user
    }
}

impl Administrator {
    pub fn caller(&self) -> &Caller {
        &self.0
    }
}

/// Who calls, by the `Authorization` header.
pub async fn caller(authenticator: &Authenticator, request: &MatchedRequest<'_>) -> Result<Caller, Problem> {
    let header = headers::single(&request.head.headers, &header::AUTHORIZATION)?;
    Ok(authenticator.caller(header.map(|value| value.as_bytes())).await?)
}

/// Refuses callers without a token.
pub fn authenticated(caller: Caller) -> Result<Authenticated, Problem> {
    match caller {
        Caller::Nobody => Err(Problem::new(&problem::UNAUTHENTICATED, "Send `Authorization: Bearer TOKEN`.")),
        Caller::Anyone | Caller::Known(_) => Ok(Authenticated(caller)),
    }
}

/// Refuses all callers but administrators.
pub fn admin(caller: Caller) -> Result<Administrator, Problem> {
    let Authenticated(caller) = authenticated(caller)?;
    match caller.is_admin() {
        true => Ok(Administrator(caller)),
        false => Err(Problem::new(&problem::FORBIDDEN, "Only an administrator may do this.")),
    }
}

/// Refuses all callers but administrators and the user in the path. The refusal does not depend on whether the user
/// exists.
pub fn self_or_admin(caller: Caller, parameter: &str) -> Result<SelfOrAdmin, Problem> {
    let user = user_name(parameter)?;
    let Authenticated(caller) = authenticated(caller)?;
    match caller.is(&user) || caller.is_admin() {
        true => Ok(SelfOrAdmin { caller, user }),
        false => Err(Problem::new(&problem::FORBIDDEN, "Only the user or an administrator may do this.")),
    }
}

/// The user's name in a path. A text that cannot be a name is no user's.
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
            TokenError::Subject => {
                "The token's `sub` must have 1 to 255 characters, without control characters."
            }
            TokenError::Invalid => "The token is invalid or was revoked. Log in again.",
        };
        Self::new(&problem::INVALID_TOKEN, detail)
    }
}
