//! The direction of dependencies: a module uses only what stands in its row, and `wal-tools` links no server.
// clippy.toml allows this in test functions; what they call is no different.
#![allow(clippy::unwrap_used)]

use std::fs;
use std::path::Path;
use std::process::Command;

/// Leaves that every module may use.
const LEAVES: [&str; 9] =
    ["failpoint", "metrics", "mistake", "reported", "secret_file", "sync", "telemetry", "units", "task"];

/// Module, whether it may use the leaves, and what else it may use; from the bottom up.
const TABLE: [(&str, bool, &[&str]); 28] = [
    ("mistake", false, &[]),
    ("reported", false, &[]),
    ("metrics", false, &[]),
    ("problems", false, &["metrics", "reported", "sync", "units"]),
    ("systemd", false, &[]),
    ("task", false, &["sync"]),
    ("backoff", false, &["sync"]),
    ("telemetry", false, &["mistake", "sync", "task", "units"]),
    ("alerts", false, &["mistake", "units"]),
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
        &[
            "auth",
            "command",
            "ingest",
            "kafka",
            "kinds",
            "login",
            "problems",
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
    ("fuzzing", false, &["config", "http", "wal"]),
    ("cli", false, &["config", "units"]),
    ("manual", false, &[]),
    ("main", false, &["app", "config", "telemetry"]),
];

#[test]
fn every_module_uses_only_what_stands_in_its_row() {
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
        for (file, text) in sources(&path) {
            let wrong = used(&text).into_iter().filter(|used| !may(used));
            violations.extend(wrong.map(|used| format!("{file} uses {used}")));
        }
    }
    assert!(violations.is_empty(), "{violations:#?}");
}

/// In the crate `wal`: the log does not use `command`, `command` does not use the log, and the leaves use neither.
#[test]
fn the_log_and_the_command_format_do_not_use_each_other() {
    let mut found = Vec::new();
    for entry in fs::read_dir(root().join("wal/src")).unwrap() {
        let path = entry.unwrap().path();
        let module = path.file_stem().unwrap().to_str().unwrap();
        let may = |used: &str| match module {
            "failpoint" | "secret_file" | "sync" | "units" => used == module,
            "command" => ["command", "units"].contains(&used),
            // These tie the two together.
            "control" | "fuzzing" | "lib" | "tests" => true,
            _ => !["command", "control"].contains(&used),
        };
        for (file, text) in sources(&path) {
            let wrong = used(&text).into_iter().filter(|used| !may(used));
            found.extend(wrong.map(|used| format!("{file} uses {used}")));
        }
    }
    assert!(found.is_empty(), "{found:#?}");
}

/// A lock that shuttle does not know blocks the one thread on which all threads of a model run, and the model hangs. And
/// the locks of `sync` cannot fail.
#[test]
fn locks_are_those_that_shuttle_can_schedule() {
    // Models replace the index.
    let exempt = ["wal/src/sync.rs", "src/ingest/index/"];
    // Where shuttle changes threads, a `OnceLock` must be its own too. The others hold none at such a point.
    let scheduled = |file: &str| {
        let parts = ["wal/src", "src/ingest"].iter().any(|part| file.contains(part));
        parts
            && !["wal/src/tests/", "wal/src/command/", "failpoint.rs"]
                .iter()
                .any(|other| file.contains(other))
    };
    let mut found = Vec::new();
    for (file, text) in ["wal/src", "src"].iter().flat_map(|part| sources(&root().join(part))) {
        let std = named_after("std::sync::", &text).into_iter().find(|name| {
            ["Mutex", "MutexGuard", "Condvar", "RwLock"].contains(&name.as_str())
                || (name == "OnceLock" && scheduled(&file))
        });
        if !exempt.iter().any(|exempt| file.contains(exempt)) {
            found.extend(std.map(|lock| format!("{file} uses std::sync::{lock}, not that of `sync`")));
        }
    }
    assert!(found.is_empty(), "{found:#?}");
}

/// A task that nobody holds cannot be stopped, and nobody hears of its end.
#[test]
fn every_task_is_begun_by_its_owner() {
    // What makes owners, and the listeners, which keep the handle to wait for it.
    let owners = ["src/task.rs", "src/app/listeners.rs", "/tests/"];
    let detached = ["tokio::spawn(", "task::spawn(", "Handle::current().spawn(", "runtime.spawn("];
    let found: Vec<_> = sources(&root().join("src"))
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
    let owners = [
        // Makes owners.
        "src/task.rs",
        // Catches the panics of its requests; `task` is the daemon's.
        "wal/src/control.rs",
        // Test doubles.
        "/tests/",
        "/tests.rs",
        "src/ingest/model/",
    ];
    let detached =
        ["thread::spawn(", "thread::Builder::new()", "ThreadedProducer", "FutureProducer", "StreamConsumer"];
    let found: Vec<_> = ["src", "wal/src"]
        .iter()
        .flat_map(|part| sources(&root().join(part)))
        .filter(|(file, _)| !owners.iter().any(|owner| file.contains(owner)))
        .filter(|(_, text)| code(text).any(|line| detached.iter().any(|spawn| line.contains(spawn))))
        .map(|(file, _)| file)
        .collect();
    assert!(found.is_empty(), "task::Thread owns threads, kafka::poller those of producers: {found:#?}");
}

/// `wal-tools` has to start at once on a machine in trouble, and to build where the daemon does not.
#[test]
fn wal_tools_links_no_server() {
    let tree = Command::new(env!("CARGO"))
        .args(["tree", "--package", "wal-tools", "--edges", "normal", "--prefix", "none", "--offline"])
        .current_dir(root())
        .output()
        .unwrap();
    let packages = String::from_utf8(tree.stdout).unwrap();
    assert!(packages.contains("forebay-wal v"), "{packages}{}", String::from_utf8_lossy(&tree.stderr));
    for server in ["forebay v", "rdkafka", "tokio", "hyper", "sqlx", "redis"] {
        let found = packages.lines().find(|package| package.starts_with(server));
        assert_eq!(found, None, "wal-tools links a part of the server");
    }
}

#[test]
fn uses_are_found_wherever_they_stand() {
    let text = "use crate::wal::Lsn;\n//! see [`crate::http`]\nfn f(x: &crate::units::Span) { forebay::app::serve() }";
    assert_eq!(used(text), ["wal", "units", "app"]);
    assert_eq!(used("use crate::{\n    wal::{Lsn, Log},\n    http,\n};"), ["wal", "http"]);
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
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
fn used(text: &str) -> Vec<String> {
    ["crate::", "forebay::"].into_iter().flat_map(|root| named_after(root, text)).collect()
}

/// The words after every `root` outside comments, those in braces too.
fn named_after(root: &str, text: &str) -> Vec<String> {
    let text: String = code(text).flat_map(|line| [line, "\n"]).collect();
    let mut found = Vec::new();
    for (at, _) in text.match_indices(root) {
        let rest = &text[at + root.len()..];
        match rest.strip_prefix('{') {
            Some(group) => found.extend(members(group).into_iter().map(first_word)),
            None => found.push(first_word(rest)),
        }
    }
    found
}

/// What a group of imports names, from behind its brace to the one that closes it.
fn members(group: &str) -> Vec<&str> {
    let (mut members, mut begin, mut depth) = (Vec::new(), 0, 0);
    for (at, c) in group.char_indices() {
        match c {
            '{' => depth += 1,
            '}' if depth > 0 => depth -= 1,
            ',' if depth > 0 => {}
            ',' | '}' => {
                members.push(group[begin..at].trim());
                begin = at + 1;
                if c == '}' {
                    break;
                }
            }
            _ => {}
        }
    }
    members.retain(|member| !member.is_empty());
    members
}

fn first_word(text: &str) -> String {
    text.chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect()
}
