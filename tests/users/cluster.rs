//! A Redis cluster: with an unavailable node, or with the wrong setting.

use std::time::Duration;

use serde_json::Value;

use super::test_users::{embedded, expect, new_user, register, register_once};
use support::daemon::{LONG, metric, metric_if_any};
use support::process::Forebay;
use support::redis::RedisCluster;
use support::{services, wait};

/// Timeout of a call to the store, long enough for a busy machine. A killed node is detected earlier.
const TIMEOUT: Duration = Duration::from_secs(10);
/// The node that is killed.
const KILLED_NODE: usize = 1;

fn markers(forebay: &Forebay) -> Value {
    forebay.admin_http().get("/readyz").unwrap().json()["dependencies"]["markers"].clone()
}

/// How often the daemon has checked the store.
fn store_checks(forebay: &Forebay) -> f64 {
    metric_if_any(forebay, "forebay_step_seconds_count{step=\"kv.look\"}").unwrap_or_default()
}

/// Asserts that `/readyz` shows the state, and that it was logged once despite repeated checks.
fn assert_state_logged_once(url: &str, cluster: bool, state: &str) {
    let mut forebay = embedded().set("redis.url", url).set("redis.cluster", cluster);
    forebay.start();
    wait::until_true("the state is reported", LONG, || markers(&forebay) == state);
    let before = store_checks(&forebay);
    wait::until_true("the store is checked again", LONG, || store_checks(&forebay) >= before + 2.0);
    assert_eq!(markers(&forebay), state);
    assert_eq!(forebay.log().matches(state).count(), 1, "{}", forebay.log());
    let ready = forebay.http().get("/readyz").unwrap();
    assert_eq!(ready.status, 200, "commands are still accepted");
}

#[test]
fn a_cluster_configured_as_a_single_server_is_reported() {
    let Some(place) = services::redis("a_node_that_is_taken_for_a_single_server") else { return };
    let cluster = place.start_cluster();
    let state = "the server is a node of a cluster: set [redis] cluster = true";
    assert_state_logged_once(&cluster.node(0).url(), false, state);
}

#[test]
fn a_single_server_configured_as_a_cluster_is_reported() {
    let Some(place) = services::redis("a_single_server_that_is_taken_for_a_cluster") else { return };
    let server = place.start();
    let state = "the server is not a node of a cluster: set [redis] cluster = false";
    assert_state_logged_once(&server.url(), true, state);
}

/// Whether a reservation of this user is on the killed node.
fn has_marker_on_killed_node(cluster: &RedisCluster, somebody: &Value) -> bool {
    let word = |member: &str| somebody[member].as_str().unwrap().to_owned();
    let keys = [word("name"), format!("email:{}", word("email")), format!("phone:{}", word("phone"))];
    keys.iter().any(|key| cluster.node_of(&format!("user:pending:{key}")) == KILLED_NODE)
}

#[test]
fn a_killed_node_affects_only_users_reserved_on_it() {
    let Some(place) = services::redis("a_killed_node_refuses_those_whose_markers_it_had") else { return };
    let cluster = place.start_cluster_with(&["--cluster-require-full-coverage", "no"]);
    let mut forebay = embedded()
        .set("redis.url", cluster.url())
        .set("redis.cluster", true)
        .set("redis.timeout", format!("{}s", TIMEOUT.as_secs()))
        .set("database.acquire_timeout", "30s");
    forebay.start();
    expect(&register(&mut forebay.http(), &new_user(0)), 202, "");
    let (concerned, others): (Vec<_>, Vec<_>) =
        (1..40).map(new_user).partition(|somebody| has_marker_on_killed_node(&cluster, somebody));
    assert!(concerned.len() > 10 && others.len() > 5, "{} {}", concerned.len(), others.len());

    cluster.node(KILLED_NODE).kill();
    let http = &mut forebay.http();
    for (number, somebody) in concerned.iter().enumerate() {
        let refused = register_once(http, somebody);
        expect(&refused, 503, "markers_unavailable");
        assert!(refused.header("retry-after").is_some());
        // Several rejections in a row, then a user without a reservation on the killed node.
        if number >= 6
            && let Some(other) = others.get(number - 6)
        {
            expect(&register(http, other), 202, "");
        }
    }
    assert_eq!(metric(&forebay, "forebay_breaker_open{dependency=\"redis\"}"), 0.0);

    cluster.node(KILLED_NODE).restart();
    cluster.await_ready();
    for somebody in &concerned {
        wait::until_true("the node is found again", LONG, || register_once(http, somebody).status == 202);
    }
}
