//! The log: whether it accepts, and what is stored in it that needs an operator.

use crate::ingest::{Admission, SubmitError};
use crate::problems::{Code, Observation};
use crate::sync::Mutex;
use crate::units::Timestamp;
use crate::wal::{Event, Finding, FindingKind, Log};

use super::watched::Snapshot;

/// The first damage that was found in this life.
#[derive(Default)]
pub(in crate::app) struct DamageSeen(Mutex<Option<Damage>>);

#[derive(Clone)]
struct Damage {
    at: Timestamp,
    detail: String,
    /// No dead letter stands for it.
    is_missing: bool,
}

impl DamageSeen {
    /// Found by recovery.
    pub(in crate::app) fn found(&self, finding: &Finding) {
        if !matches!(finding.kind, FindingKind::Damaged | FindingKind::Missing) {
            return;
        }
        let Finding { segment, detail, kind, .. } = finding;
        let is_missing = *kind == FindingKind::Missing;
        let damage = Damage { at: Timestamp::now(), detail: format!("{segment}: {detail}"), is_missing };
        self.0.lock().get_or_insert(damage);
    }

    /// Reported by the log while it works.
    pub(in crate::app) fn event(&self, event: &Event) {
        if let Event::Damaged(finding) = event {
            self.found(finding);
        }
    }
}

/// Whether commands are accepted.
pub(in crate::app) fn admission(admission: &Admission, log: &Log) -> Option<Observation> {
    let (code, detail) = match admission {
        Admission::Closed(SubmitError::BacklogFull { limit }) => (
            Code::BacklogFull,
            format!("the backlog has reached its limit of {limit} bytes; commands are refused"),
        ),
        Admission::Closed(SubmitError::DiskFull) => {
            let detail = "the disk has no room above the reserve; commands are refused".to_owned();
            (Code::DiskReserveReached, detail)
        }
        _ => {
            let cause = log.poisoned()?;
            let detail = "a write or flush of the log failed; the daemon stops";
            return Some(Observation::new(Code::LogPoisoned, detail).with_error(cause));
        }
    };
    Some(Observation::new(code, detail))
}

/// What is stored in the log, and how much.
pub(in crate::app) fn log(log: &Log, damage: &DamageSeen, watched: &Snapshot) -> Vec<Observation> {
    let mut observed = Vec::new();
    let count = log.dead().len();
    if let Some(letters) = watched.letters.as_ref().filter(|_| count > 0) {
        let detail = format!("{count} dead letters are stored; requeue or drop them with `wal-tools dead`");
        let dead = Observation::new(Code::DeadLetters, detail).with_error(&letters.last_reason);
        observed.push(dead.since(letters.first_at));
    }
    observed.extend(damaged(log, damage.0.lock().clone()));
    if let Some(threshold) = watched.backlog_above {
        let detail = format!("{threshold} records or more wait for delivery");
        observed.push(Observation::new(Code::BacklogHigh, detail));
    }
    if let Some(threshold) = watched.age_above {
        let detail = format!("the oldest record waits for {threshold} or longer");
        observed.push(Observation::new(Code::OldestAgeHigh, detail));
    }
    observed
}

/// As long as the store has entries of it: a person may not have seen them yet.
fn damaged(log: &Log, seen: Option<Damage>) -> Option<Observation> {
    let damaged =
        Observation::new(Code::LogDamaged, "records were lost to damage; see `wal-tools dead list`");
    match seen {
        Some(damage) if damage.is_missing || !log.dead().is_empty() => {
            Some(damaged.with_error(damage.detail).since(damage.at))
        }
        _ if log.dead().damaged_ranges() > 0 => Some(damaged),
        _ => None,
    }
}
