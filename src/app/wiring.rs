//! Builds the components that more than one subcommand runs, each from its section of the configuration.

use std::sync::Arc;

use tokio::runtime::Handle;

use crate::command::USER_TOPIC;
use crate::config::{Config, ConfigErrors, Source};
use crate::config_error::ConfigError;
use crate::consumer::{Consumer, ConsumerParts, PostCommit};
use crate::db::Database;
use crate::drain::{Backpressure, Drain, DrainError, DrainParts};
use crate::ingest::{Ingest, IngestThreads};
use crate::kafka::{Brokers, ClusterProbe, EmbeddedBroker};
use crate::kv::Kv;
use crate::metrics::Registry;
use crate::problems::{ProblemMetrics, Problems};
use crate::status::Statuses;
use crate::task::FatalSignal;
use crate::telemetry::trace::Tracer;
use crate::users::hash::{HashPool, HashWorkers};
use crate::users::{DeferredHasher, hash};
use crate::wal::{Lock, Log, OpenedLog, Writer};
use crate::{consumer, drain, ingest};

use super::hooks::DeferredHashResolver;
use super::log_metrics::LogMetrics;
use super::problems::{Cluster, FirstDamage};
use super::process::registered;
use super::{Failure, open_log};

/// Inputs from which every component is built.
pub(super) struct Wiring<'a> {
    pub(super) config: &'a Config,
    pub(super) registry: Registry,
    /// Raised by components that the process cannot work without.
    pub(super) fatal: FatalSignal,
    /// Damage of the log, for the list of problems.
    pub(super) damage: Arc<FirstDamage>,
    /// Takes the spans of sampled requests.
    pub(super) tracer: Tracer,
    /// Source of the configuration, as shown to operators.
    pub(super) origin: String,
}

impl<'a> Wiring<'a> {
    pub(super) fn new(config: &'a Config, registry: Registry, fatal: FatalSignal, tracer: &Tracer) -> Self {
        Self {
            config,
            registry,
            fatal,
            damage: Arc::default(),
            tracer: tracer.clone(),
            origin: String::new(),
        }
    }

    /// Adds the source of the configuration.
    pub(super) fn with_source(self, source: &Source) -> Self {
        let file = source.file.as_ref().map(|file| file.display().to_string());
        let file = file.unwrap_or_else(|| "no file (defaults)".to_owned());
        let origin = match source.overrides.len() {
            0 => file,
            1 => format!("{file}, and 1 variable or flag"),
            many => format!("{file}, and {many} variables or flags"),
        };
        Self { origin, ..self }
    }

    /// The topics named in the configuration.
    fn topics(&self) -> Vec<&str> {
        self.config.kinds.iter().map(|kind| &*kind.topic).chain([USER_TOPIC]).collect()
    }

    /// Registers the metrics of a component. Each component is built once.
    pub(super) fn metrics<M>(
        &self,
        register: fn(&Registry) -> Result<M, prometheus::Error>,
    ) -> Result<Arc<M>, Failure> {
        registered(register(&self.registry)).map(Arc::new)
    }

    /// Registers the metrics of the drain.
    pub(super) fn drain_metrics(&self) -> Result<Arc<drain::Metrics>, Failure> {
        registered(drain::Metrics::register(&self.registry, &self.topics())).map(Arc::new)
    }

    /// Creates an empty list of problems, with its metrics.
    pub(super) fn problems(&self) -> Result<Problems, Failure> {
        registered(ProblemMetrics::register(&self.registry)).map(Problems::new)
    }

    /// Starts the probe of the brokers. `None` with an embedded broker.
    pub(super) fn probe(&self, bootstrap: &str) -> Result<Option<ClusterProbe>, Failure> {
        if self.config.embedded() {
            return Ok(None);
        }
        let topic = self.config.kinds.first().map_or(USER_TOPIC, |kind| kind.topic.as_str());
        let started = ClusterProbe::start(&self.config.kafka, bootstrap, topic, &self.fatal);
        started.map(Some).map_err(|error| Failure::Kafka(error.to_string()))
    }

    /// Opens the log, locked and recovered, with its metrics. `redeliver`: see `wal::Options`.
    pub(super) fn open_log(&self, redeliver: bool) -> Result<(Lock, OpenedLog, Arc<LogMetrics>), Failure> {
        let metrics = self.metrics(LogMetrics::register)?;
        self.registry.topics().preregister(self.topics());
        let (lock, opened) =
            open_log::open(&self.config.wal, redeliver, &metrics, &self.fatal, &self.damage)?;
        Ok((lock, opened, metrics))
    }

    /// Starts ingest: the entry to the log, and the threads that commit, write checkpoints and delete delivered
    /// segments.
    pub(super) fn ingest(&self, writer: Writer) -> Result<(Ingest, IngestThreads), Failure> {
        let started = ingest::start(ingest::IngestParts {
            writer,
            config: self.config.wal.clone(),
            checkpoint_interval: self.config.drain.checkpoint_interval.0,
            metrics: self.metrics(ingest::Metrics::register)?,
            fatal: self.fatal.clone(),
            tracer: self.tracer.clone(),
        });
        started.map_err(Failure::system("the log's threads"))
    }

    pub(super) fn hashing(&self) -> Result<(HashPool, HashWorkers), Failure> {
        let metrics = registered(hash::Metrics::register(&self.registry))?;
        let started = HashPool::start(&self.config.users, metrics, &self.fatal);
        started.map_err(Failure::system("threads for hashing"))
    }

    /// Starts the workers of the drain. `bootstrap`: the bootstrap brokers.
    pub(super) fn drain(
        &self,
        log: &Arc<Log>,
        statuses: Statuses,
        hashing: HashPool,
        bootstrap: String,
        lead: Option<Arc<Backpressure>>,
        metrics: Arc<drain::Metrics>,
    ) -> Result<Drain, Failure> {
        let unsealer = DeferredHasher::new(hashing, &log.identity().secret);
        let started = Drain::start(DrainParts {
            log: Arc::clone(log),
            statuses,
            metrics,
            config: self.config.drain.clone(),
            kafka: self.config.kafka.clone(),
            fatal: self.fatal.clone(),
            bootstrap,
            backpressure: lead,
            resolver: Arc::new(DeferredHashResolver(unsealer)),
            tracer: self.tracer.clone(),
        });
        started.map_err(|error| match error {
            DrainError::Client(refused) => Failure::Kafka(refused.to_string()),
            DrainError::Thread(source) => Failure::System { what: "drain worker", source },
        })
    }

    /// Inputs of a consumer. Called on the runtime.
    pub(super) fn consumer_parts(
        &self,
        db: Database,
        kv: Option<Kv>,
        after: Arc<dyn PostCommit>,
        bootstrap: String,
        metrics: Arc<consumer::Metrics>,
    ) -> ConsumerParts {
        ConsumerParts {
            db,
            kv,
            post_commit: after,
            config: self.config.consumer.clone(),
            kafka: self.config.kafka.clone(),
            bootstrap,
            metrics,
            runtime: Handle::current(),
            slow_step: self.config.telemetry.slow_step.0,
            tracer: self.tracer.clone(),
        }
    }

    pub(super) fn consumer(&self, parts: ConsumerParts) -> Result<Consumer, Failure> {
        Consumer::start(parts, self.fatal.clone()).map_err(Failure::system("the consumer"))
    }

    /// The configured identity and addresses of Kafka, for the list of problems.
    pub(super) fn cluster(&self) -> Cluster {
        Cluster::of(&self.config.kafka)
    }

    /// Starts the embedded broker, if the configuration names no other.
    pub(super) fn embedded_broker(&self) -> Result<Option<EmbeddedBroker>, Failure> {
        let start = || EmbeddedBroker::start().map_err(|error| Failure::Kafka(error.to_string()));
        self.config.embedded().then(start).transpose()
    }
}

/// The configured brokers. If they are embedded, returns an error with `otherwise` as the allowed values.
pub(super) fn external_brokers<'a>(config: &'a Config, otherwise: &str) -> Result<&'a str, Failure> {
    match &config.kafka.brokers {
        Brokers::List(bootstrap) => Ok(bootstrap),
        Brokers::Embedded => {
            Err(ConfigErrors::from(vec![ConfigError::new("kafka", "brokers", "embedded", otherwise)]).into())
        }
    }
}
