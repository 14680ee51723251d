//! Which log, and how it is looked at.

use std::path::Path;
use std::path::PathBuf;

use anyhow::Context;
use forebay::command::kind_of;
use forebay::wal::inspect::Directory;
use forebay::wal::inspect::View;

/// Where the log lies when nobody says it: embedded mode's place, then the packaged daemon's.
const PLACES: [&str; 2] = ["./forebay-data/wal", "/var/lib/forebay/wal"];

/// The log a command is about.
pub struct Log {
    /// Where it lies.
    pub dir: PathBuf,
    /// Whether answers are JSON.
    pub json: bool,
    directory: Directory,
}

impl Log {
    /// The log in `dir`, else in the first usual place that exists.
    pub fn find(dir: Option<&Path>, json: bool) -> anyhow::Result<Self> {
        let dir = match dir {
            Some(dir) => dir.to_owned(),
            None => {
                let there = PLACES.iter().map(PathBuf::from).find(|place| place.exists());
                there.with_context(|| format!("no log in {}: say where with --dir", PLACES.join(" or ")))?
            }
        };
        let directory = Directory::open(&dir)?;
        Ok(Self { dir, json, directory })
    }

    /// The directory itself.
    pub fn directory(&self) -> &Directory {
        &self.directory
    }

    /// What it holds now.
    pub fn look(&self) -> anyhow::Result<View> {
        Ok(self.directory.look(kind_of)?)
    }
}
