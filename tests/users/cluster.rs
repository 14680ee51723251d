//! A Redis cluster behind the daemon: a part of it away, or taken for something else.

use std::time::Duration;

use serde_json::Value;

use super::test_users::{embedded, expect, new_user, register, register_once};
use support::daemon::{LONG, metric, metric_if_any};
use support::process::Forebay;
use support::redis::RedisCluster;
use support::{services, wait};

/// Of a call to the store: long enough for a busy machine. A node that is killed is noticed before that.
const TIMEOUT: Duration = Duration::from_secs(10);
/// The node that goes away.
const KILLED_NODE: usize = 1;

fn markers(forebay: &Forebay) -> Value {
    forebay.admin_http().get("/readyz").unwrap().json()["dependencies"]["markers"].clone()
}

/// How often the daemon has looked at the store.
fn store_checks(forebay: &Forebay) -> f64 {
    metric_if_any(forebay, "forebay_step_seconds_count{step=\"kv.look\"}").unwrap_or_default()
}

/// The state in `/readyz`, and that it was logged once although it was seen again and again.
fn assert_state_logged_once(url: &str, cluster: bool, state: &str) {
    let mut forebay = embedded().set("redis.url", url).set("redis.cluster", cluster);
    forebay.start();
    wait::until_true("what is wrong is shown", LONG, || markers(&forebay) == state);
    let before = store_checks(&forebay);
    wait::until_true("it is looked at again", LONG, || store_checks(&forebay) >= before + 2.0);
    assert_eq!(markers(&forebay), state);
    assert_eq!(forebay.log().matches(state).count(), 1, "{}", forebay.log());
    let ready = forebay.http().get("/readyz").unwrap();
    assert_eq!(ready.status, 200, "commands are accepted all the same");
}

#[test]
fn a_node_of_a_cluster_that_is_taken_for_a_single_server_is_said_to_be_one() {
    let Some(place) = services::redis("a_node_that_is_taken_for_a_single_server") else { return };
    let cluster = place.start_cluster();
    let state = "the server is a node of a cluster: set [redis] cluster = true";
    assert_state_logged_once(&cluster.node(0).url(), false, state);
}

#[test]
fn a_single_server_that_is_taken_for_a_cluster_is_said_to_be_none() {
    let Some(place) = services::redis("a_single_server_that_is_taken_for_a_cluster") else { return };
    let server = place.start();
    let state = "the server is not a node of a cluster: set [redis] cluster = false";
    assert_state_logged_once(&server.url(), true, state);
}

/// Whether a marker of somebody lies on the node that goes away.
fn has_marker_on_killed_node(cluster: &RedisCluster, somebody: &Value) -> bool {
    let word = |member: &str| somebody[member].as_str().unwrap().to_owned();
    let keys = [word("name"), format!("email:{}", word("email")), format!("phone:{}", word("phone"))];
    keys.iter().any(|key| cluster.node_of(&format!("user:pending:{key}")) == KILLED_NODE)
}

#[test]
fn a_killed_node_refuses_those_whose_markers_it_had_and_nobody_else() {
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
        // Many refusals in a row, and then somebody whom they do not concern.
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
