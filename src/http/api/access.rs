//! Who may do what. One rule a function; what needs none of them is open to everybody.

use hyper::header;

use crate::auth::AuthError;
use crate::auth::Authenticator;
use crate::auth::Caller;
use crate::auth::TokenError;
use crate::http::problem;
use crate::http::problem::Problem;
use crate::http::server::service::Call;

/// Who calls, by the `Authorization` header.
pub async fn caller(authenticator: &Authenticator, call: &Call<'_>) -> Result<Caller, Problem> {
    let header = crate::http::headers::single(&call.head.headers, &header::AUTHORIZATION)?;
    Ok(authenticator.caller(header.map(|value| value.as_bytes())).await?)
}

/// Somebody who said who they are.
pub fn known(caller: &Caller) -> Result<(), Problem> {
    match caller {
        Caller::Nobody => Err(Problem::new(&problem::UNAUTHENTICATED, "Send `Authorization: Bearer TOKEN`.")),
        Caller::Anyone | Caller::Known(_) => Ok(()),
    }
}

/// An administrator.
pub fn admin(caller: &Caller) -> Result<(), Problem> {
    known(caller)?;
    match caller.is_admin() {
        true => Ok(()),
        false => Err(Problem::new(&problem::FORBIDDEN, "Only an administrator may do this.")),
    }
}

/// The user, or an administrator. Says the same whether there is such a user or not.
pub fn self_or_admin(caller: &Caller, user: &str) -> Result<(), Problem> {
    known(caller)?;
    match caller.is(user) || caller.is_admin() {
        true => Ok(()),
        false => Err(Problem::new(&problem::FORBIDDEN, "Only the user or an administrator may do this.")),
    }
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
            TokenError::Expired => "The token has expired; refresh it, or log in again.",
            TokenError::Subject => {
                "The token's `sub` must have 1 to 255 characters, and no control character among them."
            }
            TokenError::Invalid => "The token is not valid, or not any more; log in again.",
        };
        Self::new(&problem::INVALID_TOKEN, detail)
    }
}
