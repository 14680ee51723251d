//! The operator's listener. On loopback by default: whoever reaches it may do everything.

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
use crate::http::{problem, readiness, respond};
use crate::metrics::Registry;
use crate::profile::Profiler;
use crate::ratelimit::Limits;
use crate::status::StatusError;
use crate::task::TaskSet;
use crate::units::Timestamp;

const PROMETHEUS_TEXT: HeaderValue = HeaderValue::from_static("text/plain; version=0.0.4; charset=utf-8");

/// How long the page waits for log and database, twice at most. A look-up takes milliseconds.
const LOOKUP_TIMEOUT: Duration = Duration::from_secs(1);
/// Longer than any id. What was typed is shown again.
const MAX_QUERY_BYTES: usize = 100;

/// Whether the workers run.
#[derive(Serialize)]
struct DrainState {
    drain: &'static str,
}

/// Its routes, ready to serve.
pub struct Admin {
    backend: Arc<dyn AdminService>,
    limits: Option<Limits>,
    bodies: BodyBudget,
    metrics: Arc<Metrics>,
    registry: Registry,
    allowed_hosts: AllowedHosts,
    blocking_read: Arc<Mutex<()>>,
    profiler: Profiler,
    /// The turn of a look-up of a command, and those that run.
    blocking_lookup: Arc<Mutex<()>>,
    lookups: TaskSet,
    lookup_timeout: Duration,
}

impl Admin {
    /// Over what it shows and steers. `registry`: what a scrape shows.
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

    /// The same with look-ups that may take so long.
    #[cfg(test)]
    pub fn with_lookup_timeout(self, patience: Duration) -> Self {
        Self { lookup_timeout: patience, ..self }
    }

    /// The same with limits that can be changed.
    pub fn with_limits(self, limits: Limits) -> Self {
        Self { limits: Some(limits), ..self }
    }

    async fn scrape(&self) -> Result<HttpResponse, Problem> {
        self.read_blocking(|backend| backend.refresh_gauges()).await?;
        let text = self.registry.render().map_err(|error| {
            tracing::error!(event = "metrics.render_failed", %error, "metrics not rendered");
            Problem::new(&problem::INTERNAL, "The metrics could not be rendered.")
        })?;
        Ok(respond::bytes(PROMETHEUS_TEXT, text))
    }

    /// The status page at this moment, with the command that the query names, if it names one. The page itself reads no
    /// disk: it is needed most when the disk does not answer.
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

    /// Looks a command up, in the log's files too. One at a time, and waited for only so long: a disk that does not answer
    /// keeps one look-up, and the page says so.
    async fn find(&self, id: CommandId) -> Result<CommandStatus, StatusError> {
        let late = || Err(StatusError::Unavailable("log and database did not answer in time".to_owned()));
        let turn = tokio::time::timeout(self.lookup_timeout, Arc::clone(&self.blocking_lookup).lock_owned());
        let Ok(turn) = turn.await else { return late() };
        let backend = Arc::clone(&self.backend);
        let found = self.lookups.begin(async move {
            let _turn = turn;
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
                .ok_or_else(|| Problem::new(&problem::NOT_FOUND, "There is nothing at this path.")),
        }
    }

    /// Asks for figures that are read from the disk, on a thread that may block. One at a time: however slow the disk is,
    /// one thread waits for it, and callers wait for their turn.
    async fn read_blocking<T: Send + 'static>(
        &self,
        ask: impl FnOnce(&dyn AdminService) -> T + Send + 'static,
    ) -> Result<T, Problem> {
        let failed = |_| Problem::new(&problem::INTERNAL, "The figures could not be read.");
        let turn = Arc::clone(&self.blocking_read).lock_owned().await;
        let backend = Arc::clone(&self.backend);
        let asked = tokio::task::spawn_blocking(move || {
            // Kept also when the caller hangs up: the disk is not asked again before it has answered.
            let _turn = turn;
            ask(&*backend)
        });
        asked.await.map_err(failed)
    }
}

/// The origin of a request: the client's address, because this listener has no authentication.
fn origin(request: &MatchedRequest<'_>) -> String {
    format!("admin listener, {}", request.client)
}

/// The command id that an operator typed, without the blanks around it. Cut: an id has 40 characters.
fn requested_command(uri: &hyper::Uri) -> Option<String> {
    let query = uri.query()?.as_bytes();
    let (_, typed) = form_urlencoded::parse(query).find(|(name, _)| name == "command")?;
    let id: String = typed.trim().chars().take(MAX_QUERY_BYTES).collect();
    (!id.is_empty()).then_some(id)
}

/// The routes of the operator's listener.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AdminEndpoint {
    /// Prometheus.
    Metrics,
    /// Liveness.
    Health,
    /// Readiness.
    Ready,
    /// State of the backlog.
    Backlog,
    /// Hold the workers.
    Pause,
    /// Let them go on.
    Resume,
    /// A rate limit as it holds.
    Limit,
    /// Change it.
    ChangeLimit,
    /// CPU profile.
    CpuProfile,
    /// Heap profile.
    HeapProfile,
    /// Status page.
    Page,
    /// Its style sheet, script and icon, and its content for the script.
    PageFile,
}

const fn route(
    method: &'static str,
    path: &'static str,
    summary: &'static str,
    endpoint: AdminEndpoint,
) -> Route<AdminEndpoint> {
    // The description of the interface does not have this listener.
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
        route("GET", "/healthz", "Whether the process answers", AdminEndpoint::Health),
        route("GET", "/readyz", "Whether commands are accepted", AdminEndpoint::Ready),
        route("GET", "/admin/backlog", "State of the backlog", AdminEndpoint::Backlog),
        route("POST", "/admin/drain/pause", "Workers begin nothing new", AdminEndpoint::Pause),
        route("POST", "/admin/drain/resume", "Workers go on", AdminEndpoint::Resume),
        route("GET", "/admin/ratelimit/{limiter}", "A rate limit: `login` or `write`", AdminEndpoint::Limit),
        route("PUT", "/admin/ratelimit/{limiter}", "Change it, on all daemons", AdminEndpoint::ChangeLimit),
        route("GET", "/debug/pprof/profile", "CPU profile of `?seconds=N`", AdminEndpoint::CpuProfile),
        route("GET", "/debug/pprof/heap", "Heap profile", AdminEndpoint::HeapProfile),
        route("GET", "/", "Status page", AdminEndpoint::Page),
        route("GET", "/status/{file}", "What the status page needs", AdminEndpoint::PageFile),
    ];

    fn metrics(&self) -> &Arc<Metrics> {
        &self.metrics
    }

    fn guard(&self, loopback: bool) -> Guard {
        // No caller shows a token here, whatever the mode is.
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
        }
    }
}
