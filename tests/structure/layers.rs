//! Direction of dependencies: a module uses only the modules in its row, `wal-tools` links no server, and
//! `forebay-load` links nothing of the daemon.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::process::Command;

use super::source::{Module, TestCode};
use super::{root, sources};

/// Modules that every module may use.
const LEAVES: [&str; 9] = [
    "failpoint",
    "metrics",
    "config_error",
    "bounded_errors",
    "secret_file",
    "sync",
    "telemetry",
    "units",
    "task",
];

/// Module, whether it may use the leaves, and other modules that it may use. From the bottom up.
const TABLE: [(&str, bool, &[&str]); 30] = [
    ("config_error", false, &[]),
    ("bounded_errors", false, &[]),
    ("metrics", false, &[]),
    ("problems", false, &["metrics", "bounded_errors", "sync", "units"]),
    ("history", false, &["sync", "units"]),
    ("profile", false, &[]),
    ("systemd", false, &[]),
    ("task", false, &["sync"]),
    ("backoff", false, &["sync"]),
    ("telemetry", false, &["metrics", "config_error", "sync", "task", "units"]),
    ("alerts", false, &["config_error", "units"]),
    ("kinds", false, &["command", "config_error", "bounded_errors", "units"]),
    ("cloudevents", false, &["command", "kinds", "bounded_errors"]),
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
        &[
            "auth",
            "cloudevents",
            "command",
            "history",
            "ingest",
            "kafka",
            "kinds",
            "login",
            "problems",
            "profile",
            "ratelimit",
            "status",
            "users",
            "wal",
        ],
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
            "history",
            "http",
            "ingest",
            "kafka",
            "kinds",
            "kv",
            "login",
            "problems",
            "ratelimit",
            "status",
            "systemd",
            "users",
            "wal",
        ],
    ),
    ("fuzzing", false, &["cloudevents", "config", "http", "wal"]),
    ("cli", false, &["config", "units"]),
    ("main", false, &["app", "config", "telemetry"]),
];

#[test]
fn every_module_uses_only_the_modules_in_its_row() {
    let mut violations = Vec::new();
    for entry in fs::read_dir(root().join("src")).unwrap() {
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
        violations.extend(uses_that_are_not(may, &path));
    }
    assert!(violations.is_empty(), "{violations:#?}");
}

/// In the crate `wal`, the log and `command` do not use each other, and the leaves use neither of them.
#[test]
fn the_log_and_command_format_are_independent() {
    let mut found = Vec::new();
    for entry in fs::read_dir(root().join("wal/src")).unwrap() {
        let path = entry.unwrap().path();
        let module = path.file_stem().unwrap().to_str().unwrap();
        let may = |used: &str| match module {
            "failpoint" | "secret_file" | "sync" | "units" => used == module,
            "command" => ["command", "units"].contains(&used),
            // These connect the two.
            "control" | "fuzzing" | "lib" | "tests" => true,
            _ => !["command", "control"].contains(&used),
        };
        found.extend(uses_that_are_not(may, &path));
    }
    assert!(found.is_empty(), "{found:#?}");
}

/// `wal-tools` must start at once on a machine with a fault, and build where the daemon does not.
#[test]
fn wal_tools_links_no_server() {
    let packages = linked("wal-tools");
    assert!(packages.contains("forebay-wal v"), "{packages}");
    for server in ["forebay v", "rdkafka", "tokio", "hyper", "sqlx", "redis"] {
        let found = packages.lines().find(|package| package.starts_with(server));
        assert_eq!(found, None, "wal-tools links a part of the server");
    }
}

/// Its measurements must not depend on code shared with the daemon: it uses HTTP as any client does.
#[test]
fn the_load_tool_links_nothing_of_the_daemon() {
    let packages = linked("forebay-load");
    assert!(packages.contains("hyper v"), "{packages}");
    for part in ["forebay v", "forebay-wal v", "rdkafka", "sqlx", "redis"] {
        let found = packages.lines().find(|package| package.starts_with(part));
        assert_eq!(found, None, "forebay-load links a part of the daemon");
    }
}

/// Packages that a program of the workspace links, one per line.
fn linked(package: &str) -> String {
    let tree = Command::new(env!("CARGO"))
        .args(["tree", "--package", package, "--edges", "normal", "--prefix", "none", "--offline"])
        .current_dir(root())
        .output()
        .unwrap();
    assert!(tree.status.success(), "{}", String::from_utf8_lossy(&tree.stderr));
    String::from_utf8(tree.stdout).unwrap()
}

#[test]
fn uses_are_found_in_imports_paths_and_tests() {
    let text = "use crate::wal::Lsn;\n//! see [`crate::http`]\n\
                fn f(x: &crate::units::Span) { forebay::app::serve(\"crate::kv\") }\n\
                mod inline { fn g() { crate::db::h() } }\n\
                #[cfg(test)]\nmod tests { use crate::{\n    login::{A, b::C},\n    users,\n}; }";
    assert_eq!(used(text), ["app", "db", "login", "units", "users", "wal"].map(str::to_owned).into());
}

/// Forbidden uses in the files below a path, one per line.
fn uses_that_are_not(may: impl Fn(&str) -> bool, path: &Path) -> Vec<String> {
    let mut found = Vec::new();
    for (file, text) in sources(path) {
        let wrong = used(&text).into_iter().filter(|used| !may(used));
        found.extend(wrong.map(|used| format!("{file} uses {used}")));
    }
    found
}

/// Modules of the crate that a text uses, including in tests and inline modules.
fn used(text: &str) -> BTreeSet<String> {
    let module = Module::parse(text, TestCode::Kept);
    let crates = ["crate", "forebay"];
    let paths = module.all_paths().into_iter().filter(|path| crates.contains(&path[0].as_str()));
    paths.filter_map(|path| path.get(1).cloned()).collect()
}
