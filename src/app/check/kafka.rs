//! Brokers, topics and rights, as `forebay check-config --connect` asks for them.

use std::collections::BTreeSet;
use std::thread;

use crate::command::{CHECKPOINT_TOPIC, USER_DEAD_TOPIC, USER_RETRY_TOPIC, USER_TOPIC};
use crate::config::Config;
use crate::drain::Guarantee;
use crate::kafka::{Brokers, ErrorCode, Inquiry, TopicSettings};

use super::advice;
use super::report::Check;

const BROKER: &str = "broker";
const TOPIC: &str = "topic";

/// Everything that Kafka answers. Blocks for some seconds per broker that does not answer, all of them at once.
pub(super) fn checks(config: &Config) -> Vec<Check> {
    let Brokers::List(bootstrap) = &config.kafka.brokers else {
        return vec![Check::not_asked(BROKER, "embedded", "it is a part of `forebay serve`")];
    };
    let (mut checks, is_any_there) = brokers(config, bootstrap);
    if !is_any_there {
        checks.push(Check::not_asked(TOPIC, "all", "no broker answers"));
        return checks;
    }
    let inquiry = Inquiry::new(&config.kafka, bootstrap);
    for topic in topics(config) {
        checks.push(check_topic(config, &inquiry, &topic));
    }
    if config.consumes() {
        checks.push(group(config, &inquiry));
    }
    if config.drain.delivery == Guarantee::ExactlyOnce {
        checks.push(transactions(&inquiry));
    }
    checks
}

/// Each broker by itself: those of the configuration, then those that they advertise, which clients use.
fn brokers(config: &Config, bootstrap: &str) -> (Vec<Check>, bool) {
    let configured: Vec<String> = bootstrap.split(',').map(|broker| broker.trim().to_owned()).collect();
    let answers = ask_each(config, &configured);
    let advertised: BTreeSet<String> = answers.iter().flat_map(|(_, _, brokers)| brokers.clone()).collect();
    let others: Vec<String> = advertised.into_iter().filter(|broker| !configured.contains(broker)).collect();
    let is_any_there = answers.iter().any(|(_, _, brokers)| !brokers.is_empty());
    let mut checks: Vec<Check> = answers.into_iter().map(|(check, ..)| check).collect();
    for (mut check, is_there, _) in ask_each(config, &others) {
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
fn ask_each(config: &Config, brokers: &[String]) -> Vec<(Check, bool, Vec<String>)> {
    let ask = |broker: &String| match Inquiry::new(&config.kafka, broker).brokers() {
        Ok(named) => {
            let detail = format!("answers; its cluster has {} brokers", named.len());
            (Check::ok(BROKER, broker, detail), true, named)
        }
        Err(refusal) => {
            let advice = advice::of_broker(&refusal);
            (Check::failed(BROKER, broker, refusal.words, advice), false, Vec::new())
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
    /// Whether all its records have keys.
    keyed: bool,
    /// Whether the daemon creates it.
    ours: bool,
    /// Whether this daemon reads it.
    read: bool,
}

fn topics(config: &Config) -> Vec<Topic> {
    let largest = config.kafka.message_max.0;
    let mut topics: Vec<Topic> = Vec::new();
    for kind in &config.kinds {
        let keyed = kind.key.is_some();
        match topics.iter_mut().find(|topic| topic.name == kind.topic) {
            Some(topic) => topic.keyed &= keyed,
            None => {
                topics.push(Topic { name: kind.topic.clone(), largest, keyed, ours: false, read: false });
            }
        }
    }
    let ours = |name: &str, read| Topic { name: name.to_owned(), largest, keyed: true, ours: true, read };
    if config.serves_users() {
        let read = config.consumes();
        topics.extend([ours(USER_TOPIC, read), ours(USER_RETRY_TOPIC, read), ours(USER_DEAD_TOPIC, false)]);
    }
    if config.drain.delivery == Guarantee::ExactlyOnce {
        topics.push(Topic { largest: 0, ..ours(CHECKPOINT_TOPIC, true) });
    }
    topics
}

fn check_topic(config: &Config, inquiry: &Inquiry, topic: &Topic) -> Check {
    let name = topic.name.as_str();
    let found = match inquiry.topic(name) {
        Ok(found) => found,
        Err(refusal) if topic.ours && refusal.code == ErrorCode::UnknownTopicOrPartition => {
            let detail =
                "does not exist yet; the daemon creates it, which needs Create on the topic or the cluster";
            return Check::not_asked(TOPIC, name, detail);
        }
        Err(refusal) => {
            let advice = advice::of_topic(&refusal, name);
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
        let advice = advice::of_right(&refusal, "Write", &format!("topic {name}"));
        return Check::failed(TOPIC, name, format!("cannot be written: {}", refusal.words), advice);
    }
    let mut may = "may be written";
    if topic.read {
        if let Err(refusal) = inquiry.may_read(name, &config.consumer.group) {
            let advice = advice::of_right(&refusal, "Read", &format!("topic {name}"));
            return Check::failed(TOPIC, name, format!("cannot be read: {}", refusal.words), advice);
        }
        may = "may be written and read";
    }
    Check::ok(TOPIC, name, format!("{} partitions, {settings}, {may}", found.partitions))
}

/// A setting that records of ours do not fit, and what to do.
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
    if settings.is_compacted && !topic.keyed {
        let detail = "it is compacted, and a kind sends records without a key, which brokers refuse";
        let advice = "set `key` in [[kinds]], or cleanup.policy=delete on the topic";
        return Some((detail.to_owned(), advice.to_owned()));
    }
    None
}

fn group(config: &Config, inquiry: &Inquiry) -> Check {
    let name = config.consumer.group.as_str();
    match inquiry.group(name, USER_TOPIC) {
        Ok(()) => Check::ok("group", name, "may be used"),
        Err(refusal) => {
            let advice = advice::of_right(&refusal, "Read", &format!("group {name}"));
            Check::failed("group", name, refusal.words, advice)
        }
    }
}

/// The ids of a log begin with 32 hexadecimal digits of its own. This one is no log's.
const NOBODYS: &str = "forebay-check-config";

fn transactions(inquiry: &Inquiry) -> Check {
    match inquiry.transactional_id(NOBODYS) {
        Ok(()) => Check::ok("transactional-id", NOBODYS, "may be used"),
        Err(refusal) => {
            let advice = advice::of_right(&refusal, "Write", "the transactional ids of the log, or `*`");
            Check::failed("transactional-id", NOBODYS, refusal.words, advice)
        }
    }
}
