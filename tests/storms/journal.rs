//! What was sent and what became of it, kept outside the daemon.

use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::Path;

use crate::command::Command;

/// What the client knows in the end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RequestOutcome {
    /// No answer came: it may be there or not.
    Unknown,
    /// It was told that it is not accepted, each time it asked, or nothing was sent.
    Refused,
    /// Accepted under this id.
    Acknowledged(Box<str>),
}

/// One command.
#[derive(Clone, Debug)]
pub struct JournalEntry {
    pub command: Command,
    /// The serial of its request's first command.
    pub batch: u32,
    /// Sent with an `Idempotency-Key`.
    pub keyed: bool,
    /// It was sent again when its key may have been forgotten already: it may be there under more than one id.
    pub key_expired: bool,
    pub outcome: RequestOutcome,
}

/// The commands of one client, by serial. A file tells them to people.
pub struct Journal {
    entries: Vec<JournalEntry>,
    file: Option<BufWriter<File>>,
}

impl Journal {
    /// With a file of that name, or without one.
    pub fn new(file: Option<&Path>) -> Self {
        let file = file.map(|path| BufWriter::new(File::create(path).expect("a journal file")));
        Self { entries: Vec::new(), file }
    }

    /// The same entries, without a file.
    pub fn copy(of: &Self) -> Self {
        Self { entries: of.entries.clone(), file: None }
    }

    pub fn entries(&self) -> &[JournalEntry] {
        &self.entries
    }

    /// The next command's serial.
    pub fn next_serial(&self) -> u32 {
        u32::try_from(self.entries.len()).expect("fewer commands than numbers")
    }

    /// Before it is sent: what is on its way may arrive.
    pub fn begin(&mut self, command: Command, batch: u32, keyed: bool) {
        self.entries.push(JournalEntry {
            command,
            batch,
            keyed,
            key_expired: false,
            outcome: RequestOutcome::Unknown,
        });
    }

    /// What became of a request. `ids` are those of its commands when it was accepted.
    pub fn end(
        &mut self,
        batch: u32,
        outcome: &RequestOutcome,
        ids: &[Box<str>],
        beyond_window: bool,
        note: &str,
    ) {
        let start = batch as usize;
        for (n, entry) in self.entries[start..].iter_mut().enumerate() {
            entry.key_expired = beyond_window;
            entry.outcome = match ids.get(n) {
                Some(id) => RequestOutcome::Acknowledged(id.clone()),
                None => outcome.clone(),
            };
        }
        for entry in &self.entries[start..] {
            if let Some(file) = &mut self.file {
                let keyed = if entry.keyed { "keyed" } else { "plain" };
                // A journal that cannot be written is noticed by who reads it; what counts is in memory.
                let _ = writeln!(file, "{} {keyed} batch {batch}: {:?} {note}", entry.command, entry.outcome);
            }
        }
    }

    /// The commands of a request were sent again when its key may have been forgotten.
    pub fn mark_key_expired(&mut self, batch: u32, commands: usize) {
        for entry in &mut self.entries[batch as usize..][..commands] {
            entry.key_expired = true;
        }
    }

    /// A note between the commands.
    pub fn note(&mut self, text: &str) {
        if let Some(file) = &mut self.file {
            let _ = writeln!(file, "# {text}");
        }
    }
}
