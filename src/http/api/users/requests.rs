//! What a request about users carries, read and understood.

use bytes::Bytes;
use serde_json::{Map, Value};

use crate::auth::Caller;
use crate::http::api::state::Api;
use crate::http::headers::Prefer;
use crate::http::problem::Problem;
use crate::http::server::service::MatchedRequest;
use crate::http::services::CommandService;
use crate::http::{form, headers};
use crate::ingest::Idempotency;
use crate::ratelimit;
use crate::users::RequestContext;

/// A body with what its request's head says.
pub struct UserRequest {
    pub members: Map<String, Value>,
    pub context: RequestContext,
    pub prefer: Prefer,
}

/// One command more of whoever calls.
pub async fn check_rate_limit<C>(
    api: &Api<C>,
    request: &MatchedRequest<'_>,
    caller: &Caller,
) -> Result<(), Problem> {
    api.check_rate_limit(caller.name().as_deref(), request.client).await
}

/// Reads the body.
pub async fn read<C: CommandService>(
    api: &Api<C>,
    request: MatchedRequest<'_>,
    caller: &Caller,
) -> Result<UserRequest, Problem> {
    let prefer = Prefer::of(&request.head.headers);
    // Everything of the head, before the body takes the request apart.
    let mut context = context(&request, Bytes::new(), caller)?;
    let form = form::read(&api.bodies, api.max_body, request).await?;
    if let Some(idempotency) = &mut context.idempotency {
        idempotency.body = form.bytes;
    }
    Ok(UserRequest { members: form.members, context, prefer })
}

/// What the head says, with this body.
pub fn context(
    request: &MatchedRequest<'_>,
    body: Bytes,
    caller: &Caller,
) -> Result<RequestContext, Problem> {
    let headers = &request.head.headers;
    let route = format!("{} {}", request.head.method, request.head.uri.path());
    let key = headers::idempotency_key(headers)?;
    Ok(RequestContext {
        traceparent: request.trace.traceparent().map(str::to_owned),
        idempotency: key.map(|key| Idempotency { key, body, route: Some(route) }),
        principal: caller.owner(),
        client: ratelimit::client_network(request.client),
    })
}
