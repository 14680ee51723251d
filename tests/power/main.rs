//! Power cuts on a real kernel: the real binary on ext4 in a virtual machine whose power is cut under load, on a disk
//! that forgets what was not flushed. What was answered 202 is there after the next boot.
//!
//! `tests/powercut` runs as many cuts as one likes, and shows that a build which skips the flush is found.
#![cfg(feature = "server")]
// A failed step of a test's own preparation has nobody to report to: it says what it was and ends the test.
#![allow(clippy::unwrap_used, clippy::expect_used)]

#[path = "../support/mod.rs"]
mod support;

mod campaign;
mod disk;
mod guest;
mod image;
mod initramfs;
mod machine;
mod nbd;
mod random;
mod recovered;

use std::env;
use std::path::PathBuf;
use std::str::FromStr;
use std::time::SystemTime;
use std::time::UNIX_EPOCH;

use campaign::Campaign;
use guest::Guest;
use guest::Kit;
use support::services;

/// How many machines lose their power; as many as fit in two minutes on two cores.
const CUTS: &str = "FOREBAY_POWER_CUTS";
const DEFAULT_CUTS: usize = 10;

/// What repeats the choices of a run. The machine's own timing is not among them.
const SEED: &str = "FOREBAY_POWER_SEED";

/// Another build of the daemon, and the fault to be planted in it: then the loss must be found.
const BINARY: &str = "FOREBAY_POWER_BINARY";
const PLANTED: &str = "FOREBAY_POWER_PLANTED";

#[test]
fn every_202_survives_power_cuts_on_a_real_kernel() {
    let name = "every_202_survives_power_cuts_on_a_real_kernel";
    let Some(kit) = services::available(name, "a virtual machine", Kit::find()) else { return };
    let seed = setting(SEED).unwrap_or_else(|| {
        SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_nanos() as u64)
    });
    let planted = env::var(PLANTED).ok();
    let guest = Guest {
        binary: setting(BINARY).unwrap_or_else(|| PathBuf::from(env!("CARGO_BIN_EXE_forebay"))),
        config: "[kafka]\nbrokers = \"127.0.0.1:1\"\n".to_owned(),
        environment: planted
            .iter()
            .map(|fault| ("FOREBAY_PLANTED_FAULT".to_owned(), fault.clone()))
            .collect(),
    };
    let mut campaign = Campaign::new(kit, guest, seed);
    let cuts: usize = setting(CUTS).unwrap_or(DEFAULT_CUTS);
    let wrong = (0..cuts).find_map(|_| {
        let wrong = campaign.live().err();
        println!("seed {seed}, {}", campaign.counts);
        wrong
    });
    match (planted, wrong) {
        (None, None) => {}
        (None, Some(wrong)) => panic!("{SEED}={seed}, power cut {}: {wrong}", campaign.counts.cuts),
        (Some(fault), Some(wrong)) => println!("{fault} found by cut {}: {wrong}", campaign.counts.cuts),
        (Some(fault), None) => panic!("{fault} was planted, and {cuts} power cuts did not find it"),
    }
}

fn setting<T: FromStr>(variable: &str) -> Option<T> {
    let text = env::var(variable).ok()?;
    Some(text.parse().unwrap_or_else(|_| panic!("{variable}={text}: not understood")))
}
