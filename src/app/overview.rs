//! Builds the status page from memory alone, because the page is needed most when a component hangs. A separate thread
//! records the values in memory.

use std::collections::BTreeMap;
use std::net::SocketAddr;

use crate::auth::Mode;
use crate::config::Config;
use crate::drain::{DeliveryGuarantee, Handle};
use crate::http::{AdminService, DeadLetterSummary, Instance, Overview, WorkerRow};
use crate::problems::number;

use super::daemon_admin::DaemonAdmin;
use super::process::COMMIT;
use super::startup_log;
use super::wiring::Wiring;

impl DaemonAdmin {
    /// Records the current values. Called once per second. Blocks on disk I/O.
    pub(super) fn record(&self) {
        self.observe_topics(&self.log.backlog_stats());
        self.recorder.record(&self.log, &self.gauges.topics, self.problems.list().len());
    }

    pub(super) fn build_overview(&self) -> Overview {
        let drain = self.drain.get();
        let dead_letters = DeadLetterSummary {
            stored: self.log.dead_letters().len(),
            since_start: self.recorder.dead_since_start(),
            newest: self.recorder.recent_dead_letters(),
        };
        Overview {
            accepts: true,
            readiness: self.readiness(),
            instance: self.recorder.instance.clone(),
            history: self.recorder.history.view(),
            workers: drain.map(workers).unwrap_or_default(),
            held_back: drain.map(held_back).unwrap_or_default(),
            dead_letters,
        }
    }
}

fn workers(drain: &Handle) -> Vec<WorkerRow> {
    let worker = |state: crate::drain::WorkerState| WorkerRow {
        index: state.index,
        state: state.state,
        lanes: lane_ranges(&drain.lanes(state.index)),
        in_flight: state.in_flight,
        parked: state.parked.values().sum(),
        unconfirmed_for: state.unconfirmed_for,
    };
    drain.workers().into_iter().map(worker).collect()
}

/// Formats a list of lanes, for example "64: 1, 5, … 253".
fn lane_ranges(lanes: &[u8]) -> String {
    match lanes {
        [] => "none".to_owned(),
        [one] => one.to_string(),
        [first, second] => format!("{first}, {second}"),
        [first, second, .., last] => format!("{}: {first}, {second}, … {last}", lanes.len()),
    }
}

/// Why records of a topic wait although Kafka may be healthy.
fn held_back(drain: &Handle) -> BTreeMap<String, String> {
    let (because, refused) = (drain.parked_reasons(), drain.refused_topics());
    let parked = drain.parked().into_iter().filter(|(_, records)| *records > 0);
    let mut held: BTreeMap<String, String> = parked
        .map(|(topic, records)| {
            let why = because.get(&topic).copied().unwrap_or("earlier records wait");
            let text = format!("{}: {why}", number(records));
            (topic, text)
        })
        .collect();
    for (topic, reason) in refused {
        held.entry(topic).or_insert_with(|| reason.to_owned());
    }
    held
}

/// Facts about the process. `public` is `None` in a process without a public listener.
pub(super) fn instance(wiring: &Wiring<'_>, public: Option<SocketAddr>, admin: SocketAddr) -> Instance {
    let config = wiring.config;
    let mut facts = vec![
        ("Version", format!("{}, commit {COMMIT}", env!("CARGO_PKG_VERSION"))),
        ("Configuration", wiring.origin.clone()),
        ("Kafka", startup_log::brokers(config).to_owned()),
    ];
    match public {
        Some(public) => facts.extend(daemon_facts(config, public)),
        None => facts.push(("Runs", "the consumer alone".to_owned())),
    }
    facts.push(("Admin listener", admin.to_string()));
    facts.push(("Process", std::process::id().to_string()));
    Instance { facts, ..Instance::default() }
}

fn daemon_facts(config: &Config, public: SocketAddr) -> Vec<(&'static str, String)> {
    let delivery = match config.drain.delivery {
        DeliveryGuarantee::AtLeastOnce => "at least once",
        DeliveryGuarantee::ExactlyOnce => "exactly once",
    };
    let auth = match config.auth.mode {
        Mode::Open => "open: every client is an administrator",
        Mode::Token => "token",
        Mode::Jwt => "jwt",
    };
    let scheme = if config.server.tls_cert_file.is_some() { "https" } else { "http" };
    let encryption = if config.wal.encryption_key_file.is_some() { "on" } else { "off" };
    let consumer = if config.consumes() { "in this process" } else { "not in this process" };
    vec![
        ("Delivery", delivery.to_owned()),
        ("Public listener", format!("{scheme}://{public}")),
        ("Authentication", auth.to_owned()),
        ("Log directory", config.wal.dir.display().to_string()),
        ("Encryption at rest", encryption.to_owned()),
        ("Consumer of user commands", consumer.to_owned()),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_lists_of_lanes_are_abbreviated() {
        assert_eq!(lane_ranges(&[]), "none");
        assert_eq!(lane_ranges(&[3, 131]), "3, 131");
        assert_eq!(lane_ranges(&[1, 5, 9, 253]), "4: 1, 5, … 253");
    }
}
