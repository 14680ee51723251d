//! The operator's listener. On loopback by default: whoever reaches it may do everything.

use std::sync::Arc;
use std::time::Duration;

use hyper::header::HeaderValue;
use serde::Serialize;
use tokio::sync::Mutex;

use super::page::{LookUp, Page, files};
use super::{profiles, rate_limits};
use crate::command::{CommandId, Status};
use crate::http::answer::Answer;
use crate::http::backend::AdminService;
use crate::http::body::Bodies;
use crate::http::config::Config;
use crate::http::metrics::Metrics;
use crate::http::problem::Problem;
use crate::http::server::guard::Guard;
use crate::http::server::hosts::AllowedHosts;
use crate::http::server::route::Route;
use crate::http::server::service::{MatchedRequest, Service};
use crate::http::{problem, problem_page, readiness, respond};
use crate::metrics::Registry;
use crate::profile::Profiler;
use crate::ratelimit::Limits;
use crate::status::StatusError;
use crate::task::TaskSet;
use crate::units::Timestamp;

const PROMETHEUS_TEXT: HeaderValue = HeaderValue::from_static("text/plain; version=0.0.4; charset=utf-8");

/// How long the page waits for log and database, twice at most. A look-up takes milliseconds.
const PATIENCE: Duration = Duration::from_secs(1);
/// Longer than any id. What was typed is shown again.
const MAX_TYPED: usize = 100;

/// Whether the workers run.
#[derive(Serialize)]
struct Drain {
    drain: &'static str,
}

/// Its routes, ready to serve.
pub struct Admin {
    backend: Arc<dyn AdminService>,
    limits: Option<Limits>,
    bodies: Bodies,
    metrics: Arc<Metrics>,
    registry: Registry,
    allowed_hosts: AllowedHosts,
    looking: Arc<Mutex<()>>,
    profiler: Profiler,
    /// The turn of a look-up of a command, and those that run.
    finding: Arc<Mutex<()>>,
    look_ups: TaskSet,
    patience: Duration,
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
            bodies: Bodies::new(&metrics),
            metrics,
            registry,
            allowed_hosts: config.allowed_hosts.clone(),
            looking: Arc::default(),
            profiler: Profiler::default(),
            finding: Arc::default(),
            look_ups: TaskSet::default(),
            patience: PATIENCE,
        }
    }

    /// The same with look-ups that may take so long.
    #[cfg(test)]
    pub fn with_patience(self, patience: Duration) -> Self {
        Self { patience, ..self }
    }

    /// The same with limits that can be changed.
    pub fn with_limits(self, limits: Limits) -> Self {
        Self { limits: Some(limits), ..self }
    }

    async fn scrape(&self) -> Result<Answer, Problem> {
        self.look(|backend| backend.refresh_gauges()).await?;
        let text = self.registry.render().map_err(|error| {
            tracing::error!(event = "metrics.render_failed", %error, "metrics not rendered");
            Problem::new(&problem::INTERNAL, "The metrics could not be rendered.")
        })?;
        Ok(respond::bytes(PROMETHEUS_TEXT, text))
    }

    /// The status page at this moment, with the command that the query names, if it names one. The page itself reads no
    /// disk: it is needed most when the disk does not answer.
    async fn page(&self, request: &MatchedRequest<'_>) -> Page {
        let look_up = match asked(&request.head.uri) {
            None => None,
            Some(id) => {
                let found = match id.parse::<CommandId>() {
                    Ok(id) => self.find(id).await,
                    Err(_) => Err(StatusError::NotFound),
                };
                Some(LookUp { id, found })
            }
        };
        Page::new(&self.backend.overview(), look_up.as_ref(), Timestamp::now())
    }

    /// Looks a command up, in the log's files too. One at a time, and waited for only so long: a disk that does not answer
    /// keeps one look-up, and the page says so.
    async fn find(&self, id: CommandId) -> Result<Status, StatusError> {
        let late = || Err(StatusError::Unavailable("log and database did not answer in time".to_owned()));
        let turn = tokio::time::timeout(self.patience, Arc::clone(&self.finding).lock_owned());
        let Ok(turn) = turn.await else { return late() };
        let backend = Arc::clone(&self.backend);
        let found = self.look_ups.begin(async move {
            let _turn = turn;
            backend.find_command(id).await
        });
        match tokio::time::timeout(self.patience, found).await {
            Ok(Ok(found)) => found,
            _ => late(),
        }
    }

    async fn file(&self, request: MatchedRequest<'_>) -> Result<Answer, Problem> {
        match request.parameter {
            "page.json" => Ok(respond::json(&self.page(&request).await)),
            name => files::find(name)
                .ok_or_else(|| Problem::new(&problem::NOT_FOUND, "No resource exists at this path.")),
        }
    }

    /// Asks for figures that are read from the disk, on a thread that may block. One at a time: however slow the disk is,
    /// one thread waits for it, and callers wait for their turn.
    async fn look<T: Send + 'static>(
        &self,
        ask: impl FnOnce(&dyn AdminService) -> T + Send + 'static,
    ) -> Result<T, Problem> {
        let failed = |_| Problem::new(&problem::INTERNAL, "The state of the log could not be read.");
        let turn = Arc::clone(&self.looking).lock_owned().await;
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
fn asked(uri: &hyper::Uri) -> Option<String> {
    let query = uri.query()?.as_bytes();
    let (_, typed) = form_urlencoded::parse(query).find(|(name, _)| name == "command")?;
    let id: String = typed.trim().chars().take(MAX_TYPED).collect();
    (!id.is_empty()).then_some(id)
}

/// The routes of the operator's listener.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Endpoint {
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
    /// The description of a problem code.
    ProblemPage,
}

const fn route(
    method: &'static str,
    path: &'static str,
    summary: &'static str,
    endpoint: Endpoint,
) -> Route<Endpoint> {
    // The description of the interface does not have this listener.
    Route { method, path, operation: "", summary, usual: 200, body: None, answer: "object", endpoint }
}

impl Service for Admin {
    type Endpoint = Endpoint;

    const ROUTES: &'static [Route<Endpoint>] = &[
        route("GET", "/metrics", "Prometheus metrics", Endpoint::Metrics),
        route("GET", "/healthz", "Whether the process answers", Endpoint::Health),
        route("GET", "/readyz", "Whether commands are accepted", Endpoint::Ready),
        route("GET", "/admin/backlog", "State of the backlog", Endpoint::Backlog),
        route("POST", "/admin/drain/pause", "Pause delivery", Endpoint::Pause),
        route("POST", "/admin/drain/resume", "Resume delivery", Endpoint::Resume),
        route("GET", "/admin/ratelimit/{limiter}", "A rate limit: `login` or `write`", Endpoint::Limit),
        route(
            "PUT",
            "/admin/ratelimit/{limiter}",
            "Change a rate limit on all daemons",
            Endpoint::ChangeLimit,
        ),
        route("GET", "/debug/pprof/profile", "CPU profile of `?seconds=N`", Endpoint::CpuProfile),
        route("GET", "/debug/pprof/heap", "Heap profile", Endpoint::HeapProfile),
        route("GET", "/", "Status page", Endpoint::Page),
        route("GET", "/status/{file}", "A file of the status page", Endpoint::PageFile),
        route("GET", problem_page::PATH, "The description of a problem code", Endpoint::ProblemPage),
    ];

    fn metrics(&self) -> &Arc<Metrics> {
        &self.metrics
    }

    fn guard(&self, loopback: bool) -> Guard {
        // No caller shows a token here, whatever the mode is.
        Guard::new(loopback, true, &self.allowed_hosts)
    }

    async fn answer(
        &self,
        endpoint: &'static Endpoint,
        request: MatchedRequest<'_>,
    ) -> Result<Answer, Problem> {
        match endpoint {
            Endpoint::Metrics => self.scrape().await,
            Endpoint::Health => Ok(readiness::health()),
            Endpoint::Ready => Ok(readiness::ready(&self.backend.ready())),
            Endpoint::Backlog => Ok(respond::json(&self.look(|backend| backend.backlog_json()).await?)),
            Endpoint::Pause => {
                self.backend.pause(&origin(&request));
                Ok(respond::json(&Drain { drain: "paused" }))
            }
            Endpoint::Resume => {
                self.backend.resume(&origin(&request));
                Ok(respond::json(&Drain { drain: "running" }))
            }
            Endpoint::Limit => rate_limits::get(self.limits.as_ref(), request.parameter),
            Endpoint::ChangeLimit => {
                let origin = origin(&request);
                let changed = rate_limits::put(self.limits.as_ref(), &self.bodies, request, &origin).await;
                self.backend.limit_changed();
                changed
            }
            Endpoint::CpuProfile => profiles::cpu(&self.profiler, &request.head.uri, &origin(&request)).await,
            Endpoint::HeapProfile => profiles::heap(&self.profiler, &origin(&request)).await,
            Endpoint::Page => Ok(files::html(self.page(&request).await.html())),
            Endpoint::PageFile => self.file(request).await,
            Endpoint::ProblemPage => problem_page::get(request.parameter),
        }
    }
}
