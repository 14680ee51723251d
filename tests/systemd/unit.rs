//! The unit file, judged by systemd's own tools.

use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

const UNIT: &str = include_str!("../../systemd/forebay.service");

/// Tenths, as `--threshold` takes them: 2.0.
const HIGHEST_EXPOSURE: &str = "20";

#[test]
fn the_unit_is_valid() {
    // The tool insists on a program that exists; where a package puts ours is not the question here.
    let unit = UNIT.replace("/usr/bin/forebay", env!("CARGO_BIN_EXE_forebay"));
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("forebay.service");
    fs::write(&path, unit).unwrap();
    analyze(&["verify", "--man=no", path.to_str().unwrap()]);
}

#[test]
fn the_unit_is_hardened() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("systemd/forebay.service");
    let threshold = format!("--threshold={HIGHEST_EXPOSURE}");
    analyze(&["security", "--offline=true", "--no-pager", &threshold, path.to_str().unwrap()]);
}

#[test]
fn the_service_manager_waits_longer_than_the_longest_stop_takes() {
    let line = UNIT.lines().find_map(|line| line.strip_prefix("TimeoutStopSec=")).unwrap();
    let waits: u64 = line.strip_suffix('s').unwrap().parse().unwrap();
    assert!(forebay::app::longest_stop() + Duration::from_secs(10) <= Duration::from_secs(waits));
}

/// Runs `systemd-analyze`, which must have nothing to say against the unit.
fn analyze(arguments: &[&str]) {
    let output = match Command::new("systemd-analyze").args(arguments).output() {
        Ok(output) => output,
        Err(missing) => {
            let required = std::env::var("FOREBAY_TEST_SERVICES").is_ok_and(|value| value == "required");
            assert!(!required, "systemd-analyze (Debian package systemd) is missing: {missing}");
            eprintln!("left out: systemd-analyze {}: {missing}", arguments[0]);
            return;
        }
    };
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{said}{}", String::from_utf8_lossy(&output.stdout));
    assert!(said.trim().is_empty(), "{said}");
}
