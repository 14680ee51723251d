//! The unit files, checked by systemd's own tools.

use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

const UNIT: &str = include_str!("../../systemd/forebay.service");
const CONSUMER: &str = include_str!("../../systemd/forebay-consumer.service");
const SOCKET: &str = include_str!("../../systemd/forebay.socket");

/// In tenths, as `--threshold` expects: 2.0.
const HIGHEST_EXPOSURE: &str = "20";

#[test]
fn the_units_are_valid() {
    // The tool requires an existing program; the installed path does not matter here.
    let dir = tempfile::tempdir().unwrap();
    let units =
        [("forebay.service", UNIT), ("forebay-consumer.service", CONSUMER), ("forebay.socket", SOCKET)];
    let paths = units.map(|(name, text)| {
        let path = dir.path().join(name);
        fs::write(&path, text.replace("/usr/bin/forebay", env!("CARGO_BIN_EXE_forebay"))).unwrap();
        path
    });
    for path in &paths {
        analyze(&["verify", "--man=no", path.to_str().unwrap()]);
    }
}

#[test]
fn the_services_are_hardened() {
    for unit in ["forebay.service", "forebay-consumer.service"] {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("systemd").join(unit);
        let threshold = format!("--threshold={HIGHEST_EXPOSURE}");
        analyze(&["security", "--offline=true", "--no-pager", &threshold, path.to_str().unwrap()]);
    }
}

#[test]
fn the_socket_opens_the_default_addresses() {
    let server = forebay::config::Config::load(None, Vec::new()).unwrap().server;
    let opened: Vec<_> = SOCKET.lines().filter_map(|line| line.strip_prefix("ListenStream=")).collect();
    assert_eq!(opened, [server.listen.to_string(), server.admin_listen.to_string()]);
}

#[test]
fn timeout_stop_sec_exceeds_the_longest_stop() {
    for unit in [UNIT, CONSUMER] {
        let line = unit.lines().find_map(|line| line.strip_prefix("TimeoutStopSec=")).unwrap();
        let waits: u64 = line.strip_suffix('s').unwrap().parse().unwrap();
        assert!(forebay::app::longest_stop() + Duration::from_secs(10) <= Duration::from_secs(waits));
    }
}

/// Runs `systemd-analyze`, which must report no problem of the unit.
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
