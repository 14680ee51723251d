//! Problems of delivery and of the consumer, and settings that operators changed.

use std::time::{Duration, Instant};

use crate::consumer;
use crate::drain::{Denial, Handle};
use crate::kafka::{ErrorCode, ReadError, broker_errors, kafka_error_name};
use crate::problems::{Code, Observation};
use crate::ratelimit::Limits;
use crate::units::Timestamp;

/// Delay before a missing producer is a problem. A takeover of positions takes about a second, a new producer less.
const TAKEOVER_TIMEOUT: Duration = Duration::from_secs(5);
/// Delay before missing confirmations are a problem. A healthy broker confirms within milliseconds; leader elections
/// take seconds.
const CONFIRMATION_TIMEOUT: Duration = Duration::from_secs(10);
/// Delay before parked records are a problem. Records are often parked briefly: while a topic is created, a password
/// hashed, a leader elected.
const MIN_PARKED_TIME: Duration = Duration::from_secs(10);
/// Delay before a refused topic is a problem. A broker that has just started reports existing topics as unknown.
const MIN_REFUSED_TIME: Duration = Duration::from_secs(3);

/// Delay before failing reads are a problem. A new topic is discovered, and a group rebalanced, within seconds.
const READ_TIMEOUT: Duration = Duration::from_secs(30);

/// An operator's pause.
#[derive(Clone, Debug)]
pub(in crate::app) struct Pause {
    pub(in crate::app) since: Timestamp,
    pub(in crate::app) origin: String,
}

/// Reports the problems of delivery. `is_reachable`: whether any broker answers. While none does, no record can be
/// confirmed, and that is reported separately.
pub(in crate::app) fn delivery(drain: &Handle, is_reachable: bool) -> Vec<Observation> {
    let refused = drain.refused_topics().into_iter().map(|(topic, reason)| refused(&topic, reason));
    let mut observed: Vec<_> = refused.collect();
    match drain.denied() {
        Some(denial) => observed.push(denied(&denial)),
        None => observed.extend(stalled(drain, is_reachable)),
    }
    observed.extend(parked(drain));
    observed
}

/// Reports that delivery is paused.
pub(in crate::app) fn paused(pause: &Pause) -> Observation {
    let detail = format!("an operator paused delivery ({}); accepted records wait", pause.origin);
    Observation::new(Code::DrainPaused, detail).since(pause.since)
}

fn refused(topic: &str, reason: &str) -> Observation {
    let (words, is_denied) = kafka_error_name(reason);
    let (code, detail) = match is_denied {
        true => (
            Code::KafkaAuthorizationFailed,
            format!(
                "Kafka denies access to topic {topic}; its records wait, or become dead letters after [drain] \
                 topic_fault_grace; grant Write and Describe on it; no restart is needed"
            ),
        ),
        false => (
            Code::KafkaTopicUnavailable,
            format!(
                "Kafka rejects topic {topic}; its records wait, or become dead letters after [drain] topic_fault_grace"
            ),
        ),
    };
    Observation::new(code, detail).about(topic).with_error(words).for_at_least(MIN_REFUSED_TIME)
}

/// Reports a permission that a producer needs before its first record.
fn denied(denial: &Denial) -> Observation {
    let what = match denial.code {
        ErrorCode::ClusterAuthorizationFailed => {
            "idempotent writes; grant Write on the topics, or IdempotentWrite on the cluster"
        }
        ErrorCode::TransactionalIdAuthorizationFailed => {
            "its transactional ids; grant Write and Describe on those with the log's prefix"
        }
        _ => "the topic of its positions; grant Read, Write, Describe and DescribeConfigs on it",
    };
    let detail =
        format!("Kafka denies the daemon {what}; records are kept and none is sent; no restart is needed");
    Observation::new(Code::KafkaAuthorizationFailed, detail).about("producers").with_error(&denial.text)
}

/// Reports why nothing is delivered.
fn stalled(drain: &Handle, is_reachable: bool) -> Option<Observation> {
    if let Some(notice) = drain.blocked_reason() {
        if drain.is_halted() {
            let detail = "another copy of this log delivers, or has delivered; this copy sends nothing";
            return Some(Observation::new(Code::LogRestored, detail).with_error(notice));
        }
        let detail = "the takeover of the positions in Kafka has not finished";
        let stalled = Observation::new(Code::DrainStalled, detail).with_error(notice);
        return Some(stalled.for_at_least(TAKEOVER_TIMEOUT));
    }
    if drain.is_paused() || !is_reachable {
        return None;
    }
    let workers = drain.workers();
    let last_error =
        || broker_errors().into_iter().next().map(|error| format!("{}: {}", error.broker, error.error));
    if workers.iter().all(|worker| worker.state == "rebuilding") {
        let stalled = Observation::new(Code::DrainStalled, "no worker has a Kafka producer");
        return Some(stalled.with_error_if_any(last_error()).for_at_least(CONFIRMATION_TIMEOUT));
    }
    let unconfirmed = workers.iter().map(|worker| worker.unconfirmed_for).max().unwrap_or_default();
    if unconfirmed < CONFIRMATION_TIMEOUT {
        return None;
    }
    let stalled = Observation::new(Code::DrainStalled, "records wait for delivery and Kafka confirms none");
    // When Kafka answers again, the records that waited for it are old but are confirmed soon.
    Some(
        stalled
            .with_error_if_any(last_error())
            .since(Timestamp::now().saturating_sub(unconfirmed))
            .for_at_least(CONFIRMATION_TIMEOUT),
    )
}

fn parked(drain: &Handle) -> impl Iterator<Item = Observation> {
    let because = drain.parked_reasons();
    drain.parked().into_iter().filter(|(_, records)| *records > 0).map(move |(topic, records)| {
        let why = because.get(&topic).copied().unwrap_or("earlier records wait");
        let detail = format!("{records} records of topic {topic} are held back: {why}");
        Observation::new(Code::RecordsParked, detail).about(topic).for_at_least(MIN_PARKED_TIME)
    })
}

/// Reports the problems of a consumer in this process.
pub(in crate::app) fn consumer(consumer: &consumer::Handle) -> Vec<Observation> {
    if let Some(error) = consumer.blocked() {
        let detail = "no user command is applied while the database cannot be written";
        return vec![Observation::new(Code::ConsumerStalled, detail).with_error(error)];
    }
    if let Some(idle) = consumer.stalled_for(Instant::now()) {
        let detail = "user commands are pending, and none was settled for 30 s or more";
        return vec![
            Observation::new(Code::ConsumerStalled, detail).since(Timestamp::now().saturating_sub(idle)),
        ];
    }
    consumer.read_error().map(unread).unwrap_or_default()
}

fn unread(error: ReadError) -> Vec<Observation> {
    let detail = "the consumer cannot read user commands from Kafka";
    let unread = Observation::new(Code::ConsumerStalled, detail).with_error(&error.text);
    let detail = "Kafka denies the consumer access to its group or its topics; grant Read on them; no \
                  restart is needed";
    let denied = Observation::new(Code::KafkaAuthorizationFailed, detail).about("the consumer");
    let denied = error.is_denied.then(|| denied.with_error(error.text).for_at_least(MIN_REFUSED_TIME));
    denied.into_iter().chain([unread.for_at_least(READ_TIMEOUT)]).collect()
}

/// Reports rate limits that operators changed.
pub(in crate::app) fn limits(limits: &Limits) -> impl Iterator<Item = Observation> {
    limits.changes().into_iter().map(|change| {
        let (limiter, setting, configured) = (change.limiter, change.setting, change.configured);
        let detail = format!(
            "an operator set the limit `{limiter}` to {setting}; the configured value is {configured}"
        );
        Observation::new(Code::RateLimitChanged, detail).about(limiter).since(change.since)
    })
}
