//! Limits of failed logins per account.

use std::time::Duration;

use forebay::ratelimit::Config;

use super::fixture::{TestDaemon, client, until};
use support::services;

/// The configured limit.
const FAILURES: u32 = 20;

/// Fails this many logins. Returns whether each was allowed.
async fn fail(daemon: &TestDaemon, name: &str, times: u32) -> Vec<bool> {
    let mut tried = Vec::new();
    for _ in 0..times {
        tried.push(daemon.limits.password_attempt(name, client(0)).await.is_ok());
    }
    tried
}

#[tokio::test]
async fn an_account_limit_is_shared_by_all_daemons() {
    let Some(starter) = services::redis("an_account_limit_is_shared_by_all_daemons") else { return };
    let server = starter.start();
    let daemons = [(); 2].map(|()| TestDaemon::on(&server.url(), &Config::default()));
    for number in 0..FAILURES {
        let daemon = &daemons[number as usize % 2];
        // A right password uses no permit.
        for _ in 0..5 {
            daemon.limits.password_attempt("ada", client(0)).await.unwrap().give_back().await;
        }
        assert_eq!(fail(daemon, "ada", 1).await, [true], "{number}");
    }
    for daemon in &daemons {
        let limited = daemon.limits.password_attempt("ada", client(0)).await.err().unwrap();
        // A twentieth of a quarter of an hour.
        assert!(limited.retry_after <= Duration::from_secs(45), "{limited:?}");
        assert_eq!(daemon.rejected("account"), 1);
        assert_eq!(fail(daemon, "grace", 1).await, [true], "other accounts are not limited");
        assert_eq!(daemon.limits.login(client(1)).await, Ok(()));
    }
}

#[tokio::test]
async fn without_redis_each_daemon_counts_failures_alone() {
    let Some(starter) = services::redis("without_redis_each_daemon_counts_failures_alone") else { return };
    let server = starter.start();
    let daemon = TestDaemon::on(&server.url(), &Config::default());
    assert_eq!(fail(&daemon, "ada", FAILURES / 2).await, vec![true; 10]);
    server.kill();
    for _ in 0..5 {
        daemon.limits.password_attempt("ada", client(0)).await.unwrap().give_back().await;
    }
    assert_eq!(fail(&daemon, "ada", FAILURES / 2).await, vec![true; 10]);
    assert_eq!(fail(&daemon, "ada", 1).await, [false]);
    assert!(daemon.is_local_only());
    server.restart();
    until("Redis is found again", async || !daemon.is_local_only()).await;
    assert_eq!(fail(&daemon, "ada", 1).await, [true], "a Redis that has lost everything");
}

#[tokio::test]
async fn the_switch_turns_all_limits_off() {
    let Some(starter) = services::redis("the_switch_turns_all_limits_off") else { return };
    let server = starter.start();
    let config =
        Config { enabled: false, write_limit: 1, login_limit: 1, account_failures: 1, ..Config::default() };
    let daemon = TestDaemon::on(&server.url(), &config);
    assert_eq!(fail(&daemon, "ada", 5).await, [true; 5]);
    for _ in 0..5 {
        assert!(daemon.writes(client(1)).await);
        assert!(daemon.limits.login(client(1)).await.is_ok());
    }
    assert_eq!(daemon.store_calls(), 0);
}
