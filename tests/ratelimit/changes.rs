//! Changing limits while daemons run.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use forebay::ratelimit::{AdjustableLimiter, NotShared, Setting};
use forebay::units::Span;

use super::fixture::{DAY, LONG, TestDaemon, accepted, client, document, forebay, post, until, writes};
use support::process::Forebay;
use support::proxy::{LinkState, Proxy};
use support::{services, wait};

const WRITE: &str = "/admin/ratelimit/write";

fn setting(limit: u64) -> Setting {
    Setting { enabled: true, limit, window: Span(DAY) }
}

fn shown(daemon: &Forebay) -> String {
    daemon.admin_http().get(WRITE).unwrap().json().to_string()
}

fn change(daemon: &Forebay, document: &str) {
    let answer = daemon.admin_http().put(WRITE, document).unwrap();
    assert_eq!((answer.status, answer.json().to_string()), (200, document.to_owned()), "{}", answer.text());
}

#[test]
fn a_change_applies_to_all_daemons_and_survives_restarts() {
    let Some(starter) = services::redis("a_change_applies_to_all_daemons_and_survives_restarts") else {
        return;
    };
    let server = starter.start();
    let mut daemons = [(); 2].map(|()| forebay(&server.url(), 10));
    daemons.iter_mut().for_each(Forebay::start);
    let [first, second] = &mut daemons;
    assert_eq!(shown(second), document(true, 10, "1day"));
    let mut http = second.http();
    assert_eq!(accepted(&mut http, 15), 10);

    // Raised: a client that had used up the limit may continue at once.
    change(first, &document(true, 30, "1day"));
    wait::until_true("the other daemon accepts more", LONG, || post(&mut http).status == 202);
    assert_eq!(accepted(&mut http, 30), 19);
    // Lowered, off, and on.
    change(first, &document(true, 5, "1day"));
    wait::until_true("the limit is lower", LONG, || shown(second) == document(true, 5, "1day"));
    assert_eq!(accepted(&mut http, 5), 0);
    change(first, &document(false, 5, "1day"));
    wait::until_true("the limit is off", LONG, || shown(second) == document(false, 5, "1day"));
    assert_eq!(accepted(&mut http, 40), 40);

    second.restart();
    wait::until_true("the limit is off after a restart", LONG, || {
        shown(second) == document(false, 5, "1day")
    });
    // A Redis that was restarted empty: the daemons still know the change.
    server.kill();
    server.restart();
    let key = ["EXISTS", "forebay:ratelimit:write"];
    wait::until_true("the change is shared again", LONG, || {
        server.command(&key).is_ok_and(|answer| answer == ":1\r\n")
    });
    first.restart();
    wait::until_true("the limit is still off", LONG, || shown(first) == document(false, 5, "1day"));
}

#[test]
fn a_change_during_an_outage_is_shared_later() {
    let Some(starter) = services::redis("a_change_during_an_outage_is_shared_later") else { return };
    let server = starter.start();
    let mut daemons = [(); 2].map(|()| forebay(&server.url(), 10));
    daemons.iter_mut().for_each(Forebay::start);
    let [first, second] = &mut daemons;
    change(first, &document(true, 20, "1day"));
    wait::until_true("the change is shared", LONG, || shown(second) == document(true, 20, "1day"));
    server.kill();
    let answer = first.admin_http().put(WRITE, &document(true, 3, "1day")).unwrap();
    assert_eq!(
        (answer.status, &answer.json()["code"]),
        (503, &"limits_not_shared".into()),
        "{}",
        answer.text()
    );
    assert!(answer.header("retry-after").is_some());
    assert_eq!(shown(first), document(true, 3, "1day"));
    assert_eq!(accepted(&mut first.http(), 10), 3);
    server.restart();
    wait::until_true("the change is shared", LONG, || shown(second) == document(true, 3, "1day"));
}

#[test]
fn all_errors_of_a_change_are_reported() {
    let Some(starter) = services::redis("all_errors_of_a_change_are_reported") else { return };
    let server = starter.start();
    let mut daemon = forebay(&server.url(), 10).set("rate_limit.enabled", false);
    daemon.start();
    let mut admin = daemon.admin_http();
    let bad = r#"{"enabled":1,"limit":0,"window":"1ms","burst":3}"#;
    let answer = admin.put(WRITE, bad).unwrap();
    assert_eq!((answer.status, &answer.json()["code"]), (422, &"invalid_limit".into()), "{}", answer.text());
    let pointers: Vec<_> =
        answer.json()["errors"].as_array().unwrap().iter().map(|e| e["pointer"].to_string()).collect();
    assert_eq!(pointers, ["\"/enabled\"", "\"/limit\"", "\"/window\"", "\"/burst\""]);
    assert_eq!(admin.put(WRITE, "[]").unwrap().status, 400);
    assert_eq!(admin.put(WRITE, "{").unwrap().status, 400);
    assert_eq!(admin.put("/admin/ratelimit/account", bad).unwrap().status, 404);
    assert_eq!(admin.get("/admin/ratelimit/account").unwrap().status, 404);
    assert_eq!(admin.get("/admin/ratelimit/login").unwrap().json()["limit"], 500_000);
    // The configuration's switch has priority.
    assert_eq!(shown(&daemon), document(false, 10, "1day"));
    assert_eq!(admin.put(WRITE, &document(true, 1, "1day")).unwrap().status, 422);
    assert_eq!(accepted(&mut daemon.http(), 20), 20);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn changed_limits_apply_under_load() {
    let Some(starter) = services::redis("changed_limits_apply_under_load") else { return };
    let server = starter.start();
    let daemons = [(); 2].map(|()| Arc::new(TestDaemon::on(&server.url(), &writes(10_000, DAY))));
    let over = Arc::new(AtomicBool::new(false));
    let clients: Vec<_> = [0, 1, 0, 1]
        .map(|at| {
            let (daemon, over) = (Arc::clone(&daemons[at]), Arc::clone(&over));
            tokio::spawn(async move {
                let mut accepted = 0u64;
                while !over.load(Ordering::Relaxed) {
                    accepted += u64::from(daemon.writes(client(0)).await);
                    tokio::task::yield_now().await;
                }
                accepted
            })
        })
        .into();
    let all_refuse = async || {
        until("all refuse", async || {
            !daemons[0].writes(client(0)).await && !daemons[1].writes(client(0)).await
        })
        .await;
    };
    all_refuse().await;
    daemons[0].limits.change(AdjustableLimiter::Write, setting(15_000)).await.unwrap();
    until("the other daemon knows the change", async || {
        daemons[1].limits.setting(AdjustableLimiter::Write) == setting(15_000)
    })
    .await;
    all_refuse().await;
    daemons[1].limits.change(AdjustableLimiter::Write, setting(100)).await.unwrap();
    until("the other daemon knows the change", async || {
        daemons[0].limits.setting(AdjustableLimiter::Write) == setting(100)
    })
    .await;
    all_refuse().await;
    over.store(true, Ordering::Relaxed);
    let mut accepted = 0;
    for client in clients {
        accepted += client.await.unwrap();
    }
    // Permits leased under an old limit expire with it: at most a hundredth at each daemon, twice.
    assert!((15_000 - 600..=15_000 + 10).contains(&accepted), "{accepted}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn requests_in_progress_survive_a_limit_change() {
    let Some(starter) = services::redis("requests_in_progress_survive_a_limit_change") else { return };
    let server = starter.start();
    let daemon = Arc::new(TestDaemon::on(&server.url(), &writes(10, DAY)));
    let over = Arc::new(AtomicBool::new(false));
    let clients: Vec<_> = (0..4)
        .map(|_| {
            let (daemon, over) = (Arc::clone(&daemon), Arc::clone(&over));
            tokio::spawn(async move {
                while !over.load(Ordering::Relaxed) {
                    daemon.writes(client(0)).await;
                    tokio::task::yield_now().await;
                }
            })
        })
        .collect();
    let mut store_calls = Vec::new();
    for change in 0..100 {
        let before = daemon.store_calls();
        daemon.limits.change(AdjustableLimiter::Write, setting(10 + change % 2)).await.unwrap();
        until("the limit refuses", async || !daemon.writes(client(0)).await).await;
        store_calls.push(daemon.store_calls() - before);
    }
    over.store(true, Ordering::Relaxed);
    for client in clients {
        client.await.unwrap();
    }
    // One that refuses, and a few of requests that were in progress.
    assert!(store_calls.iter().all(|count| *count < 50), "{store_calls:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_last_change_wins_after_a_lost_connection() {
    let Some(starter) = services::redis("the_last_change_wins_after_a_lost_connection") else { return };
    let server = starter.start();
    let proxy = Proxy::start();
    proxy.forward_to(&server.address());
    let near = TestDaemon::on(&server.url(), &writes(10, DAY));
    let timeout = Duration::from_millis(200);
    let far = TestDaemon::with(&format!("redis://{}", proxy.address()), false, &writes(10, DAY), timeout);
    near.limits.change(AdjustableLimiter::Write, setting(11)).await.unwrap();
    until("the change is known", async || far.limits.setting(AdjustableLimiter::Write) == setting(11)).await;
    proxy.set(LinkState::CUT);
    near.limits.change(AdjustableLimiter::Write, setting(12)).await.unwrap();
    assert_eq!(far.limits.change(AdjustableLimiter::Login, setting(13)).await, Err(NotShared));
    proxy.reset();
    proxy.heal();
    until("the near daemon's change is known", async || {
        far.limits.setting(AdjustableLimiter::Write) == setting(12)
    })
    .await;
    until("the far daemon's change is known", async || {
        near.limits.setting(AdjustableLimiter::Login) == setting(13)
    })
    .await;
    // Both daemons changed one limit without knowing of each other: the last change wins at both.
    proxy.set(LinkState::CUT);
    near.limits.change(AdjustableLimiter::Write, setting(20)).await.unwrap();
    assert_eq!(far.limits.change(AdjustableLimiter::Write, setting(21)).await, Err(NotShared));
    proxy.reset();
    proxy.heal();
    until("one change wins", async || {
        near.limits.setting(AdjustableLimiter::Write) == far.limits.setting(AdjustableLimiter::Write)
    })
    .await;
}
