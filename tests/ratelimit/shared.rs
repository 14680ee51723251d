//! Daemons that share one limit.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::fixture::{DAY, TestDaemon, client, writes};
use support::services;

/// Concurrent requests at each daemon.
const CONCURRENT_REQUESTS: usize = 16;

/// Sends commands of one client to all daemons until each of them refuses. Returns how many were accepted.
async fn used_up(daemons: &[Arc<TestDaemon>], client: IpAddr) -> u64 {
    let clients: Vec<_> = daemons
        .iter()
        .flat_map(|daemon| std::iter::repeat_n(daemon, CONCURRENT_REQUESTS))
        .map(|daemon| {
            let daemon = Arc::clone(daemon);
            tokio::spawn(async move {
                let mut accepted = 0;
                while daemon.writes(client).await {
                    accepted += 1;
                }
                accepted
            })
        })
        .collect();
    let mut accepted = 0;
    for client in clients {
        accepted += client.await.unwrap();
    }
    accepted
}

/// The permits that come back since `began`.
fn refilled(limit: u64, began: Instant) -> u64 {
    (limit as f64 * began.elapsed().as_secs_f64() / DAY.as_secs_f64()).ceil() as u64
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_daemons_together_grant_exactly_the_limit() {
    let Some(starter) = services::redis("two_daemons_together_grant_exactly_the_limit") else { return };
    let server = starter.start();
    for (number, limit) in [(0, 1), (1, 50), (2, 2_000), (3, 100_000)] {
        let config = writes(limit, DAY);
        let daemons: Vec<_> = (0..2).map(|_| Arc::new(TestDaemon::on(&server.url(), &config))).collect();
        let began = Instant::now();
        let accepted = used_up(&daemons, client(number)).await;
        assert!((limit..=limit + refilled(limit, began)).contains(&accepted), "{accepted} of {limit}");
        let store_calls: u64 = daemons.iter().map(|daemon| daemon.store_calls()).sum();
        println!("{accepted} of {limit}: {store_calls} store calls");
        // Near the limit every permit needs a call; far from it hardly any does.
        assert!(limit < 100_000 || store_calls < accepted / 20, "{store_calls} store calls for {accepted}");
        assert!(daemons.iter().all(|daemon| daemon.rejected("write") >= CONCURRENT_REQUESTS as u64));
        assert!(daemons.iter().all(|daemon| !daemon.is_local_only()));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_limit_holds_while_permits_come_back() {
    let Some(starter) = services::redis("a_limit_holds_while_permits_come_back") else { return };
    let server = starter.start();
    let (limit, window) = (1_000, Duration::from_secs(4));
    let daemons: Vec<_> =
        (0..2).map(|_| Arc::new(TestDaemon::on(&server.url(), &writes(limit, window)))).collect();
    let began = Instant::now();
    let came_back = || limit as f64 * began.elapsed().as_secs_f64() / window.as_secs_f64();
    let (mut accepted, mut at_least) = (0, 0.0);
    while began.elapsed() < window / 2 {
        // The permits available when a round begins are used up by it, however late it runs.
        at_least = came_back();
        accepted += used_up(&daemons, client(0)).await;
        tokio::task::yield_now().await;
    }
    let at_most = came_back();
    // Leases may carry over a hundredth.
    assert!(accepted as f64 <= limit as f64 * 1.01 + at_most, "{accepted}, {at_most} came back");
    assert!(accepted as f64 >= limit as f64 + at_least * 0.8, "{accepted}, {at_least} came back");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cluster_of_three_primaries_counts_too() {
    let Some(starter) = services::redis("a_cluster_of_three_primaries_counts_too") else { return };
    let cluster = starter.start_cluster();
    let daemon = || TestDaemon::with(&cluster.url(), true, &writes(20, DAY), Duration::from_secs(10));
    let daemons = [Arc::new(daemon()), Arc::new(daemon())];
    // Their keys are on all three nodes.
    for number in 0..30 {
        assert_eq!(used_up(&daemons, client(number)).await, 20, "client {number}");
    }
    assert!(daemons.iter().all(|daemon| !daemon.is_local_only()));
    let nodes = (0..3).filter(|node| cluster.node(*node).command(&["DBSIZE"]).unwrap() != ":0\r\n").count();
    assert_eq!(nodes, 3);
}

#[tokio::test]
async fn keys_contain_no_addresses_or_names_and_expire() {
    let Some(starter) = services::redis("keys_contain_no_addresses_or_names_and_expire") else { return };
    let server = starter.start();
    let daemon = TestDaemon::on(&server.url(), &writes(100, DAY));
    assert!(daemon.writes(client(1)).await);
    assert!(daemon.limits.write(Some("ada"), client(1)).await.is_ok());
    drop(daemon.limits.password_attempt("grace", client(1)).await.unwrap());
    let keys = server.command(&["EVAL", "return table.concat(redis.call('KEYS', '*'), ' ')", "0"]).unwrap();
    assert_eq!(keys.matches("forebay:ratelimit:").count(), 4, "{keys}");
    for secret in ["10.0.0.1", "ada", "grace"] {
        assert!(!keys.contains(secret), "{keys}");
    }
    let endless = "local n = 0 for _, k in ipairs(redis.call('KEYS', '*')) do \
                   if redis.call('PTTL', k) < 0 then n = n + 1 end end return n";
    assert_eq!(server.command(&["EVAL", endless, "0"]).unwrap(), ":0\r\n");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn requests_of_many_clients_are_batched() {
    const CLIENTS: u32 = 2_000;
    let Some(starter) = services::redis("requests_of_many_clients_are_batched") else { return };
    let server = starter.start();
    let daemon = Arc::new(TestDaemon::on(&server.url(), &writes(1, DAY)));
    let clients: Vec<_> = (0..CLIENTS)
        .map(|n| {
            let daemon = Arc::clone(&daemon);
            tokio::spawn(async move { (daemon.writes(client(n)).await, daemon.writes(client(n)).await) })
        })
        .collect();
    for client in clients {
        assert_eq!(client.await.unwrap(), (true, false));
    }
    assert!(!daemon.is_local_only());
    assert!(
        daemon.store_calls() < u64::from(CLIENTS),
        "{} calls for {CLIENTS} clients, twice",
        daemon.store_calls()
    );
}
