//! A command that cannot be applied blocks only later commands of its own user, and only for a limited time.

use std::time::Duration;

use forebay::command::{CommandId, USER_DEAD_TOPIC, USER_RETRY_TOPIC, UserKind, UserValue};
use forebay::consumer::Config;
use forebay::units::Span;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::{ClientConfig, Offset, TopicPartitionList};

use super::commands::{CommandSource, SentCommand, person, send};
use super::test_servers::{RunningConsumer, TestServers, for_each_database};
use support::daemon::LONG;
use support::{consume, daemon, services, wait};

#[test]
fn a_poison_command_blocks_only_its_own_user() {
    for_each_database("a_poison_command_blocks_only_its_own_user", |stage| {
        let mut log = CommandSource::new(1);
        let mut sent = vec![log.create(1, "ada")];
        sent.push(log.rename(2, "ada", "?").with_value("not what it should be"));
        sent.push(log.rename(3, "ada", "after"));
        sent.push(log.rename(4, "ada", "last"));
        for number in 0..200 {
            sent.push(log.create(5, &format!("other{number}")));
        }
        let running = stage.start(TestServers::config());
        send(&stage.kafka.bootstrap(), &sent);
        let ids: Vec<_> = sent.iter().map(|one| one.id).collect();
        let outcomes = stage.await_outcomes(&ids);
        let row = |at: usize| &outcomes[&ids[at].to_string()];
        assert_eq!(row(1).state, "dead");
        assert!(row(1).reason.as_ref().unwrap().contains("not a user command"), "{:?}", row(1));
        assert_eq!((row(2).state.as_str(), row(3).state.as_str()), ("applied", "applied"));
        assert!(row(1).finished_at <= row(2).finished_at && row(2).finished_at <= row(3).finished_at);
        for at in 4..ids.len() {
            assert!(row(at).finished_at <= row(1).finished_at, "other users must not wait");
        }
        assert_eq!(stage.users()["ada"].nickname.as_deref(), Some("last"));
        assert_eq!(row(2).offset - row(1).offset, 1, "their offsets in the commands' topic");

        let dead = consume::read_all(&stage.kafka.bootstrap(), USER_DEAD_TOPIC);
        assert_eq!(dead.len(), 1);
        assert_eq!(dead[0].text(), "not what it should be");
        assert_eq!(dead[0].header("forebay-command-id"), Some(ids[1].to_string().as_str()));
        assert!(dead[0].header("forebay-reason").is_some() && dead[0].header("content-type").is_some());
        assert_eq!(running.metrics.dead.get(), 1);
        // The poison command at most three times (parked, and tried twice), the others at least once.
        assert!(running.metrics.retried.get() >= 4, "{}", running.metrics.retried.get());
        let parked = stage.runtime.block_on(async {
            let mut batch = stage.db.begin().await.unwrap();
            batch.parked(&["ada".to_owned()]).await.unwrap()
        });
        assert_eq!(parked, []);
    });
}

#[test]
fn a_rejected_command_is_isolated_from_its_batch() {
    for_each_database("a_rejected_command_is_isolated_from_its_batch", |stage| {
        let mut log = CommandSource::new(1);
        let mut sent = Vec::new();
        for number in 0..300_u64 {
            let name = format!("user{number}");
            // Two of them have a value that is too long for the column, or that no column accepts.
            let nickname = (number == 7 || number == 191).then(|| Some("\0".repeat(5_000)));
            sent.push(log.command(number, UserKind::Create, UserValue { nickname, ..person(&name) }));
        }
        // Before the consumer starts, so that one batch contains all.
        send(&stage.kafka.bootstrap(), &sent);
        let _running = stage.start(TestServers::config());
        let ids: Vec<_> = sent.iter().map(|one| one.id).collect();
        let outcomes = stage.await_outcomes(&ids);
        let dead: Vec<_> = outcomes.values().filter(|row| row.state == "dead").map(|row| &row.name).collect();
        assert_eq!(dead, ["user7", "user191"]);
        assert_eq!(stage.users().len(), 298);
        let names: Vec<_> = consume::read_all(&stage.kafka.bootstrap(), USER_DEAD_TOPIC)
            .into_iter()
            .map(|record| String::from_utf8(record.key.unwrap()).unwrap())
            .collect();
        assert_eq!(names.len(), 2);
    });
}

/// librdkafka keeps a paused state across assignments. Without a resume, a consumer that gets a partition back would
/// never receive its retries again.
#[test]
fn a_held_retry_survives_a_rebalance() {
    let test = "a_held_retry_survives_a_rebalance";
    let Some(stage) = services::mariadb(test).and_then(|url| TestServers::new(test, &url)) else { return };
    let mut log = CommandSource::new(1);
    // Enough names for every partition.
    let names: Vec<_> = (0..24).map(|number| format!("user{number}")).collect();
    let sent: Vec<_> = names.iter().map(|name| log.create(1, name).with_value("?")).collect();
    let ids: Vec<_> = sent.iter().map(|one| one.id).collect();
    let consumer = || {
        stage
            .process()
            .set("consumer.retry_attempts", 1)
            // Longer than a rebalance takes.
            .set("consumer.retry_backoff_min", "12s")
            .set("consumer.retry_backoff_max", "12s")
    };
    let (mut one, mut other) = (consumer(), consumer());
    one.start();
    send(&stage.kafka.bootstrap(), &sent);
    let retried = || daemon::metric(&one, "forebay_consumer_retry_total") >= ids.len() as f64;
    wait::until_true("all are delayed", LONG, retried);
    other.start();
    let shared = || [&one, &other].iter().all(|each| each.log().contains("\"consumer.partitions\":4"));
    wait::until_true("the consumers share the partitions", LONG, shared);
    let outcomes = stage.await_outcomes(&ids);
    assert!(outcomes.values().all(|row| row.state == "dead"));
    assert!(one.terminate().success() && other.terminate().success());
}

/// The retry topic has one order, but only the commands of one user need it.
#[test]
fn a_retry_delayed_by_an_hour_blocks_no_others() {
    let test = "a_retry_delayed_by_an_hour_blocks_no_others";
    let Some(stage) = services::postgres(test).and_then(|url| TestServers::new(test, &url)) else { return };
    let mut log = CommandSource::new(1);
    let mut poison = |name: &str| log.create(1, name).with_value("?");
    // Enough names for every partition.
    let held: Vec<_> = (0..24).map(|number| poison(&format!("held{number}"))).collect();
    let others: Vec<_> = (0..24).map(|number| poison(&format!("other{number}"))).collect();
    let behind = log.create(2, "held0");
    let ids = |sent: &[SentCommand]| sent.iter().map(|one| one.id).collect::<Vec<CommandId>>();
    let bootstrap = stage.kafka.bootstrap();

    let hour = Span::secs(3_600);
    let config = Config { retry_backoff_min: hour, retry_backoff_max: hour, ..TestServers::config() };
    let running = stage.start(config);
    send(&bootstrap, &held);
    let retried = |count: usize| running.metrics.retried.get() == count as u64;
    wait::until_true("all are delayed for an hour", LONG, || retried(held.len()));
    drop(running);

    let running = stage.start(TestServers::config());
    send(&bootstrap, &[&others[..], std::slice::from_ref(&behind)].concat());
    let outcomes = stage.await_outcomes(&ids(&others));
    assert!(outcomes.values().all(|row| row.state == "dead"));
    let parked = stage
        .runtime
        .block_on(async { stage.db.begin().await.unwrap().parked(&["held0".to_owned()]).await.unwrap() });
    let parked: Vec<_> = parked.into_iter().map(|row| row.id).collect();
    assert_eq!(
        parked,
        [held[0].id.to_string(), behind.id.to_string()],
        "a later command of the same name waits"
    );
    drop(running);

    // The next consumer of a partition reads the held records again.
    let mut first = [i64::MAX; 4];
    for record in consume::read_all(&bootstrap, USER_RETRY_TOPIC) {
        if record.key.is_some_and(|key| key.starts_with(b"held")) {
            let first = &mut first[record.partition as usize];
            *first = record.offset.min(*first);
        }
    }
    let committed = committed(&bootstrap, USER_RETRY_TOPIC);
    assert!(
        first.iter().zip(&committed).all(|(first, committed)| committed <= first),
        "{committed:?} {first:?}"
    );
    assert!(stage.try_outcomes(&ids(&held)).unwrap().is_empty());
}

/// The next consumer reads again the records that passed a held retry: copies of other users' commands, one per
/// attempt.
#[test]
fn a_restart_behind_a_held_retry_consumes_no_attempts() {
    let test = "a_restart_behind_a_held_retry_consumes_no_attempts";
    let Some(stage) = services::postgres(test).and_then(|url| TestServers::new(test, &url)) else { return };
    let mut log = CommandSource::new(1);
    // Enough names for every partition.
    let held: Vec<_> = (0..24).map(|number| format!("held{number}")).collect();
    let others: Vec<_> = (0..24).map(|number| format!("other{number}")).collect();
    let mut poison = |names: &[String]| -> Vec<SentCommand> {
        names.iter().map(|name| log.create(1, name).with_value("?")).collect()
    };
    let (first, second) = (poison(&held), poison(&others));
    let tries = |names: &[String]| -> Vec<i32> {
        let parked =
            stage.runtime.block_on(async { stage.db.begin().await.unwrap().parked(names).await.unwrap() });
        let mut tries: Vec<_> = parked.into_iter().map(|row| (row.name, row.attempts)).collect();
        tries.sort();
        tries.into_iter().map(|(_, attempts)| attempts).collect()
    };
    let hour = Span::secs(3_600);
    let fast = Config { retry_attempts: 100, ..TestServers::config() };
    let slow = Config { retry_backoff_min: hour, retry_backoff_max: hour, ..fast.clone() };

    let running = stage.start(slow.clone());
    send(&stage.kafka.bootstrap(), &first);
    let sent = |running: &RunningConsumer| running.metrics.retried.get() as usize;
    wait::until_true("some are held", LONG, || sent(&running) == held.len());
    drop(running);
    let running = stage.start(fast);
    send(&stage.kafka.bootstrap(), &second);
    wait::until_true("the others are tried", LONG, || sent(&running) >= 3 * others.len());
    drop(running);

    let before = tries(&others);
    let retried = consume::read_all(&stage.kafka.bootstrap(), USER_RETRY_TOPIC);
    let of_others = |key: &Vec<u8>| key.starts_with(b"other");
    let copies = retried.iter().filter(|record| record.key.as_ref().is_some_and(of_others)).count();
    assert!(copies >= 2 * others.len(), "{copies}");
    let running = stage.start(slow);
    // Each of the copies is due now or soon. Records sent for them are due in an hour.
    let judged = || -> u64 {
        let counts = &running.metrics.applied;
        ["retry", "repeat", "dead"].iter().map(|fate| counts.with_label_values(&[fate]).get()).sum()
    };
    wait::until_true("all copies are processed again", LONG, || judged() >= copies as u64);
    let more: Vec<_> = tries(&others).iter().zip(&before).map(|(now, before)| now - before).collect();
    assert!(more.iter().all(|more| *more <= 1), "{more:?}");
    assert!(tries(&held).iter().all(|tries| *tries == 1));
}

/// The group's committed offsets by partition; 0 where none is committed.
fn committed(bootstrap: &str, topic: &str) -> Vec<i64> {
    let group = TestServers::config().group;
    let consumer: BaseConsumer =
        ClientConfig::new().set("bootstrap.servers", bootstrap).set("group.id", group).create().unwrap();
    let mut asked = TopicPartitionList::new();
    asked.add_partition_range(topic, 0, 3);
    let found = consumer.committed_offsets(asked, Duration::from_secs(30)).expect("the group's offsets");
    let offset = |offset| if let Offset::Offset(offset) = offset { offset } else { 0 };
    found.elements().iter().map(|one| offset(one.offset())).collect()
}
