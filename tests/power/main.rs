//! Power cuts on a real kernel. The real binary runs on ext4 in a virtual machine whose power is cut under load. Its
//! disk loses unflushed writes. Every command with a 202 exists after the next boot.
//!
//! `scripts/powercut` runs any number of cuts, and shows that a build without the flush is detected.
#![cfg(target_arch = "x86_64")]
// A failed step of a test's preparation ends the test with its message. No caller could handle the error.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod campaign;
mod disk;
mod guest_image;
mod image;
mod initramfs;
mod machine;
mod nbd;
mod recovered;
mod rng;

use std::env;
use std::str::FromStr;
use std::time::{SystemTime, UNIX_EPOCH};

use campaign::{CUTS_PER_DISK, Campaign, CampaignStats};
use guest_image::{BootFiles, GuestConfig};
use rng::SeededRng;
use support::admin::Admin;
use support::consume::read_all;
use support::daemon::LONG;
use support::http::Client;
use support::kafka::ClusterOptions;
use support::load::SentCommands;
use support::{daemon, services, wait};

/// Variable with the number of power cuts. For each cut, a dozen earlier instants of the same run are also checked.
const CUTS: &str = "FOREBAY_POWER_CUTS";
const DEFAULT_CUTS: usize = 5;

/// Default number of cuts for machines that drain to Kafka.
const DEFAULT_CUTS_WITH_KAFKA: usize = 3;

/// Variable with the seed of the random choices. The timing of the machine does not depend on it.
const SEED: &str = "FOREBAY_POWER_SEED";

#[test]
fn every_202_survives_power_cuts_on_a_real_kernel() {
    let name = "every_202_survives_power_cuts_on_a_real_kernel";
    let Some(boot_files) = services::available(name, "a virtual machine", BootFiles::find()) else { return };
    let planted = daemon::expected_fault();
    // No broker listens there: accepted commands stay in the log, so a cut could lose many.
    let mut guest = guest("127.0.0.1:1");
    guest
        .environment
        .extend(planted.iter().map(|fault| (daemon::FAILPOINT_VARIABLE.to_owned(), fault.clone())));
    let (seed, mut counts) = (seed(), CampaignStats::default());
    let cuts = setting(CUTS).unwrap_or(DEFAULT_CUTS);
    let wrong = cut_power(&boot_files, &guest, seed, cuts, &mut counts, &mut |_| {});
    match (planted, wrong) {
        (None, Ok(())) => {}
        (None, Err(wrong)) => panic!("{SEED}={seed}, power cut {}: {wrong}", counts.cuts),
        (Some(fault), Err(wrong)) => println!("{fault} detected by power cut {}: {wrong}", counts.cuts),
        (Some(fault), Ok(())) => panic!("{cuts} power cuts did not detect the failpoint {fault}"),
    }
}

/// Confirmations, checkpoints and delivered segments under the same cuts.
#[test]
fn every_202_is_in_kafka_after_power_cuts() {
    let name = "every_202_is_in_kafka_after_power_cuts";
    let Some(boot_files) = services::available(name, "a virtual machine", BootFiles::find()) else { return };
    let Some(kafka) = services::kafka(name) else { return };
    // The name resolves to different addresses in the machine and on this host. Both reach the broker.
    let cluster = kafka.start(ClusterOptions::single().host("localhost"));
    let bootstrap = cluster.bootstrap();
    Admin::new(&bootstrap).create_topic("orders.v1", 6, 1, &[]);
    let guest = guest(&bootstrap.replace("127.0.0.1", "localhost"));
    let (seed, mut counts, mut sent) = (seed(), CampaignStats::default(), SentCommands::new());
    let cuts = setting(CUTS).unwrap_or(DEFAULT_CUTS_WITH_KAFKA);
    let drained = &mut |campaign: &mut Campaign<'_>| {
        let mut machine = campaign.boot();
        machine.await_ready().unwrap();
        let mut admin = Client::new(&machine.admin_address());
        wait::until_true("the backlog is delivered", LONG, || {
            admin.get("/admin/backlog").is_ok_and(|answer| answer.json()["backlog"] == 0)
        });
        sent.append(&mut campaign.sent().clone());
        println!("{}", support::delivery_check::check(&sent, &read_all(&bootstrap, "orders.v1")));
    };
    cut_power(&boot_files, &guest, seed, cuts, &mut counts, drained)
        .unwrap_or_else(|wrong| panic!("{SEED}={seed}, power cut {}: {wrong}", counts.cuts));
}

/// Cuts power `cuts` times, and calls `after` with every machine before its disk is replaced. The error describes the
/// first violation.
fn cut_power(
    boot_files: &BootFiles,
    guest: &GuestConfig,
    seed: u64,
    cuts: usize,
    counts: &mut CampaignStats,
    after: &mut dyn FnMut(&mut Campaign<'_>),
) -> Result<(), String> {
    let mut random = SeededRng::new(seed);
    while counts.cuts < cuts {
        let cycles = CUTS_PER_DISK.min(cuts - counts.cuts);
        let mut campaign = Campaign::new(boot_files, guest, &mut random, counts);
        for _ in 0..cycles {
            campaign.run_cycle()?;
            println!("seed {seed}: {}", campaign.counts());
        }
        after(&mut campaign);
    }
    Ok(())
}

fn guest(brokers: &str) -> GuestConfig {
    GuestConfig {
        binary: daemon::binary(),
        config: format!("[kafka]\nbrokers = \"{brokers}\"\n"),
        environment: Vec::new(),
    }
}

fn seed() -> u64 {
    setting(SEED).unwrap_or_else(|| {
        SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_nanos() as u64)
    })
}

fn setting<T: FromStr>(variable: &str) -> Option<T> {
    let text = env::var(variable).ok()?;
    Some(text.parse().unwrap_or_else(|_| panic!("{variable}={text} is invalid")))
}
