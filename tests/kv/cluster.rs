//! A cluster with an unavailable part, and a server whose kind differs from the configuration.

use std::time::Duration;

use forebay::kv::{Kv, KvError};

use super::test_store::{TTL, answered, measured, patient, until};
use support::redis::RedisCluster;
use support::services;
use support::services::RedisStarter;

/// Long enough for a busy machine. The tests wait this long only for an unresponsive node.
const TIMEOUT: Duration = Duration::from_secs(10);
/// Index of the node that becomes unavailable.
const FAILED_NODE: usize = 1;

/// The remaining nodes serve their slots.
fn start_cluster(starter: &RedisStarter) -> RedisCluster {
    starter.start_cluster_with(&["--cluster-require-full-coverage", "no"])
}

fn keys() -> Vec<String> {
    (0..30).map(|number| format!("k:{number}")).collect()
}

async fn check(url: &str, cluster: bool) -> Result<(), KvError> {
    patient(url, cluster).check("c").await
}

#[tokio::test]
async fn a_server_of_the_wrong_kind_is_reported_as_such() {
    let Some(starter) = services::redis("a_server_of_the_wrong_kind_is_reported_as_such") else { return };
    let (server, cluster) = (starter.start(), starter.start_cluster());
    assert_eq!(check(&server.url(), false).await, Ok(()));
    assert_eq!(check(&cluster.url(), true).await, Ok(()));
    let a_node = KvError::WrongServerMode("the server is a node of a cluster: set [redis] cluster = true");
    for node in 0..3 {
        let kv = patient(&cluster.node(node).url(), false);
        assert_eq!(kv.check("c").await, Err(a_node.clone()), "regardless of the slots of node {node}");
        for key in keys() {
            let answer = kv.get(&key).await;
            let own = cluster.node_of(&key) == node;
            assert_eq!(answer, if own { Ok(None) } else { Err(a_node.clone()) });
        }
    }
    let no_node =
        KvError::WrongServerMode("the server is not a node of a cluster: set [redis] cluster = false");
    assert_eq!(check(&server.url(), true).await, Err(no_node));
    server.stop();
    for cluster in [false, true] {
        let unavailable = check(&server.url(), cluster).await;
        assert!(matches!(unavailable, Err(KvError::Unavailable(_))), "the kind is unknown: {unavailable:?}");
    }
}

/// Makes one call per key. Keys of the failed node fail; all others get a reply.
async fn only_its_keys_fail(kv: &Kv, cluster: &RedisCluster, keys: &[String]) {
    for key in keys {
        let answer = kv.get(key).await;
        match cluster.node_of(key) {
            // Not `Timeout`: the call ended before.
            FAILED_NODE => assert!(matches!(answer, Err(KvError::Node(_))), "{key}: {answer:?}"),
            _ => assert_eq!(answer, Ok(Some(b"x".to_vec())), "{key}"),
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_killed_node_fails_only_its_own_keys() {
    let Some(starter) = services::redis("a_killed_node_fails_only_its_own_keys") else { return };
    let cluster = start_cluster(&starter);
    let (kv, metrics) = measured(&cluster.url(), true, TIMEOUT);
    let open = &metrics.breaker_open;
    let keys = keys();
    let entries: Vec<_> = keys.iter().map(|key| (key.clone(), b"x".to_vec(), TTL)).collect();
    answered("the cluster answers", async || kv.set_all(&entries).await).await;
    // Its keys first: more consecutive failures than any circuit breaker allows.
    let mut by_node = keys.clone();
    by_node.sort_by_key(|key| cluster.node_of(key) != FAILED_NODE);
    assert!(by_node[..6].iter().all(|key| cluster.node_of(key) == FAILED_NODE));

    cluster.node(FAILED_NODE).kill();
    for _ in 0..3 {
        only_its_keys_fail(&kv, &cluster, &by_node).await;
        only_its_keys_fail(&kv, &cluster, &keys).await;
    }
    assert_eq!(open.get(), 0, "the store is available");

    // Keys of one call fail together, but the operation is done on the nodes that reply.
    let removals: Vec<_> = keys.iter().map(|key| (key.clone(), b"x".to_vec())).collect();
    assert!(kv.remove_all(&removals).await.is_err());
    for key in keys.iter().filter(|key| cluster.node_of(key) != FAILED_NODE) {
        assert_eq!(kv.get(key).await, Ok(None), "{key}");
    }

    cluster.node(FAILED_NODE).restart();
    cluster.await_ready();
    answered("all nodes answer", async || kv.get_all(&keys).await).await;
}

#[tokio::test]
async fn an_unavailable_cluster_opens_the_breaker() {
    let Some(starter) = services::redis("an_unavailable_cluster_opens_the_breaker") else { return };
    let cluster = start_cluster(&starter);
    let (kv, metrics) = measured(&cluster.url(), true, TIMEOUT);
    answered("the cluster answers", async || kv.set("a", b"x", TTL).await).await;
    for node in 0..3 {
        cluster.node(node).kill();
    }
    until("the breaker opens", async || kv.get("a").await == Err(KvError::BreakerOpen)).await;
    assert_eq!(metrics.breaker_open.get(), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_successor_of_an_unresponsive_node_is_found() {
    let Some(starter) = services::redis("the_successor_of_an_unresponsive_node_is_found") else { return };
    let cluster = start_cluster(&starter);
    let (kv, _) = measured(&cluster.url(), true, Duration::from_millis(300));
    let keys: Vec<_> = keys().into_iter().filter(|key| cluster.node_of(key) == FAILED_NODE).collect();
    for key in &keys {
        answered("the cluster answers", async || kv.set(key, b"x", TTL).await).await;
    }
    cluster.node(FAILED_NODE).freeze();
    assert!(kv.get(&keys[0]).await.is_err());
    // Its connections stay open, and no node reports that it lost its slots.
    cluster.take_over(FAILED_NODE, 0);
    for key in &keys {
        assert_eq!(answered("the new node is found", async || kv.get(key).await).await, None);
    }
}
