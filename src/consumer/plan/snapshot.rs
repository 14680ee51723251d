//! The data that a batch needs from the database, and its state during planning.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};

use crate::db::{Holder, ParkedRow, UserRow, Version};

use super::user_state::UserState;
use super::write_set::WriteSet;
use crate::consumer::command::Command;

/// The lookups in the database. Sorted, so that concurrent transactions lock rows in the same order and cannot
/// deadlock.
#[derive(Default)]
pub(crate) struct Lookups {
    pub(crate) ids: Vec<String>,
    pub(crate) names: Vec<String>,
    pub(crate) emails: Vec<String>,
    pub(crate) phones: Vec<String>,
}

impl Lookups {
    pub(crate) fn for_commands(commands: &[Command]) -> Self {
        let (mut ids, mut names) = (BTreeSet::new(), BTreeSet::new());
        let (mut emails, mut phones) = (BTreeSet::new(), BTreeSet::new());
        for command in commands {
            ids.insert(&command.id);
            ids.extend(&command.lost_predecessor);
            names.insert(&command.name);
            if let Some(value) = command.value() {
                emails.extend(&value.email);
                phones.extend(&value.phone);
            }
        }
        let list = |set: BTreeSet<&String>| set.into_iter().cloned().collect();
        Self { ids: list(ids), names: list(names), emails: list(emails), phones: list(phones) }
    }
}

/// The results of the lookups.
#[derive(Default)]
pub(crate) struct Snapshot {
    /// Commands with an outcome row or an audit row.
    pub(crate) decided: HashSet<String>,
    pub(crate) parked: Vec<ParkedRow>,
    pub(crate) users: Vec<UserRow>,
    pub(crate) holders: Vec<Holder>,
    pub(crate) tombstones: Vec<(String, Version)>,
}

/// The holder of each unique value: in the database, and as planned.
#[derive(Default)]
pub(super) struct ValueHolders {
    base: HashMap<String, String>,
    now: HashMap<String, String>,
}

impl ValueHolders {
    fn add(&mut self, value: Option<String>, name: &str) {
        if let Some(value) = value {
            self.now.insert(value.clone(), name.to_owned());
            self.base.insert(value, name.to_owned());
        }
    }

    /// Whether another user holds the value.
    pub(super) fn is_taken(&self, value: &str, by_other_than: &str) -> bool {
        self.now.get(value).is_some_and(|holder| holder != by_other_than)
    }

    /// The holder of the value in the database.
    pub(super) fn database_holder(&self, value: &str) -> Option<&str> {
        self.base.get(value).map(String::as_str)
    }

    fn move_value(&mut self, name: &str, from: Option<&str>, to: Option<&str>) {
        if let Some(from) = from
            && self.now.get(from).is_some_and(|holder| holder == name)
        {
            self.now.remove(from);
        }
        if let Some(to) = to {
            self.now.insert(to.to_owned(), name.to_owned());
        }
    }
}

/// Commands of one name in the retry topic, in order.
type RetryQueue = Vec<ParkedRow>;

/// The affected table rows, in the state after the commands planned so far.
pub(super) struct BatchState {
    users: BTreeMap<String, UserState>,
    pub(super) emails: ValueHolders,
    pub(super) phones: ValueHolders,
    tombstones: HashMap<String, Version>,
    deleted: BTreeSet<String>,
    queues: HashMap<String, RetryQueue>,
    parked_before: HashSet<String>,
    touched: BTreeSet<String>,
}

impl BatchState {
    pub(super) fn new(snapshot: Snapshot) -> Self {
        let (mut emails, mut phones) = (ValueHolders::default(), ValueHolders::default());
        for holder in snapshot.holders {
            emails.add(holder.email, &holder.name);
            phones.add(holder.phone, &holder.name);
        }
        for row in &snapshot.users {
            emails.add(row.email.clone(), &row.name);
            phones.add(row.phone.clone(), &row.name);
        }
        let mut queues: HashMap<String, RetryQueue> = HashMap::new();
        let mut parked_before = HashSet::new();
        for row in snapshot.parked {
            parked_before.insert(row.id.clone());
            queues.entry(row.name.clone()).or_default().push(row);
        }
        Self {
            users: snapshot.users.into_iter().map(|row| (row.name.clone(), UserState::read(row))).collect(),
            emails,
            phones,
            tombstones: snapshot.tombstones.into_iter().collect(),
            deleted: BTreeSet::new(),
            queues,
            parked_before,
            touched: BTreeSet::new(),
        }
    }

    /// The planned row of a name.
    pub(super) fn row(&self, name: &str) -> Option<&UserRow> {
        self.users.get(name)?.planned.as_ref()
    }

    /// Whether the name keeps its database row.
    pub(super) fn keeps_row(&self, name: &str) -> bool {
        self.users.get(name).is_some_and(UserState::keeps_row)
    }

    /// Sets the row of a name.
    pub(super) fn set(&mut self, row: UserRow, named: bool) {
        let person = self.users.entry(row.name.clone()).or_default();
        let old = person.planned.take();
        let (email, phone) = old.map_or((None, None), |old| (old.email, old.phone));
        self.emails.move_value(&row.name, email.as_deref(), row.email.as_deref());
        self.phones.move_value(&row.name, phone.as_deref(), row.phone.as_deref());
        person.sets_nickname |= named;
        person.set(row);
    }

    /// Removes the row of a name.
    pub(super) fn clear(&mut self, name: &str) {
        let Some(person) = self.users.get_mut(name) else { return };
        if let Some(old) = person.planned.take() {
            self.emails.move_value(name, old.email.as_deref(), None);
            self.phones.move_value(name, old.phone.as_deref(), None);
            person.clear();
        }
    }

    /// The command that last deleted the name.
    pub(super) fn tombstone(&self, name: &str) -> Option<&Version> {
        self.tombstones.get(name)
    }

    /// Records the command that deletes the name now.
    pub(super) fn add_tombstone(&mut self, name: &str, version: Version) {
        self.deleted.insert(name.to_owned());
        self.tombstones.insert(name.to_owned(), version);
    }

    /// The parked commands of a name.
    pub(super) fn queue(&self, name: &str) -> &[ParkedRow] {
        self.queues.get(name).map_or(&[], Vec::as_slice)
    }

    /// Parks a command at the end of its queue, or updates its entry.
    pub(super) fn park(&mut self, name: &str, id: &str, attempts: i32) {
        let queue = self.queues.entry(name.to_owned()).or_default();
        self.touched.insert(id.to_owned());
        match queue.iter_mut().find(|row| row.id == id) {
            Some(row) => row.attempts = attempts,
            None => {
                let seq = queue.last().map_or(1, |last| last.seq + 1);
                queue.push(ParkedRow { id: id.to_owned(), name: name.to_owned(), seq, attempts });
            }
        }
    }

    /// Removes a command from the queue of its name.
    pub(super) fn unpark(&mut self, name: &str, id: &str) {
        let Some(queue) = self.queues.get_mut(name) else { return };
        let before = queue.len();
        queue.retain(|row| row.id != id);
        if queue.len() < before {
            self.touched.insert(id.to_owned());
        }
    }

    /// Adds the net result to `writes`.
    pub(super) fn finish(self, writes: &mut WriteSet) {
        for (name, person) in self.users.into_iter().filter(|(_, person)| person.touched) {
            let stays = person.keeps_row();
            if person.stored.is_some() && !stays {
                writes.deletes.push(name.clone());
            }
            if person.sets_nickname && stays {
                let standing = person.stored.as_ref().and_then(|row| row.nickname.clone());
                writes.nickname_updates.push((name, standing));
            }
            match person.planned {
                Some(row) if stays => writes.updates.push(row),
                Some(row) => writes.inserts.push(row),
                None => {}
            }
        }
        let tombstones = &self.tombstones;
        let buried =
            self.deleted.iter().filter_map(|name| Some((name.clone(), tombstones.get(name)?.clone())));
        writes.tombstones.extend(buried);
        let waiting: HashMap<&str, &ParkedRow> =
            self.queues.values().flatten().map(|row| (row.id.as_str(), row)).collect();
        for id in &self.touched {
            match waiting.get(id.as_str()) {
                Some(row) => writes.park.push((*row).clone()),
                None if self.parked_before.contains(id) => writes.unpark.push(id.clone()),
                None => {}
            }
        }
    }
}
