//! The requests that were sent and their outcomes, kept outside the daemon.

use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::Path;

use crate::command::Command;

/// The client's final knowledge.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RequestOutcome {
    /// No response arrived, so the command may be in the topic or not.
    Unknown,
    /// Every attempt was rejected, or nothing was sent.
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
    /// The command was sent again when its key may have expired. It may be in the topic under several ids.
    pub key_expired: bool,
    pub outcome: RequestOutcome,
}

/// The commands of one client, by serial. A file shows them to people.
pub struct Journal {
    entries: Vec<JournalEntry>,
    file: Option<BufWriter<File>>,
}

impl Journal {
    /// Creates a journal with or without a file.
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

    /// Records a command before it is sent, because a command in flight may arrive.
    pub fn begin(&mut self, command: Command, batch: u32, keyed: bool) {
        self.entries.push(JournalEntry {
            command,
            batch,
            keyed,
            key_expired: false,
            outcome: RequestOutcome::Unknown,
        });
    }

    /// Records the outcome of a request. `ids` are those of its commands if it was accepted.
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
                // A reader of the file will see a failed write. The entries in memory are the ones that count.
                let _ = writeln!(file, "{} {keyed} batch {batch}: {:?} {note}", entry.command, entry.outcome);
            }
        }
    }

    /// The commands of a request were sent again when its key may have expired.
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
