//! No cycles of files: a reader can start at the bottom, and no file needs one that the reader has not seen yet.
//!
//! A file uses another one if it names an item that the other file defines. A re-export counts for the file that defines
//! the item, `mod x;` is no use, and code that only tests compile is left out. The test does not see method calls,
//! because they name no file.
// clippy.toml allows this in test functions; what they call is no different.
#![allow(clippy::unwrap_used)]

mod graph;
mod source;

use std::fs;
use std::path::Path;

use graph::Graph;

/// The crates' root files.
const ROOTS: [&str; 4] = ["src/lib.rs", "src/main.rs", "wal/src/lib.rs", "wal-tools/src/main.rs"];

/// Cycles that exist today, separated by empty lines. The list may only shrink.
const KNOWN: &str = "
src/drain/asides.rs src/drain/exactly/claim.rs src/drain/exactly/worker.rs src/drain/mod.rs
src/drain/reader.rs src/drain/worker.rs

src/drain/board.rs src/drain/sealed.rs

src/drain/part.rs src/drain/window.rs

src/http/commands.rs src/http/public.rs src/http/status.rs src/http/users.rs

src/http/config.rs src/http/conn.rs src/http/server.rs src/http/site.rs src/http/tls/files.rs
src/http/tls/mod.rs src/http/tls/reload.rs src/http/wire.rs

src/wal/checkpoint.rs src/wal/cursor.rs src/wal/dead/entry.rs src/wal/dead/file.rs src/wal/dead/fresh.rs
src/wal/dead/known.rs src/wal/dead/mod.rs src/wal/dead/places.rs src/wal/dead/types.rs src/wal/log.rs
src/wal/quarantine.rs src/wal/survey.rs src/wal/transactions.rs

src/wal/crypt/slots.rs src/wal/frame.rs src/wal/header.rs

src/wal/recovery.rs src/wal/start.rs

src/wal/repair/mod.rs src/wal/repair/sweep.rs

wal-tools/src/bench_disk/mod.rs wal-tools/src/dead/act.rs wal-tools/src/dead/mod.rs wal-tools/src/export.rs
wal-tools/src/list.rs wal-tools/src/main.rs wal-tools/src/rekey.rs wal-tools/src/repair.rs
wal-tools/src/replay/mod.rs wal-tools/src/segments.rs wal-tools/src/show.rs wal-tools/src/status.rs
wal-tools/src/tail.rs wal-tools/src/verify.rs

wal-tools/src/cli.rs wal-tools/src/range.rs
";

#[test]
fn no_files_use_each_other_in_a_circle() {
    let top = Path::new(env!("CARGO_MANIFEST_DIR"));
    let graph = Graph::read(top, ROOTS.into_iter().filter(|root| top.join(root).exists()));
    assert!(graph.files() > 100, "the crates are read");
    let known: Vec<Vec<_>> = KNOWN.split("\n\n").map(|files| files.split_whitespace().collect()).collect();
    let found = graph.cycles();
    let new: String =
        found.iter().filter(|it| !known.iter().any(|known| known == *it)).map(|it| graph.show(it)).collect();
    assert!(new.is_empty(), "files that use each other:\n{new}");
    let gone: Vec<_> =
        known.iter().filter(|known| !known.is_empty() && !found.iter().any(|it| it == *known)).collect();
    assert!(gone.is_empty(), "no cycle any more; take it off the list: {gone:#?}");
}

#[test]
fn a_cycle_is_found_through_re_exports_and_not_through_comments_or_tests() {
    let tree = tempfile::tempdir().unwrap();
    let write = |name: &str, text: &str| {
        let path = tree.path().join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    };
    write("lib.rs", "pub mod low;\npub mod high;");
    write("low.rs", "pub struct Low;\n// crate::high::X\n#[cfg(test)]\nmod tests { use crate::high::X; }");
    write("high/mod.rs", "mod x;\nmod y;\npub use x::X;\npub use y::Y as Renamed;");
    write("high/x.rs", "use crate::high::Renamed;\nuse crate::low::Low;\npub struct X(Renamed, Low);");
    write(
        "high/y.rs",
        "use crate::high;\npub struct Y; fn f<'a>(s: &'a str) { high::X::new(\"{ crate::low::Low\") }",
    );
    let read = || Graph::read(tree.path(), ["lib.rs"]);
    assert_eq!(read().cycles(), [["high/x.rs", "high/y.rs"]]);
    let shown = "high/x.rs uses Renamed of high/y.rs\nhigh/y.rs uses X of high/x.rs\n\n";
    assert_eq!(read().show(&read().cycles()[0]), shown);
    write("high/y.rs", "pub struct Y;\n/* high::X */");
    assert!(read().cycles().is_empty());
    // A `mod.rs` is a file like any other.
    write("high/mod.rs", "mod x;\nmod y;\npub use x::X;\npub use y::Y as Renamed;\npub fn f(_: &X) {}");
    write("high/y.rs", "pub struct Y;\nfn g() { super::f(); }");
    assert_eq!(read().cycles(), [["high/mod.rs", "high/x.rs", "high/y.rs"]]);
}
