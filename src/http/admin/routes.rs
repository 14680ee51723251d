//! The operator's listener. It has no authentication: a client that can reach it may use every route. Therefore it is
//! on loopback by default.

use std::sync::Arc;
use std::time::Duration;

use hyper::header::HeaderValue;
use serde::Serialize;
use tokio::sync::Mutex;

use super::page::{CommandLookup, Page, files};
use super::{profiles, rate_limits};
use crate::command::{CommandId, CommandStatus};
use crate::http::body::BodyBudget;
use crate::http::config::Config;
use crate::http::http_response::HttpResponse;
use crate::http::metrics::Metrics;
use crate::http::problem::Problem;
use crate::http::server::guard::Guard;
use crate::http::server::hosts::AllowedHosts;
use crate::http::server::route::Route;
use crate::http::server::service::{MatchedRequest, Service};
use crate::http::services::AdminService;
use crate::http::{problem, problem_page, readiness, respond};
use crate::metrics::Registry;
use crate::profile::Profiler;
use crate::ratelimit::Limits;
use crate::status::StatusError;
use crate::task::TaskSet;
use crate::units::Timestamp;

const PROMETHEUS_TEXT: HeaderValue = HeaderValue::from_static("text/plain; version=0.0.4; charset=utf-8");

/// How long the page waits for the previous look-up, and how long it waits for its own. A look-up in log and database
/// takes milliseconds.
const LOOKUP_TIMEOUT: Duration = Duration::from_secs(1);
/// Maximum length of a typed id, which the page shows again. Valid ids are shorter.
const MAX_QUERY_BYTES: usize = 100;

/// Response with the state of the drain.
#[derive(Serialize)]
struct DrainState {
    drain: &'static str,
}

/// The service of the operator's listener.
pub struct Admin {
    backend: Arc<dyn AdminService>,
    limits: Option<Limits>,
    bodies: BodyBudget,
    metrics: Arc<Metrics>,
    registry: Registry,
    allowed_hosts: AllowedHosts,
    blocking_read: Arc<Mutex<()>>,
    profiler: Profiler,
    /// Allows one look-up of a command at a time.
    blocking_lookup: Arc<Mutex<()>>,
    lookups: TaskSet,
    lookup_timeout: Duration,
}

impl Admin {
    /// Creates the service. `registry` has the metrics of `/metrics`.
    pub fn new(
        config: &Config,
        backend: Arc<dyn AdminService>,
        metrics: Arc<Metrics>,
        registry: Registry,
    ) -> Self {
        Self {
            backend,
            limits: None,
            bodies: BodyBudget::new(&metrics),
            metrics,
            registry,
            allowed_hosts: config.allowed_hosts.clone(),
            blocking_read: Arc::default(),
            profiler: Profiler::default(),
            blocking_lookup: Arc::default(),
            lookups: TaskSet::default(),
            lookup_timeout: LOOKUP_TIMEOUT,
        }
    }

    /// Sets the time-out of look-ups.
    #[cfg(test)]
    pub fn with_lookup_timeout(self, timeout: Duration) -> Self {
        Self { lookup_timeout: timeout, ..self }
    }

    /// Adds rate limits that operators can change.
    pub fn with_limits(self, limits: Limits) -> Self {
        Self { limits: Some(limits), ..self }
    }

    async fn scrape(&self) -> Result<HttpResponse, Problem> {
        self.read_blocking(|backend| backend.refresh_gauges()).await?;
        let text = self.registry.render().map_err(|error| {
            tracing::error!(event = "metrics.render_failed", %error, "cannot render the metrics");
            Problem::new(&problem::INTERNAL, "The metrics could not be rendered.")
        })?;
        Ok(respond::bytes(PROMETHEUS_TEXT, text))
    }

    /// Renders the status page, with the command in the query if it has one. The page itself does not read the disk,
    /// because operators need it most when the disk does not respond.
    async fn page(&self, request: &MatchedRequest<'_>) -> Page {
        let look_up = match requested_command(&request.head.uri) {
            None => None,
            Some(id) => {
                let found = match id.parse::<CommandId>() {
                    Ok(id) => self.find(id).await,
                    Err(_) => Err(StatusError::NotFound),
                };
                Some(CommandLookup { id, found })
            }
        };
        Page::new(&self.backend.overview(), look_up.as_ref(), Timestamp::now())
    }

    /// Looks a command up, also in the files of the log. Only one look-up runs at a time, and the wait has a time-out:
    /// a disk that does not respond blocks one look-up only, and the page shows an error.
    async fn find(&self, id: CommandId) -> Result<CommandStatus, StatusError> {
        let late = || Err(StatusError::Unavailable("log and database did not respond in time".to_owned()));
        let permit =
            tokio::time::timeout(self.lookup_timeout, Arc::clone(&self.blocking_lookup).lock_owned());
        let Ok(permit) = permit.await else { return late() };
        let backend = Arc::clone(&self.backend);
        let found = self.lookups.begin(async move {
            let _permit = permit;
            backend.find_command(id).await
        });
        match tokio::time::timeout(self.lookup_timeout, found).await {
            Ok(Ok(found)) => found,
            _ => late(),
        }
    }

    async fn file(&self, request: MatchedRequest<'_>) -> Result<HttpResponse, Problem> {
        match request.parameter {
            "page.json" => Ok(respond::json(&self.page(&request).await)),
            name => files::find(name)
                .ok_or_else(|| Problem::new(&problem::NOT_FOUND, "No resource has this path.")),
        }
    }

    /// Reads figures from the disk, on a thread that may block. Only one read runs at a time, so that a slow disk
    /// blocks only one thread. Other callers wait.
    async fn read_blocking<T: Send + 'static>(
        &self,
        read: impl FnOnce(&dyn AdminService) -> T + Send + 'static,
    ) -> Result<T, Problem> {
        let failed = |_| Problem::new(&problem::INTERNAL, "The figures could not be read.");
        let permit = Arc::clone(&self.blocking_read).lock_owned().await;
        let backend = Arc::clone(&self.backend);
        let result = tokio::task::spawn_blocking(move || {
            // Held until the read ends, also if the caller disconnects, so that no second read begins before that.
            let _permit = permit;
            read(&*backend)
        });
        result.await.map_err(failed)
    }
}

/// The origin of a request for logs: the client's address, because this listener has no authentication.
fn origin(request: &MatchedRequest<'_>) -> String {
    format!("admin listener, {}", request.client)
}

/// The command id that an operator typed, without surrounding spaces. Long text is cut, because an id has 40
/// characters.
fn requested_command(uri: &hyper::Uri) -> Option<String> {
    let query = uri.query()?.as_bytes();
    let (_, typed) = form_urlencoded::parse(query).find(|(name, _)| name == "command")?;
    let id: String = typed.trim().chars().take(MAX_QUERY_BYTES).collect();
    (!id.is_empty()).then_some(id)
}

/// The routes of the operator's listener.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AdminEndpoint {
    /// Prometheus metrics.
    Metrics,
    /// Liveness.
    Health,
    /// Readiness.
    Ready,
    /// State of the backlog.
    Backlog,
    /// Pause delivery.
    Pause,
    /// Resume delivery.
    Resume,
    /// Show a rate limit.
    Limit,
    /// Change a rate limit.
    ChangeLimit,
    /// CPU profile.
    CpuProfile,
    /// Heap profile.
    HeapProfile,
    /// Status page.
    Page,
    /// Style sheet, script and icon of the status page, and its content for the script.
    PageFile,
    /// The description of a problem code.
    ProblemPage,
}

const fn route(
    method: &'static str,
    path: &'static str,
    summary: &'static str,
    endpoint: AdminEndpoint,
) -> Route<AdminEndpoint> {
    // The OpenAPI description does not include this listener, so the routes have no operation name.
    Route {
        method,
        path,
        operation: "",
        summary,
        success_status: 200,
        body: None,
        response_schema: "object",
        endpoint,
    }
}

impl Service for Admin {
    type Endpoint = AdminEndpoint;

    const ROUTES: &'static [Route<AdminEndpoint>] = &[
        route("GET", "/metrics", "Prometheus metrics", AdminEndpoint::Metrics),
        route("GET", "/healthz", "Check that the process responds", AdminEndpoint::Health),
        route("GET", "/readyz", "Check that commands are accepted", AdminEndpoint::Ready),
        route("GET", "/admin/backlog", "State of the backlog", AdminEndpoint::Backlog),
        route("POST", "/admin/drain/pause", "Pause delivery", AdminEndpoint::Pause),
        route("POST", "/admin/drain/resume", "Resume delivery", AdminEndpoint::Resume),
        route("GET", "/admin/ratelimit/{limiter}", "Show `login` or `write` limit", AdminEndpoint::Limit),
        route("PUT", "/admin/ratelimit/{limiter}", "Change on all daemons", AdminEndpoint::ChangeLimit),
        route("GET", "/debug/pprof/profile", "CPU profile of `?seconds=N`", AdminEndpoint::CpuProfile),
        route("GET", "/debug/pprof/heap", "Heap profile", AdminEndpoint::HeapProfile),
        route("GET", "/", "Status page", AdminEndpoint::Page),
        route("GET", "/status/{file}", "Files of the status page", AdminEndpoint::PageFile),
        route("GET", problem::DESCRIPTION, "Description of a problem code", AdminEndpoint::ProblemPage),
    ];

    fn metrics(&self) -> &Arc<Metrics> {
        &self.metrics
    }

    fn guard(&self, loopback: bool) -> Guard {
        // This listener requires no token, independent of `auth.mode`.
        Guard::new(loopback, true, &self.allowed_hosts)
    }

    async fn call(
        &self,
        endpoint: &'static AdminEndpoint,
        request: MatchedRequest<'_>,
    ) -> Result<HttpResponse, Problem> {
        match endpoint {
            AdminEndpoint::Metrics => self.scrape().await,
            AdminEndpoint::Health => Ok(readiness::health()),
            AdminEndpoint::Ready => Ok(readiness::ready(&self.backend.readiness())),
            AdminEndpoint::Backlog => {
                Ok(respond::json(&self.read_blocking(|backend| backend.backlog_json()).await?))
            }
            AdminEndpoint::Pause => {
                self.backend.pause(&origin(&request));
                Ok(respond::json(&DrainState { drain: "paused" }))
            }
            AdminEndpoint::Resume => {
                self.backend.resume(&origin(&request));
                Ok(respond::json(&DrainState { drain: "running" }))
            }
            AdminEndpoint::Limit => rate_limits::get(self.limits.as_ref(), request.parameter),
            AdminEndpoint::ChangeLimit => {
                let origin = origin(&request);
                let changed = rate_limits::put(self.limits.as_ref(), &self.bodies, request, &origin).await;
                self.backend.rate_limit_changed();
                changed
            }
            AdminEndpoint::CpuProfile => {
                profiles::cpu(&self.profiler, &request.head.uri, &origin(&request)).await
            }
            AdminEndpoint::HeapProfile => profiles::heap(&self.profiler, &origin(&request)).await,
            AdminEndpoint::Page => Ok(files::html(self.page(&request).await.html())),
            AdminEndpoint::PageFile => self.file(request).await,
            AdminEndpoint::ProblemPage => problem_page::get(request.parameter),
        }
    }
}
