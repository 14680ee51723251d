//! Short forms of the requests that tests send to the daemon.

use std::env;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde_json::Value;

use super::process::Forebay;
use super::wait;

/// A timeout far above the time that a test's backlog takes on a busy machine.
pub const LONG: Duration = Duration::from_secs(120);

/// The daemon under test: this build, or another build with a failpoint (`scripts/planted`).
pub fn binary() -> PathBuf {
    env::var_os("FOREBAY_TEST_BINARY").map_or_else(this_build, PathBuf::from)
}

/// The daemon that cargo built together with the running test program, which is in `deps/` next to it.
fn this_build() -> PathBuf {
    let program = env::current_exe().expect("the path of this program");
    program.parent().and_then(Path::parent).expect("a program in target/PROFILE/deps").join("forebay")
}

/// The fault that the other build contains. Then a test must fail.
pub fn expected_fault() -> Option<String> {
    env::var("FOREBAY_TEST_PLANTED").ok()
}

/// The environment variable that activates the fault in the daemon.
pub const FAILPOINT_VARIABLE: &str = "FOREBAY_PLANTED_FAULT";

/// The daemon under test, with default settings.
pub fn under_test() -> Forebay {
    let forebay = Forebay::new(binary());
    match expected_fault() {
        Some(fault) => forebay.env(FAILPOINT_VARIABLE, &fault),
        None => forebay,
    }
}

/// A daemon that drains to the brokers at `bootstrap`, with small segments, so that tests rotate them.
pub fn forebay(bootstrap: &str) -> Forebay {
    under_test()
        .set("kafka.brokers", bootstrap)
        .set("wal.segment_size", "1MiB")
        .set("wal.reserve_space", "1MiB")
        .set("drain.checkpoint_interval", "200ms")
}

/// Runs `forebay migrate` on a database. Returns its exit code and output.
pub fn migrate(url: &str, arguments: &[&str]) -> (Option<i32>, String) {
    let mut migrate = Forebay::new(binary())
        .args(&[&["migrate"][..], arguments].concat())
        .set("database.url", url)
        .set("users.password_cost", 4);
    migrate.launch();
    (migrate.wait(LONG).code(), migrate.log())
}

/// Runs `forebay migrate`, which must succeed.
pub fn migrated(url: &str, arguments: &[&str]) {
    let (code, said) = migrate(url, arguments);
    assert_eq!(code, Some(0), "{said}");
}

/// Declares a kind without a schema, keyed by the member `key`.
pub fn kind(name: &str, topic: &str) -> String {
    format!("[[kinds]]\nname = \"{name}\"\ntopic = \"{topic}\"\nkey = \"/key\"\n")
}

/// `GET /admin/backlog`.
pub fn backlog(forebay: &Forebay) -> Value {
    forebay.admin_http().get("/admin/backlog").expect("the admin listener").json()
}

/// A number of the backlog document.
pub fn backlog_value(forebay: &Forebay, name: &str) -> u64 {
    let document = backlog(forebay);
    document[name].as_u64().unwrap_or_else(|| panic!("no number {name} in {document}"))
}

/// The value of a metric; labels as in the exposition format.
pub fn metric(forebay: &Forebay, name: &str) -> f64 {
    metric_if_any(forebay, name).unwrap_or_else(|| panic!("no metric {name}"))
}

/// The value of a series, which exists only after its first event.
pub fn metric_if_any(forebay: &Forebay, name: &str) -> Option<f64> {
    let text = forebay.admin_http().get("/metrics").expect("the admin listener").text();
    let line = text.lines().find(|line| line.strip_prefix(name).is_some_and(|rest| rest.starts_with(' ')));
    line?.rsplit(' ').next()?.parse().ok()
}

/// Waits until the backlog is empty.
pub fn await_drained(forebay: &Forebay) {
    let drained = wait::poll(LONG, || (backlog_value(forebay, "backlog") == 0).then_some(()));
    assert!(drained.is_some(), "not drained: {}\n{}", backlog(forebay), forebay.log());
}

/// Resident memory, in bytes.
pub fn resident(forebay: &Forebay) -> u64 {
    metric(forebay, "process_resident_memory_bytes") as u64
}

/// Address of the embedded broker of this run, from the banner, which appears a moment after the daemon is ready.
pub fn embedded_broker(forebay: &Forebay) -> String {
    wait::until("the banner", LONG, || {
        let log = forebay.log();
        let (_, this_life) = log.rsplit_once("wal.recovered")?;
        let (_, rest) = this_life.split_once("kcat -b ")?;
        Some(rest.split_whitespace().next()?.to_owned())
    })
}
