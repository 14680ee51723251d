//! A Redis that is killed, or does not reply.

use std::time::Duration;

use super::fixture::{DAY, LONG, TestDaemon, accepted, client, forebay, post, until, writes};
use support::daemon::metric;
use support::poll::at_once;
use support::process::Forebay;
use support::proxy::{LinkState, Proxy};
use support::{services, wait};

const FALLBACK: &str = "forebay_ratelimit_fallback";

#[test]
fn daemons_count_together_again_after_a_redis_outage() {
    let Some(starter) = services::redis("daemons_count_together_again_after_a_redis_outage") else { return };
    let server = starter.start();
    let mut daemons = [(); 2].map(|()| forebay(&server.url(), 20));
    daemons.iter_mut().for_each(Forebay::start);
    let mut clients = [daemons[0].http(), daemons[1].http()];
    assert_eq!(accepted(&mut clients[0], 5), 5);
    assert_eq!(metric(&daemons[0], FALLBACK), 0.0);
    server.kill();
    // A daemon remembers the permits that it granted; it knows none of the other daemon's.
    assert_eq!(accepted(&mut clients[0], 30), 15);
    assert_eq!(accepted(&mut clients[1], 30), 20);
    for daemon in &daemons {
        assert_eq!(metric(daemon, FALLBACK), 1.0);
    }
    assert_eq!(metric(&daemons[1], "forebay_ratelimit_rejected_total{limiter=\"write\"}"), 10.0);
    server.restart();
    for daemon in &daemons {
        wait::until_true("the daemons count together", LONG, || metric(daemon, FALLBACK) == 0.0);
    }
    // The new server starts empty: one limit for both daemons.
    let all = accepted(&mut clients[0], 30) + accepted(&mut clients[1], 30);
    assert_eq!(all, 20);
}

#[test]
fn no_request_fails_while_redis_hangs() {
    let Some(starter) = services::redis("no_request_fails_while_redis_hangs") else { return };
    let server = starter.start();
    let proxy = Proxy::start();
    proxy.forward_to(&server.address());
    let mut daemon = forebay(&format!("redis://{}", proxy.address()), 100);
    daemon.start();
    let mut http = daemon.http();
    assert_eq!(accepted(&mut http, 10), 10);
    proxy.set(LinkState::CUT);
    assert_eq!(accepted(&mut http, 110), 90, "and the 111th is refused, not failed");
    assert_eq!(metric(&daemon, FALLBACK), 1.0);
    proxy.heal();
    wait::until_true("daemons count together", LONG, || metric(&daemon, FALLBACK) == 0.0);
    wait::until_true("the count in Redis applies", LONG, || post(&mut http).status == 202);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_hanging_redis_delays_few_requests() {
    const TIMEOUT: Duration = Duration::from_secs(1);
    let Some(starter) = services::redis("a_hanging_redis_delays_few_requests") else { return };
    let server = starter.start();
    let proxy = Proxy::start();
    proxy.forward_to(&server.address());
    let daemon =
        TestDaemon::with(&format!("redis://{}", proxy.address()), false, &writes(1_000, DAY), TIMEOUT);
    assert!(daemon.writes(client(0)).await);
    proxy.set(LinkState::CUT);
    // Many concurrent requests, of one client and of many: each waits for at most one call.
    let waiting: Vec<_> = (0..100).map(|n| daemon.limits.write(None, client(n % 10))).collect();
    for decided in futures(waiting).await {
        assert!(decided.is_ok());
    }
    // The requests' timeouts and the call's end at about the same moment.
    until("the outage is known", async || daemon.is_local_only()).await;
    // After the outage is known: new clients and accounts, while a probe checks Redis again and again.
    for n in 100..3_000 {
        assert_eq!(at_once(daemon.writes(client(n))).await, Some(true), "no request waits");
        let tried = at_once(daemon.limits.password_attempt(&n.to_string(), client(n))).await;
        assert!(tried.is_some_and(|tried| tried.is_ok()), "no request waits");
    }
    proxy.heal();
    until("Redis is found again", async || !daemon.is_local_only()).await;
}

/// Runs all futures concurrently.
async fn futures<T: Send>(all: Vec<impl Future<Output = T> + Send>) -> Vec<T> {
    let mut pinned: Vec<_> = all.into_iter().map(Box::pin).collect();
    let mut done: Vec<Option<T>> = pinned.iter().map(|_| None).collect();
    std::future::poll_fn(|context| {
        for (future, done) in pinned.iter_mut().zip(&mut done) {
            if done.is_none()
                && let std::task::Poll::Ready(value) = future.as_mut().poll(context)
            {
                *done = Some(value);
            }
        }
        if done.iter().all(Option::is_some) { std::task::Poll::Ready(()) } else { std::task::Poll::Pending }
    })
    .await;
    done.into_iter().flatten().collect()
}
