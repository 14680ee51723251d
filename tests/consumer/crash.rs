//! Consumers that are killed, start and stop.

use std::collections::BTreeSet;

use forebay::command::{CommandId, UserKind, UserValue};

use super::commands::{CommandSource, SentCommand, person, send};
use super::test_servers::{TestServers, for_each_database};
use support::daemon::LONG;
use support::process::Forebay;
use support::{daemon, wait};

const USERS: u64 = 6_000;
/// Number of users, one of which has an unparsable command.
const POISONED: u64 = 30;

/// Registrations. Every third user changes the nickname afterwards; every seventh is deleted at the end.
fn create_commands(log: &mut CommandSource) -> Vec<SentCommand> {
    let mut sent = Vec::new();
    for number in 0..POISONED {
        let name = format!("poisoned{number}");
        sent.push(log.create(1, &name));
        sent.push(log.rename(2, &name, "?").with_value("?"));
        sent.push(log.rename(3, &name, "well"));
    }
    for number in 0..USERS {
        sent.push(log.create(number, &format!("user{number}")));
    }
    for number in (0..USERS).step_by(3) {
        sent.push(log.rename(USERS + number, &format!("user{number}"), &format!("nick{number}")));
    }
    for number in (0..USERS).step_by(7) {
        sent.push(log.delete(2 * USERS + number, &format!("user{number}")));
    }
    sent
}

fn assert_right(stage: &TestServers, ids: &[CommandId]) {
    let outcomes = stage.await_outcomes(ids);
    let (dead, rest): (Vec<_>, Vec<_>) = outcomes.values().partition(|row| row.state == "dead");
    assert_eq!(dead.len() as u64, POISONED);
    assert!(dead.iter().all(|row| row.name.starts_with("poisoned")));
    assert_eq!(rest.into_iter().find(|row| row.state != "applied"), None);
    let users = stage.users();
    for number in 0..POISONED {
        assert_eq!(users[&format!("poisoned{number}")].nickname.as_deref(), Some("well"));
    }
    let names: Vec<String> = (0..POISONED).map(|number| format!("poisoned{number}")).collect();
    let parked =
        stage.runtime.block_on(async { stage.db.begin().await.unwrap().parked(&names).await.unwrap() });
    assert_eq!(parked, []);
    for number in 0..USERS {
        let row = users.get(&format!("user{number}"));
        assert_eq!(row.is_none(), number % 7 == 0, "user{number}");
        let nickname = (number % 3 == 0).then(|| format!("nick{number}"));
        assert!(row.is_none_or(|row| row.nickname == nickname), "user{number}: {row:?}");
    }
}

#[test]
fn a_repeatedly_killed_consumer_leaves_exactly_the_right_rows() {
    for_each_database("a_repeatedly_killed_consumer_leaves_exactly_the_right_rows", |stage| {
        let mut log = CommandSource::new(1);
        let sent = create_commands(&mut log);
        let ids: Vec<_> = sent.iter().map(|one| one.id).collect();
        let mut consumer = stage.process().set("consumer.batch_size", 200);
        send(&stage.kafka.bootstrap(), &sent);
        for life in 1..=4 {
            consumer.start();
            stage.await_some(&ids, life * ids.len() / 6);
            consumer.kill();
        }
        consumer.start();
        assert_right(stage, &ids);
        assert!(consumer.terminate().success(), "{}", consumer.log());
    });
}

#[test]
fn consumers_share_the_work_and_take_over_from_each_other() {
    for_each_database("consumers_share_the_work_and_take_over_from_each_other", |stage| {
        let mut log = CommandSource::new(1);
        let sent = create_commands(&mut log);
        let ids: Vec<_> = sent.iter().map(|one| one.id).collect();
        let (first, rest) = sent.split_at(sent.len() / 3);
        let (second, third) = rest.split_at(rest.len() / 2);
        let bootstrap = stage.kafka.bootstrap();
        let mut one = stage.process().set("consumer.batch_size", 50);
        let mut other = stage.process().set("consumer.batch_size", 50);
        one.start();
        send(&bootstrap, first);
        stage.await_some(&ids, 100);
        other.start();
        send(&bootstrap, second);
        stage.await_some(&ids, first.len());
        assert!(one.terminate().success(), "{}", one.log());
        send(&bootstrap, third);
        one.start();
        assert_right(stage, &ids);
        assert!(other.log().contains("partitions_assigned"), "{}", other.log());
        assert!([&one, &other].iter().any(|each| each.log().contains("partitions_revoked")), "they shared");
    });
}

#[test]
fn a_frozen_consumer_that_resumes_changes_nothing() {
    for_each_database("a_frozen_consumer_that_resumes_changes_nothing", |stage| {
        let mut log = CommandSource::new(1);
        let sent = create_commands(&mut log);
        let ids: Vec<_> = sent.iter().map(|one| one.id).collect();
        let mut frozen = stage.process().set("consumer.batch_size", 50);
        let mut other = stage.process().set("consumer.batch_size", 50);
        frozen.start();
        send(&stage.kafka.bootstrap(), &sent);
        stage.await_some(&ids, 500);
        frozen.freeze();
        other.start();
        wait::until_true("the other one takes over", LONG, || other.log().contains("partitions_assigned"));
        frozen.thaw();
        assert_right(stage, &ids);
        assert!(frozen.terminate().success() && other.terminate().success());
    });
}

#[test]
fn one_of_several_users_gets_a_contested_address() {
    for_each_database("one_of_several_users_gets_a_contested_address", |stage| {
        let mut log = CommandSource::new(1);
        let mut sent = Vec::new();
        for address in 0..400 {
            for rival in 0..3 {
                let name = format!("rival{rival}of{address}");
                let email = Some(format!("{address}@example.org"));
                sent.push(log.command(1, UserKind::Create, UserValue { email, ..person(&name) }));
            }
        }
        let ids: Vec<_> = sent.iter().map(|one| one.id).collect();
        let mut consumers = [(); 2].map(|()| stage.process().set("consumer.batch_size", 20));
        consumers.iter_mut().for_each(Forebay::start);
        let both = || consumers.iter().all(|one| one.log().contains("\"consumer.partitions\":4"));
        wait::until_true("both have their part", LONG, both);
        send(&stage.kafka.bootstrap(), &sent);
        let outcomes = stage.await_outcomes(&ids);
        let users = stage.users();
        let addresses: BTreeSet<_> = users.values().map(|row| row.email.clone()).collect();
        assert_eq!((users.len(), addresses.len()), (400, 400));
        let lost =
            outcomes.values().filter(|row| row.state == "rejected" && row.field.as_deref() == Some("email"));
        assert_eq!(lost.count(), 800);
        for consumer in &consumers {
            let lag = || daemon::metric(consumer, "forebay_consumer_lag") == 0.0;
            wait::until_true("nothing waits any more", LONG, lag);
        }
    });
}
