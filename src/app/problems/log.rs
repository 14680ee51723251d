//! Problems of the log: whether it accepts commands, and stored records that need an operator.

use crate::ingest::{Admission, SubmitError};
use crate::problems::{Code, Observation};
use crate::sync::Mutex;
use crate::units::Timestamp;
use crate::wal::{Event, Finding, FindingKind, Log};

use super::disk_checks::{DeadLetterAlert, DiskCheck};

/// The first damage found since the start.
#[derive(Default)]
pub(in crate::app) struct FirstDamage(Mutex<Option<Damage>>);

#[derive(Clone)]
struct Damage {
    at: Timestamp,
    detail: String,
    /// No dead letter represents this damage.
    is_missing: bool,
}

impl FirstDamage {
    /// Records damage found by recovery.
    pub(in crate::app) fn record(&self, finding: &Finding) {
        if !matches!(finding.kind, FindingKind::Damaged | FindingKind::Missing) {
            return;
        }
        let Finding { segment, detail, kind, .. } = finding;
        let is_missing = *kind == FindingKind::Missing;
        let damage = Damage { at: Timestamp::now(), detail: format!("{segment}: {detail}"), is_missing };
        self.0.lock().get_or_insert(damage);
    }

    /// Records damage reported by the running log.
    pub(in crate::app) fn record_event(&self, event: &Event) {
        if let Event::Damaged(finding) = event {
            self.record(finding);
        }
    }
}

/// Reports why commands are refused, if they are.
pub(in crate::app) fn admission(admission: &Admission, log: &Log) -> Option<Observation> {
    let (code, detail) = match admission {
        Admission::Closed(SubmitError::BacklogFull { limit }) => (
            Code::BacklogFull,
            format!("the backlog has reached its limit of {limit} bytes; commands are refused"),
        ),
        Admission::Closed(SubmitError::DiskFull) => {
            let detail =
                "the disk has no room for another segment above [wal] reserve_space; commands are refused"
                    .to_owned();
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

/// Reports stored dead letters, damage, and a large or old backlog.
pub(in crate::app) fn log(log: &Log, damage: &FirstDamage, watched: &DiskCheck) -> Vec<Observation> {
    let mut observed = Vec::new();
    let count = log.dead_letters().len();
    if let Some(alert) = watched.dead_letters.as_ref().filter(|_| count > 0) {
        let detail = format!("dead letters stored: {count}; requeue or drop them with `wal-tools dead`");
        let dead = Observation::new(Code::DeadLetters, detail).with_error(&alert.last_reason);
        observed.push(dead.since(alert.first_at));
    }
    observed.extend(damaged(
        log.dead_letters().damaged_records(),
        damage.0.lock().clone(),
        watched.damage.as_ref(),
    ));
    if let Some(threshold) = watched.backlog_above {
        let detail = format!("{threshold} or more records wait for delivery");
        observed.push(Observation::new(Code::BacklogHigh, detail));
    }
    if let Some(threshold) = watched.age_above {
        let detail = format!("the oldest record has waited for {threshold} or longer");
        observed.push(Observation::new(Code::OldestAgeHigh, detail));
    }
    observed
}

/// Reports damage while the store lists damaged records, because an operator may not have seen them yet. `listed` is
/// the first of them, which is known after a restart, too. A segment that is missing as a whole is not listed, and is
/// known only until the process ends.
fn damaged(records: u64, found: Option<Damage>, listed: Option<&DeadLetterAlert>) -> Option<Observation> {
    let found = found.filter(|damage| damage.is_missing || records > 0);
    if records == 0 && found.is_none() {
        return None;
    }
    let detail = "records were lost to damage; `wal-tools dead list` names them";
    let damaged = Observation::new(Code::LogDamaged, detail);
    Some(match (listed.filter(|_| records > 0), found) {
        (Some(first), _) => damaged.with_error(&first.last_reason).since(first.first_at),
        (None, Some(damage)) => damaged.with_error(damage.detail).since(damage.at),
        (None, None) => damaged,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn damage_is_a_problem_only_while_it_is_listed() {
        let found = |is_missing| {
            let detail = "00000000000000000001.wal: bytes 8472 to 8680".to_owned();
            Some(Damage { at: Timestamp(5), detail, is_missing })
        };
        let listed = DeadLetterAlert {
            first_at: Timestamp(3),
            last_reason: "00000000000000000001.wal: unreadable".into(),
        };
        assert!(damaged(1, None, None).is_some(), "after a restart, before the first check");
        assert!(damaged(1, None, Some(&listed)).is_some());
        assert!(damaged(1, found(false), Some(&listed)).is_some());
        assert!(damaged(0, found(false), None).is_none(), "dropped; other dead letters do not count");
        assert!(damaged(0, found(false), Some(&listed)).is_none(), "the last check is older than that");
        assert!(damaged(0, found(true), None).is_some(), "a segment that is missing is listed nowhere");
        assert!(damaged(0, None, None).is_none());
    }
}
