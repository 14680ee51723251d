//! One storm, from the first broker to the verdict.

use std::any::Any;
use std::fs;
use std::panic;
use std::panic::AssertUnwindSafe;
use std::path::Path;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::thread;
use std::time::Duration;
use std::time::Instant;

use crate::asker::Asker;
use crate::asker::ask;
use crate::checker::Checker;
use crate::checker::Counts;
use crate::client::Client;
use crate::command::Kind;
use crate::daemon::Daemon;
use crate::faults::DaemonFaults;
use crate::faults::KafkaFaults;
use crate::findings::Violation;
use crate::journal::Journal;
use crate::journal::Outcome;
use crate::options::Options;
use crate::reader;
use crate::shared::Known;
use crate::shared::Shared;
use crate::shared::lock;
use crate::support::admin::Admin;
use crate::support::clock::Clock;
use crate::support::daemon::backlog;
use crate::support::disk::SmallDisk;
use crate::support::kafka::ClusterOptions;
use crate::support::kafka::Jars;
use crate::support::kafka::Kafka;
use crate::support::process::Forebay;
use crate::support::proxy::Proxy;
use crate::support::scratch;
use crate::support::wait;

const BROKERS: usize = 3;
const CLIENTS: u32 = 16;
/// The daemon's disk, and what of it the daemon leaves free.
const DISK_MIB: u32 = 256;
const RESERVE_MIB: u64 = 8;
/// Delivered segments are kept up to this: minutes at the rate of a storm.
const KEPT_MIB: u64 = 96;
/// The load goes on for so long after the last fault.
const CALM: Duration = Duration::from_secs(3);
/// For a backlog to drain: a fixed part, and a part for each thousand records.
const DRAIN_WITHIN: Duration = Duration::from_secs(120);
const DRAIN_A_THOUSAND: Duration = Duration::from_secs(1);
/// Statuses asked for in the end: the newest of each client, and some of all.
const NEWEST: usize = 500;
const OTHERS: usize = 5_000;

/// What came of it.
pub struct Verdict {
    pub shared: Arc<Shared>,
    pub counts: Counts,
    pub dead: u64,
    pub took: Duration,
    pub drained_in: Duration,
    /// What is kept when something was found.
    pub dir: PathBuf,
}

/// What a life that came to its end tells.
#[derive(Default)]
struct Lived {
    counts: Counts,
    dead: u64,
    drained_in: Duration,
}

/// The parts of a storm; the daemon goes before its disk, and everything before the directory.
struct Parts {
    shared: Arc<Shared>,
    daemon: Daemon,
    clock: Clock,
    proxies: Vec<Proxy>,
    cluster: Kafka,
    disk: SmallDisk,
    dir: PathBuf,
    home: tempfile::TempDir,
}

/// Runs it. A part that fails is a finding like any other: what there is by then is judged and kept.
pub fn run(jars: &Jars, options: &Options) -> Verdict {
    let began = Instant::now();
    println!("storm: seed {}, {:?}, {}", options.seed, options.length, options.delivery.name());
    let mut parts = build(jars, options);
    let lived = panic::catch_unwind(AssertUnwindSafe(|| live(&mut parts, options)));
    let Lived { counts, dead, drained_in } = noted(&parts.shared, lived).unwrap_or_default();
    keep_or_remove(&parts);
    let Parts { shared, dir, .. } = parts;
    Verdict { shared, counts, dead, took: began.elapsed(), drained_in, dir }
}

fn live(parts: &mut Parts, options: &Options) -> Lived {
    parts.daemon.start();
    let journals = rage(parts, options);
    let drained_in = await_drained(parts);
    let dead = backlog(&parts.daemon.forebay)["dead"].as_u64().unwrap_or(0);
    // What it says must be true after a start, too.
    parts.daemon.stop();
    parts.daemon.start();
    ask_in_the_end(parts, &journals);
    parts.daemon.stop();
    let counts = check(parts, options, &journals);
    judge_dead(&parts.shared, &journals, dead);
    Lived { counts, dead, drained_in }
}

fn build(jars: &Jars, options: &Options) -> Parts {
    let proxies: Vec<Proxy> = (0..BROKERS).map(|_| Proxy::start()).collect();
    let advertised = proxies.iter().map(|proxy| proxy.address().to_owned()).collect();
    let cluster = jars.start(
        ClusterOptions::three()
            .advertise(advertised)
            .heap("-Xmx384m")
            // Leaders move back to where they belong by themselves, and partitions change hands once more.
            .set("leader.imbalance.check.interval.seconds", "10")
            .set("leader.imbalance.per.broker.percentage", "1")
            // Small files: a broker that was killed reads through those it had not flushed.
            .set("log.segment.bytes", "33554432")
            // Records of a clock that was wrong must not go with their age.
            .set("log.retention.ms", "-1"),
    );
    for (proxy, broker) in proxies.iter().zip(cluster.brokers()) {
        proxy.forward_to(&broker.address());
    }
    let admin = Admin::new(&cluster.inner_bootstrap());
    for kind in Kind::ALL {
        let max = Kind::SMALL_MAX.to_string();
        let config: &[(&str, &str)] = if kind == Kind::Small { &[("max.message.bytes", &max)] } else { &[] };
        admin.create_topic(kind.topic(), kind.partitions(), BROKERS as i32, config);
    }
    let home = scratch::dir("storm");
    let disk = SmallDisk::mount(&make(home.path().join("disk")), DISK_MIB);
    let dir = Path::new(env!("CARGO_TARGET_TMPDIR"));
    let dir = dir.join(format!("storm-{}-{}", options.delivery.name(), options.seed));
    let _ = fs::remove_dir_all(&dir);
    let dir = make(dir);
    let brokers: Vec<&str> = proxies.iter().map(Proxy::address).collect();
    let forebay = settings(options, &brokers.join(","), &home.path().join("disk/wal"));
    let (forebay, clock) = Clock::give(forebay, home.path());
    let shared = Arc::new(Shared::new(options.seed, forebay.address()));
    let daemon = Daemon::new(forebay, &shared);
    Parts { shared, daemon, clock, proxies, cluster, disk, dir, home }
}

fn settings(options: &Options, brokers: &str, wal: &Path) -> Forebay {
    let mut forebay = Forebay::new(&options.binary)
        .set("kafka.brokers", brokers)
        .set("wal.dir", wal.display().to_string())
        // Small, so that segments are sealed, delivered and retired all the time.
        .set("wal.segment_size", "1MiB")
        .set("wal.reserve_space", format!("{RESERVE_MIB}MiB"))
        .set("wal.retain_acked_size", format!("{KEPT_MIB}MiB"))
        .set("drain.checkpoint_interval", "200ms")
        .set("drain.retry_backoff_max", "2s")
        .set("drain.delivery", options.delivery.name());
    for kind in Kind::ALL {
        forebay = forebay.toml(&kind.toml());
    }
    match &options.planted {
        Some(fault) => forebay.env("FOREBAY_PLANTED_FAULT", fault),
        None => forebay,
    }
}

/// Load and faults at once, until the time is over. Everything is well again afterwards.
fn rage(parts: &mut Parts, options: &Options) -> Vec<Journal> {
    let (shared, dir) = (&parts.shared, &parts.dir);
    let pause = Duration::from_secs(1) * CLIENTS / options.rate.max(1);
    let clients: Vec<_> = (0..CLIENTS)
        .map(|number| {
            let client = Client::new(number, shared, &dir.join(format!("client-{number}.journal")));
            thread::spawn(move || client.run(pause))
        })
        .collect();
    let asker = Asker::new(shared, &parts.daemon.forebay.admin_address());
    let asker = thread::spawn(move || asker.run());
    let reserve = RESERVE_MIB << 20;
    let on_daemon =
        DaemonFaults { shared, daemon: &mut parts.daemon, disk: &parts.disk, clock: &parts.clock, reserve };
    let on_kafka = KafkaFaults { shared, cluster: &parts.cluster, proxies: &parts.proxies };
    let length = options.length;
    thread::scope(|scope| {
        let on_daemon = scope.spawn(move || on_daemon.run(length));
        let on_kafka = scope.spawn(move || on_kafka.run(length));
        for lane in [on_daemon, on_kafka] {
            noted(shared, lane.join());
        }
    });
    parts.daemon.tend_for(CALM);
    shared.stop.store(true, Ordering::Relaxed);
    noted(shared, asker.join());
    let journals = clients.into_iter().map(|client| noted(shared, client.join()));
    journals.map(|journal| journal.unwrap_or_else(|| Journal::new(None))).collect()
}

/// What a thread left, or a finding.
fn noted<T>(shared: &Shared, ended: Result<T, Box<dyn Any + Send>>) -> Option<T> {
    ended
        .map_err(|panic| {
            let said = panic.downcast_ref::<String>().cloned();
            let said = said.or_else(|| panic.downcast_ref::<&str>().map(|said| (*said).to_owned()));
            shared.findings.add(Violation::Storm, said.unwrap_or_else(|| "a thread panicked".to_owned()));
        })
        .ok()
}

/// Waits until nothing is left to deliver.
fn await_drained(parts: &mut Parts) -> Duration {
    let began = Instant::now();
    let waiting = backlog(&parts.daemon.forebay)["backlog"].as_u64().unwrap_or(0);
    let within = DRAIN_WITHIN + DRAIN_A_THOUSAND * u32::try_from(waiting / 1_000).unwrap_or(u32::MAX);
    let drained = wait::poll(within, || {
        parts.daemon.tend();
        let figures = parts.daemon.forebay.admin_http().get("/admin/backlog").ok()?;
        (figures.json()["backlog"] == 0).then_some(())
    });
    if drained.is_none() {
        let what = format!("not drained within {within:?}: {}", backlog(&parts.daemon.forebay));
        parts.shared.findings.add(Violation::Stuck, what);
    }
    began.elapsed()
}

/// Statuses when everything is delivered: none may say that it waits.
fn ask_in_the_end(parts: &Parts, journals: &[Journal]) {
    let shared = &parts.shared;
    let mut http = parts.daemon.forebay.http();
    let total: usize = journals.iter().map(|journal| journal.entries().len()).sum();
    let step = (total / OTHERS).max(1);
    for journal in journals {
        let entries = journal.entries();
        for (index, entry) in entries.iter().enumerate() {
            let chosen = index + NEWEST >= entries.len() || index % step == 0 || entry.command.is_poison();
            let Outcome::Acknowledged(id) = &entry.outcome else { continue };
            if !chosen {
                continue;
            }
            let (client, serial, kind) = (entry.command.client, entry.command.serial, entry.command.kind);
            let known = Known { client, serial, kind, id: id.clone(), at: Instant::now(), evictions: 0 };
            if let Some(mut sighting) = ask(&mut http, shared, &known) {
                sighting.is_final = true;
                shared.saw(sighting);
            }
        }
    }
}

fn check(parts: &Parts, options: &Options, journals: &[Journal]) -> Counts {
    let findings = &parts.shared.findings;
    let mut checker = Checker::new(options.seed, options.delivery, journals, findings);
    if let Err(what) = reader::read_all(&parts.cluster, parts.home.path(), |record| checker.record(record)) {
        findings.add(Violation::Stuck, what);
    }
    checker.finish(&lock(&parts.shared.sightings))
}

/// Exactly the records that cannot be delivered are dead letters.
fn judge_dead(shared: &Shared, journals: &[Journal], dead: u64) {
    let poison = journals.iter().flat_map(Journal::entries).filter(|entry| entry.command.is_poison());
    let (mut certain, mut possible) = (0, 0);
    for entry in poison {
        certain += u64::from(matches!(entry.outcome, Outcome::Acknowledged(_)));
        // One whose key's time was over may have died twice.
        possible += u64::from(entry.outcome == Outcome::Unknown) + u64::from(entry.beyond_window);
    }
    if dead < certain || dead > certain + possible {
        let what = format!("{dead} dead letters, where {certain} to {} must be", certain + possible);
        shared.findings.add(Violation::Status, what);
    }
}

/// Journals and logs stay for whoever looks into what was found.
fn keep_or_remove(parts: &Parts) {
    let dir = &parts.dir;
    if parts.shared.findings.is_empty() {
        let _ = fs::remove_dir_all(dir);
        return;
    }
    let keep = |name: &str, text: String| {
        if let Err(error) = fs::write(dir.join(name), text) {
            eprintln!("storm: {name} is not kept: {error}");
        }
    };
    keep("findings.txt", parts.shared.findings.to_string());
    keep("forebay.log", parts.daemon.forebay.log());
    for broker in parts.cluster.brokers() {
        keep(&format!("broker-{}.log", broker.id()), broker.log());
    }
    let mut copy = std::process::Command::new("cp");
    copy.arg("-r").arg(parts.home.path().join("disk/wal")).arg(dir);
    if !copy.status().is_ok_and(|status| status.success()) {
        eprintln!("storm: the log's directory is not kept");
    }
    eprintln!("storm: kept in {}", dir.display());
}

fn make(dir: PathBuf) -> PathBuf {
    fs::create_dir_all(&dir).expect("a directory of the storm");
    dir
}
