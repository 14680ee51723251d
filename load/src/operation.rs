//! The operations of a run, and their requests.

use std::sync::Arc;

use hyper::header::HeaderMap;

use crate::requests::{AuthenticatedRequest, Mix, RequestTemplate, StatusSet};
use crate::session::Session;
use crate::template::Values;
use crate::users::{Population, UserOperation};

/// The operations of a run, and the data for their requests.
pub struct Operations {
    /// Name and weight of each operation, in the order of `operations`.
    pub mix: Mix,
    /// The operations.
    pub operations: Vec<Operation>,
    /// Name of this run, for placeholders.
    pub run: String,
    /// Seed of random values.
    pub seed: u64,
    /// Session of requests that do not belong to a user of the run.
    pub session: Option<Arc<Session>>,
    /// Headers of every request.
    pub headers: HeaderMap,
    /// Users, if operations need them.
    pub population: Option<Arc<Population>>,
}

/// An operation.
pub struct Operation {
    /// The source of its requests.
    pub source: RequestSource,
    /// The statuses that count as success.
    pub expect: StatusSet,
}

/// The source of an operation's requests.
pub enum RequestSource {
    /// A template.
    Template(Box<RequestTemplate>),
    /// An operation of users.
    User(UserOperation),
}

impl Operations {
    /// The operations' names, in order.
    pub fn names(&self) -> Vec<String> {
        self.mix.0.iter().map(|(name, _)| name.clone()).collect()
    }

    /// The request with this number. `None` if it cannot be built.
    pub fn call(&self, operation: usize, number: u64) -> Option<AuthenticatedRequest> {
        match &self.operations.get(operation)?.source {
            RequestSource::Template(template) => {
                let message = template.message(Values::new(&self.run, self.seed, number))?;
                Some(AuthenticatedRequest { message, session: self.session.clone(), login_session: None })
            }
            RequestSource::User(operation) => {
                operation.call(number, self.population.as_ref()?, &self.headers, self.session.as_ref())
            }
        }
    }

    /// Whether a status counts as success.
    pub fn expects(&self, operation: usize, status: u16) -> bool {
        self.operations.get(operation).is_some_and(|operation| operation.expect.contains(status))
    }
}
