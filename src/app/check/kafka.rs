//! Checks of brokers, topics and permissions for `forebay check-config --connect`.

use std::collections::BTreeSet;
use std::thread;

use crate::command::{CHECKPOINT_TOPIC, USER_DEAD_TOPIC, USER_RETRY_TOPIC, USER_TOPIC};
use crate::config::Config;
use crate::drain::DeliveryGuarantee;
use crate::kafka::{Brokers, ClusterInspector, ErrorCode, TopicSettings};
use crate::kinds;
use crate::kinds::CloudEvents;

use super::advice;
use super::report::CheckResult;

const BROKER: &str = "broker";
const TOPIC: &str = "topic";

/// Everything that Kafka answers. Blocks for some seconds per broker that does not answer, all of them at once.
pub(super) fn checks(config: &Config) -> Vec<CheckResult> {
    let Brokers::List(bootstrap) = &config.kafka.brokers else {
        return vec![CheckResult::not_asked(BROKER, "embedded", "it is a part of `forebay serve`")];
    };
    let (mut checks, is_any_there) = brokers(config, bootstrap);
    if !is_any_there {
        checks.push(CheckResult::not_asked(TOPIC, "all", "no broker answers"));
        return checks;
    }
    let inquiry = ClusterInspector::new(&config.kafka, bootstrap);
    for topic in topics(config) {
        checks.push(check_topic(config, &inquiry, &topic));
    }
    if config.consumes() {
        checks.push(group(config, &inquiry));
    }
    if config.drain.delivery == DeliveryGuarantee::ExactlyOnce {
        checks.push(transactions(&inquiry));
    }
    checks
}

/// Each broker by itself: those of the configuration, then those that they advertise, which clients use.
fn brokers(config: &Config, bootstrap: &str) -> (Vec<CheckResult>, bool) {
    let configured: Vec<String> = bootstrap.split(',').map(|broker| broker.trim().to_owned()).collect();
    let answers = check_each(config, &configured);
    let advertised: BTreeSet<String> = answers.iter().flat_map(|(_, _, brokers)| brokers.clone()).collect();
    let others: Vec<String> = advertised.into_iter().filter(|broker| !configured.contains(broker)).collect();
    let is_any_there = answers.iter().any(|(_, _, brokers)| !brokers.is_empty());
    let mut checks: Vec<CheckResult> = answers.into_iter().map(|(check, ..)| check).collect();
    for (mut check, is_there, _) in check_each(config, &others) {
        if !is_there {
            let cause = check.advice.take().unwrap_or_default();
            let advice = format!("the cluster advertises this address, and every client uses it: {cause}");
            check.advice = Some(advice);
        }
        checks.push(check);
    }
    (checks, is_any_there)
}

/// What each said, whether it answered, and the brokers that it named.
fn check_each(config: &Config, brokers: &[String]) -> Vec<(CheckResult, bool, Vec<String>)> {
    let ask = |broker: &String| match ClusterInspector::new(&config.kafka, broker).brokers() {
        Ok(named) => {
            let detail = format!("answers; its cluster has {} brokers", named.len());
            (CheckResult::ok(BROKER, broker, detail), true, named)
        }
        Err(refusal) => {
            let advice = advice::of_broker(&refusal);
            (CheckResult::failed(BROKER, broker, refusal.text, advice), false, Vec::new())
        }
    };
    thread::scope(|scope| {
        let asking: Vec<_> =
            brokers.iter().map(|broker| (broker, scope.spawn(move || ask(broker)))).collect();
        let answers = asking.into_iter().map(|(broker, asked)| {
            let failed =
                || CheckResult::failed(BROKER, broker, "the question failed", "report this as a bug");
            asked.join().unwrap_or_else(|_| (failed(), false, Vec::new()))
        });
        answers.collect()
    })
}

/// A topic that the daemon uses.
struct Topic {
    name: String,
    /// Maximum size in bytes of a record that the daemon sends to this topic. 0 if the configuration does not set it.
    largest: u64,
    /// How to add keys to records that may have none. `None` if all records have a key.
    unkeyed: Option<&'static str>,
    /// Whether the daemon creates the topic.
    is_internal: bool,
    /// Whether this daemon reads the topic.
    read: bool,
}

fn topics(config: &Config) -> Vec<Topic> {
    let largest = config.kafka.message_max.0;
    let mut topics: Vec<Topic> = Vec::new();
    for kind in &config.kinds {
        let unkeyed = key_advice(kind);
        match topics.iter_mut().find(|topic| topic.name == kind.topic) {
            Some(topic) => topic.unkeyed = topic.unkeyed.or(unkeyed),
            None => {
                topics.push(Topic {
                    name: kind.topic.clone(),
                    largest,
                    unkeyed,
                    is_internal: false,
                    read: false,
                });
            }
        }
    }
    let ours =
        |name: &str, read| Topic { name: name.to_owned(), largest, unkeyed: None, is_internal: true, read };
    if config.serves_users() {
        let read = config.consumes();
        topics.extend([ours(USER_TOPIC, read), ours(USER_RETRY_TOPIC, read), ours(USER_DEAD_TOPIC, false)]);
    }
    if config.drain.delivery == DeliveryGuarantee::ExactlyOnce {
        topics.push(Topic { largest: 0, ..ours(CHECKPOINT_TOPIC, true) });
    }
    topics
}

/// How an operator gives all records of a kind a key. `None` if they have one.
fn key_advice(kind: &kinds::Config) -> Option<&'static str> {
    match (&kind.key, &kind.key_header, kind.cloudevents) {
        (Some(_), _, _) | (_, Some(_), _) => None,
        (None, None, CloudEvents::Off) => Some("set `key` or `key_header` in [[kinds]]"),
        (None, None, _) => {
            Some("send the attribute `partitionkey` with every event, or set `key` in [[kinds]]")
        }
    }
}

fn check_topic(config: &Config, inquiry: &ClusterInspector, topic: &Topic) -> CheckResult {
    let name = topic.name.as_str();
    let found = match inquiry.topic(name) {
        Ok(found) => found,
        Err(refusal) if topic.is_internal && refusal.code == ErrorCode::UnknownTopicOrPartition => {
            let detail =
                "does not exist yet; the daemon creates it, which needs Create on the topic or the cluster";
            return CheckResult::not_asked(TOPIC, name, detail);
        }
        Err(refusal) => {
            let advice = advice::of_topic(&refusal, name);
            return CheckResult::failed(TOPIC, name, refusal.text, advice);
        }
    };
    let settings = match &found.settings {
        Ok(settings) => {
            if let Some((detail, advice)) = setting_conflict(topic, settings) {
                return CheckResult::failed(TOPIC, name, detail, advice);
            }
            format!("max.message.bytes {}", settings.max_message_bytes)
        }
        Err(refusal) => format!("max.message.bytes is not known ({}; needs DescribeConfigs)", refusal.text),
    };
    if let Err(refusal) = inquiry.may_write(name) {
        let advice = advice::of_right(&refusal, "Write", &format!("topic {name}"));
        return CheckResult::failed(TOPIC, name, format!("cannot be written: {}", refusal.text), advice);
    }
    let mut may = "may be written";
    if topic.read {
        if let Err(refusal) = inquiry.may_read(name, &config.consumer.group) {
            let advice = advice::of_right(&refusal, "Read", &format!("topic {name}"));
            return CheckResult::failed(TOPIC, name, format!("cannot be read: {}", refusal.text), advice);
        }
        may = "may be written and read";
    }
    CheckResult::ok(TOPIC, name, format!("{} partitions, {settings}, {may}", found.partitions))
}

/// A setting of the topic that the records of the daemon violate, and what to do.
fn setting_conflict(topic: &Topic, settings: &TopicSettings) -> Option<(String, String)> {
    let (name, largest, most) = (&topic.name, topic.largest, settings.max_message_bytes);
    if most < largest {
        let detail = format!("max.message.bytes is {most}, and records may have {largest} bytes");
        let advice = format!(
            "raise it to {largest} (kafka-configs.sh --alter --topic {name} --add-config \
             max.message.bytes={largest}), or lower [kafka] message_max to {most}"
        );
        return Some((detail, advice));
    }
    if settings.is_compacted
        && let Some(advice) = topic.unkeyed
    {
        let detail = "it is compacted, and records of a kind may have no key, which brokers refuse";
        return Some((detail.to_owned(), format!("{advice}, or set cleanup.policy=delete on the topic")));
    }
    None
}

fn group(config: &Config, inquiry: &ClusterInspector) -> CheckResult {
    let name = config.consumer.group.as_str();
    match inquiry.group(name, USER_TOPIC) {
        Ok(()) => CheckResult::ok("group", name, "may be used"),
        Err(refusal) => {
            let advice = advice::of_right(&refusal, "Read", &format!("group {name}"));
            CheckResult::failed("group", name, refusal.text, advice)
        }
    }
}

/// The transactional ids of a log begin with the 32 hexadecimal digits of its id. This id belongs to no log.
const UNUSED_LOG_ID: &str = "forebay-check-config";

fn transactions(inquiry: &ClusterInspector) -> CheckResult {
    match inquiry.transactional_id(UNUSED_LOG_ID) {
        Ok(()) => CheckResult::ok("transactional-id", UNUSED_LOG_ID, "may be used"),
        Err(refusal) => {
            let advice = advice::of_right(&refusal, "Write", "the transactional ids of the log, or `*`");
            CheckResult::failed("transactional-id", UNUSED_LOG_ID, refusal.text, advice)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kinds::defaults;

    #[test]
    fn the_advice_for_a_compacted_topic_depends_on_the_kind() {
        let kind = |key: Option<&str>, header: Option<&str>, cloudevents| kinds::Config {
            key: key.map(str::to_owned),
            key_header: header.map(str::to_owned),
            cloudevents,
            ..defaults().remove(0)
        };
        let advice = |kind: &kinds::Config| {
            let unkeyed = key_advice(kind);
            let topic = Topic { name: "t".to_owned(), largest: 1, unkeyed, is_internal: false, read: false };
            let settings = TopicSettings { max_message_bytes: 1, is_compacted: true };
            setting_conflict(&topic, &settings).map(|(_, advice)| advice).unwrap_or_default()
        };
        assert_eq!(advice(&kind(Some("/id"), None, CloudEvents::Off)), "");
        assert_eq!(advice(&kind(None, Some("file-name"), CloudEvents::Off)), "");
        assert!(advice(&kind(None, None, CloudEvents::Off)).contains("`key_header`"));
        assert_eq!(advice(&kind(Some("/id"), None, CloudEvents::Binary)), "");
        assert!(advice(&kind(None, None, CloudEvents::Structured)).contains("`partitionkey`"));
    }
}
