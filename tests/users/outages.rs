//! Concurrent registrations on real servers, some of which are killed.

use std::thread;

use super::crowd::Crowd;
use super::test_servers::{DatabaseKind, TestServers};
use super::test_users::{expect, new_user, register_and_wait, write};
use support::daemon::LONG;
use support::http::Client;
use support::wait;

/// From the issue and the requirement: 10,000 concurrent requests, 20 % repetitions, 10 % conflicts.
const MANY: usize = 10_000;
/// Number of requests with two daemons, one of which is killed repeatedly.
const SOME: usize = 4_000;
/// Number of requests through few sessions of a pooler.
const FEW: usize = 1_000;

#[test]
fn registrations_behind_a_pooler_give_exactly_the_right_rows() {
    let Some(stage) = TestServers::behind_pooler("registrations_behind_a_pooler_give_exactly_the_right_rows")
    else {
        return;
    };
    let (mut forebay, mut consumer) = (stage.daemon(), stage.consumer());
    forebay.start();
    consumer.start();
    let outcome = Crowd::start(FEW, &[forebay.address()]).finish();
    stage.check(&outcome, &forebay);
}

/// Kills and restarts every server during the registrations: Redis, the database, the daemon, Kafka.
fn outages_lose_no_commands(test: &str, sql: DatabaseKind) {
    let Some(stage) = TestServers::new(test, sql) else { return };
    let mut forebay = stage.daemon_with_consumer();
    forebay.start();
    let crowd = Crowd::start(MANY, &[forebay.address()]);
    crowd.await_answered(MANY / 8);
    stage.redis.kill();
    stage.redis.restart();
    crowd.await_answered(MANY / 4);
    stage.sql.kill();
    stage.sql.start();
    crowd.await_answered(MANY * 3 / 8);
    forebay.kill();
    forebay.start();
    crowd.await_answered(MANY / 2);
    stage.kafka.broker(1).kill();
    crowd.await_answered(MANY * 3 / 4);
    stage.kafka.broker(1).start();
    let outcome = crowd.finish();
    stage.check(&outcome, &forebay);
}

#[test]
fn kills_leave_ten_thousand_correct_rows_in_mariadb() {
    outages_lose_no_commands("kills_leave_ten_thousand_correct_rows_in_mariadb", DatabaseKind::MariaDb);
}

#[test]
fn kills_leave_ten_thousand_correct_rows_in_postgres() {
    outages_lose_no_commands("kills_leave_ten_thousand_correct_rows_in_postgres", DatabaseKind::Postgres);
}

/// Two daemons and two consumers on one database. One of each is killed during the registrations, the daemon
/// repeatedly.
fn daemons_and_consumers_share(test: &str, sql: DatabaseKind) {
    let Some(stage) = TestServers::new(test, sql) else { return };
    let (mut one, mut other) = (stage.daemon(), stage.daemon());
    let (mut first, mut second) = (stage.consumer(), stage.consumer());
    thread::scope(|scope| {
        for forebay in [&mut one, &mut other, &mut first, &mut second] {
            scope.spawn(|| forebay.start());
        }
    });
    let crowd = Crowd::start(SOME, &[one.address(), other.address()]);
    crowd.await_answered(SOME / 4);
    first.kill();
    for eighth in 3..=6 {
        crowd.await_answered(SOME * eighth / 8);
        other.kill();
        other.start();
    }
    first.start();
    let outcome = crowd.finish();
    stage.check(&outcome, &one);
}

#[test]
fn two_daemons_and_two_consumers_share_one_mariadb() {
    daemons_and_consumers_share("two_daemons_and_two_consumers_share_one_mariadb", DatabaseKind::MariaDb);
}

#[test]
fn two_daemons_and_two_consumers_share_one_postgres() {
    daemons_and_consumers_share("two_daemons_and_two_consumers_share_one_postgres", DatabaseKind::Postgres);
}

#[test]
fn a_change_at_one_daemon_invalidates_another_daemons_cache() {
    let Some(stage) =
        TestServers::new("a_change_at_one_daemon_invalidates_another_daemons_cache", DatabaseKind::Postgres)
    else {
        return;
    };
    // No entry expires within this test.
    let (mut one, mut other) = (
        stage.daemon_with_consumer().set("users.cache_ttl", "1h"),
        stage.daemon().set("users.cache_ttl", "1h"),
    );
    one.start();
    other.start();
    let (here, there) = (&mut one.http(), &mut other.http());
    expect(&register_and_wait(here, &new_user(1)), 201, "");
    let shows = |http: &mut Client, nickname: &str| {
        let user = http.get("/v1/users/user-1").unwrap();
        user.status == 200 && user.json()["nickname"] == nickname
    };
    for nickname in ["Ada", "Countess"] {
        // In both caches.
        assert_eq!(there.get("/v1/users/user-1").unwrap().status, 200);
        assert_eq!(here.get("/v1/users/user-1").unwrap().status, 200);
        let change = format!(r#"{{"nickname":"{nickname}"}}"#);
        let changed = write(here, "PUT", "/v1/users/user-1", &change);
        assert_eq!(expect(&changed, 200, "")["state"], "applied");
        wait::until_true("the waiting client sees the change", LONG, || shows(here, nickname));
        wait::until_true("the other daemon shows it", LONG, || shows(there, nickname));
        // A lost connection may have lost notices: cached entries are no longer used.
        stage.redis.kill();
        stage.redis.restart();
    }
    expect(&write(here, "DELETE", "/v1/users/user-1", ""), 200, "");
    wait::until_true("it is gone there too", LONG, || there.get("/v1/users/user-1").unwrap().status == 404);
}
