//! A server on a free port with a fake log in memory.

use std::collections::{BTreeMap, HashMap};
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering::SeqCst;
use std::time::{Duration, Instant};

use tokio::sync::{oneshot, watch};
use tokio::task::JoinHandle;

use super::client::Client;
use crate::auth;
use crate::auth::{Authenticator, Caller};
use crate::command::{CommandId, CommandState, CommandStatus};
use crate::http::Metrics;
use crate::http::api::body_checks::BodyChecks;
use crate::http::server::service::Service;
use crate::http::{
    AdminService, Api, ApiParts, Catalogue, CommandService, Config, ConnectionLimits, HttpServer, Readiness,
};
use crate::ingest::{Receipt, Request, SubmitError};
use crate::kinds::{Kinds, defaults};
use crate::metrics::Registry;
use crate::status::StatusError;
use crate::sync::Mutex;
use crate::telemetry::trace::Tracer;
use crate::units::{ByteSize, Span, Timestamp};

/// Acceptance time of all commands in the fake log: 2026-11-20T12:00:00.123Z.
pub const ACCEPTED_AT: Timestamp = Timestamp(1_795_176_000_123);

/// The fake log. It records all requests in `submitted`.
#[derive(Clone, Default)]
pub struct FakeLog(Arc<Inner>);

#[derive(Default)]
struct Inner {
    submitted: Mutex<Vec<Request>>,
    refusal: Mutex<Option<SubmitError>>,
    replayed: AtomicBool,
    states: Mutex<HashMap<CommandId, CommandState>>,
    changed: watch::Sender<u64>,
    /// Submissions wait while this is true.
    is_holding: watch::Sender<bool>,
    arrived: watch::Sender<usize>,
}

impl FakeLog {
    pub fn submitted(&self) -> Vec<Request> {
        self.0.submitted.lock().clone()
    }

    pub fn refuse(&self, error: SubmitError) {
        *self.0.refusal.lock() = Some(error);
    }

    pub fn replay(&self) {
        self.0.replayed.store(true, SeqCst);
    }

    /// Sets the state of a command and wakes waiting requests.
    pub fn set(&self, id: CommandId, state: CommandState) {
        self.0.states.lock().insert(id, state);
        self.0.changed.send_modify(|count| *count += 1);
    }

    pub fn hold(&self, held: bool) {
        self.0.is_holding.send_replace(held);
    }

    /// Waits until `count` requests have reached the log.
    pub async fn await_arrivals(&self, count: usize) {
        self.0.arrived.subscribe().wait_for(|arrived| *arrived >= count).await.unwrap();
    }

    /// The id of the n-th command, from 0.
    pub fn id(n: usize) -> CommandId {
        CommandId::from_bytes([u8::try_from(n).unwrap(); 25])
    }

    fn state(&self, id: CommandId) -> Option<CommandState> {
        self.0.states.lock().get(&id).copied()
    }
}

impl CommandService for FakeLog {
    async fn submit(&self, request: Request) -> Result<Receipt, SubmitError> {
        self.0.arrived.send_modify(|count| *count += 1);
        self.0.is_holding.subscribe().wait_for(|held| !held).await.unwrap();
        if let Some(refusal) = self.0.refusal.lock().clone() {
            return Err(refusal);
        }
        let mut submitted = self.0.submitted.lock();
        let before: usize = submitted.iter().map(|request| request.commands.len()).sum();
        let ids: Vec<_> = (before..before + request.commands.len()).map(Self::id).collect();
        submitted.push(request);
        for id in &ids {
            self.0.states.lock().entry(*id).or_insert(CommandState::Accepted);
        }
        Ok(Receipt { ids, accepted_at: ACCEPTED_AT, replayed: self.0.replayed.load(SeqCst) })
    }

    fn retry_after(&self, _: &SubmitError) -> Duration {
        Duration::from_secs(7)
    }

    async fn find(&self, id: CommandId, _: &Caller) -> Result<CommandStatus, StatusError> {
        if id.as_bytes() == &[255; 25] {
            return Err(StatusError::OtherLog);
        }
        let state = self.state(id).ok_or(StatusError::NotFound)?;
        Ok(CommandStatus {
            id,
            kind: "order.create".to_owned(),
            key: Some("o-1".to_owned()),
            state,
            accepted_at: ACCEPTED_AT,
            sent_at: None,
            kafka: None,
            finished_at: None,
            reason: None,
        })
    }

    async fn final_state(&self, id: CommandId, _: bool, deadline: Instant) {
        let mut changed = self.0.changed.subscribe();
        let reached =
            changed.wait_for(|_| self.state(id).is_some_and(|state| state != CommandState::Accepted));
        let _ = tokio::time::timeout_at(deadline.into(), reached).await;
    }
}

/// The admin service of the tests.
#[derive(Default)]
pub struct FakeAdmin {
    pub unready: AtomicBool,
    pub paused: AtomicBool,
    pub scraped: AtomicBool,
    /// Origin of the last pause.
    pub origin: Mutex<String>,
    /// While a test holds this lock, the disk does not respond.
    pub disk: Mutex<()>,
    /// Whether look-ups of commands hang.
    pub hangs: AtomicBool,
}

impl AdminService for FakeAdmin {
    fn backlog_json(&self) -> serde_json::Value {
        let _answers = self.disk.lock();
        serde_json::json!({"backlog": 3})
    }

    fn readiness(&self) -> Readiness {
        let ready = !self.unready.load(SeqCst);
        Readiness {
            ready,
            reason: (!ready).then_some("stopping"),
            dependencies: BTreeMap::from([("kafka", "no broker responds".to_owned())]),
            problems: Vec::new(),
        }
    }

    fn pause(&self, origin: &str) {
        *self.origin.lock() = origin.to_owned();
        self.paused.store(true, SeqCst);
    }

    fn resume(&self, _: &str) {
        self.paused.store(false, SeqCst);
    }

    fn rate_limit_changed(&self) {}

    fn find_command(
        &self,
        _: CommandId,
    ) -> Pin<Box<dyn Future<Output = Result<CommandStatus, StatusError>> + Send + '_>> {
        match self.hangs.load(SeqCst) {
            true => Box::pin(std::future::pending()),
            false => Box::pin(std::future::ready(Err(StatusError::NotFound))),
        }
    }

    fn refresh_gauges(&self) {
        let _answers = self.disk.lock();
        self.scraped.store(true, SeqCst);
    }
}

/// Configuration with long time-outs, so that only tests of time-outs reach one.
pub fn config() -> Config {
    Config {
        max_body: ByteSize::kib(64),
        max_batch_body: ByteSize::mib(1),
        header_timeout: Span::secs(60),
        body_timeout: Span::secs(60),
        idle_timeout: Span::secs(60),
        max_connections: 100,
        shutdown_grace: Span::secs(60),
        // The `Host` of the tests' clients.
        allowed_hosts: serde_json::from_str(r#"["t"]"#).unwrap(),
        ..Config::default()
    }
}

/// A running server.
pub struct Server {
    pub address: SocketAddr,
    pub log: FakeLog,
    pub backend: Arc<FakeAdmin>,
    pub metrics: Arc<Metrics>,
    pub registry: Registry,
    /// Limits the checks of large bodies.
    pub checks: BodyChecks,
    stop: Option<oneshot::Sender<()>>,
    task: Option<JoinHandle<usize>>,
}

pub async fn serve() -> Server {
    serve_with(config(), ByteSize::mib(1)).await
}

pub async fn serve_with(config: Config, message_max: ByteSize) -> Server {
    serve_parts(config, message_max, Kinds::build(&defaults()).unwrap()).await
}

pub async fn serve_kinds(config: Config, kinds: Kinds) -> Server {
    serve_parts(config, ByteSize::mib(1), kinds).await
}

pub async fn serve_parts(config: Config, message_max: ByteSize, kinds: Kinds) -> Server {
    let (log, backend) = (FakeLog::default(), Arc::new(FakeAdmin::default()));
    let registry = Registry::new().unwrap();
    let metrics = Arc::new(Metrics::register(&registry).unwrap());
    let tokens = auth::Metrics::register(&registry).unwrap();
    let parts = ApiParts {
        commands: log.clone(),
        has_users: true,
        users: None,
        authenticator: Authenticator::open(&tokens),
        login: None,
        limits: None,
        kinds: Catalogue::new(kinds),
        backend: Arc::<FakeAdmin>::clone(&backend),
        metrics: Arc::clone(&metrics),
        message_max,
        tracer: Tracer::default(),
    };
    let public = Api::new(&config, parts);
    let checks = public.checks.clone();
    Server { checks, ..start("127.0.0.1:0", public, config.limits(), log, backend, metrics, registry).await }
}

pub async fn start<S: Service>(
    address: &str,
    service: S,
    limits: ConnectionLimits,
    log: FakeLog,
    backend: Arc<FakeAdmin>,
    metrics: Arc<Metrics>,
    registry: Registry,
) -> Server {
    let server = HttpServer::bind(address.parse().unwrap(), limits, &metrics).unwrap();
    let address = server.local_addr().unwrap();
    let (stop, stopped) = oneshot::channel::<()>();
    let task = tokio::spawn(server.serve(service, async {
        let _ = stopped.await;
    }));
    let checks = BodyChecks::default();
    Server { address, log, backend, metrics, registry, checks, stop: Some(stop), task: Some(task) }
}

impl Server {
    pub async fn connect(&self) -> Client {
        Client::connect(self.address).await
    }

    /// See [`Client::connect_with`].
    pub fn connect_with(&self, bytes: &str) -> Client {
        Client::connect_with(self.address, bytes)
    }

    /// Stops the server. The handle returns the number of connections that were closed after the grace period.
    pub fn stop(&mut self) -> JoinHandle<usize> {
        let _ = self.stop.take().unwrap().send(());
        self.task.take().unwrap()
    }

    pub fn assert_nothing_submitted(&self) {
        assert!(self.log.submitted().is_empty(), "{:?}", self.log.submitted());
    }

    pub fn bound_hit(&self, bound: &str) -> u64 {
        self.registry.bound_hit(bound).get()
    }
}
