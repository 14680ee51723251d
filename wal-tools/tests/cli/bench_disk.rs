//! bench-disk: its measurements, and that its file is removed.

use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use crate::support::*;

fn is_empty(dir: &Path) -> bool {
    dir.read_dir().unwrap().next().is_none()
}

#[test]
fn bench_disk_measures_each_group_and_removes_its_file() {
    let dir = tempfile::tempdir().unwrap();
    let measured = run(dir.path(), &["--json", "bench-disk", "--seconds", "1"]).assert_exit(0).json();
    let groups = measured["groups"].as_array().unwrap();
    assert!(groups.iter().map(|group| group["records"].as_u64().unwrap()).eq([1, 16, 64, 256]));
    for group in groups {
        let of = |name: &str| group[name].as_f64().unwrap();
        assert!(0.0 < of("p50_micros") && of("p50_micros") <= of("p99_micros"), "{group}");
        assert!(of("p99_micros") <= of("max_micros") && of("records_per_second") > 0.0, "{group}");
    }
    assert!(measured["sequential_bytes_per_second"].as_f64().unwrap() > 0.0);
    assert!(is_empty(dir.path()));
    let human = run(dir.path(), &["bench-disk", "--seconds", "1"]).assert_exit(0).out;
    assert!(human.contains("a single client: about") && human.contains("64 waiting clients"), "{human}");
}

/// Memory is too fast to be durable. /dev/shm, where it exists, is a tmpfs.
#[test]
fn a_flush_too_fast_to_be_durable_gives_a_warning() {
    let Ok(dir) = tempfile::tempdir_in("/dev/shm") else { return };
    let measured = run(dir.path(), &["--json", "bench-disk", "--seconds", "1"]).assert_exit(0);
    assert_eq!(measured.json()["file_system"], "tmpfs");
    assert!(measured.err.contains("warning:") && measured.err.contains("tmpfs"), "{measured:?}");
}

#[test]
fn an_interruption_removes_the_file() {
    let dir = tempfile::tempdir().unwrap();
    let mut bench = command(dir.path(), &["bench-disk", "--seconds", "600"]);
    let bench = bench.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    while is_empty(dir.path()) {
        std::thread::sleep(Duration::from_millis(1));
    }
    let interrupt = std::process::Command::new("kill").args(["-INT", &bench.id().to_string()]).status();
    assert!(interrupt.unwrap().success());
    let output = bench.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(2), "{output:?}");
    assert!(String::from_utf8_lossy(&output.stderr).contains("interrupted"));
    assert!(is_empty(dir.path()));
}

#[test]
fn a_directory_that_cannot_be_used_is_a_failure() {
    let dir = tempfile::tempdir().unwrap();
    run(&dir.path().join("none"), &["bench-disk"]).assert_exit(2);
    run(dir.path(), &["bench-disk", "--seconds", "0"]).assert_exit(2);
}
