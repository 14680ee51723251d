//! Metrics and access log of a listener. They never contain paths, keys or bodies, which may contain personal data.

use std::sync::{Arc, OnceLock};
use std::time::Duration;

use hyper::StatusCode;
use prometheus::{Histogram, IntCounter, IntGauge};

use super::route::Route;
use crate::command::CommandId;
use crate::http::metrics::Metrics;

/// Requests that take longer are logged as warnings, unless the client requested a wait.
const SLOW: Duration = Duration::from_millis(200);
/// Labels of requests that match no route. Text from a request must not become a label.
const NO_ROUTE: (&str, &str) = ("other", "none");
/// Statuses that alerts use. Every route has a counter for each of them from the start, because Prometheus does not
/// see an increase when a new counter appears with the value 1.
const FAILURES: [&str; 2] = ["500", "503"];
/// The same for routes that write to the log: the disk is full.
const DISK_FULL: &str = "507";

/// The metrics of each route. Their labels are resolved once.
pub struct RequestMetrics {
    metrics: Arc<Metrics>,
    routes: Vec<RouteMetrics>,
}

struct RouteMetrics {
    method: &'static str,
    path: &'static str,
    /// Created by the first request, because the buckets of all routes together are hundreds of series.
    duration: OnceLock<Histogram>,
    /// Created by the first request with a wait.
    wait_duration: OnceLock<Histogram>,
    success_counter: (u16, IntCounter),
}

/// A completed request, for metrics and the access log.
pub struct CompletedRequest<'a> {
    /// Index of the route in the route table.
    pub route: Option<usize>,
    pub status: StatusCode,
    pub duration: Duration,
    /// Whether the client requested a wait.
    pub waits: bool,
    pub request_id: &'a str,
    pub trace_id: &'a str,
    /// The request's command or the first command of its batch, and the number of commands.
    pub commands: Option<&'a (CommandId, usize)>,
}

impl RequestMetrics {
    pub fn new<E>(routes: &[Route<E>], metrics: Arc<Metrics>) -> Self {
        let meter = |route: &Route<E>| {
            let counter =
                |status: &str| metrics.requests.with_label_values(&[route.method, route.path, status]);
            FAILURES.iter().for_each(|status| drop(counter(status)));
            if route.method != "GET" && route.path.starts_with("/v1/") {
                drop(counter(DISK_FULL));
            }
            RouteMetrics {
                method: route.method,
                path: route.path,
                duration: OnceLock::new(),
                wait_duration: OnceLock::new(),
                success_counter: (route.success_status, counter(&route.success_status.to_string())),
            }
        };
        Self { routes: routes.iter().map(meter).collect(), metrics }
    }

    /// Counts a request as in progress until the guard is dropped, also if the client disconnects.
    pub fn track(&self) -> InFlightGuard<'_> {
        self.metrics.in_flight.inc();
        InFlightGuard(&self.metrics.in_flight)
    }

    /// Counts and logs a completed request.
    pub fn record(&self, seen: &CompletedRequest<'_>) {
        let meter = seen.route.map(|route| &self.routes[route]);
        let (method, path) = meter.map_or(NO_ROUTE, |meter| (meter.method, meter.path));
        if let Some(meter) = meter {
            let labels = [method, path];
            let duration = match seen.waits {
                true => meter.wait_duration.get_or_init(|| self.metrics.waited.with_label_values(&labels)),
                false => meter.duration.get_or_init(|| self.metrics.duration.with_label_values(&labels)),
            };
            duration.observe(seen.duration.as_secs_f64());
        }
        match meter {
            Some(RouteMetrics { success_counter: (usual, counter), .. }) if seen.status == *usual => {
                counter.inc()
            }
            _ => self.metrics.requests.with_label_values(&[method, path, seen.status.as_str()]).inc(),
        }
        // `tracing` needs a constant level. The macro avoids writing the fields twice.
        macro_rules! log {
            ($level:ident, $message:literal) => {
                tracing::$level!(
                    http.method = method,
                    http.route = path,
                    http.status = seen.status.as_u16(),
                    http.duration_ms = seen.duration.as_secs_f64() * 1e3,
                    http.request_id = seen.request_id,
                    trace_id = seen.trace_id,
                    command_id = seen.commands.map(|(id, _)| tracing::field::display(id)),
                    commands = seen.commands.map(|(_, count)| count),
                    $message
                )
            };
        }
        if seen.duration > SLOW && !seen.waits {
            log!(warn, "slow request");
        } else {
            log!(debug, "request");
        }
    }
}

/// See [`RequestMetrics::track`].
pub struct InFlightGuard<'a>(&'a IntGauge);

impl Drop for InFlightGuard<'_> {
    fn drop(&mut self) {
        self.0.dec();
    }
}
