//! Client addresses seen through proxies.

use std::fs;

use super::fixture::{assert_limited, forebay};
use support::http::Client;
use support::process::Forebay;
use support::services;

/// A daemon on this Redis that allows three commands and trusts these proxies. Trusting proxies requires
/// authentication.
fn behind(redis_url: &str, proxies: &[&str]) -> Forebay {
    let daemon = forebay(redis_url, 3);
    let tokens = daemon.dir().join("tokens");
    fs::write(&tokens, format!("somebody {}\n", "5a".repeat(32))).unwrap();
    daemon
        .set("users.enabled", true)
        .set("auth.mode", "token")
        .set("auth.tokens_file", tokens.display().to_string())
        .set("server.trusted_proxies", proxies)
}

/// Sends one registration with these header lines. Returns whether the limit allowed it. It needs no token, so it
/// counts for its address. Its body is invalid, so it has no other effect.
fn sent(http: &mut Client, forwarded: &[&str]) -> bool {
    let headers: Vec<_> = forwarded.iter().map(|line| ("X-Forwarded-For", *line)).collect();
    let headers = [&headers[..], &[("Content-Type", "application/json")]].concat();
    let answer = http.request("POST", "/v1/users", &headers, b"{}").unwrap();
    if answer.status != 422 {
        assert_limited(&answer);
    }
    answer.status == 422
}

#[test]
fn a_forged_header_of_an_untrusted_peer_is_ignored() {
    let Some(starter) = services::redis("a_forged_header_of_an_untrusted_peer_is_ignored") else { return };
    let server = starter.start();
    let mut daemon = behind(&server.url(), &["10.0.0.0/8"]);
    daemon.start();
    let mut http = daemon.http();
    let accepted = (1..=10).filter(|n| sent(&mut http, &[&format!("198.51.100.{n}")])).count();
    assert_eq!(accepted, 3);
    assert!(!sent(&mut http, &["10.0.0.1"]));
}

#[test]
fn clients_of_a_trusted_proxy_are_distinguished() {
    let Some(starter) = services::redis("clients_of_a_trusted_proxy_are_distinguished") else { return };
    let server = starter.start();
    let mut daemon = behind(&server.url(), &["127.0.0.0/8", "10.0.0.1"]);
    daemon.start();
    let mut http = daemon.http();
    for address in ["198.51.100.1", "198.51.100.2", "2001:db8:1:1::1"] {
        let accepted = (0..5).filter(|_| sent(&mut http, &[address])).count();
        assert_eq!(accepted, 3, "{address}");
    }
    // The proxy appends its peer's address to the header it received.
    for n in 0..5 {
        assert!(!sent(&mut http, &[&format!("192.0.2.{n}, 198.51.100.1")]));
        assert!(!sent(&mut http, &[&format!("192.0.2.{n}"), "198.51.100.1"]));
        assert!(!sent(&mut http, &[&format!("192.0.2.{n}, 198.51.100.1, 10.0.0.1")]));
        assert!(!sent(&mut http, &[&format!("2001:db8:1:1::{}", n + 7)]), "one network, one client");
    }
    assert!(sent(&mut http, &["198.51.100.1, 198.51.100.3"]), "another client");
    assert!(sent(&mut http, &["198.51.100.1, unknown"]), "the proxy itself");
}
