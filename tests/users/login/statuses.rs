//! Access to the status of a command, and its cost for the database.

use super::accounts::{Tokens, call, guarded, guarded_on};
use crate::test_users::{expect, new_user, register};
use support::daemon::{LONG, metric_if_any};
use support::http::{Client, Response};
use support::process::Forebay;
use support::wait;

/// Crockford's base 32.
const ALPHABET: &[u8] = b"0123456789ABCDEFGHJKMNPQRSTVWXYZ";
/// Position of the LSN in an id. The seal protects all other characters against changes.
const LSN: std::ops::Range<usize> = 16..26;

/// Number of database queries for outcomes so far.
fn questions(forebay: &Forebay) -> f64 {
    metric_if_any(forebay, "db_query_seconds_count{query=\"outcomes\"}").unwrap_or_default()
}

fn status(http: &mut Client, id: &str) -> Response {
    http.get(&format!("/v1/commands/{id}")).expect("an answer")
}

fn id_of(answer: &Response) -> String {
    expect(answer, 202, "")["id"].as_str().expect("an id").to_owned()
}

/// Registers without a token and waits until the registration is applied.
fn registered_id(forebay: &Forebay, number: usize) -> String {
    let http = &mut forebay.http();
    let id = id_of(&register(http, &new_user(number)));
    wait::until_true("it is applied", LONG, || status(http, &id).json()["state"] == "applied");
    id
}

/// Ids that were not issued: each differs from an issued one in one character.
fn invented(real: &str) -> Vec<String> {
    let other = |at: usize| {
        let mut id = real.as_bytes().to_vec();
        let value = ALPHABET.iter().position(|letter| *letter == id[at]).expect("a letter of ids");
        id[at] = ALPHABET[(value + 1) % ALPHABET.len()];
        String::from_utf8(id).expect("letters")
    };
    (0..real.len()).filter(|at| !LSN.contains(at)).map(other).collect()
}

#[test]
fn anonymous_status_queries_need_an_issued_id() {
    let mut forebay = guarded();
    forebay.start();
    let own = registered_id(&forebay, 1);
    let http = &mut forebay.http();
    let admin = Tokens::of_admin(http).access;
    let bearer = format!("Bearer {admin}");
    let deletion = http.request("DELETE", "/v1/users/nobody", &[("Authorization", &bearer)], b"").unwrap();
    let of_admin = id_of(&deletion);
    let mut stranger = guarded();
    stranger.start();
    let foreign = registered_id(&stranger, 1);

    let before = questions(&forebay);
    let not_theirs = [vec![of_admin.clone(), foreign.clone()], invented(&own), invented(&foreign)].concat();
    for id in &not_theirs {
        let answer = status(http, id);
        assert!(answer.status == 404, "{id}: {}", answer.text());
    }
    assert_eq!(
        questions(&forebay) - before,
        0.0,
        "{} ids that were not issued to the caller",
        not_theirs.len()
    );

    // A valid token, or an issued id, permits the query.
    let headers = [("Authorization", bearer.as_str())];
    let asked = http.request("GET", &format!("/v1/commands/{foreign}"), &headers, b"").unwrap();
    expect(&asked, 404, "other_log");
    assert_eq!(questions(&forebay) - before, 1.0);
    assert_eq!(status(http, &own).json()["state"], "applied");
    assert_eq!(questions(&forebay) - before, 2.0);
    assert_eq!(call(http, &admin, "GET", &format!("/v1/commands/{of_admin}"), "").json()["state"], "applied");
}

/// Behind a load balancer the next request may reach another daemon.
#[test]
fn every_daemon_on_a_database_knows_an_anonymous_registration() {
    let mut first = guarded();
    first.start();
    let mut second = guarded_on(&first);
    second.start();
    let id = registered_id(&first, 1);
    let http = &mut second.http();
    // Before the daemon has read the shared secret, it recognises no id of the other daemon.
    wait::until_true("it is known", LONG, || status(http, &id).status == 200);
    assert_eq!(status(http, &id).json()["state"], "applied");
    let before = questions(&second);
    for id in invented(&id) {
        assert_eq!(status(http, &id).status, 404);
    }
    assert_eq!(questions(&second) - before, 0.0);
}
