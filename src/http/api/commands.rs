//! The handler of `POST /v1/commands/{kind}`.

use super::access::Authenticated;
use super::admission_checker::AdmissionChecker;
use super::body_format::BodyFormat;
use super::state::Api;
use super::{admission_checker, receipt, status};
use crate::http::headers;
use crate::http::headers::Prefer;
use crate::http::http_response::HttpResponse;
use crate::http::media_type::Format;
use crate::http::problem::Problem;
use crate::http::server::service::MatchedRequest;
use crate::http::services::CommandService;
use crate::ingest::{Receipt, Request};
use crate::units::Timestamp;

/// Accepts one command or a batch.
pub(super) async fn post<C: CommandService>(
    api: &Api<C>,
    request: MatchedRequest<'_>,
    caller: Authenticated,
) -> Result<HttpResponse, Problem> {
    let caller = caller.caller();
    let catalogue = api.kinds.current();
    let kind = admission_checker::kind(&catalogue.kinds, request.parameter)?;
    let headers = &request.head.headers;
    let intake = BodyFormat::from_headers(kind, headers)?;
    let format = intake.format();
    let key = headers::idempotency_key(headers)?;
    let prefer = Prefer::of(headers);
    let trace = request.trace;
    let traceparent = trace.traceparent().map(str::to_owned);
    let name = caller.name();
    api.check_rate_limit(name.as_deref(), request.client).await?;
    let limit = match format {
        Format::Single => api.max_body,
        Format::Batch => api.max_batch_body,
    };
    let client = request.client;
    let body = api.bodies.read(request.body, limit, request.conn).await?;

    // Bytes of the headers that depend on the request only. Each record of the request has them.
    let headers_len = traceparent.as_ref().map_or(0, String::len) + key.as_ref().map_or(0, String::len);
    let admission = AdmissionChecker::new(api, kind, headers_len);
    let bytes = body.bytes.clone();
    let mut taken =
        api.checks.run(body.bytes.len(), move || intake.read_commands(&bytes, &admission)).await?;
    if taken.commands.is_empty() {
        // A batch without events is valid, and nothing must be stored for it.
        let receipt = Receipt { ids: Vec::new(), accepted_at: Timestamp::now(), replayed: false };
        return Ok(receipt::accepted_response(&receipt, format, prefer));
    }
    api.check_batch_rate_limit(name.as_deref(), client, taken.commands.len()).await?;
    let idempotency = taken.idempotency(key, &body.bytes);
    // The first of: the `traceparent` of the request, that of the event, that of the daemon's sampled span.
    let given = headers::traceparent(headers).is_some();
    let traceparent = if given { traceparent } else { taken.traceparent.or(traceparent) };
    let request = Request { commands: taken.commands, traceparent, idempotency, principal: caller.owner() };
    let receipt = api.commands.submit(request).await.map_err(|error| {
        let retry_after = api.commands.retry_after(&error);
        Problem::from_submit_error(&error, retry_after)
    })?;
    trace.set_commands(&receipt.ids);
    // The wait may be long, and the log has the body. So its memory is released.
    drop(body);
    if let Some(wait) = prefer.wait
        && let Some(statuses) = status::final_statuses(&api.commands, &receipt.ids, false, wait).await
    {
        return Ok(receipt::final_response(&statuses, format, &receipt, prefer));
    }
    Ok(receipt::accepted_response(&receipt, format, prefer))
}
