//! Reads requests for the user service.

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

/// A request for the user service.
pub struct UserRequest {
    pub members: Map<String, Value>,
    pub context: RequestContext,
    pub prefer: Prefer,
}

/// Counts one command of the caller against its rate limit.
pub async fn check_rate_limit<C>(
    api: &Api<C>,
    request: &MatchedRequest<'_>,
    caller: &Caller,
) -> Result<(), Problem> {
    api.check_rate_limit(caller.name().as_deref(), request.client).await
}

/// Reads head and body of a request.
pub async fn read<C: CommandService>(
    api: &Api<C>,
    request: MatchedRequest<'_>,
    caller: &Caller,
) -> Result<UserRequest, Problem> {
    let prefer = Prefer::of(&request.head.headers);
    // The head is read first, because reading the body consumes the request.
    let mut context = context(&request, Bytes::new(), caller)?;
    let form = form::read(&api.bodies, api.max_body, request).await?;
    if let Some(idempotency) = &mut context.idempotency {
        idempotency.body = form.bytes;
    }
    Ok(UserRequest { members: form.members, context, prefer })
}

/// Creates the context from the head of the request and this body.
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
