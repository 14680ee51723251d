//! Storms of faults on real components: the daemon, three brokers, the network between them, the disk, the clock.
//! Kafka's own consumer reads the final content of the topics, which is compared with the responses to clients.
//!
//! A short storm is a test like any other. `scripts/storm --minutes N` runs a long one and writes a report.
// A failed preparation step of a test cannot report to a caller. It prints the cause and ends the test.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod checker;
#[cfg(test)]
mod checker_tests;
mod client;
mod command;
mod create_outcome;
mod daemon;
mod faults;
mod findings;
mod journal;
mod options;
mod report;
mod rng;
mod shared;
mod status_observation;
mod status_poller;
mod storm;
mod storm_parts;
mod topic_reader;

use std::sync::Mutex;

use checker::DeliveryMode;
use options::Options;
use shared::lock;
use support::services;

/// Two storms at once would only measure the machine.
static ALONE: Mutex<()> = Mutex::new(());

fn storm(test: &str, delivery: DeliveryMode) {
    let Some(kafka) = services::kafka(test) else { return };
    let _alone = lock(&ALONE);
    let options = Options::new(delivery);
    let result = storm::run(&kafka, &options);
    report::write(&options, &result);
    let findings = &result.shared.findings;
    match &options.planted {
        Some(fault) => {
            assert!(!findings.is_empty(), "seed {}: {fault} was planted and not found", options.seed)
        }
        None => assert!(findings.is_empty(), "seed {}:\n{findings}", options.seed),
    }
    assert!(result.counts.acknowledged > 1_000, "hardly any load: {:?}", result.counts);
}

#[test]
fn storm_at_least_once() {
    storm("storm_at_least_once", DeliveryMode::AtLeastOnce);
}

#[test]
fn storm_exactly_once() {
    storm("storm_exactly_once", DeliveryMode::ExactlyOnce);
}
