//! Handles one request of any listener: checks the head, finds the route, calls the handler, converts problems into
//! responses, and records metrics.

use std::future::Future;
use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Instant;

use hyper::body::{Body, Incoming};
use hyper::header::HeaderValue;
use hyper::{HeaderMap, Request, header};

use super::conn_state::{ConnState, Phase};
use super::guard::Guard;
use super::request_metrics::{CompletedRequest, RequestMetrics};
use super::request_trace::RequestTrace;
use super::route;
use super::route::Route;
use crate::http::http_response::HttpResponse;
use crate::http::metrics::Metrics;
use crate::http::problem::Problem;
use crate::http::{headers, problem};
use crate::telemetry::trace::Tracer;

/// The routes of a listener and their handlers.
pub trait Service: Send + Sync + 'static {
    /// Identifies the handler of a route.
    type Endpoint: Send + Sync + 'static;

    /// The route table.
    const ROUTES: &'static [Route<Self::Endpoint>];

    /// The metrics in which requests are counted.
    fn metrics(&self) -> &Arc<Metrics>;

    /// The checks before a route is searched. `loopback`: whether the listener is bound to loopback.
    fn guard(&self, loopback: bool) -> Guard;

    /// The address of the client whose request arrived from `peer` with these headers.
    fn client(&self, peer: IpAddr, _: &HeaderMap) -> IpAddr {
        peer
    }

    /// Receives the spans of sampled requests. By default, no request is sampled.
    fn tracer(&self) -> Tracer {
        Tracer::default()
    }

    /// Handles a request that matched a route.
    fn call(
        &self,
        endpoint: &'static Self::Endpoint,
        request: MatchedRequest<'_>,
    ) -> impl Future<Output = Result<HttpResponse, Problem>> + Send;
}

/// A request that matched a route.
pub struct MatchedRequest<'a> {
    /// The head of the request.
    pub head: hyper::http::request::Parts,
    /// The unread body.
    pub body: Incoming,
    /// The value of `{name}` in the path. Empty if the route has no parameter.
    pub parameter: &'a str,
    /// The address of the client. Behind trusted proxies, it is taken from `X-Forwarded-For`.
    pub client: IpAddr,
    pub conn: &'a ConnState,
    pub trace: &'a RequestTrace,
}

/// A service with its checks, metrics and tracer.
pub struct ServiceRunner<S: Service> {
    service: S,
    guard: Guard,
    metrics: RequestMetrics,
    ids: RequestIds,
    tracer: Tracer,
}

impl<S: Service> ServiceRunner<S> {
    /// `loopback`: only processes of this machine can reach the listener.
    pub fn new(service: S, loopback: bool) -> Self {
        let meters = RequestMetrics::new(S::ROUTES, Arc::clone(service.metrics()));
        let (guard, tracer) = (service.guard(loopback), service.tracer());
        Self { service, guard, metrics: meters, ids: RequestIds::new(), tracer }
    }

    /// Handles one request. Every request gets a response.
    pub async fn handle(&self, request: Request<Incoming>, peer: IpAddr, conn: &ConnState) -> HttpResponse {
        let started = Instant::now();
        let _in_flight = self.metrics.track();
        conn.enter(if request.body().is_end_stream() { Phase::Busy } else { Phase::Body });
        let (head, body) = request.into_parts();
        let id = headers::request_id(&head.headers).unwrap_or_else(|| self.ids.next());
        let request_id = id.to_str().unwrap_or_default();
        let trace = RequestTrace::begin(&self.tracer, &head.headers);
        let trace_id = trace.trace_id().unwrap_or(request_id);
        let waits = headers::Prefer::of(&head.headers).wait.is_some();
        let uri = head.uri.clone();
        let found = self.check(&head, conn).and_then(|()| route::find(S::ROUTES, &head.method, uri.path()));
        let (route, outcome) = match found {
            Ok((route, parameter)) => {
                let client = self.service.client(peer, &head.headers);
                let request = MatchedRequest { head, body, parameter, client, conn, trace: &trace };
                (Some(route), self.service.call(&S::ROUTES[route].endpoint, request).await)
            }
            Err(refusal) => (None, Err(refusal)),
        };
        let mut response = outcome.unwrap_or_else(|problem| problem.into_response(trace_id));
        if conn.phase() == Phase::Body || conn.is_ambiguous() {
            // The body was not read completely. The next request cannot be told from the rest of the body.
            response.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
        }
        conn.enter(Phase::Idle);
        let (status, took) = (response.status(), started.elapsed());
        let seen = CompletedRequest {
            route,
            status,
            duration: took,
            waits,
            request_id,
            trace_id,
            commands: trace.commands(),
        };
        self.metrics.record(&seen);
        let matched = route.map(|route| &S::ROUTES[route]);
        trace.finish(&self.tracer, &seen, matched.map(|route| (route.method, route.path)));
        response.headers_mut().insert(headers::REQUEST_ID, id);
        response
    }

    /// Does the checks that need only the head.
    fn check(&self, head: &hyper::http::request::Parts, conn: &ConnState) -> Result<(), Problem> {
        if conn.is_ambiguous() {
            return Err(problem::ambiguous_length());
        }
        headers::transfer_coding(&head.headers)?;
        self.guard.check(head)
    }
}

/// Generates ids for requests without `X-Request-Id`: a random prefix and a counter.
struct RequestIds {
    prefix: u64,
    next: AtomicU64,
}

impl RequestIds {
    fn new() -> Self {
        // Without randomness, two runs of the daemon use the same ids. This only makes logs harder to read.
        Self { prefix: getrandom::u64().unwrap_or_default(), next: AtomicU64::new(1) }
    }

    fn next(&self) -> HeaderValue {
        let id = format!("{:016x}{:016x}", self.prefix, self.next.fetch_add(1, Relaxed));
        HeaderValue::try_from(id).unwrap_or_else(|_| HeaderValue::from_static("-"))
    }
}
