//! Owners of everything that runs or waits: tasks, threads, and the locks that a model schedules.

use super::source::{Module, TestCode};
use super::{root, sources};

/// All threads of a shuttle model run on one thread. A lock unknown to shuttle blocks it, and the model hangs. The
/// locks of `sync` also cannot fail.
#[test]
fn locks_are_those_that_shuttle_can_schedule() {
    // Models replace the index.
    let exempt = ["wal/src/sync.rs", "src/ingest/index/"];
    // Where shuttle switches threads, a `OnceLock` must be shuttle's own, too. The others hold none at such a point.
    let scheduled = |file: &str| {
        let parts = ["wal/src", "src/ingest"].iter().any(|part| file.contains(part));
        parts
            && !["wal/src/tests/", "wal/src/command/", "failpoint.rs"]
                .iter()
                .any(|other| file.contains(other))
    };
    let mut found = Vec::new();
    for (file, text) in ["wal/src", "src"].iter().flat_map(|part| sources(&root().join(part))) {
        let std = named_of_sync(&text).into_iter().find(|name| {
            ["Mutex", "MutexGuard", "Condvar", "RwLock"].contains(&name.as_str())
                || (name == "OnceLock" && scheduled(&file))
        });
        if !exempt.iter().any(|exempt| file.contains(exempt)) {
            found.extend(std.map(|lock| format!("{file} uses std::sync::{lock}, not that of `sync`")));
        }
    }
    assert!(found.is_empty(), "{found:#?}");
}

/// A task without an owner cannot be stopped, and its end is not noticed.
#[test]
fn every_task_has_an_owner() {
    // The code that creates owners, and the listeners, which keep the handle to wait for it.
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

/// A thread without an owner can die unnoticed.
#[test]
fn every_thread_has_an_owner_that_notices_its_end() {
    let owners = [
        // Creates owners.
        "src/task.rs",
        // Catches the panics of its requests; `task` belongs to the daemon.
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

/// The lines that are not comments.
fn code(text: &str) -> impl Iterator<Item = &str> {
    text.lines().filter(|line| !line.trim_start().starts_with("//"))
}

/// Items of `std::sync` that a text names, including in tests and inline modules.
fn named_of_sync(text: &str) -> Vec<String> {
    let module = Module::parse(text, TestCode::Kept);
    let paths = module.all_paths().into_iter().filter(|path| path.len() > 2 && path[..2] == ["std", "sync"]);
    paths.map(|path| path[2].clone()).collect()
}
