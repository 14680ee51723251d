//! Records for the retry topic and the dead-letter topic, and the delay of retries.
//!
//! A command is first parked in the database, then sent to the retry topic, and only then is its offset committed.
//! After a crash in between, the record is delivered again, found to be parked, and sent again. So every parked command
//! has a record, and an additional record finds an outcome.
//!
//! A dead letter goes to Kafka first. So a command with the outcome `dead_letter_record` is in the dead-letter topic,
//! perhaps twice.

use std::time::Duration;

use crate::command::{USER_DEAD_TOPIC, USER_RETRY_TOPIC};
use crate::kafka::{OutboxRecord, Record};
use crate::units::Timestamp;

use super::command::Command;
use super::plan::CommandOutcome;
use super::{Config, command};

/// Headers that forebay writes. A record has each at most once.
const OWN_HEADERS: [&str; 6] =
    [command::ID, command::ATTEMPTS, command::NOT_BEFORE, command::ORIGIN, command::REASON, command::BEHIND];

/// After this many returns behind the same untried command, that command's record is considered lost. Records of a name
/// share a partition, so each return has also passed it. 20 rounds take about 15 minutes.
const LOST_AFTER: u32 = 20;

/// The delay before attempt `attempts` + 1. It doubles up to a maximum.
pub(super) fn delay(config: &Config, attempts: i32) -> Duration {
    let doubled = u32::try_from(attempts.clamp(1, 32) - 1).unwrap_or(0);
    config.retry_backoff_min.0.saturating_mul(1 << doubled).min(config.retry_backoff_max.0)
}

/// When a record of the retry topic is due; at once if it contains no time.
pub(super) fn due(record: &Record) -> Timestamp {
    record.header(command::NOT_BEFORE).and_then(|at| at.parse().ok()).unwrap_or_default()
}

/// The record for the retry topic, if the outcome requires one.
pub(super) fn retry_record(
    config: &Config,
    record: &Record,
    command: &Command,
    outcome: &CommandOutcome,
    now: Timestamp,
) -> Option<OutboxRecord> {
    let after = |delay: Duration| Timestamp(now.0 + u64::try_from(delay.as_millis()).unwrap_or(0));
    let (attempts, not_before, behind) = match outcome {
        CommandOutcome::Parked { attempts } => (*attempts, after(delay(config, *attempts)), None),
        // It is tried after the earlier commands of its name, which precede it in the topic.
        CommandOutcome::ParkedBehind => (0, now, None),
        // The same delay as after its last attempt. A copy sent without a delay would be an early attempt.
        CommandOutcome::Reparked { attempts: 0 } => (0, now, None),
        CommandOutcome::Reparked { attempts } => (*attempts, after(delay(config, *attempts)), None),
        CommandOutcome::NotFirst { first, first_attempts, attempts } => {
            let times = times_behind(record, first, *first_attempts) + 1;
            let delay = delay(config, i32::try_from(times).unwrap_or(i32::MAX));
            (*attempts, after(delay), Some(format!("{first}/{first_attempts}/{times}")))
        }
        _ => return None,
    };
    let mut headers = headers(record, command);
    headers.push((command::ATTEMPTS.to_owned(), attempts.to_string()));
    headers.push((command::NOT_BEFORE.to_owned(), not_before.to_string()));
    headers.extend(behind.map(|behind| (command::BEHIND.to_owned(), behind)));
    Some(OutboxRecord { topic: USER_RETRY_TOPIC, key: record.key.clone(), headers, value: value(record) })
}

/// The command in front of this one, if that command's record is lost.
pub(super) fn lost_predecessor(record: &Record) -> Option<String> {
    let (first, _, times) = behind(record)?;
    (times >= LOST_AFTER).then(|| first.to_owned())
}

/// The dead letter. `whole`: with the value.
pub(super) fn dead_letter_record(
    record: &Record,
    command: &Command,
    reason: &str,
    whole: bool,
) -> OutboxRecord {
    let mut headers = headers(record, command);
    headers.extend(
        record.header(command::ATTEMPTS).map(|attempts| (command::ATTEMPTS.to_owned(), attempts.to_owned())),
    );
    headers.push((command::REASON.to_owned(), reason.to_owned()));
    let value = if whole { value(record) } else { Vec::new() };
    OutboxRecord { topic: USER_DEAD_TOPIC, key: record.key.clone(), headers, value }
}

fn value(record: &Record) -> Vec<u8> {
    record.value.clone().unwrap_or_default()
}

/// The record's own headers, its id and its origin.
fn headers(record: &Record, command: &Command) -> Vec<(String, String)> {
    let others = record.headers.iter().filter(|(name, _)| !OWN_HEADERS.contains(&&**name));
    let mut headers: Vec<(String, String)> =
        others.map(|(name, value)| (name.to_string(), String::from_utf8_lossy(value).into_owned())).collect();
    headers.push((command::ID.to_owned(), command.id.clone()));
    let (partition, offset) = command.origin;
    headers.push((command::ORIGIN.to_owned(), format!("{partition}/{offset}")));
    headers
}

fn behind(record: &Record) -> Option<(&str, i32, u32)> {
    let mut parts = record.header(command::BEHIND)?.splitn(3, '/');
    Some((parts.next()?, parts.next()?.parse().ok()?, parts.next()?.parse().ok()?))
}

fn times_behind(record: &Record, first: &str, attempts: i32) -> u32 {
    match behind(record) {
        Some((was, tried, times)) if was == first && tried == attempts => times,
        _ => 0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::command::USER_TOPIC;
    use crate::units::Span;

    fn record() -> Record {
        Record {
            topic: USER_TOPIC.into(),
            partition: 2,
            offset: 17,
            key: Some(b"ada".to_vec()),
            value: Some(b"?".to_vec()),
            headers: vec![("x".into(), b"y".to_vec()), (command::ATTEMPTS.into(), b"9".to_vec())],
        }
    }

    /// The retry record as the consumer reads it.
    fn delivered(retry: OutboxRecord) -> Record {
        let headers =
            retry.headers.into_iter().map(|(name, value)| (name.into(), value.into_bytes())).collect();
        Record {
            topic: retry.topic.into(),
            partition: 0,
            offset: 0,
            key: retry.key,
            value: Some(retry.value),
            headers,
        }
    }

    #[test]
    fn delays_double_up_to_the_maximum() {
        let config = Config {
            retry_backoff_min: Span::secs(1),
            retry_backoff_max: Span::secs(5),
            ..Config::default()
        };
        let delays = [1, 2, 3, 4, 1_000_000].map(|attempts| delay(&config, attempts).as_secs());
        assert_eq!(delays, [1, 2, 4, 5, 5]);
    }

    #[test]
    fn a_retry_record_keeps_its_content_and_adds_its_origin() {
        let (record, config) = (record(), Config::default());
        let command = Command::read(&record);
        let retry = retry_record(
            &config,
            &record,
            &command,
            &CommandOutcome::Parked { attempts: 1 },
            Timestamp(1_000),
        );
        let back = delivered(retry.unwrap());
        assert_eq!((back.header("x"), back.header(command::ATTEMPTS)), (Some("y"), Some("1")));
        assert_eq!(back.header(command::ORIGIN), Some("2/17"));
        assert_eq!(due(&back), Timestamp(2_000));
        let again = Command::read(&back);
        assert_eq!((again.id, again.origin), (command.id, (2, 17)));
        assert!(
            retry_record(&config, &record, &Command::read(&record), &CommandOutcome::Applied, Timestamp(1))
                .is_none()
        );
    }

    #[test]
    fn a_reparked_command_keeps_its_delay() {
        let (record, config) = (record(), Config::default());
        let again = |attempts| {
            let outcome = CommandOutcome::Reparked { attempts };
            let retry = retry_record(&config, &record, &Command::read(&record), &outcome, Timestamp(1_000));
            let back = delivered(retry.unwrap());
            assert_eq!(Command::read(&back).attempts, Some(attempts));
            due(&back).since(Timestamp(1_000))
        };
        assert_eq!(again(0), Duration::ZERO, "not tried yet");
        assert_eq!(again(3), delay(&config, 3));
    }

    #[test]
    fn a_command_behind_a_lost_record_detects_the_loss() {
        let (mut record, config) = (record(), Config::default());
        let mut rounds = 0;
        while lost_predecessor(&record).is_none() {
            let command = Command::read(&record);
            let outcome =
                CommandOutcome::NotFirst { first: "first".to_owned(), first_attempts: 3, attempts: 0 };
            record = delivered(retry_record(&config, &record, &command, &outcome, Timestamp(1)).unwrap());
            rounds += 1;
        }
        assert_eq!((rounds, lost_predecessor(&record).as_deref()), (LOST_AFTER, Some("first")));
        let command = Command::read(&record);
        // The command in front was tried in between, so its record exists.
        let outcome = CommandOutcome::NotFirst { first: "first".to_owned(), first_attempts: 4, attempts: 0 };
        let record = delivered(retry_record(&config, &record, &command, &outcome, Timestamp(1)).unwrap());
        assert_eq!(lost_predecessor(&record), None);
    }
}
