//! What every listener does around its routes: match, measure, log, and name the request.

use std::fmt::Write as _;
use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;
use std::time::Instant;

use hyper::Method;
use hyper::Request;
use hyper::StatusCode;
use hyper::body::Body;
use hyper::body::Incoming;
use hyper::header;
use hyper::header::HeaderName;
use hyper::header::HeaderValue;
use prometheus::Histogram;
use prometheus::IntCounter;
use prometheus::IntGauge;

use super::Answer;
use super::headers;
use super::problem;
use super::problem::Problem;
use super::wire::Link;
use super::wire::Phase;
use crate::metrics::Metrics;

const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
/// An answer that took longer, though nobody asked for the wait, is worth a warning.
const SLOW: Duration = Duration::from_millis(200);

/// One line of a listener's table: matching, metrics and the description of the interface come from it.
pub struct Route<E: 'static> {
    /// HTTP method; `GET` serves `HEAD` too.
    pub method: &'static str,
    /// Path; its last segment may be `{name}`.
    pub path: &'static str,
    /// What it does, in a few words.
    pub summary: &'static str,
    /// Status of its usual answer.
    pub usual: u16,
    /// What `answer` is told.
    pub endpoint: E,
}

/// A listener's routes and what answers them.
pub trait Site: Send + Sync + 'static {
    /// Names the routes.
    type Endpoint: Copy + Send + Sync + 'static;

    /// All routes.
    const ROUTES: &'static [Route<Self::Endpoint>];

    /// The metrics requests are counted in.
    fn metrics(&self) -> &Arc<Metrics>;

    /// Answers a request that matched.
    fn answer(
        &self,
        endpoint: Self::Endpoint,
        call: Call<'_>,
    ) -> impl Future<Output = Result<Answer, Problem>> + Send;
}

/// One matched request.
pub struct Call<'a> {
    /// Its head; the body is apart.
    pub head: hyper::http::request::Parts,
    /// Its body, unread.
    pub body: Incoming,
    /// The `{name}` in its path.
    pub parameter: &'a str,
    pub(super) link: &'a Link,
}

/// A site with its meters.
pub(super) struct Door<S: Site> {
    site: S,
    meters: Vec<Meter>,
    in_flight: IntGauge,
    ids: RequestIds,
}

struct Meter {
    duration: Histogram,
    usual: IntCounter,
}

impl<S: Site> Door<S> {
    pub fn new(site: S) -> Self {
        let metrics = site.metrics();
        let meter = |route: &Route<_>| Meter {
            duration: metrics.http_duration.with_label_values(&[route.method, route.path]),
            usual: metrics.http_requests.with_label_values(&[
                route.method,
                route.path,
                StatusCode::from_u16(route.usual).unwrap_or_default().as_str(),
            ]),
        };
        let meters = S::ROUTES.iter().map(meter).collect();
        let in_flight = metrics.http_in_flight.clone();
        Self { site, meters, in_flight, ids: RequestIds::new() }
    }

    /// Answers one request, whatever it is.
    pub async fn handle(&self, request: Request<Incoming>, link: &Link) -> Answer {
        let started = Instant::now();
        let _open = InFlight::enter(&self.in_flight);
        link.enter(if request.body().is_end_stream() { Phase::Busy } else { Phase::Body });
        let (head, body) = request.into_parts();
        let path = head.uri.clone();
        let id = headers::request_id(&head.headers).unwrap_or_else(|| self.ids.next());
        let trace_id = headers::traceparent(&head.headers).map(|parent| parent[3..35].to_owned());
        let waits = head.headers.contains_key(headers::PREFER);
        let found = find(S::ROUTES, &head.method, path.path());
        let outcome = match &found {
            _ if link.is_ambiguous() => Err(Problem::new(
                &problem::AMBIGUOUS_LENGTH,
                "Send Content-Length once, or Transfer-Encoding: chunked.",
            )),
            Ok((route, parameter)) => {
                let call = Call { head, body, parameter, link };
                self.site.answer(S::ROUTES[*route].endpoint, call).await
            }
            Err(allow) => Err(no_route(allow)),
        };
        let mut answer = outcome.unwrap_or_else(|problem| {
            problem.answer(trace_id.as_deref().unwrap_or_else(|| id.to_str().unwrap_or_default()))
        });
        if link.phase() == Phase::Body || link.is_ambiguous() {
            // The body was not read: what follows on this connection cannot be told from it.
            answer.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
        }
        link.enter(Phase::Idle);
        let route = found.ok().map(|(route, _)| route);
        self.note(route, answer.status(), started.elapsed(), waits, &id);
        answer.headers_mut().insert(REQUEST_ID, id);
        answer
    }

    /// Metrics and access log. Never a path, a key or a body: they may hold people's data.
    fn note(
        &self,
        route: Option<usize>,
        status: StatusCode,
        took: Duration,
        waits: bool,
        request_id: &HeaderValue,
    ) {
        let (method, path) = route.map_or(("other", "none"), |at| (S::ROUTES[at].method, S::ROUTES[at].path));
        let status_is = |usual: u16| status.as_u16() == usual;
        match route.map(|at| (&self.meters[at], S::ROUTES[at].usual)) {
            Some((meter, usual)) => {
                meter.duration.observe(took.as_secs_f64());
                if status_is(usual) {
                    meter.usual.inc();
                } else {
                    self.count(method, path, status);
                }
            }
            None => self.count(method, path, status),
        }
        let duration_ms = took.as_secs_f64() * 1e3;
        let (status, id) = (status.as_u16(), request_id.to_str().unwrap_or_default());
        if took > SLOW && !waits {
            tracing::warn!(
                http.method = method,
                http.route = path,
                http.status = status,
                duration_ms,
                request_id = id,
                "slow request"
            );
        } else {
            tracing::debug!(
                http.method = method,
                http.route = path,
                http.status = status,
                duration_ms,
                request_id = id,
                "request"
            );
        }
    }

    fn count(&self, method: &str, path: &str, status: StatusCode) {
        self.site.metrics().http_requests.with_label_values(&[method, path, status.as_str()]).inc();
    }
}

/// The route and its parameter, or the methods the path has.
fn find<'p, E>(
    routes: &'static [Route<E>],
    method: &Method,
    path: &'p str,
) -> Result<(usize, &'p str), Vec<&'static str>> {
    let method = if method == Method::HEAD { "GET" } else { method.as_str() };
    let mut allowed = Vec::new();
    for (index, route) in routes.iter().enumerate() {
        let Some(parameter) = parameter(route.path, path) else { continue };
        if route.method == method {
            return Ok((index, parameter));
        }
        allowed.push(route.method);
    }
    Err(allowed)
}

fn parameter<'p>(pattern: &str, path: &'p str) -> Option<&'p str> {
    match pattern.split_once('{') {
        Some((prefix, _)) => path.strip_prefix(prefix).filter(|rest| !rest.is_empty() && !rest.contains('/')),
        None => (pattern == path).then_some(""),
    }
}

fn no_route(allowed: &[&str]) -> Problem {
    if allowed.is_empty() {
        return Problem::new(&problem::NOT_FOUND, "There is nothing at this path; see /openapi.json.");
    }
    let mut allow = allowed.join(", ");
    if allowed.contains(&"GET") {
        allow.push_str(", HEAD");
    }
    let mut refusal = Problem::new(&problem::METHOD_NOT_ALLOWED, format!("This path has {allow}."));
    refusal.allow = Some(allow);
    refusal
}

/// Counts a request for as long as it is being answered, also when its client goes away.
struct InFlight<'a>(&'a IntGauge);

impl<'a> InFlight<'a> {
    fn enter(gauge: &'a IntGauge) -> Self {
        gauge.inc();
        Self(gauge)
    }
}

impl Drop for InFlight<'_> {
    fn drop(&mut self) {
        self.0.dec();
    }
}

/// Names for requests that came without one: a random start, then a count.
struct RequestIds {
    prefix: u64,
    next: AtomicU64,
}

impl RequestIds {
    fn new() -> Self {
        // Without randomness the ids of two starts look alike, which only makes logs harder to read.
        Self { prefix: getrandom::u64().unwrap_or_default(), next: AtomicU64::new(1) }
    }

    fn next(&self) -> HeaderValue {
        let mut id = String::with_capacity(32);
        // Writing to a String cannot fail.
        let _ = write!(id, "{:016x}{:016x}", self.prefix, self.next.fetch_add(1, Relaxed));
        HeaderValue::try_from(id).unwrap_or_else(|_| HeaderValue::from_static("-"))
    }
}
