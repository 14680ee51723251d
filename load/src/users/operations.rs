//! The operations of users.

use std::sync::Arc;

use hyper::header::HeaderMap;
use hyper::{Method, Uri};

use super::population::Population;
use crate::http::OutgoingRequest;
use crate::requests::{AuthenticatedRequest, StatusSet};
use crate::session::Session;

/// The valid names in a mix.
pub const NAMES: [&str; 5] = ["register", "login", "read", "lookup", "list"];

/// An operation of users.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum UserOperation {
    /// A new user registers.
    Register,
    /// A user logs in with name and password.
    Login,
    /// A user reads itself, with its own token.
    Read,
    /// An administrator reads an unknown name, which no cache can serve.
    Lookup,
    /// An administrator reads a page of users, which no cache can serve.
    List,
}

impl UserOperation {
    /// The operation with this name.
    pub fn from_name(name: &str) -> Option<Self> {
        let all = [Self::Register, Self::Login, Self::Read, Self::Lookup, Self::List];
        NAMES.iter().position(|known| *known == name).map(|index| all[index])
    }

    /// The statuses that count as success.
    pub fn expects(self) -> StatusSet {
        match self {
            Self::Lookup => StatusSet::single(404),
            _ => StatusSet::default(),
        }
    }

    /// Builds one request. `number` chooses the user. Without `admin`, administrators' requests carry no token.
    pub fn call(
        self,
        number: u64,
        population: &Population,
        headers: &HeaderMap,
        admin: Option<&Arc<Session>>,
    ) -> Option<AuthenticatedRequest> {
        let get = |path: String| {
            let path: Uri = path.parse().ok()?;
            Some(OutgoingRequest {
                method: Method::GET,
                path,
                headers: headers.clone(),
                body: Default::default(),
            })
        };
        let call = match self {
            Self::Register => AuthenticatedRequest {
                message: population.new_user_registration(headers),
                session: None,
                login_session: None,
            },
            Self::Login => {
                let (_, session) = population.user(number);
                AuthenticatedRequest {
                    message: session.login()?,
                    session: None,
                    login_session: Some(session),
                }
            }
            Self::Read => {
                let (name, session) = population.user(number);
                AuthenticatedRequest {
                    message: get(format!("/v1/users/{name}"))?,
                    session: Some(session),
                    login_session: None,
                }
            }
            Self::Lookup => {
                let message = get(format!("/v1/users/nobody-{number}"))?;
                AuthenticatedRequest { message, session: admin.cloned(), login_session: None }
            }
            Self::List => {
                let message = get("/v1/users?limit=20".to_owned())?;
                AuthenticatedRequest { message, session: admin.cloned(), login_session: None }
            }
        };
        Some(call)
    }
}
