//! Compares the records in Kafka with the responses to clients. Pure: it takes records and statuses, and returns the
//! violations.

use std::collections::{HashMap, HashSet};

use crate::command::{Command, Key, Kind};
use crate::findings::{Findings, Violation};
use crate::journal::{Journal, JournalEntry, RequestOutcome};
use crate::status_observation::{ObservedState, StatusObservation};

/// Whether delivery may repeat records.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DeliveryMode {
    AtLeastOnce,
    ExactlyOnce,
}

/// A record as printed by Kafka's own consumer.
#[derive(Clone, Copy, Debug)]
pub struct TopicRecord<'a> {
    pub kind: Kind,
    pub partition: i32,
    pub offset: i64,
    pub key: Option<&'a str>,
    /// `name:value,name:value`
    pub headers: &'a str,
    pub value: &'a str,
}

/// Location of a record: partition and offset.
pub type RecordPosition = (i32, i64);

/// Counts of the check.
#[derive(Clone, Copy, Debug, Default)]
pub struct CheckCounts {
    pub acknowledged: u64,
    /// Acknowledged commands that are missing because not all records were delivered in the end.
    pub waiting: u64,
    pub refused: u64,
    pub unknown: u64,
    /// Commands of unknown outcome that are in the topic.
    pub unknown_found: u64,
    pub dead_expected: u64,
    pub records: u64,
    pub repeats: u64,
    /// Commands in the topic under several ids, because their key had expired.
    pub key_expired: u64,
    pub keys: u64,
    pub statuses: u64,
    pub statuses_gone: u64,
}

/// Checks records in the order of each partition.
pub struct Checker<'a> {
    seed: u64,
    delivery: DeliveryMode,
    journals: &'a [Journal],
    findings: &'a Findings,
    counts: CheckCounts,
    /// The first location of each command, by client and serial.
    first: Vec<Vec<Option<RecordPosition>>>,
    /// The other locations of repeated commands.
    repeats: HashMap<(u32, u32), Vec<RecordPosition>>,
    /// The ids of commands without a response, and further ids of commands whose key had expired.
    ids: HashMap<(u32, u32), HashSet<Box<str>>>,
    /// The partition of a key in its topic, and its last command so far.
    keys: HashMap<(Kind, Key), (i32, u32)>,
    is_drained: bool,
}

impl<'a> Checker<'a> {
    pub fn new(seed: u64, delivery: DeliveryMode, journals: &'a [Journal], findings: &'a Findings) -> Self {
        let first = journals.iter().map(|journal| vec![None; journal.entries().len()]).collect();
        let (more, ids, keys) = (HashMap::new(), HashMap::new(), HashMap::new());
        Self {
            seed,
            delivery,
            journals,
            findings,
            counts: CheckCounts::default(),
            first,
            repeats: more,
            ids,
            keys,
            is_drained: true,
        }
    }

    /// Not all records were delivered, which is a finding of its own. Missing records are then not counted as lost.
    pub fn not_drained(&mut self) {
        self.is_drained = false;
    }

    /// Checks one record.
    pub fn record(&mut self, record: &TopicRecord<'_>) {
        self.counts.records += 1;
        let at = format!("{} {}/{}", record.kind.topic(), record.partition, record.offset);
        let named = Command::identify(record.value);
        let Some(entry) = named.and_then(|(client, serial)| self.entry(client, serial)) else {
            let start: String = record.value.chars().take(100).collect();
            return self.findings.add(Violation::Invented, format!("{at}: no client sent {start}"));
        };
        let entry = entry.clone();
        let command = entry.command;
        let at = format!("{at}, {command}");
        self.compare(record, &entry, &at);
        if entry.outcome == RequestOutcome::Refused {
            self.findings.add(Violation::Invented, format!("{at}: every response rejected it"));
        }
        if command.is_poison() {
            self.findings.add(Violation::Invented, format!("{at}: too large for its topic, but present"));
        }
        let Some(id) = header(record.headers, "forebay-command-id") else {
            return self.findings.add(Violation::Altered, format!("{at}: no command id"));
        };
        let new_id = self.identify(id, &entry, &at);
        self.check_order(record, &command, new_id, &at);
    }

    /// Checks that bytes, key and headers are those that were sent.
    fn compare(&self, record: &TopicRecord<'_>, entry: &JournalEntry, at: &str) {
        let command = &entry.command;
        let altered = |what: &str| self.findings.add(Violation::Altered, format!("{at}: another {what}"));
        if record.kind != command.kind || header(record.headers, "forebay-kind") != Some(command.kind.name())
        {
            altered("kind");
        }
        if record.value != command.body(self.seed) {
            altered("body");
        }
        if record.key != command.key.map(|key| key.to_string()).as_deref() {
            altered("key");
        }
        let idempotency_key = entry.keyed.then(|| idempotency_key(self.seed, command.client, entry.batch));
        if header(record.headers, "forebay-idempotency-key") != idempotency_key.as_deref() {
            altered("idempotency key");
        }
    }

    /// Checks that one command has one id. Returns true for a new id of a command that already has one.
    fn identify(&mut self, id: &str, entry: &JournalEntry, at: &str) -> bool {
        let command = &entry.command;
        if let RequestOutcome::Acknowledged(told) = &entry.outcome {
            if **told == *id {
                return false;
            }
            if !entry.key_expired {
                self.findings.add(Violation::TwoIds, format!("{at}: id {id}, acknowledged as {told}"));
            }
        }
        let ids = self.ids.entry((command.client, command.serial)).or_default();
        let is_new = ids.insert(id.into());
        let is_another =
            is_new && (ids.len() > 1 || matches!(entry.outcome, RequestOutcome::Acknowledged(_)));
        if is_another && entry.key_expired {
            self.counts.key_expired += 1;
        } else if is_another && entry.outcome == RequestOutcome::Unknown {
            self.findings.add(Violation::TwoIds, format!("{at}: ids {ids:?}"));
        }
        is_another
    }

    /// Checks order and repeats.
    fn check_order(&mut self, record: &TopicRecord<'_>, command: &Command, another_id: bool, at: &str) {
        let place = (record.partition, record.offset);
        let first = &mut self.first[command.client as usize][command.serial as usize];
        if let Some(first) = *first {
            self.repeats.entry((command.client, command.serial)).or_default().push(place);
            if another_id {
                return;
            }
            self.counts.repeats += 1;
            if self.delivery == DeliveryMode::ExactlyOnce {
                self.findings.add(Violation::Repeated, format!("{at}: also at {first:?}"));
            }
            return;
        }
        *first = Some(place);
        let Some(key) = command.key else { return };
        let (partition, last) =
            self.keys.entry((command.kind, key)).or_insert((record.partition, command.serial));
        if *partition != record.partition {
            let what = format!("{at}: the key's other records are in partition {partition}");
            self.findings.add(Violation::OutOfOrder, what);
        } else if *last > command.serial {
            self.findings.add(Violation::OutOfOrder, format!("{at}: after serial {last} of the same key"));
        }
        *last = (*last).max(command.serial);
    }

    /// Checks one status of a command against the whole topic.
    fn status(&mut self, observation: &StatusObservation) {
        self.counts.statuses += 1;
        let Some(entry) = self.entry(observation.client, observation.serial) else {
            return self
                .findings
                .add(Violation::Storm, format!("a status of an unknown command: {observation:?}"));
        };
        let entry = entry.clone();
        let found = self.places(observation.client, observation.serial);
        let wrong = |what: &str| {
            let told = format!("{}: {what}; in the topic at {found:?}: {observation:?}", entry.command);
            self.findings.add(Violation::Status, told);
        };
        match (observation.state, observation.place) {
            (ObservedState::Sent, Some(place)) if !found.contains(&place) => {
                wrong("the record is not at the reported location")
            }
            (ObservedState::Sent, None) if found.is_empty() => wrong("sent, but not in the topic"),
            (ObservedState::Dead, _) if !entry.command.is_poison() => wrong("a dead letter without a reason"),
            (ObservedState::Accepted, _) if observation.is_final && self.is_drained => {
                wrong("waiting, but nothing is left to deliver")
            }
            (ObservedState::Gone, _) => self.counts.statuses_gone += 1,
            _ => {}
        }
    }

    /// The end of the topics is reached. Determines missing records and wrong statuses.
    pub fn finish(mut self, observations: &[StatusObservation]) -> CheckCounts {
        let mut ids = HashSet::new();
        let mut known = 0;
        for journal in self.journals {
            for entry in journal.entries() {
                self.check_command(entry);
                if let RequestOutcome::Acknowledged(id) = &entry.outcome {
                    known += 1;
                    ids.insert(&**id);
                }
            }
            if self.is_drained {
                self.check_batches(journal);
            }
        }
        if ids.len() != known {
            let what = format!("{} ids were assigned more than once", known - ids.len());
            self.findings.add(Violation::TwoIds, what);
        }
        for observation in observations {
            self.status(observation);
        }
        self.counts.keys = self.keys.len() as u64;
        self.counts
    }

    fn check_command(&mut self, entry: &JournalEntry) {
        let command = &entry.command;
        let found = self.first[command.client as usize][command.serial as usize].is_some();
        match &entry.outcome {
            RequestOutcome::Refused => self.counts.refused += 1,
            RequestOutcome::Unknown => {
                self.counts.unknown += 1;
                self.counts.unknown_found += u64::from(found);
            }
            RequestOutcome::Acknowledged(_) if command.is_poison() => {
                self.counts.acknowledged += 1;
                self.counts.dead_expected += 1;
            }
            RequestOutcome::Acknowledged(id) => {
                self.counts.acknowledged += 1;
                if !found && !self.is_drained {
                    self.counts.waiting += 1;
                } else if !found {
                    self.findings.add(Violation::Lost, format!("{command}, acknowledged as {id}"));
                }
            }
        }
    }

    /// A batch without a response is in the topic completely or not at all. (An acknowledged batch must be complete,
    /// which `check_command` checks.)
    fn check_batches(&self, journal: &Journal) {
        let deliverable =
            |entry: &&JournalEntry| !entry.command.is_poison() && entry.outcome == RequestOutcome::Unknown;
        for batch in journal.entries().chunk_by(|one, next| one.batch == next.batch) {
            let parts: Vec<&JournalEntry> = batch.iter().filter(deliverable).collect();
            let found = parts.iter().filter(|part| {
                let command = &part.command;
                self.first[command.client as usize][command.serial as usize].is_some()
            });
            let found = found.count();
            if found != 0 && found != parts.len() {
                let what = format!("{} and its successors: {found} of {}", parts[0].command, parts.len());
                self.findings.add(Violation::HalfBatch, what);
            }
        }
    }

    fn entry(&self, client: u32, serial: u32) -> Option<&'a JournalEntry> {
        self.journals.get(client as usize)?.entries().get(serial as usize)
    }

    fn places(&self, client: u32, serial: u32) -> Vec<RecordPosition> {
        let first = self.first[client as usize][serial as usize];
        let more = self.repeats.get(&(client, serial)).into_iter().flatten().copied();
        first.into_iter().chain(more).collect()
    }
}

/// The `Idempotency-Key` of a request, built from its client and its first command.
pub fn idempotency_key(seed: u64, client: u32, batch: u32) -> String {
    format!("storm-{seed}-{client}-{batch}")
}

fn header<'a>(headers: &'a str, name: &str) -> Option<&'a str> {
    headers.split(',').find_map(|header| header.strip_prefix(name)?.strip_prefix(':'))
}
