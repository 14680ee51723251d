//! The rules of the four commands.

use crate::command::CommandId;
use crate::command::UserKind;
use crate::command::UserValue;
use crate::db::UserRow;

use super::facts::Holdings;
use super::facts::World;
use super::version;

/// Reasons of refusals, as clients read them.
const TAKEN: &str = "taken";
const SUPERSEDED: &str = "superseded";
const NOT_FOUND: &str = "not_found";

/// What the rules say.
pub(super) enum Verdict {
    /// Done.
    Applied,
    /// Never.
    Rejected { field: Option<&'static str>, reason: &'static str },
    /// Right, but not in this transaction.
    NotHere,
}

const fn rejected(field: Option<&'static str>, reason: &'static str) -> Verdict {
    Verdict::Rejected { field, reason }
}

/// Judges one command and changes the world by it.
pub(super) fn apply(world: &mut World, kind: UserKind, value: &UserValue, id: &CommandId) -> Verdict {
    match kind {
        UserKind::Create => create(world, value, id),
        UserKind::Update => update(world, value, id),
        UserKind::Password => password(world, value, id),
        UserKind::Delete => delete(world, value, id),
    }
}

fn create(world: &mut World, value: &UserValue, id: &CommandId) -> Verdict {
    let name = value.name.as_str();
    if world.row(name).is_some() {
        return rejected(Some("name"), TAKEN);
    }
    if world.tombstone(name).is_some_and(|tombstone| version::is_older(id, tombstone)) {
        return rejected(None, SUPERSEDED);
    }
    if let Some(field) = taken(world, value) {
        return rejected(Some(field), TAKEN);
    }
    let row = UserRow {
        name: name.to_owned(),
        email: value.email.clone(),
        phone: value.phone.clone(),
        password_hash: value.password_hash.clone().unwrap_or_default(),
        nickname: value.nickname.clone().flatten(),
        is_admin: false,
        created_at: id.accepted_at(),
        updated_at: id.accepted_at(),
        last_login_at: None,
        version: version::of(id),
    };
    world.set(row, value.nickname.is_some());
    Verdict::Applied
}

fn update(world: &mut World, value: &UserValue, id: &CommandId) -> Verdict {
    let name = value.name.as_str();
    let mut row = match current(world, name, id) {
        Ok(row) => row,
        Err(verdict) => return verdict,
    };
    if let Some(field) = taken(world, value) {
        return rejected(Some(field), TAKEN);
    }
    let given_up = given_up(world, &world.emails, value.email.as_deref(), name)
        || given_up(world, &world.phones, value.phone.as_deref(), name);
    if given_up && world.stays(name) {
        return Verdict::NotHere;
    }
    row.email = value.email.clone().or(row.email);
    row.phone = value.phone.clone().or(row.phone);
    if let Some(nickname) = &value.nickname {
        row.nickname.clone_from(nickname);
    }
    world.set(changed(row, id), value.nickname.is_some());
    Verdict::Applied
}

fn password(world: &mut World, value: &UserValue, id: &CommandId) -> Verdict {
    match current(world, &value.name, id) {
        Err(verdict) => verdict,
        Ok(mut row) => {
            row.password_hash = value.password_hash.clone().unwrap_or_default();
            world.set(changed(row, id), false);
            Verdict::Applied
        }
    }
}

fn delete(world: &mut World, value: &UserValue, id: &CommandId) -> Verdict {
    let name = value.name.as_str();
    // Registered after the command was given: that is another user's registration.
    if world.row(name).is_some_and(|row| id.accepted_at() < row.created_at) {
        return rejected(None, SUPERSEDED);
    }
    world.clear(name);
    if world.tombstone(name).is_none_or(|tombstone| !version::is_older(id, tombstone)) {
        world.bury(name, version::of(id));
    }
    Verdict::Applied
}

/// The row that a command may change.
fn current(world: &World, name: &str, id: &CommandId) -> Result<UserRow, Verdict> {
    let Some(row) = world.row(name) else { return Err(rejected(None, NOT_FOUND)) };
    match version::is_older(id, &row.version) {
        true => Err(rejected(None, SUPERSEDED)),
        false => Ok(row.clone()),
    }
}

fn changed(row: UserRow, id: &CommandId) -> UserRow {
    UserRow { updated_at: id.accepted_at(), version: version::of(id), ..row }
}

fn taken(world: &World, value: &UserValue) -> Option<&'static str> {
    let is_taken = |holdings: &Holdings, wanted: &Option<String>| {
        wanted.as_ref().is_some_and(|wanted| holdings.is_taken(wanted, &value.name))
    };
    if is_taken(&world.emails, &value.email) {
        return Some("email");
    }
    is_taken(&world.phones, &value.phone).then_some("phone")
}

/// Whether a row that stays gives the value up in this transaction. Another row that stays takes it in the next one:
/// both are updates, and for a moment two rows would have it.
fn given_up(world: &World, holdings: &Holdings, wanted: Option<&str>, name: &str) -> bool {
    let holder = wanted.and_then(|wanted| holdings.in_database(wanted));
    holder.is_some_and(|holder| holder != name && world.stays(holder))
}
