//! Checks of brokers, topics and permissions for `forebay check-config --connect`.

use std::collections::BTreeSet;
use std::thread;

use crate::command::{CHECKPOINT_TOPIC, USER_DEAD_TOPIC, USER_RETRY_TOPIC, USER_TOPIC};
use crate::config::Config;
use crate::drain::DeliveryGuarantee;
use crate::kafka::{Brokers, ClusterInspector, ErrorCode, InspectionError, TopicSettings, is_denial};
use crate::kinds;
use crate::kinds::CloudEvents;

use super::advice::Advice;
use super::report::CheckResult;

const BROKER: &str = "broker";
const TOPIC: &str = "topic";

/// Runs all checks of Kafka. Blocks for a few seconds if brokers do not answer; it checks all brokers in parallel.
pub(super) fn checks(config: &Config) -> Vec<CheckResult> {
    let Brokers::List(bootstrap) = &config.kafka.brokers else {
        return vec![CheckResult::not_asked(BROKER, "embedded", "it is a part of `forebay serve`")];
    };
    let advice = Advice::of(config);
    let (mut checks, is_any_there) = brokers(config, &advice, bootstrap);
    if !is_any_there {
        checks.push(CheckResult::not_asked(TOPIC, "all", "not checked, because no broker answers"));
        return checks;
    }
    let inquiry = ClusterInspector::new(&config.kafka, bootstrap);
    for topic in topics(config) {
        checks.push(check_topic(config, &inquiry, &advice, &topic));
    }
    if config.consumes() {
        checks.push(group(config, &inquiry, &advice));
    }
    if config.drain.delivery == DeliveryGuarantee::ExactlyOnce {
        checks.push(transactions(&inquiry, &advice));
    }
    checks
}

/// Checks each broker separately: the configured ones, then those that they advertise, because clients use these.
fn brokers(config: &Config, advice: &Advice, bootstrap: &str) -> (Vec<CheckResult>, bool) {
    let configured: Vec<String> = bootstrap.split(',').map(|broker| broker.trim().to_owned()).collect();
    let answers = check_each(config, advice, &configured);
    let advertised: BTreeSet<String> = answers.iter().flat_map(|(_, _, brokers)| brokers.clone()).collect();
    let others: Vec<String> = advertised.into_iter().filter(|broker| !configured.contains(broker)).collect();
    let is_any_there = answers.iter().any(|(_, _, brokers)| !brokers.is_empty());
    let mut checks: Vec<CheckResult> = answers.into_iter().map(|(check, ..)| check).collect();
    for (mut check, is_there, _) in check_each(config, advice, &others) {
        if !is_there {
            let cause = check.advice.take().unwrap_or_default();
            let advice = format!("the cluster advertises this address, and every client uses it: {cause}");
            check.advice = Some(advice);
        }
        checks.push(check);
    }
    (checks, is_any_there)
}

/// For each broker: the result, whether it answered, and the brokers that it advertises.
fn check_each(config: &Config, advice: &Advice, brokers: &[String]) -> Vec<(CheckResult, bool, Vec<String>)> {
    let ask = |broker: &String| {
        let inquiry = ClusterInspector::new(&config.kafka, broker);
        match inquiry.brokers() {
            Ok(named) => {
                let detail = format!("answers; its cluster has {} brokers", named.len());
                (CheckResult::ok(BROKER, broker, detail), true, named)
            }
            Err(refusal) => {
                let advice = advice.of_broker(&inquiry, &refusal);
                (CheckResult::failed(BROKER, broker, refusal.text, advice), false, Vec::new())
            }
        }
    };
    thread::scope(|scope| {
        let asking: Vec<_> =
            brokers.iter().map(|broker| (broker, scope.spawn(move || ask(broker)))).collect();
        let answers = asking.into_iter().map(|(broker, asked)| {
            let failed = || CheckResult::failed(BROKER, broker, "the check failed", "report this as a bug");
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
    /// Which records have no key, if any.
    keyless: Option<Keyless>,
    /// Whether the daemon creates the topic.
    is_internal: bool,
    /// Whether this daemon reads the topic.
    read: bool,
}

/// Records without a key, which a compacted topic rejects.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Keyless {
    /// Events without the attribute `partitionkey`. The configuration cannot show whether clients send it.
    SomeEvents,
    /// All commands of a kind.
    All,
}

fn topics(config: &Config) -> Vec<Topic> {
    let largest = config.kafka.message_max.0;
    let mut topics: Vec<Topic> = Vec::new();
    for kind in &config.kinds {
        let keyless = keyless(kind);
        match topics.iter_mut().find(|topic| topic.name == kind.topic) {
            Some(topic) => topic.keyless = topic.keyless.max(keyless),
            None => {
                topics.push(Topic {
                    name: kind.topic.clone(),
                    largest,
                    keyless,
                    is_internal: false,
                    read: false,
                });
            }
        }
    }
    let ours =
        |name: &str, read| Topic { name: name.to_owned(), largest, keyless: None, is_internal: true, read };
    if config.serves_users() {
        let read = config.consumes();
        topics.extend([ours(USER_TOPIC, read), ours(USER_RETRY_TOPIC, read), ours(USER_DEAD_TOPIC, false)]);
    }
    if config.drain.delivery == DeliveryGuarantee::ExactlyOnce {
        topics.push(Topic { largest: 0, ..ours(CHECKPOINT_TOPIC, true) });
    }
    topics
}

fn keyless(kind: &kinds::Config) -> Option<Keyless> {
    match (&kind.key, &kind.key_header, kind.cloudevents) {
        (Some(_), _, _) | (_, Some(_), _) => None,
        (None, None, CloudEvents::Off) => Some(Keyless::All),
        (None, None, _) => Some(Keyless::SomeEvents),
    }
}

fn check_topic(config: &Config, inquiry: &ClusterInspector, advice: &Advice, topic: &Topic) -> CheckResult {
    let name = topic.name.as_str();
    let found = match inquiry.topic(name) {
        Ok(found) => found,
        Err(refusal) if topic.is_internal && refusal.code == ErrorCode::UnknownTopicOrPartition => {
            return missing(config, name);
        }
        Err(refusal) => {
            let advice = advice.of_topic(inquiry, &refusal, name);
            return CheckResult::failed(TOPIC, name, refusal.text, advice);
        }
    };
    let (settings, warning) = match &found.settings {
        Ok(settings) => {
            if let Some((detail, advice)) = setting_conflict(topic, settings) {
                return CheckResult::failed(TOPIC, name, detail, advice);
            }
            (format!("max.message.bytes {}", settings.max_message_bytes), doubt(topic, settings))
        }
        // The daemon reads these itself, and does not start without.
        Err(refusal) if name == CHECKPOINT_TOPIC => {
            let advice = advice.of_right(inquiry, refusal, "DescribeConfigs", &format!("topic {name}"));
            let detail = format!("its settings cannot be read: {}", refusal.text);
            return CheckResult::failed(TOPIC, name, detail, advice);
        }
        Err(refusal) => {
            let detail = format!("max.message.bytes and cleanup.policy were not checked: {}", refusal.text);
            (detail, Some(unread(topic, refusal)))
        }
    };
    if let Err(refusal) = inquiry.may_write(name) {
        let advice = advice.of_right(inquiry, &refusal, "Write", &format!("topic {name}"));
        return CheckResult::failed(TOPIC, name, format!("cannot be written: {}", refusal.text), advice);
    }
    let mut may = "may be written";
    if topic.read {
        if let Err(refusal) = inquiry.may_read(name, &config.consumer.group) {
            let advice = advice.of_right(inquiry, &refusal, "Read", &format!("topic {name}"));
            return CheckResult::failed(TOPIC, name, format!("cannot be read: {}", refusal.text), advice);
        }
        may = "may be written and read";
    }
    let detail = format!("{} partitions, {may}, {settings}", found.partitions);
    match warning {
        Some(advice) => CheckResult::warning(TOPIC, name, detail, advice),
        None => CheckResult::ok(TOPIC, name, detail),
    }
}

/// The result for a missing topic that the daemon creates itself, if it can.
fn missing(config: &Config, name: &str) -> CheckResult {
    if config.kafka.has_token() {
        let detail = "does not exist, and with OAUTHBEARER the daemon cannot create it";
        return CheckResult::failed(
            TOPIC,
            name,
            detail,
            format!("create it: kafka-topics.sh --bootstrap-server BROKER --create --topic {name}"),
        );
    }
    let detail = "does not exist yet; the daemon creates it, which needs Create on the topic or the cluster";
    CheckResult::not_asked(TOPIC, name, detail)
}

/// A setting of the topic that the daemon's records violate, with the remedy.
fn setting_conflict(topic: &Topic, settings: &TopicSettings) -> Option<(String, String)> {
    let (name, largest, most) = (&topic.name, topic.largest, settings.max_message_bytes);
    if most < largest {
        let detail = format!("max.message.bytes is {most}, and records may have {largest} bytes");
        let advice = format!(
            "raise it to {largest} (kafka-configs.sh --bootstrap-server BROKER --alter --topic {name} --add-config \
             max.message.bytes={largest}), or lower [kafka] message_max to {most}"
        );
        return Some((detail, advice));
    }
    if settings.is_compacted && topic.keyless == Some(Keyless::All) {
        let detail = "it is compacted, and records of a kind have no key: brokers reject them";
        let advice = "set `key` or `key_header` in [[kinds]], or cleanup.policy=delete on the topic";
        return Some((detail.to_owned(), advice.to_owned()));
    }
    None
}

/// A warning about a topic whose settings may not fit the records.
fn doubt(topic: &Topic, settings: &TopicSettings) -> Option<String> {
    (settings.is_compacted && topic.keyless == Some(Keyless::SomeEvents)).then(|| {
        "it is compacted, so brokers reject events without the attribute `partitionkey`, and these become dead letters: \
         send it with every event, or set `key` in [[kinds]], or cleanup.policy=delete on the topic"
            .to_owned()
    })
}

/// The advice if the settings of a topic cannot be read.
fn unread(topic: &Topic, refusal: &InspectionError) -> String {
    let (name, largest) = (&topic.name, topic.largest);
    let mut wanted = format!("max.message.bytes must be at least {largest}");
    match topic.keyless {
        None => {}
        Some(Keyless::All) => {
            wanted.push_str(", and cleanup.policy must not have `compact`, because records have no key")
        }
        Some(Keyless::SomeEvents) => {
            wanted.push_str(
                ", and with cleanup.policy `compact` every event needs the attribute `partitionkey`",
            );
        }
    }
    let read = format!(
        "kafka-configs.sh --describe --bootstrap-server BROKER --all --entity-type topics --entity-name {name}"
    );
    match is_denial(refusal.code) {
        true => format!(
            "grant the daemon's principal DescribeConfigs on topic {name}, or see yourself ({read}): {wanted}"
        ),
        false => format!("see yourself ({read}): {wanted}"),
    }
}

fn group(config: &Config, inquiry: &ClusterInspector, advice: &Advice) -> CheckResult {
    let name = config.consumer.group.as_str();
    match inquiry.group(name, USER_TOPIC) {
        Ok(()) => CheckResult::ok("group", name, "may be used"),
        Err(refusal) => {
            let advice = advice.of_right(inquiry, &refusal, "Read", &format!("group {name}"));
            CheckResult::failed("group", name, refusal.text, advice)
        }
    }
}

/// The transactional ids of a log begin with the 32 hexadecimal digits of its id. This id belongs to no log.
const UNUSED_LOG_ID: &str = "forebay-check-config";

fn transactions(inquiry: &ClusterInspector, advice: &Advice) -> CheckResult {
    match inquiry.transactional_id(UNUSED_LOG_ID) {
        Ok(()) => CheckResult::ok("transactional-id", UNUSED_LOG_ID, "may be used"),
        Err(refusal) => {
            let advice =
                advice.of_right(inquiry, &refusal, "Write", "the transactional ids of the log, or `*`");
            CheckResult::failed("transactional-id", UNUSED_LOG_ID, refusal.text, advice)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::report::CheckStatus;
    use super::*;
    use crate::config::Source;
    use crate::kafka::SaslMechanism;
    use crate::kinds::defaults;

    fn topic_of(kind: &kinds::Config) -> Topic {
        Topic { name: "t".to_owned(), largest: 1, keyless: keyless(kind), is_internal: false, read: false }
    }

    fn kind(key: Option<&str>, header: Option<&str>, cloudevents: CloudEvents) -> kinds::Config {
        kinds::Config {
            key: key.map(str::to_owned),
            key_header: header.map(str::to_owned),
            cloudevents,
            ..defaults().remove(0)
        }
    }

    #[test]
    fn a_compacted_topic_needs_keys() {
        let compacted = TopicSettings { max_message_bytes: 1, is_compacted: true };
        let found = |kind: &kinds::Config| {
            let topic = topic_of(kind);
            (setting_conflict(&topic, &compacted).is_some(), doubt(&topic, &compacted).is_some())
        };
        assert_eq!(found(&kind(Some("/id"), None, CloudEvents::Off)), (false, false));
        assert_eq!(found(&kind(None, Some("file-name"), CloudEvents::Off)), (false, false));
        assert_eq!(found(&kind(None, None, CloudEvents::Off)), (true, false));
        assert_eq!(found(&kind(Some("/id"), None, CloudEvents::Binary)), (false, false));
        assert_eq!(
            found(&kind(None, None, CloudEvents::Structured)),
            (false, true),
            "every event may have a key"
        );
        let deleting = TopicSettings { is_compacted: false, ..compacted };
        assert!(doubt(&topic_of(&kind(None, None, CloudEvents::Structured)), &deleting).is_none());
    }

    #[test]
    fn of_two_kinds_in_a_topic_the_one_without_keys_decides() {
        let events = kind(None, None, CloudEvents::Binary);
        let keyless = kinds::Config { name: "other".to_owned(), ..kind(None, None, CloudEvents::Off) };
        for kinds in [vec![events.clone(), keyless.clone()], vec![keyless, events]] {
            let defaults = Source { file: None, overrides: Vec::new() }.load().unwrap();
            let config = Config { kinds, ..defaults };
            assert_eq!(topics(&config)[0].keyless, Some(Keyless::All));
        }
    }

    #[test]
    fn with_a_token_a_missing_topic_of_the_daemon_is_a_failure() {
        let mut config = Source { file: None, overrides: Vec::new() }.load().unwrap();
        assert_eq!(missing(&config, USER_TOPIC).verdict, CheckStatus::NotAsked);
        config.kafka.sasl_mechanism = Some(SaslMechanism::OAuthBearer);
        assert_eq!(missing(&config, USER_TOPIC).verdict, CheckStatus::Failed);
    }

    #[test]
    fn what_could_not_be_read_is_for_the_operator_to_compare() {
        let refusal = |code: ErrorCode| InspectionError { code, text: String::new() };
        let unread = |kind: &kinds::Config, code| unread(&topic_of(kind), &refusal(code));
        let denied = unread(&kind(None, None, CloudEvents::Off), ErrorCode::TopicAuthorizationFailed);
        assert!(denied.contains("DescribeConfigs on topic t") && denied.contains("`compact`"), "{denied}");
        let by_token = unread(&kind(Some("/id"), None, CloudEvents::Off), ErrorCode::UnsupportedFeature);
        assert!(!by_token.contains("grant") && by_token.contains("at least 1"), "{by_token}");
    }
}
