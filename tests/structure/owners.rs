//! What runs or waits has an owner: tasks, threads, and the locks that a schedule can reach.

use super::source::{Module, TestCode};
use super::{root, sources};

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

/// The lines that are no comments.
fn code(text: &str) -> impl Iterator<Item = &str> {
    text.lines().filter(|line| !line.trim_start().starts_with("//"))
}

/// The items of `std::sync` that a text names, tests and inline modules included.
fn named_of_sync(text: &str) -> Vec<String> {
    let module = Module::parse(text, TestCode::Kept);
    let paths = module.all_paths().into_iter().filter(|path| path.len() > 2 && path[..2] == ["std", "sync"]);
    paths.map(|path| path[2].clone()).collect()
}
