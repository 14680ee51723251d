//! From the log to Kafka. The drain is compared with a bare producer that sends the same records with the same
//! settings; exactly once with at least once; and many workers with one.

use std::sync::Arc;
use std::time::{Duration, Instant};

use forebay::drain::{DeliveryGuarantee, Drain, DrainParts, NoDeferredValues};
use forebay::metrics::Registry;
use forebay::status::Statuses;
use forebay::task::FatalSignal;
use forebay::telemetry::trace::Tracer;
use forebay::units::ThreadCount;
use forebay::wal::OpenedLog;
use forebay::{drain, ingest, kafka};

use crate::measure::{Limit, Outcome, median};
use crate::{producer, records};
use support::admin::{Admin, unique_name};
use support::{scratch, services};

const RECORDS: u64 = 500_000;
const PAIRS: usize = 5;
/// Interval between checks: short compared with the measured seconds, but each check takes a lock.
const POLL_INTERVAL: Duration = Duration::from_millis(2);

/// The drain must reach at least 70 % of the bare producer's rate.
pub fn measure() -> Vec<Outcome> {
    let Some(bootstrap) = services::shared_kafka("durable_path drain") else { return Vec::new() };
    vec![
        compare("drain: records/s, 8 partitions, drain / bare producer", 8, &bootstrap),
        compare("drain: records/s, 1 partition, drain / bare producer", 1, &bootstrap),
        compare_modes("drain: records/s, 8 partitions, exactly / at least once", 8, &bootstrap),
    ]
}

/// CPU time of this process per record, with many workers compared with one. The remaining difference comes from
/// librdkafka: each producer has its own threads, connections and requests, and more producers have smaller batches.
pub fn workers() -> Vec<Outcome> {
    const COUNTS: [(usize, &str, Limit); 4] = [
        (2, "drain: CPU per record, 2 workers / 1 worker", Limit::AtMost(1.5)),
        (8, "drain: CPU per record, 8 workers / 1 worker", Limit::AtMost(2.0)),
        (32, "drain: CPU per record, 32 workers / 1 worker", Limit::AtMost(3.0)),
        (128, "drain: CPU per record, 128 workers / 1 worker", Limit::AtMost(8.0)),
    ];
    const RECORDS: u64 = 200_000;
    let Some(bootstrap) = services::shared_kafka("durable_path workers") else { return Vec::new() };
    let topic = unique_name("bench");
    Admin::new(&bootstrap).create_topic(&topic, 8, -1, &[]);
    let dir = scratch::dir("drain-workers");
    let wal = dir.path().join("wal");
    records::fill(&wal, &topic, RECORDS);
    let turn = |workers: usize| {
        let workers = ThreadCount::Count(workers.try_into().unwrap());
        let config = drain::Config { workers, ..drain::Config::default() };
        drained(&wal, RECORDS, &bootstrap, config)
    };
    turn(1);
    let rounds: Vec<(DrainRun, Vec<DrainRun>)> =
        (0..3).map(|_| (turn(1), COUNTS.iter().map(|(count, ..)| turn(*count)).collect())).collect();
    let each = |cpu: Duration| cpu.as_secs_f64() * 1e6 / RECORDS as f64;
    let outcome = |(index, &(_, what, limit)): (usize, &(usize, &'static str, Limit))| {
        let ours: Vec<DrainRun> = rounds.iter().map(|(_, turns)| turns[index]).collect();
        let pairs = rounds.iter().map(|(one, turns)| each(turns[index].cpu) / each(one.cpu)).collect();
        let ones: Vec<f64> = rounds.iter().map(|(one, _)| each(one.cpu)).collect();
        let cpu: Vec<f64> = ours.iter().map(|turn| each(turn.cpu)).collect();
        let took: Vec<f64> = ours.iter().map(|turn| turn.took.as_secs_f64()).collect();
        let figures = format!("{:.1} µs, {:.1} µs; {:.2} s", median(&cpu), median(&ones), median(&took));
        Outcome { what, pairs, limit, figures }
    };
    COUNTS.iter().enumerate().map(outcome).collect()
}

/// Exactly once must reach at least 80 % of the rate of at least once. Each run has its own log, because Kafka stores
/// the progress of each.
fn compare_modes(what: &'static str, partitions: usize, bootstrap: &str) -> Outcome {
    let topic = unique_name("bench");
    Admin::new(bootstrap).create_topic(&topic, partitions, -1, &[]);
    let rate = |delivery| {
        let dir = scratch::dir("drain-modes");
        let wal = dir.path().join("wal");
        records::fill(&wal, &topic, RECORDS);
        let config = drain::Config { delivery, ..drain::Config::default() };
        RECORDS as f64 / drained(&wal, RECORDS, bootstrap, config).took.as_secs_f64()
    };
    let (once, least) = (|| rate(DeliveryGuarantee::ExactlyOnce), || rate(DeliveryGuarantee::AtLeastOnce));
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
    let drain =
        || RECORDS as f64 / drained(&wal, RECORDS, bootstrap, drain::Config::default()).took.as_secs_f64();
    let bare = || RECORDS as f64 / producer::sent(RECORDS, &topic, bootstrap).as_secs_f64();
    // The first run grows the broker's heap.
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

/// Cost of draining a whole log once.
#[derive(Clone, Copy)]
struct DrainRun {
    took: Duration,
    /// CPU time of this process.
    cpu: Duration,
}

/// CPU time of this process so far. `/proc` counts it in hundredths of a second.
fn cpu() -> Duration {
    let stat = std::fs::read_to_string("/proc/self/stat").expect("/proc");
    // After the name, which ends with the last `)`: state, ten numbers, then user and system time.
    let fields: Vec<&str> = stat.rsplit(')').next().unwrap_or_default().split_whitespace().collect();
    let ticks: u64 = fields[11..13].iter().map(|field| field.parse::<u64>().expect("ticks")).sum();
    Duration::from_millis(ticks * 10)
}

/// Measures from ready producers to an empty backlog. Half a second to get a producer id would be a quarter of the
/// measured time. Records that an earlier run delivered are delivered again.
fn drained(wal: &std::path::Path, records: u64, bootstrap: &str, config: drain::Config) -> DrainRun {
    let (_lock, OpenedLog { writer, log, recovery }) = records::open(wal, true);
    assert_eq!(recovery.backlog, records, "all records wait");
    let registry = Registry::new().expect("metrics");
    // With checkpoints and maintenance, as in the daemon.
    let (_ingest, threads) = ingest::start(ingest::IngestParts {
        writer,
        config: ingest::Config { dir: wal.to_owned(), ..ingest::Config::default() },
        checkpoint_interval: config.checkpoint_interval.0,
        metrics: Arc::new(ingest::Metrics::register(&registry).expect("metrics")),
        fatal: FatalSignal::default(),
        tracer: Tracer::default(),
    })
    .expect("threads");
    // Other work of a start is not measured here.
    while log.wait_for_preallocation_request(Duration::ZERO) {
        std::thread::sleep(POLL_INTERVAL);
    }
    let drain = Drain::start(DrainParts {
        statuses: Statuses::new(Arc::clone(&log)),
        log: Arc::clone(&log),
        metrics: Arc::new(drain::Metrics::register(&registry, &[]).expect("metrics")),
        config,
        kafka: kafka::Config::default(),
        fatal: FatalSignal::default(),
        bootstrap: bootstrap.to_owned(),
        backpressure: None,
        resolver: Arc::new(NoDeferredValues),
        tracer: Tracer::default(),
    })
    .expect("workers");
    drain.handle().pause();
    while drain.handle().blocked_reason().is_some() {
        std::thread::sleep(POLL_INTERVAL);
    }
    std::thread::sleep(producer::PRODUCER_WARM_UP);
    let (started, before) = (Instant::now(), cpu());
    drain.handle().resume();
    while log.backlog_stats().backlog > 0 {
        std::thread::sleep(POLL_INTERVAL);
    }
    let turn = DrainRun { took: started.elapsed(), cpu: cpu() - before };
    drain.stop(Instant::now());
    threads.join(Duration::from_secs(10));
    turn
}
