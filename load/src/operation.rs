//! The operations of a run, and the requests of each.

use std::sync::Arc;

use hyper::header::HeaderMap;

use crate::requests::{AuthenticatedRequest, Mix, RequestTemplate, StatusSet};
use crate::session::Session;
use crate::template::Values;
use crate::users::{Population, UserOperation};

/// All that a request needs.
pub struct Operations {
    /// Name and weight of each operation, in the order of `operations`.
    pub mix: Mix,
    /// The operations.
    pub operations: Vec<Operation>,
    /// The name of this run in placeholders.
    pub run: String,
    /// The seed of random values.
    pub seed: u64,
    /// Whose token requests carry that are not of a user of the run.
    pub session: Option<Arc<Session>>,
    /// Headers of every request.
    pub headers: HeaderMap,
    /// The users, if operations need them.
    pub population: Option<Arc<Population>>,
}

/// One operation.
pub struct Operation {
    /// Which requests it makes.
    pub source: RequestSource,
    /// The statuses that count as good.
    pub expect: StatusSet,
}

/// Which requests an operation makes.
pub enum RequestSource {
    /// Those of a template.
    Template(Box<RequestTemplate>),
    /// Those of users.
    User(UserOperation),
}

impl Operations {
    /// The names, in order.
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

    /// Whether a status is good.
    pub fn expects(&self, operation: usize, status: u16) -> bool {
        self.operations.get(operation).is_some_and(|operation| operation.expect.contains(status))
    }
}
