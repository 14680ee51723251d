//! The cost of a client without credentials is bounded on every public route.

use std::collections::BTreeSet;

use serde_json::json;

use super::login::accounts;
use super::test_users;
use support::anonymous;
use support::anonymous::AnonymousRequest;
use support::http::Client;
use support::process::Forebay;

/// Number of requests of each kind.
const TIMES: u64 = 20;
/// Maximum size of a response. The API description is exempt.
const ANSWER: usize = 8 << 10;

#[test]
fn the_cost_of_anonymous_requests_is_bounded() {
    let mut forebay = accounts::guarded()
        .set("rate_limit.enabled", false)
        // A query whose request gave up counts too.
        .set("users.check_timeout", "10s");
    forebay.start();
    let http = &mut forebay.http();
    let (name, password) = anonymous::EXISTING_USER;
    let known =
        json!({"name": name, "email": "known@example.org", "phone": "+491700000000", "password": password});
    test_users::expect(&test_users::register_and_wait(http, &known), 201, "");
    let mut over = Vec::new();
    for probe in anonymous::anonymous_requests() {
        let before = statements(&forebay);
        let longest = (0..TIMES).map(|number| answer(&probe, http, number)).max().unwrap_or_default();
        let caused = statements(&forebay) - before;
        // A request that must query the database proves that queries are counted.
        assert!(probe.statements == 0 || caused > 0, "{:?}, {}: no statement", probe.route, probe.what);
        // Rounded: some background queries of the daemon cannot be told apart.
        let each = (caused + TIMES / 2) / TIMES;
        if each > probe.statements || (longest > ANSWER && probe.route.1 != "/openapi.json") {
            over.push(format!("{:?}, {}: {caused} statements, {longest} bytes", probe.route, probe.what));
        }
    }
    assert!(over.is_empty(), "for {TIMES} requests each:\n{}", over.join("\n"));
}

#[test]
fn every_public_route_is_checked() {
    let mut forebay = test_users::embedded();
    forebay.start();
    let described = forebay.http().get("/openapi.json").unwrap().json();
    let mut routes = BTreeSet::new();
    for (path, methods) in described["paths"].as_object().unwrap() {
        // Each kind has its own path; one route serves all of them.
        let path = path.replace("order.create", "{kind}");
        routes
            .extend(methods.as_object().unwrap().keys().map(|method| (method.to_uppercase(), path.clone())));
    }
    let probed: BTreeSet<(String, String)> = anonymous::anonymous_requests()
        .iter()
        .map(|probe| (probe.route.0.to_owned(), probe.route.1.to_owned()))
        .collect();
    assert_eq!(probed, routes);
}

/// The size of a response.
fn answer(probe: &AnonymousRequest, http: &mut Client, number: u64) -> usize {
    let answer = test_users::retry_on_timeout(|| probe.send(http, number).expect("an answer"));
    assert!(answer.status < 500, "{:?}, {}: {}", probe.route, probe.what, answer.text());
    answer.body.len()
}

fn statements(forebay: &Forebay) -> u64 {
    anonymous::statements(&forebay.admin_http().get("/metrics").unwrap().text())
}
