//! The direction of dependencies: a module uses only what stands in its row, and `wal-tools` links no server.
// clippy.toml allows this in test functions; what they call is no different.
#![allow(clippy::unwrap_used)]

use std::fs;
use std::path::Path;
use std::process::Command;

/// Leaves that every module may use, except `wal` and what lies below it.
const LEAVES: [&str; 9] =
    ["metrics", "mistake", "planted", "reported", "secret_file", "sync", "telemetry", "units", "task"];

/// Module, whether it may use the leaves, and what else it may use; from the bottom up.
const TABLE: [(&str, bool, &[&str]); 33] = [
    ("units", false, &[]),
    ("mistake", false, &[]),
    ("planted", false, &[]),
    ("reported", false, &[]),
    ("metrics", false, &[]),
    ("sync", false, &[]),
    ("secret_file", false, &[]),
    ("systemd", false, &[]),
    ("task", false, &[]),
    ("backoff", false, &[]),
    ("telemetry", false, &["mistake", "task", "units"]),
    ("alerts", false, &["mistake", "units"]),
    ("wal", false, &["planted", "secret_file", "sync", "units"]),
    ("command", false, &["units"]),
    ("control", false, &["command", "units", "wal"]),
    ("kinds", false, &["command", "mistake", "reported", "units"]),
    ("kafka", true, &["backoff"]),
    ("kv", true, &["backoff"]),
    ("db", true, &["backoff"]),
    ("ratelimit", true, &["backoff", "command", "kv"]),
    ("status", true, &["command", "db", "wal"]),
    ("consumer", true, &["backoff", "command", "db", "kafka", "kv", "status"]),
    ("ingest", true, &["command", "status", "wal"]),
    ("drain", true, &["backoff", "command", "kafka", "status", "wal"]),
    ("users", true, &["backoff", "command", "db", "ingest", "kv", "status"]),
    ("auth", true, &["command", "db"]),
    ("login", true, &["auth", "backoff", "command", "db", "kv", "ratelimit", "users"]),
    (
        "http",
        true,
        &["auth", "command", "ingest", "kafka", "kinds", "login", "ratelimit", "status", "users", "wal"],
    ),
    (
        "config",
        true,
        &[
            "alerts",
            "auth",
            "consumer",
            "db",
            "drain",
            "http",
            "ingest",
            "kafka",
            "kinds",
            "kv",
            "login",
            "ratelimit",
            "users",
        ],
    ),
    (
        "app",
        true,
        &[
            "alerts",
            "auth",
            "backoff",
            "command",
            "config",
            "consumer",
            "control",
            "db",
            "drain",
            "http",
            "ingest",
            "kafka",
            "kinds",
            "kv",
            "login",
            "ratelimit",
            "status",
            "systemd",
            "users",
            "wal",
        ],
    ),
    ("fuzzing", false, &["command", "config", "http", "wal"]),
    ("cli", false, &["config", "units"]),
    ("main", false, &["app", "config", "telemetry"]),
];

#[test]
fn every_module_uses_only_what_stands_in_its_row() {
    let mut violations = Vec::new();
    let src = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    for entry in fs::read_dir(src).unwrap() {
        let path = entry.unwrap().path();
        let module = path.file_stem().unwrap().to_str().unwrap().to_owned();
        if module == "lib" {
            continue;
        }
        let Some((_, leaves, others)) = TABLE.iter().find(|(name, ..)| *name == module) else {
            violations.push(format!("{module} has no row in the table"));
            continue;
        };
        let may =
            |used: &str| used == module || (*leaves && LEAVES.contains(&used)) || others.contains(&used);
        for (file, text) in sources(&path) {
            let wrong = used(&text).into_iter().filter(|used| !may(used));
            violations.extend(wrong.map(|used| format!("{file} uses {used}")));
        }
    }
    assert!(violations.is_empty(), "{violations:#?}");
}

/// A lock that shuttle does not know blocks the one thread on which all threads of a model run, and the model hangs.
#[test]
fn the_log_and_the_commit_path_lock_with_what_shuttle_can_schedule() {
    let src = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    // The index is another one in models; the tests' own file system is in none.
    let exempt = ["src/ingest/index/", "src/wal/tests/"];
    let mut found = Vec::new();
    for module in ["wal", "ingest"] {
        for (file, text) in sources(&src.join(module)) {
            let locks = ["Mutex", "MutexGuard", "Condvar", "RwLock", "OnceLock"];
            let std = locks.into_iter().find(|lock| text.contains(&format!("use std::sync::{lock};")));
            if !exempt.iter().any(|exempt| file.contains(exempt)) {
                found.extend(
                    std.map(|lock| format!("{file} uses std::sync::{lock}, not crate::sync::{lock}")),
                );
            }
        }
    }
    assert!(found.is_empty(), "{found:#?}");
}

/// A task that nobody holds cannot be stopped, and nobody hears of its end.
#[test]
fn every_task_is_begun_by_its_owner() {
    let src = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    // Who makes owners, and the doors, which keep the handle to wait for it.
    let owners = ["src/task.rs", "src/app/parts.rs", "/tests/"];
    let detached = ["tokio::spawn(", "task::spawn(", "Handle::current().spawn(", "runtime.spawn("];
    let found: Vec<_> = sources(&src)
        .into_iter()
        .filter(|(file, _)| !owners.iter().any(|owner| file.contains(owner)))
        .filter(|(_, text)| detached.iter().any(|spawn| text.contains(spawn)))
        .map(|(file, _)| file)
        .collect();
    assert!(found.is_empty(), "task::Task and task::TaskSet own tasks: {found:#?}");
}

/// A thread that nobody watches dies unnoticed.
#[test]
fn every_thread_has_an_owner_that_notices_its_death() {
    let src = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let owners = [
        // Makes owners.
        "src/task.rs",
        // Catches the panics of its requests; `task` is not among what wal-tools links.
        "src/control.rs",
        // Test doubles.
        "/tests/",
        "/tests.rs",
        "src/ingest/model/",
    ];
    let detached =
        ["thread::spawn(", "thread::Builder::new()", "ThreadedProducer", "FutureProducer", "StreamConsumer"];
    let found: Vec<_> = sources(&src)
        .into_iter()
        .filter(|(file, _)| !owners.iter().any(|owner| file.contains(owner)))
        .filter(|(_, text)| code(text).any(|line| detached.iter().any(|spawn| line.contains(spawn))))
        .map(|(file, _)| file)
        .collect();
    assert!(found.is_empty(), "task::Thread owns threads, kafka::poller those of producers: {found:#?}");
}

#[test]
fn wal_tools_links_no_server() {
    let tree = Command::new(env!("CARGO"))
        .args(["tree", "--package", "wal-tools", "--edges", "normal", "--prefix", "none", "--offline"])
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .output()
        .unwrap();
    let packages = String::from_utf8(tree.stdout).unwrap();
    assert!(packages.contains("forebay v"), "{packages}{}", String::from_utf8_lossy(&tree.stderr));
    for server in ["rdkafka", "tokio", "hyper", "sqlx", "redis"] {
        let found = packages.lines().find(|package| package.starts_with(server));
        assert_eq!(found, None, "wal-tools links a part of the server");
    }
}

#[test]
fn uses_are_found_wherever_they_stand() {
    let text = "use crate::wal::Lsn;\n//! see [`crate::http`]\nfn f(x: &crate::units::Span) { forebay::app::serve() }";
    assert_eq!(used(text), ["wal", "units", "app"]);
    assert_eq!(used("use crate::{wal, http};"), ["{"], "a group hides what it names: one item a line");
}

/// Each file of a module with its text.
fn sources(path: &Path) -> Vec<(String, String)> {
    if path.is_dir() {
        let entries = fs::read_dir(path).unwrap();
        return entries.flat_map(|entry| sources(&entry.unwrap().path())).collect();
    }
    vec![(path.display().to_string(), fs::read_to_string(path).unwrap())]
}

/// The lines that are no comments.
fn code(text: &str) -> impl Iterator<Item = &str> {
    text.lines().filter(|line| !line.trim_start().starts_with("//"))
}

/// The words after every `crate::` and `forebay::` outside comments.
fn used(text: &str) -> Vec<&str> {
    let mut found = Vec::new();
    for line in code(text) {
        for root in ["crate::", "forebay::"] {
            for (at, _) in line.match_indices(root) {
                let rest = &line[at + root.len()..];
                let end = rest.find(|c: char| !c.is_alphanumeric() && c != '_').unwrap_or(rest.len());
                found.push(&rest[..end.max(1)]);
            }
        }
    }
    found
}
