//! The concrete things, built and tied. (Bodies follow with the modules they build; until then nothing runs here.)

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use crate::config::Config;
use crate::metrics::Metrics;
use crate::systemd::Pulse;
use crate::task::Alarm;
use crate::wal::Log;

use super::Failure;

/// The log, locked and recovered.
pub(super) struct Opened {
    pub(super) log: Arc<Log>,
}

/// Locks the directory and recovers the log.
pub(super) fn open(_config: &Config, _metrics: &Arc<Metrics>) -> Result<Opened, Failure> {
    // MERGE: wal::open(dir, options) → (Writer, Arc<Log>, Recovery); OpenError → Directory | Poisoned | Damaged.
    Ok(Opened { log: Arc::new(Log {}) })
}

/// Everything that runs.
pub(super) struct Parts {
    pub(super) log: Arc<Log>,
    pub(super) http: SocketAddr,
    pub(super) admin: SocketAddr,
    /// Where Kafka clients find the embedded broker.
    pub(super) bootstrap: Option<String>,
}

impl Parts {
    /// Starts ingest and listens; from here on commands are accepted.
    pub(super) async fn listen(
        opened: Opened,
        config: &Config,
        _metrics: &Arc<Metrics>,
        _alarm: &Alarm,
    ) -> Result<Self, Failure> {
        // MERGE: Ingest::start(writer, log, &config.wal, metrics, alarm) · EmbeddedBroker (its addresses are in the
        // banner) · HttpServer::bind(listen, admin_listen), Failure::Listen.
        let Config { server, .. } = config;
        Ok(Self { log: opened.log, http: server.listen, admin: server.admin_listen, bootstrap: None })
    }

    /// Starts the workers.
    pub(super) fn drain(&mut self) -> Result<(), Failure> {
        // MERGE: Drain::start(…)
        Ok(())
    }

    /// The loops that must turn: the commit thread, and at least one of the workers.
    pub(super) fn pulses(&self) -> (Vec<Pulse>, Vec<Pulse>) {
        (Vec::new(), Vec::new())
    }

    /// Readiness off, no new requests; returns when those under way are answered.
    pub(super) async fn stop_accepting(&mut self, _within: Duration) {}

    /// Closes ingest after a last flush. Blocks.
    pub(super) fn stop_ingest(&mut self, _within: Duration) {}

    /// Workers begin nothing new and wait for what is in flight. Blocks.
    pub(super) fn stop_drain(&mut self, _within: Duration) {}
}

/// Saves the position and lets go of delivered segments. What fails here is logged where it fails: a stale
/// checkpoint costs repeats, never records.
pub(super) fn keep_house(_log: &Log) {
    // MERGE: log.checkpoint(), log.retire()
}
