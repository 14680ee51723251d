//! Business rules of the four command kinds.

use crate::command::{CommandId, UserKind, UserValue};
use crate::db::UserRow;

use super::snapshot::{BatchState, ValueHolders};
use super::version;

/// Reasons of rejections, as shown to clients.
const TAKEN: &str = "taken";
const SUPERSEDED: &str = "superseded";
const NOT_FOUND: &str = "not_found";

/// The decision of the rules.
pub(super) enum RuleOutcome {
    /// The command is applied.
    Applied,
    /// The command is permanently rejected.
    Rejected { field: Option<&'static str>, reason: &'static str },
    /// The command is valid, but needs another transaction.
    NextTransaction,
}

const fn rejected(field: Option<&'static str>, reason: &'static str) -> RuleOutcome {
    RuleOutcome::Rejected { field, reason }
}

/// Decides one command and updates the batch's state.
pub(super) fn apply(
    state: &mut BatchState,
    kind: UserKind,
    value: &UserValue,
    id: &CommandId,
) -> RuleOutcome {
    match kind {
        UserKind::Create => create(state, value, id),
        UserKind::Update => update(state, value, id),
        UserKind::Password => password(state, value, id),
        UserKind::Delete => delete(state, value, id),
    }
}

fn create(state: &mut BatchState, value: &UserValue, id: &CommandId) -> RuleOutcome {
    let name = value.name.as_str();
    if state.row(name).is_some() {
        return rejected(Some("name"), TAKEN);
    }
    if state.tombstone(name).is_some_and(|tombstone| version::is_older(id, tombstone)) {
        return rejected(None, SUPERSEDED);
    }
    if let Some(field) = taken(state, value) {
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
        version: version::version_of(id),
    };
    state.set(row, value.nickname.is_some());
    RuleOutcome::Applied
}

fn update(state: &mut BatchState, value: &UserValue, id: &CommandId) -> RuleOutcome {
    let name = value.name.as_str();
    let mut row = match current(state, name, id) {
        Ok(row) => row,
        Err(verdict) => return verdict,
    };
    if let Some(field) = taken(state, value) {
        return rejected(Some(field), TAKEN);
    }
    let given_up = is_released(state, &state.emails, value.email.as_deref(), name)
        || is_released(state, &state.phones, value.phone.as_deref(), name);
    if given_up && state.keeps_row(name) {
        return RuleOutcome::NextTransaction;
    }
    row.email = value.email.clone().or(row.email);
    row.phone = value.phone.clone().or(row.phone);
    if let Some(nickname) = &value.nickname {
        row.nickname.clone_from(nickname);
    }
    state.set(changed(row, id), value.nickname.is_some());
    RuleOutcome::Applied
}

fn password(state: &mut BatchState, value: &UserValue, id: &CommandId) -> RuleOutcome {
    match current(state, &value.name, id) {
        Err(verdict) => verdict,
        Ok(mut row) => {
            row.password_hash = value.password_hash.clone().unwrap_or_default();
            state.set(changed(row, id), false);
            RuleOutcome::Applied
        }
    }
}

fn delete(state: &mut BatchState, value: &UserValue, id: &CommandId) -> RuleOutcome {
    let name = value.name.as_str();
    // Registered after the command was accepted: the row belongs to a later user of the name.
    if state.row(name).is_some_and(|row| id.accepted_at() < row.created_at) {
        return rejected(None, SUPERSEDED);
    }
    state.clear(name);
    if state.tombstone(name).is_none_or(|tombstone| !version::is_older(id, tombstone)) {
        state.add_tombstone(name, version::version_of(id));
    }
    RuleOutcome::Applied
}

/// The row that a command may change.
fn current(state: &BatchState, name: &str, id: &CommandId) -> Result<UserRow, RuleOutcome> {
    let Some(row) = state.row(name) else { return Err(rejected(None, NOT_FOUND)) };
    match version::is_older(id, &row.version) {
        true => Err(rejected(None, SUPERSEDED)),
        false => Ok(row.clone()),
    }
}

fn changed(row: UserRow, id: &CommandId) -> UserRow {
    UserRow { updated_at: id.accepted_at(), version: version::version_of(id), ..row }
}

fn taken(state: &BatchState, value: &UserValue) -> Option<&'static str> {
    let is_taken = |holdings: &ValueHolders, wanted: &Option<String>| {
        wanted.as_ref().is_some_and(|wanted| holdings.is_taken(wanted, &value.name))
    };
    if is_taken(&state.emails, &value.email) {
        return Some("email");
    }
    is_taken(&state.phones, &value.phone).then_some("phone")
}

/// Whether an existing row gives up the value in this transaction. Another existing row can take it only in the next
/// one: both are updates, and for a moment two rows would hold the value.
fn is_released(state: &BatchState, holdings: &ValueHolders, wanted: Option<&str>, name: &str) -> bool {
    let holder = wanted.and_then(|wanted| holdings.database_holder(wanted));
    holder.is_some_and(|holder| holder != name && state.keeps_row(holder))
}
