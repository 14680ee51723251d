//! The components of a storm: created, and kept or removed afterwards.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;

use crate::command::Kind;
use crate::daemon::SupervisedDaemon;
use crate::options::Options;
use crate::shared::Shared;
use support::admin::Admin;
use support::clock::FakeClock;
use support::disk::SmallDisk;
use support::kafka::{ClusterOptions, Jars, Kafka};
use support::process::Forebay;
use support::proxy::Proxy;
use support::{daemon, scratch};

const BROKERS: usize = 3;
/// Size of the daemon's disk, and how much of it the daemon leaves free.
const DISK_MIB: u32 = 256;
pub const RESERVE_MIB: u64 = 8;
/// Delivered segments are retained up to this size: minutes at the rate of a storm.
const KEPT_MIB: u64 = 96;

/// The components of a storm. The daemon is dropped before its disk, and everything before the directory.
pub struct StormParts {
    pub shared: Arc<Shared>,
    pub daemon: SupervisedDaemon,
    pub clock: FakeClock,
    pub proxies: Vec<Proxy>,
    pub cluster: Kafka,
    pub disk: SmallDisk,
    pub dir: PathBuf,
    pub home: tempfile::TempDir,
}

/// Starts everything except the daemon.
pub fn build(jars: &Jars, options: &Options) -> StormParts {
    let proxies: Vec<Proxy> = (0..BROKERS).map(|_| Proxy::start()).collect();
    let cluster = cluster(jars, &proxies);
    let home = scratch::dir("storm");
    let disk = SmallDisk::mount(&create_dir(home.path().join("disk")), DISK_MIB);
    let dir = Path::new(env!("CARGO_TARGET_TMPDIR"));
    let dir = dir.join(format!("storm-{}-{}", options.delivery.name(), options.seed));
    let _ = fs::remove_dir_all(&dir);
    let dir = create_dir(dir);
    let brokers: Vec<&str> = proxies.iter().map(Proxy::address).collect();
    let forebay = settings(options, &brokers.join(","), &home.path().join("disk/wal"));
    let (forebay, clock) = FakeClock::install(forebay, home.path());
    let shared = Arc::new(Shared::new(options.seed, forebay.address()));
    let daemon = SupervisedDaemon::new(forebay, &shared);
    StormParts { shared, daemon, clock, proxies, cluster, disk, dir, home }
}

/// Three brokers behind the proxies, with the topics.
fn cluster(jars: &Jars, proxies: &[Proxy]) -> Kafka {
    let advertised = proxies.iter().map(|proxy| proxy.address().to_owned()).collect();
    let cluster = jars.start(
        ClusterOptions::three()
            .advertise(advertised)
            .heap("-Xmx384m")
            // Leaders return to their preferred brokers automatically, so partitions change their leader once more.
            .set("leader.imbalance.check.interval.seconds", "10")
            .set("leader.imbalance.per.broker.percentage", "1")
            // Small files, because a killed broker reads those that it had not flushed.
            .set("log.segment.bytes", "33554432")
            // Records with a wrong timestamp must not expire because of their age.
            .set("log.retention.ms", "-1"),
    );
    for (proxy, broker) in proxies.iter().zip(cluster.brokers()) {
        proxy.forward_to(&broker.address());
    }
    let admin = Admin::new(&cluster.internal_bootstrap());
    for kind in Kind::ALL {
        let max = Kind::SMALL_MAX.to_string();
        let config: &[(&str, &str)] = if kind == Kind::Small { &[("max.message.bytes", &max)] } else { &[] };
        admin.create_topic(kind.topic(), kind.partitions(), BROKERS as i32, config);
    }
    cluster
}

fn settings(options: &Options, brokers: &str, wal: &Path) -> Forebay {
    let mut forebay = daemon::under_test()
        .set("kafka.brokers", brokers)
        .set("wal.dir", wal.display().to_string())
        // Small, so that segments are sealed, delivered and expired all the time.
        .set("wal.segment_size", "1MiB")
        .set("wal.reserve_space", format!("{RESERVE_MIB}MiB"))
        .set("wal.retain_acked_size", format!("{KEPT_MIB}MiB"))
        .set("drain.checkpoint_interval", "200ms")
        .set("drain.retry_backoff_max", "2s")
        .set("drain.delivery", options.delivery.name());
    for kind in Kind::ALL {
        forebay = forebay.toml(&kind.toml());
    }
    forebay
}

/// Keeps journals and logs for an analysis of the findings, unless a failpoint was enabled.
pub fn keep_or_remove(parts: &StormParts, options: &Options) {
    let dir = &parts.dir;
    if parts.shared.findings.is_empty() || options.planted.is_some() {
        let _ = fs::remove_dir_all(dir);
        return;
    }
    let keep = |name: &str, text: String| {
        if let Err(error) = fs::write(dir.join(name), text) {
            eprintln!("storm: {name} could not be kept: {error}");
        }
    };
    keep("findings.txt", parts.shared.findings.to_string());
    keep("forebay.log", parts.daemon.forebay.log());
    for broker in parts.cluster.brokers() {
        keep(&format!("broker-{}.log", broker.id()), broker.log());
    }
    let mut copy = Command::new("cp");
    copy.arg("-r").arg(parts.home.path().join("disk/wal")).arg(dir);
    if !copy.status().is_ok_and(|status| status.success()) {
        eprintln!("storm: the log's directory could not be kept");
    }
    eprintln!("storm: kept in {}", dir.display());
}

fn create_dir(dir: PathBuf) -> PathBuf {
    fs::create_dir_all(&dir).expect("a directory of the storm");
    dir
}
