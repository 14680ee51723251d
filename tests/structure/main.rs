//! Structure of the sources: which module may use which, no cycles of files, and owners of tasks, threads and locks.
// clippy.toml allows this in test functions; their helpers are no different.
#![allow(clippy::unwrap_used)]

mod cycles;
mod graph;
mod layers;
mod owners;
mod source;

use std::fs;
use std::path::Path;

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// All files below a path, with their texts.
fn sources(path: &Path) -> Vec<(String, String)> {
    if path.is_dir() {
        let entries = fs::read_dir(path).unwrap();
        return entries.flat_map(|entry| sources(&entry.unwrap().path())).collect();
    }
    vec![(path.display().to_string(), fs::read_to_string(path).unwrap())]
}
