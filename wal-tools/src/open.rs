//! Which log, and how it is looked at.

use std::path::PathBuf;

use anyhow::Context;
use forebay::command::kind_of;
use forebay::wal::Keys;
use forebay::wal::inspect::Directory;
use forebay::wal::inspect::View;

use crate::cli::Cli;

/// Where the log lies when nobody says it: embedded mode's place, then the packaged daemon's.
const PLACES: [&str; 2] = ["./forebay-data/wal", "/var/lib/forebay/wal"];

/// The log a command is about.
pub struct Log {
    /// Where it lies.
    pub dir: PathBuf,
    /// Whether answers are JSON.
    pub json: bool,
    /// The master keys that were given.
    pub keys: Keys,
    directory: Directory,
}

impl Log {
    /// The log in the directory that was named, else in the first usual place that exists.
    pub fn find(cli: &Cli) -> anyhow::Result<Self> {
        let dir = match &cli.dir {
            Some(dir) => dir.clone(),
            None => {
                let there = PLACES.iter().map(PathBuf::from).find(|place| place.exists());
                there.with_context(|| format!("no log in {}: say where with --dir", PLACES.join(" or ")))?
            }
        };
        let keys = Keys::read(cli.key_file.as_deref(), &cli.old_key_file)?;
        let directory = Directory::open(&dir)?.with_keys(keys.clone());
        Ok(Self { dir, json: cli.json, keys, directory })
    }

    /// The directory itself.
    pub fn directory(&self) -> &Directory {
        &self.directory
    }

    /// What it holds now.
    pub fn look(&self) -> anyhow::Result<View> {
        Ok(self.directory.look(kind_of)?)
    }

    /// What it holds now, to be shown; says if part of it cannot be, for want of the key.
    pub fn look_inside(&self) -> anyhow::Result<View> {
        let view = self.look()?;
        if let Some(hint) = missing(&view) {
            eprintln!("encrypted: {hint}");
        }
        Ok(view)
    }
}

/// Which key would show what this view cannot; `None` when it shows everything.
pub fn missing(view: &View) -> Option<String> {
    let needs: Vec<_> = view.needs().iter().map(ToString::to_string).collect();
    (!needs.is_empty()).then(|| {
        format!(
            "kinds, keys, ids and payloads show only with the master key {} (--key-file)",
            needs.join(", ")
        )
    })
}
