//! A server that is killed, frozen, cut off, or absent.

use std::sync::Arc;
use std::time::Duration;

use forebay::kv::{Kv, KvError, SetOutcome};
use tokio::io::AsyncWriteExt;
use tokio::net::TcpListener;

use super::test_store::{TTL, answered, client, measured, patient, until};
use support::ports::Port;
use support::proxy::{LinkState, Proxy};
use support::services;

/// Timeout of an impatient client.
const TIMEOUT: Duration = Duration::from_millis(300);

async fn is_open(kv: &Kv) -> bool {
    kv.get("a").await == Err(KvError::BreakerOpen)
}

#[tokio::test]
async fn the_server_may_start_after_the_client() {
    let Some(starter) = services::redis("the_server_may_start_after_the_client") else { return };
    let server = starter.start();
    server.stop();
    let kv = patient(&server.url(), false);
    let error = kv.get("a").await.unwrap_err();
    assert_eq!(error, KvError::Unavailable("connection refused".to_owned()));
    server.restart();
    answered("the server is found", async || kv.set("a", b"1", TTL).await).await;
}

#[tokio::test]
async fn a_client_recovers_by_itself_from_a_restart() {
    let Some(starter) = services::redis("a_client_recovers_by_itself_from_a_restart") else { return };
    let server = starter.start();
    let kv = patient(&server.url(), false);
    kv.set("a", b"x:1", TTL).await.unwrap();
    assert!(kv.replace("a", b"x:", b"x:2", TTL).await.unwrap());
    for _ in 0..3 {
        server.kill();
        server.restart();
        // The first call already notices the lost connection, and does not fail.
        assert_eq!(kv.get("a").await, Ok(None));
        kv.set("a", b"x:1", TTL).await.unwrap();
        assert!(kv.replace("a", b"x:", b"x:2", TTL).await.unwrap(), "the server lost its scripts too");
    }
}

#[tokio::test]
async fn an_unavailable_server_gets_one_probe_at_a_time() {
    let Some(starter) = services::redis("an_unavailable_server_gets_one_probe_at_a_time") else { return };
    let server = starter.start();
    let (kv, metrics) = measured(&server.url(), false, TIMEOUT);
    answered("the server answers", async || kv.set("a", b"1", TTL).await).await;
    let open = &metrics.breaker_open;
    assert_eq!(open.get(), 0);
    server.stop();
    until("the breaker opens", async || is_open(&kv).await).await;
    assert_eq!(open.get(), 1);
    server.restart();
    answered("a probe finds the server", async || kv.get("a").await).await;
    assert_eq!(open.get(), 0);
    assert!(metrics.step_seconds.with_label_values(&["kv.get"]).get_sample_count() > 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn calls_to_a_frozen_server_fail_fast_after_some_timeouts() {
    let Some(starter) = services::redis("calls_to_a_frozen_server_fail_fast_after_some_timeouts") else {
        return;
    };
    let server = starter.start();
    let kv = client(&server.url(), false, TIMEOUT);
    answered("the server answers", async || kv.set("a", b"1", TTL).await).await;
    server.freeze();
    let mut timed_out = 0;
    let refused = loop {
        match kv.get("a").await.unwrap_err() {
            KvError::Timeout => timed_out += 1,
            error => break error,
        }
    };
    assert_eq!(refused, KvError::BreakerOpen);
    assert!(timed_out >= 5, "{timed_out} calls waited before the breaker opened");
    server.thaw();
    let value = answered("the server is found again", async || kv.get("a").await).await;
    assert_eq!(value, Some(b"1".to_vec()));
}

#[tokio::test]
async fn a_value_whose_reply_was_lost_is_owned() {
    let Some(starter) = services::redis("a_value_whose_reply_was_lost_is_owned") else { return };
    let server = starter.start();
    let proxy = Proxy::start();
    proxy.forward_to(&server.address());
    let kv = client(&format!("redis://{}", proxy.address()), false, TIMEOUT);
    let direct = patient(&server.url(), false);
    answered("the server answers", async || kv.get("a").await).await;

    // The reply arrives too late.
    proxy.set(LinkState::NO_RESPONSES);
    assert_eq!(kv.set_if_absent("a", b"ours", TTL).await, Err(KvError::Timeout));
    until("the value is set", async || direct.get("a").await.unwrap().is_some()).await;
    proxy.heal();
    let held = answered("the answer", async || kv.set_if_absent("a", b"ours", TTL).await).await;
    assert_eq!(held, SetOutcome::Owned);
    let held = answered("the answer", async || kv.set_if_absent("a", b"theirs", TTL).await).await;
    assert_eq!(held, SetOutcome::Taken(b"ours".to_vec()));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_value_set_before_a_disconnect_is_owned() {
    let Some(starter) = services::redis("a_value_set_before_a_disconnect_is_owned") else { return };
    let server = starter.start();
    let proxy = Proxy::start();
    proxy.forward_to(&server.address());
    let kv = patient(&format!("redis://{}", proxy.address()), false);
    let direct = patient(&server.url(), false);
    kv.get("a").await.unwrap();
    proxy.set(LinkState::NO_RESPONSES);
    let asking = tokio::spawn({
        let kv = kv.clone();
        async move { kv.set_if_absent("a", b"ours", TTL).await }
    });
    until("the value is set", async || direct.get("a").await.unwrap().is_some()).await;
    // The reply never arrives; the call repeats over a new connection.
    proxy.reset();
    proxy.heal();
    assert_eq!(asking.await.unwrap(), Ok(SetOutcome::Owned));
}

#[tokio::test]
async fn a_timed_out_operation_precedes_later_ones() {
    let Some(starter) = services::redis("a_timed_out_operation_precedes_later_ones") else {
        return;
    };
    let server = starter.start();
    let kv = client(&server.url(), false, TIMEOUT);
    answered("the server answers", async || kv.get("a").await).await;
    server.freeze();
    assert_eq!(kv.set_if_absent("a", b"x:1", TTL).await, Err(KvError::Timeout));
    assert_eq!(kv.remove("a", b"x:").await, Err(KvError::Timeout));
    server.thaw();
    // Both were sent. In the wrong order, the key would exist for ten minutes.
    assert_eq!(answered("the answer", async || kv.get("a").await).await, None);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_concurrent_callers_share_the_connections() {
    let Some(starter) = services::redis("many_concurrent_callers_share_the_connections") else { return };
    let server = starter.start();
    let kv = Arc::new(patient(&server.url(), false));
    let callers: Vec<_> = (0..2_000)
        .map(|number| {
            let kv = Arc::clone(&kv);
            tokio::spawn(async move { kv.set_if_absent(&format!("k:{number}"), b"x", TTL).await })
        })
        .collect();
    for caller in callers {
        assert_eq!(caller.await.unwrap(), Ok(SetOutcome::Owned));
    }
    let connected = server.command(&["INFO", "clients"]).unwrap();
    // Four of the client, and the one that runs this command.
    assert!(connected.contains("connected_clients:5\r\n"), "{connected}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cluster_recovers_after_a_node_failure() {
    let Some(starter) = services::redis("a_cluster_recovers_after_a_node_failure") else { return };
    let cluster = starter.start_cluster();
    let kv = client(&cluster.url(), true, Duration::from_secs(2));
    let keys: Vec<String> = (0..30).map(|number| format!("k:{number}")).collect();
    let entries: Vec<_> = keys.iter().map(|key| (key.clone(), b"x".to_vec(), TTL)).collect();
    answered("the cluster answers", async || kv.set_all(&entries).await).await;
    cluster.node(1).freeze();
    assert!(kv.get_all(&keys).await.is_err(), "a third of the keys is unavailable");
    cluster.node(1).thaw();
    cluster.await_ready();
    let values = answered("all nodes answer", async || kv.get_all(&keys).await).await;
    assert!(values.iter().all(Option::is_some));

    for node in 0..3 {
        cluster.node(node).kill();
    }
    until("the loss shows", async || kv.get("a").await.is_err()).await;
    for node in 0..3 {
        cluster.node(node).restart();
    }
    cluster.await_ready();
    answered("the cluster is found again", async || kv.set_all(&entries).await).await;
}

#[tokio::test]
async fn a_server_with_another_protocol_causes_an_error() {
    let port = Port::free();
    let listener = TcpListener::bind(port.address()).await.unwrap();
    // For TLS the library needs a cryptography provider, and panics without one.
    for scheme in ["redis", "rediss"] {
        let kv = client(&format!("{scheme}://{}", port.address()), false, TIMEOUT);
        tokio::select! {
            asked = kv.get("a") => assert!(asked.is_err(), "{scheme}"),
            () = refuse_all(&listener) => {}
        }
    }
}

async fn refuse_all(listener: &TcpListener) {
    loop {
        let (mut client, _) = listener.accept().await.unwrap();
        // A client may have disconnected already.
        let _ = client.write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n").await;
    }
}
