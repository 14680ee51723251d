//! One request of an operation.

use std::sync::Arc;

use crate::http::{Answer, Failure, Link, Outgoing};
use crate::session::Session;

/// A request with its caller.
pub struct Call {
    /// What is sent.
    pub message: Outgoing,
    /// Whose token it carries.
    pub session: Option<Arc<Session>>,
    /// Who keeps the token of its answer: the request is a login.
    pub keeper: Option<Arc<Session>>,
}

impl Call {
    /// Sends it. A token that the target refuses is replaced once.
    pub async fn send(&self, link: &mut Link) -> Result<Answer, Failure> {
        let keep = self.keeper.is_some();
        let Some(session) = &self.session else {
            let answer = link.send(&self.message, None, keep).await?;
            if let Some(keeper) = self.keeper.as_ref().filter(|_| answer.status == 200) {
                keeper.keep(&answer).await?;
            }
            return Ok(answer);
        };
        let bearer = session.bearer(link).await?;
        let answer = link.send(&self.message, Some(&bearer), keep).await?;
        if answer.status != 401 {
            return Ok(answer);
        }
        let bearer = session.bearer_after(&bearer, link).await?;
        link.send(&self.message, Some(&bearer), keep).await
    }
}
