//! What users do.

use std::sync::Arc;

use hyper::header::HeaderMap;
use hyper::{Method, Uri};

use super::population::Population;
use crate::http::Outgoing;
use crate::requests::{Call, StatusSet};
use crate::session::Session;

/// The names that a mix may have.
pub const NAMES: [&str; 5] = ["register", "login", "read", "lookup", "list"];

/// An operation of users.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum UserOperation {
    /// A new user registers.
    Register,
    /// A user logs in with name and password.
    Login,
    /// A user reads itself, with its token.
    Read,
    /// An administrator reads a name that nobody has: no cache answers it.
    Lookup,
    /// An administrator reads a page of users: no cache answers it.
    List,
}

impl UserOperation {
    /// The operation of this name.
    pub fn named(name: &str) -> Option<Self> {
        let all = [Self::Register, Self::Login, Self::Read, Self::Lookup, Self::List];
        NAMES.iter().position(|known| *known == name).map(|index| all[index])
    }

    /// The statuses that count as good.
    pub fn expects(self) -> StatusSet {
        match self {
            Self::Lookup => StatusSet::single(404),
            _ => StatusSet::default(),
        }
    }

    /// One request. `number` chooses the user. Without `admin`, administrators' requests carry no token.
    pub fn call(
        self,
        number: u64,
        population: &Population,
        headers: &HeaderMap,
        admin: Option<&Arc<Session>>,
    ) -> Option<Call> {
        let get = |path: String| {
            let path: Uri = path.parse().ok()?;
            Some(Outgoing { method: Method::GET, path, headers: headers.clone(), body: Default::default() })
        };
        let call = match self {
            Self::Register => Call { message: population.newcomer(headers), session: None, keeper: None },
            Self::Login => {
                let (_, session) = population.user(number);
                Call { message: session.login()?, session: None, keeper: Some(session) }
            }
            Self::Read => {
                let (name, session) = population.user(number);
                Call { message: get(format!("/v1/users/{name}"))?, session: Some(session), keeper: None }
            }
            Self::Lookup => {
                let message = get(format!("/v1/users/nobody-{number}"))?;
                Call { message, session: admin.cloned(), keeper: None }
            }
            Self::List => {
                let message = get("/v1/users?limit=20".to_owned())?;
                Call { message, session: admin.cloned(), keeper: None }
            }
        };
        Some(call)
    }
}
