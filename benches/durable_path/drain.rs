//! From the log to Kafka, against a bare producer that sends the same records with the same settings, and exactly once
//! against at least once.

use std::sync::Arc;
use std::time::Duration;
use std::time::Instant;

use forebay::drain;
use forebay::drain::Drain;
use forebay::drain::DrainParts;
use forebay::drain::Guarantee;
use forebay::drain::NothingSealed;
use forebay::ingest;
use forebay::kafka;
use forebay::metrics::Metrics;
use forebay::status::Statuses;
use forebay::task::Alarm;
use forebay::wal::Opened;

use crate::measure::Limit;
use crate::measure::Outcome;
use crate::measure::median;
use crate::producer;
use crate::records;
use crate::support::admin::Admin;
use crate::support::admin::unique_name;
use crate::support::scratch;
use crate::support::services;

const RECORDS: u64 = 500_000;
const PAIRS: usize = 5;
/// Beside seconds this is nothing, and a look costs a lock.
const LOOK: Duration = Duration::from_millis(2);

/// At least 70 %.
pub fn measure() -> Vec<Outcome> {
    let Some(bootstrap) = services::shared_kafka("durable_path drain") else { return Vec::new() };
    vec![
        compare("drain: records/s, 8 partitions, drain / bare producer", 8, &bootstrap),
        compare("drain: records/s, 1 partition, drain / bare producer", 1, &bootstrap),
        compare_modes("drain: records/s, 8 partitions, exactly / at least once", 8, &bootstrap),
    ]
}

/// At least 80 %. Each turn has a log of its own, because Kafka remembers how far each was.
fn compare_modes(what: &'static str, partitions: usize, bootstrap: &str) -> Outcome {
    let topic = unique_name("bench");
    Admin::new(bootstrap).create_topic(&topic, partitions, -1, &[]);
    let rate = |delivery| {
        let dir = scratch::dir("drain-modes");
        let wal = dir.path().join("wal");
        records::fill(&wal, &topic, RECORDS);
        let config = drain::Config { delivery, ..drain::Config::default() };
        RECORDS as f64 / drained(&wal, bootstrap, config).as_secs_f64()
    };
    let (once, least) = (|| rate(Guarantee::ExactlyOnce), || rate(Guarantee::AtLeastOnce));
    once();
    let turns: Vec<(f64, f64)> = (0..PAIRS).map(|_| (once(), least())).collect();
    let (ours, theirs): (Vec<f64>, Vec<f64>) = turns.iter().copied().unzip();
    Outcome {
        what,
        pairs: turns.iter().map(|(ours, theirs)| ours / theirs).collect(),
        limit: Limit::AtLeast(0.8),
        figures: format!("{:.0}/s, {:.0}/s", median(&ours), median(&theirs)),
    }
}

fn compare(what: &'static str, partitions: usize, bootstrap: &str) -> Outcome {
    let topic = unique_name("bench");
    Admin::new(bootstrap).create_topic(&topic, partitions, -1, &[]);
    let dir = scratch::dir("drain");
    let wal = dir.path().join("wal");
    records::fill(&wal, &topic, RECORDS);
    let drain = || RECORDS as f64 / drained(&wal, bootstrap, drain::Config::default()).as_secs_f64();
    let bare = || RECORDS as f64 / producer::sent(RECORDS, &topic, bootstrap).as_secs_f64();
    // The first turn grows the broker's heap.
    drain();
    bare();
    let turns: Vec<(f64, f64)> = (0..PAIRS).map(|_| (drain(), bare())).collect();
    let (ours, theirs): (Vec<f64>, Vec<f64>) = turns.iter().copied().unzip();
    Outcome {
        what,
        pairs: turns.iter().map(|(ours, theirs)| ours / theirs).collect(),
        limit: Limit::AtLeast(0.7),
        figures: format!("{:.0}/s, {:.0}/s", median(&ours), median(&theirs)),
    }
}

/// From workers whose producers are ready to an empty backlog: half a second to have a producer's id would be a quarter
/// of what is measured. Whatever an earlier turn has delivered is delivered again.
fn drained(wal: &std::path::Path, bootstrap: &str, config: drain::Config) -> Duration {
    let (_lock, Opened { writer, log, recovery }) = records::open(wal, true);
    assert_eq!(recovery.backlog, RECORDS, "all of it waits");
    let metrics = Arc::new(Metrics::new().expect("metrics"));
    // With its checkpoints and its housekeeping, as in the daemon.
    let (_ingest, threads) = ingest::start(ingest::Parts {
        writer,
        config: ingest::Config { dir: wal.to_owned(), ..ingest::Config::default() },
        checkpoint_interval: config.checkpoint_interval.0,
        metrics: Arc::clone(&metrics),
        alarm: Alarm::default(),
    })
    .expect("threads");
    // What a start does besides is not what is measured here.
    while log.spare_wanted(Duration::ZERO) {
        std::thread::sleep(LOOK);
    }
    let drain = Drain::start(DrainParts {
        statuses: Statuses::new(Arc::clone(&log)),
        log: Arc::clone(&log),
        metrics,
        config,
        kafka: kafka::Config::default(),
        alarm: Alarm::default(),
        bootstrap: bootstrap.to_owned(),
        lead: None,
        prepare: Arc::new(NothingSealed),
    })
    .expect("workers");
    drain.handle().pause();
    while drain.handle().notice().is_some() {
        std::thread::sleep(LOOK);
    }
    std::thread::sleep(producer::SETTLE);
    let started = Instant::now();
    drain.handle().resume();
    while log.figures().backlog > 0 {
        std::thread::sleep(LOOK);
    }
    let took = started.elapsed();
    drain.stop(Instant::now());
    threads.join(Duration::from_secs(10));
    took
}
