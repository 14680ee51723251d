//! The daemon's HTTP stack without a log. It responds with 202 and stores nothing, or it first waits for Kafka.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use forebay::auth::{Authenticator, Caller};
use forebay::command::{CommandId, CommandStatus};
use forebay::http::{AdminService, Api, ApiParts, Catalogue, CommandService, Config, HttpServer, Readiness};
use forebay::ingest::{Receipt, Request, SubmitError};
use forebay::kinds::Kinds;
use forebay::metrics::Registry;
use forebay::status::StatusError;
use forebay::telemetry::trace::Tracer;
use forebay::units::Timestamp;
use forebay::{auth, http, kafka, kinds, telemetry};

use crate::waiting_producer::WaitingProducer;

/// First argument that turns this program into this server. An address follows. For a server that produces to Kafka
/// and waits, the brokers and a topic follow.
pub const COMMAND: &str = "without-log";

/// Serves until the process is killed. Everything else is as in the daemon.
pub fn serve(words: &[String]) {
    let (address, waits) = match words {
        [address] => (address, None),
        [address, bootstrap, topic] => (address, Some(WaitingProducer::new(bootstrap, topic))),
        _ => panic!("{COMMAND} ADDRESS [BROKERS TOPIC]"),
    };
    let address: SocketAddr = address.parse().expect("host:port");
    let server = NoLogService { waits };
    let registry = Registry::new().expect("metrics");
    let metrics = Arc::new(http::Metrics::register(&registry).expect("metrics"));
    let tokens = auth::Metrics::register(&registry).expect("metrics");
    let lost = registry.counter("forebay_log_lines_lost_total", "Lost lines").expect("metrics");
    telemetry::init(&telemetry::Config::default(), &lost).expect("the first subscriber");
    let config = Config::default();
    let parts = ApiParts {
        commands: server.clone(),
        has_users: false,
        users: None,
        authenticator: Authenticator::open(&tokens),
        login: None,
        limits: None,
        kinds: Catalogue::new(
            Kinds::build(&kinds::defaults()).unwrap_or_else(|mistakes| panic!("{mistakes:?}")),
        ),
        backend: Arc::new(server),
        metrics: Arc::clone(&metrics),
        message_max: kafka::Config::default().message_max,
        tracer: Tracer::default(),
    };
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    runtime.block_on(async {
        let server = HttpServer::bind(address, config.limits(), &metrics).expect("the address is free");
        // On a thread of the runtime, as in the daemon.
        tokio::spawn(server.serve(Api::new(&config, parts), std::future::pending())).await.expect("a server")
    });
}

/// Accepts every command without storing it. If it produces to Kafka, it first waits for the confirmation.
#[derive(Clone)]
struct NoLogService {
    waits: Option<WaitingProducer>,
}

impl CommandService for NoLogService {
    async fn submit(&self, request: Request) -> Result<Receipt, SubmitError> {
        let ids: Vec<CommandId> = request.commands.iter().map(|_| CommandId::from_bytes([7; 25])).collect();
        if let Some(waits) = &self.waits {
            for (command, id) in request.commands.iter().zip(&ids) {
                waits.send(command, *id, request.traceparent.as_deref()).await;
            }
        }
        Ok(Receipt { ids, accepted_at: Timestamp::now(), replayed: false })
    }

    fn retry_after(&self, _: &SubmitError) -> Duration {
        Duration::ZERO
    }

    async fn find(&self, _: CommandId, _: &Caller) -> Result<CommandStatus, StatusError> {
        Err(StatusError::NotFound)
    }

    async fn final_state(&self, _: CommandId, _: bool, _: Instant) {}
}

impl AdminService for NoLogService {
    fn backlog_json(&self) -> serde_json::Value {
        serde_json::Value::Null
    }

    fn readiness(&self) -> Readiness {
        Readiness { ready: true, reason: None, dependencies: BTreeMap::new(), problems: Vec::new() }
    }

    fn pause(&self, _: &str) {}

    fn resume(&self, _: &str) {}

    fn rate_limit_changed(&self) {}

    fn refresh_gauges(&self) {}
}
