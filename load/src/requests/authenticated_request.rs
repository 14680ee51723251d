//! One request of an operation.

use std::sync::Arc;

use crate::http::{HttpResponse, OutgoingRequest, RequestError, ServerConnection};
use crate::session::Session;

/// A request with its session.
pub struct AuthenticatedRequest {
    /// The request.
    pub message: OutgoingRequest,
    /// The session whose token it carries.
    pub session: Option<Arc<Session>>,
    /// The session that stores the token of the response, if the request is a login.
    pub login_session: Option<Arc<Session>>,
}

impl AuthenticatedRequest {
    /// Sends the request. A token that the target refuses is replaced once.
    pub async fn send(&self, link: &mut ServerConnection) -> Result<HttpResponse, RequestError> {
        let keep = self.login_session.is_some();
        let Some(session) = &self.session else {
            let response = link.send(&self.message, None, keep).await?;
            if let Some(keeper) = self.login_session.as_ref().filter(|_| response.status == 200) {
                keeper.store_token(&response).await?;
            }
            return Ok(response);
        };
        let bearer = session.bearer(link).await?;
        let response = link.send(&self.message, Some(&bearer), keep).await?;
        if response.status != 401 {
            return Ok(response);
        }
        let bearer = session.bearer_after(&bearer, link).await?;
        link.send(&self.message, Some(&bearer), keep).await
    }
}
