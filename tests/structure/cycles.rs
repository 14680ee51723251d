//! No cycles of files: a reader can start with the lowest file, and each file uses only files read before.
//!
//! A file uses another one if it names an item that the other file defines. A re-export counts as a use of the defining
//! file. `mod x;` is no use, and code that is compiled only for tests is ignored. Method calls are not detected,
//! because they name no file.

use std::fs;

use super::graph::Graph;
use super::root;

/// Root files of the crates.
const ROOTS: [&str; 6] = [
    "cli-support/src/lib.rs",
    "src/lib.rs",
    "src/main.rs",
    "wal/src/lib.rs",
    "wal-tools/src/main.rs",
    "load/src/main.rs",
];

#[test]
fn no_files_use_each_other_in_a_cycle() {
    let graph = Graph::read(root(), ROOTS);
    assert!(graph.files() > 400, "the crates are read");
    let found: String = graph.cycles().iter().map(|files| graph.describe(files)).collect();
    assert!(found.is_empty(), "files that use each other:\n{found}");
}

#[test]
fn cycles_through_re_exports_are_found_comments_are_ignored() {
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
    assert_eq!(read().describe(&read().cycles()[0]), shown);
    write("high/y.rs", "pub struct Y;\n/* high::X */");
    assert!(read().cycles().is_empty());
    // A `mod.rs` is a file like any other.
    write("high/mod.rs", "mod x;\nmod y;\npub use x::X;\npub use y::Y as Renamed;\npub fn f(_: &X) {}");
    write("high/y.rs", "pub struct Y;\nfn g() { super::f(); }");
    assert_eq!(read().cycles(), [["high/mod.rs", "high/x.rs", "high/y.rs"]]);
}
