//! Brokers, topics and rights, as `forebay check-config --connect` asks for them.

use std::collections::BTreeSet;
use std::thread;

use crate::command::{CHECKPOINT_TOPIC, USER_DEAD_TOPIC, USER_RETRY_TOPIC, USER_TOPIC};
use crate::config::Config;
use crate::drain::Guarantee;
use crate::kafka::{Brokers, ErrorCode, Inquiry, TopicSettings};
use crate::kinds;
use crate::kinds::CloudEvents;

use super::advice::Advice;
use super::report::Check;

const BROKER: &str = "broker";
const TOPIC: &str = "topic";

/// Everything that Kafka answers. Blocks for some seconds per broker that does not answer, all of them at once.
pub(super) fn checks(config: &Config) -> Vec<Check> {
    let Brokers::List(bootstrap) = &config.kafka.brokers else {
        return vec![Check::not_asked(BROKER, "embedded", "it is a part of `forebay serve`")];
    };
    let advice = Advice::of(config);
    let (mut checks, is_any_there) = brokers(config, &advice, bootstrap);
    if !is_any_there {
        checks.push(Check::not_asked(TOPIC, "all", "no broker answers"));
        return checks;
    }
    let inquiry = Inquiry::new(&config.kafka, bootstrap);
    for topic in topics(config) {
        checks.push(check_topic(config, &inquiry, &advice, &topic));
    }
    if config.consumes() {
        checks.push(group(config, &inquiry, &advice));
    }
    if config.drain.delivery == Guarantee::ExactlyOnce {
        checks.push(transactions(&inquiry, &advice));
    }
    checks
}

/// Each broker by itself: those of the configuration, then those that they advertise, which clients use.
fn brokers(config: &Config, advice: &Advice, bootstrap: &str) -> (Vec<Check>, bool) {
    let configured: Vec<String> = bootstrap.split(',').map(|broker| broker.trim().to_owned()).collect();
    let answers = ask_each(config, advice, &configured);
    let advertised: BTreeSet<String> = answers.iter().flat_map(|(_, _, brokers)| brokers.clone()).collect();
    let others: Vec<String> = advertised.into_iter().filter(|broker| !configured.contains(broker)).collect();
    let is_any_there = answers.iter().any(|(_, _, brokers)| !brokers.is_empty());
    let mut checks: Vec<Check> = answers.into_iter().map(|(check, ..)| check).collect();
    for (mut check, is_there, _) in ask_each(config, advice, &others) {
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
fn ask_each(config: &Config, advice: &Advice, brokers: &[String]) -> Vec<(Check, bool, Vec<String>)> {
    let ask = |broker: &String| {
        let inquiry = Inquiry::new(&config.kafka, broker);
        match inquiry.brokers() {
            Ok(named) => {
                let detail = format!("answers; its cluster has {} brokers", named.len());
                (Check::ok(BROKER, broker, detail), true, named)
            }
            Err(refusal) => {
                let advice = advice.of_broker(&inquiry, &refusal);
                (Check::failed(BROKER, broker, refusal.words, advice), false, Vec::new())
            }
        }
    };
    thread::scope(|scope| {
        let asking: Vec<_> =
            brokers.iter().map(|broker| (broker, scope.spawn(move || ask(broker)))).collect();
        let answers = asking.into_iter().map(|(broker, asked)| {
            let failed = || Check::failed(BROKER, broker, "the question failed", "report this as a bug");
            asked.join().unwrap_or_else(|_| (failed(), false, Vec::new()))
        });
        answers.collect()
    })
}

/// A topic that the daemon uses.
struct Topic {
    name: String,
    /// The largest record that the daemon sends there, if the configuration says so.
    largest: u64,
    /// What gives keys to records that may have none, if there are any.
    unkeyed: Option<&'static str>,
    /// Whether the daemon creates it.
    ours: bool,
    /// Whether this daemon reads it.
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
                topics.push(Topic { name: kind.topic.clone(), largest, unkeyed, ours: false, read: false });
            }
        }
    }
    let ours = |name: &str, read| Topic { name: name.to_owned(), largest, unkeyed: None, ours: true, read };
    if config.serves_users() {
        let read = config.consumes();
        topics.extend([ours(USER_TOPIC, read), ours(USER_RETRY_TOPIC, read), ours(USER_DEAD_TOPIC, false)]);
    }
    if config.drain.delivery == Guarantee::ExactlyOnce {
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

fn check_topic(config: &Config, inquiry: &Inquiry, advice: &Advice, topic: &Topic) -> Check {
    let name = topic.name.as_str();
    let found = match inquiry.topic(name) {
        Ok(found) => found,
        Err(refusal) if topic.ours && refusal.code == ErrorCode::UnknownTopicOrPartition => {
            let detail =
                "does not exist yet; the daemon creates it, which needs Create on the topic or the cluster";
            return Check::not_asked(TOPIC, name, detail);
        }
        Err(refusal) => {
            let advice = advice.of_topic(inquiry, &refusal, name);
            return Check::failed(TOPIC, name, refusal.words, advice);
        }
    };
    let settings = match &found.settings {
        Ok(settings) => {
            if let Some((detail, advice)) = misfit(topic, settings) {
                return Check::failed(TOPIC, name, detail, advice);
            }
            format!("max.message.bytes {}", settings.max_message_bytes)
        }
        Err(refusal) => format!("max.message.bytes is not known ({}; needs DescribeConfigs)", refusal.words),
    };
    if let Err(refusal) = inquiry.may_write(name) {
        let advice = advice.of_right(inquiry, &refusal, "Write", &format!("topic {name}"));
        return Check::failed(TOPIC, name, format!("cannot be written: {}", refusal.words), advice);
    }
    let mut may = "may be written";
    if topic.read {
        if let Err(refusal) = inquiry.may_read(name, &config.consumer.group) {
            let advice = advice.of_right(inquiry, &refusal, "Read", &format!("topic {name}"));
            return Check::failed(TOPIC, name, format!("cannot be read: {}", refusal.words), advice);
        }
        may = "may be written and read";
    }
    Check::ok(TOPIC, name, format!("{} partitions, {settings}, {may}", found.partitions))
}

/// A setting of the topic that the records of the daemon violate, and what to do.
fn misfit(topic: &Topic, settings: &TopicSettings) -> Option<(String, String)> {
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

fn group(config: &Config, inquiry: &Inquiry, advice: &Advice) -> Check {
    let name = config.consumer.group.as_str();
    match inquiry.group(name, USER_TOPIC) {
        Ok(()) => Check::ok("group", name, "may be used"),
        Err(refusal) => {
            let advice = advice.of_right(inquiry, &refusal, "Read", &format!("group {name}"));
            Check::failed("group", name, refusal.words, advice)
        }
    }
}

/// The ids of a log begin with 32 hexadecimal digits of its own. This one is no log's.
const NOBODYS: &str = "forebay-check-config";

fn transactions(inquiry: &Inquiry, advice: &Advice) -> Check {
    match inquiry.transactional_id(NOBODYS) {
        Ok(()) => Check::ok("transactional-id", NOBODYS, "may be used"),
        Err(refusal) => {
            let advice =
                advice.of_right(inquiry, &refusal, "Write", "the transactional ids of the log, or `*`");
            Check::failed("transactional-id", NOBODYS, refusal.words, advice)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kinds::defaults;

    #[test]
    fn a_compacted_topic_needs_keys_and_the_advice_is_of_the_kind() {
        let kind = |key: Option<&str>, header: Option<&str>, cloudevents| kinds::Config {
            key: key.map(str::to_owned),
            key_header: header.map(str::to_owned),
            cloudevents,
            ..defaults().remove(0)
        };
        let advice = |kind: &kinds::Config| {
            let unkeyed = key_advice(kind);
            let topic = Topic { name: "t".to_owned(), largest: 1, unkeyed, ours: false, read: false };
            let settings = TopicSettings { max_message_bytes: 1, is_compacted: true };
            misfit(&topic, &settings).map(|(_, advice)| advice).unwrap_or_default()
        };
        assert_eq!(advice(&kind(Some("/id"), None, CloudEvents::Off)), "");
        assert_eq!(advice(&kind(None, Some("file-name"), CloudEvents::Off)), "");
        assert!(advice(&kind(None, None, CloudEvents::Off)).contains("`key_header`"));
        assert_eq!(advice(&kind(Some("/id"), None, CloudEvents::Binary)), "");
        assert!(advice(&kind(None, None, CloudEvents::Structured)).contains("`partitionkey`"));
    }
}
