//! One storm, from the start of the brokers to the result.

use std::any::Any;
use std::panic::AssertUnwindSafe;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};
use std::{panic, thread};

use crate::checker::{CheckCounts, Checker};
use crate::client::LoadClient;
use crate::faults::{DaemonFaults, DaemonSchedule, KafkaFaults, KafkaSchedule};
use crate::findings::Violation;
use crate::journal::{Journal, RequestOutcome};
use crate::options::Options;
use crate::shared::{AcknowledgedCommand, Shared, lock};
use crate::status_poller::{StatusPoller, request_status};
use crate::storm_parts::{RESERVE_MIB, StormParts, build, keep_or_remove};
use crate::topic_reader;
use support::daemon::backlog;
use support::kafka::Jars;

const CLIENTS: u32 = 16;
/// The load continues for this long after the last fault.
const LOAD_AFTER_FAULTS: Duration = Duration::from_secs(3);
/// Several times the longest fault of the daemon.
const MAX_ACK_GAP: Duration = Duration::from_secs(60);
/// Duration of a round of faults. A calm follows, in which the backlog drains.
const ROUND_DURATION: Duration = Duration::from_secs(90);
/// In a calm, the backlog counts as drained at this many records: seconds of the load, which never stops.
const FEW: u64 = 200;
/// If the backlog has not decreased for this long without faults, the drain is stalled.
const DRAIN_STALL_TIMEOUT: Duration = Duration::from_secs(120);
const POLL_INTERVAL: Duration = Duration::from_millis(100);
const POLL_TIMEOUT: Duration = Duration::from_secs(5);
/// Number of statuses polled in the end: the newest of each client, and some of all.
const NEWEST: usize = 500;
const OTHERS: usize = 5_000;

/// Result of a storm.
pub struct StormResult {
    pub shared: Arc<Shared>,
    pub counts: CheckCounts,
    pub dead: u64,
    pub elapsed: Duration,
    pub drains: Vec<Duration>,
    /// The directory that is kept when there are findings.
    pub dir: PathBuf,
}

/// Result of a storm that ran to its end.
#[derive(Default)]
struct RunResult {
    counts: CheckCounts,
    dead: u64,
    drains: Vec<Duration>,
}

/// Runs a storm. A component that fails is a finding like any other. The state at that time is still checked and
/// kept.
pub fn run(jars: &Jars, options: &Options) -> StormResult {
    let began = Instant::now();
    println!("storm: seed {}, {:?}, {}", options.seed, options.length, options.delivery.name());
    let mut parts = build(jars, options);
    let lived = panic::catch_unwind(AssertUnwindSafe(|| run_load_and_check(&mut parts, options)));
    let RunResult { counts, dead, drains } = join_result(&parts.shared, lived).unwrap_or_default();
    keep_or_remove(&parts, options);
    let StormParts { shared, dir, .. } = parts;
    StormResult { shared, counts, dead, elapsed: began.elapsed(), drains, dir }
}

fn run_load_and_check(parts: &mut StormParts, options: &Options) -> RunResult {
    parts.daemon.start();
    let (journals, drains) = run_faults_under_load(parts, options);
    let is_drained = await_drained(parts, 0).is_some();
    let dead = backlog(&parts.daemon.forebay)["dead"].as_u64().unwrap_or(0);
    // Statuses must also be correct after a restart.
    parts.daemon.stop();
    parts.daemon.start();
    check_final_statuses(parts, &journals);
    parts.daemon.stop();
    let counts = check(parts, options, &journals, is_drained);
    if is_drained {
        check_dead_letters(&parts.shared, &journals, dead);
    }
    check_ack_gap(&parts.shared);
    RunResult { counts, dead, drains }
}

/// Runs load and faults at the same time, until the time is over. All faults have ended when it returns.
fn run_faults_under_load(parts: &mut StormParts, options: &Options) -> (Vec<Journal>, Vec<Duration>) {
    let (shared, dir) = (&parts.shared, &parts.dir);
    let pause = Duration::from_secs(1) * CLIENTS / options.rate.max(1);
    let clients: Vec<_> = (0..CLIENTS)
        .map(|number| {
            let client = LoadClient::new(number, shared, &dir.join(format!("client-{number}.journal")));
            thread::spawn(move || client.run(pause))
        })
        .collect();
    let asker = StatusPoller::new(shared, &parts.daemon.forebay.admin_address());
    let asker = thread::spawn(move || asker.run());
    let drains = rounds(parts, options);
    let shared = &parts.shared;
    shared.stop.store(true, Ordering::Relaxed);
    join_result(shared, asker.join());
    let journals = clients.into_iter().map(|client| join_result(shared, client.join()));
    let journals = journals.map(|journal| journal.unwrap_or_else(|| Journal::new(None))).collect();
    (journals, drains)
}

/// Runs rounds of faults until the time is over. After each round all faults have ended, and the backlog must drain.
/// Returns how long that took.
fn rounds(parts: &mut StormParts, options: &Options) -> Vec<Duration> {
    let end = Instant::now() + options.length;
    let (mut of_daemon, mut of_kafka) = (DaemonSchedule::of(options.seed), KafkaSchedule::of(options.seed));
    let mut drains = Vec::new();
    loop {
        // Avoid a last round of a few seconds.
        let left = end.saturating_duration_since(Instant::now());
        let length = if left < ROUND_DURATION * 3 / 2 { left } else { ROUND_DURATION };
        round(parts, &mut of_daemon, &mut of_kafka, length);
        parts.shared.is_calm.store(true, Ordering::Relaxed);
        let drain = await_drained(parts, FEW);
        parts.shared.is_calm.store(false, Ordering::Relaxed);
        drains.extend(drain);
        if drain.is_none() || Instant::now() >= end || parts.shared.findings.count(Violation::Storm) > 0 {
            return drains;
        }
    }
}

/// Runs the faults of both kinds at the same time.
fn round(
    parts: &mut StormParts,
    of_daemon: &mut DaemonSchedule,
    of_kafka: &mut KafkaSchedule,
    length: Duration,
) {
    let (shared, reserve) = (&parts.shared, RESERVE_MIB << 20);
    let (disk, clock) = (&parts.disk, &parts.clock);
    let on_daemon = DaemonFaults { shared, daemon: &mut parts.daemon, disk, clock, reserve };
    let on_kafka = KafkaFaults { shared, cluster: &parts.cluster, proxies: &parts.proxies };
    thread::scope(|scope| {
        let on_daemon = scope.spawn(move || on_daemon.run(of_daemon, length));
        let on_kafka = scope.spawn(move || on_kafka.run(of_kafka, length));
        for lane in [on_daemon, on_kafka] {
            join_result(shared, lane.join());
        }
    });
    parts.daemon.supervise_for(LOAD_AFTER_FAULTS);
}

/// Returns a thread's result, or records its panic as a finding.
fn join_result<T>(shared: &Shared, ended: Result<T, Box<dyn Any + Send>>) -> Option<T> {
    ended
        .map_err(|panic| {
            let said = panic.downcast_ref::<String>().cloned();
            let said = said.or_else(|| panic.downcast_ref::<&str>().map(|said| (*said).to_owned()));
            shared.findings.add(Violation::Storm, said.unwrap_or_else(|| "a thread panicked".to_owned()));
        })
        .ok()
}

/// Waits until at most `few` records are left to deliver. Returns how long that took, or `None` if the drain stalled.
fn await_drained(parts: &mut StormParts, few: u64) -> Option<Duration> {
    let began = Instant::now();
    let (mut least, mut moved) = (u64::MAX, Instant::now());
    while moved.elapsed() < DRAIN_STALL_TIMEOUT {
        parts.daemon.restart_if_ended();
        let answer = parts.daemon.forebay.admin_http().with_read_within(POLL_TIMEOUT).get("/admin/backlog");
        let waiting = answer.ok().and_then(|answer| answer.json()["backlog"].as_u64()).unwrap_or(u64::MAX);
        if waiting <= few {
            return Some(began.elapsed());
        }
        if waiting < least {
            (least, moved) = (waiting, Instant::now());
        }
        thread::sleep(POLL_INTERVAL);
    }
    let what =
        format!("the drain stalled: at least {least} records were waiting for {DRAIN_STALL_TIMEOUT:?}");
    parts.shared.findings.add(Violation::Stuck, what);
    None
}

/// Checks the statuses after all records were delivered. None may be waiting.
fn check_final_statuses(parts: &StormParts, journals: &[Journal]) {
    let shared = &parts.shared;
    let mut http = parts.daemon.forebay.http();
    let total: usize = journals.iter().map(|journal| journal.entries().len()).sum();
    let step = (total / OTHERS).max(1);
    for journal in journals {
        let entries = journal.entries();
        for (index, entry) in entries.iter().enumerate() {
            let chosen = index + NEWEST >= entries.len() || index % step == 0 || entry.command.is_poison();
            let RequestOutcome::Acknowledged(id) = &entry.outcome else { continue };
            if !chosen {
                continue;
            }
            let (client, serial, kind) = (entry.command.client, entry.command.serial, entry.command.kind);
            let known = AcknowledgedCommand {
                client,
                serial,
                kind,
                id: id.clone(),
                at: Instant::now(),
                evictions: 0,
            };
            if let Some(mut observation) = request_status(&mut http, shared, &known) {
                observation.is_final = true;
                shared.add_observation(observation);
            }
        }
    }
}

fn check(parts: &StormParts, options: &Options, journals: &[Journal], is_drained: bool) -> CheckCounts {
    let findings = &parts.shared.findings;
    let mut checker = Checker::new(options.seed, options.delivery, journals, findings);
    if !is_drained {
        checker.not_drained();
    }
    if let Err(what) =
        topic_reader::read_all(&parts.cluster, parts.home.path(), |record| checker.record(record))
    {
        findings.add(Violation::Stuck, what);
    }
    checker.finish(&lock(&parts.shared.observations))
}

/// Accepting commands does not wait for Kafka, and the other faults last seconds.
fn check_ack_gap(shared: &Shared) {
    let longest = shared.longest_ack_gap();
    if longest > MAX_ACK_GAP {
        shared.findings.add(Violation::Stuck, format!("nothing was acknowledged for {longest:?}"));
    }
}

/// Checks that exactly the records that cannot be delivered are dead letters.
fn check_dead_letters(shared: &Shared, journals: &[Journal], dead: u64) {
    let poison = journals.iter().flat_map(Journal::entries).filter(|entry| entry.command.is_poison());
    let (mut certain, mut possible) = (0, 0);
    for entry in poison {
        certain += u64::from(matches!(entry.outcome, RequestOutcome::Acknowledged(_)));
        // A record whose key had expired may have been dead-lettered twice.
        possible += u64::from(entry.outcome == RequestOutcome::Unknown) + u64::from(entry.key_expired);
    }
    if dead < certain || dead > certain + possible {
        let what = format!("{dead} dead letters, but {certain} to {} are expected", certain + possible);
        shared.findings.add(Violation::Status, what);
    }
}
