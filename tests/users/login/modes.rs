//! The modes `open`, `token` and `jwt`.

use std::process::Command;

use serde_json::json;

use super::accounts::{SECRET, Tokens, await_status, call, get, guarded, login, registered, write_file};
use crate::test_users::{embedded, expect, on_shared_broker};
use support::daemon::LONG;
use support::process::Forebay;
use support::wait;

/// An address without a listener.
const NO_BROKER: &str = "127.0.0.1:1";

fn digest(token: &str) -> String {
    use sha2::Digest;
    data_encoding::HEXLOWER.encode(&sha2::Sha256::digest(token))
}

fn with_tokens(lines: &str) -> Forebay {
    let forebay = on_shared_broker();
    let file = write_file(&forebay, "tokens", lines);
    forebay.set("auth.mode", "token").set("auth.tokens_file", file.display().to_string())
}

/// Asserts that the start fails, and returns the error output.
fn refused(mut forebay: Forebay) -> String {
    forebay.launch();
    let status = forebay.wait(LONG);
    assert_eq!(status.code(), Some(64), "{}", forebay.log());
    forebay.log()
}

#[test]
fn open_mode_needs_no_token_and_permits_logins() {
    let mut forebay = embedded();
    forebay.start();
    let http = &mut forebay.http();
    registered(http, 1);
    assert_eq!(http.get("/v1/users").unwrap().status, 200);
    let tokens = Tokens::of_user(http, 1);
    Tokens::of(&super::accounts::refresh(http, &tokens.refresh));
    assert_eq!(get(http, "nonsense", "/v1/users"), 200, "a token is ignored in open mode");
    expect(&login(http, "user-1", "wrong horse"), 401, "wrong_credentials");
}

#[test]
fn a_service_authenticates_with_a_token_from_the_file() {
    let lines = format!("billing {}\nops {} admin\n", digest("billing-token"), digest("ops-token"));
    let mut forebay = with_tokens(&lines);
    forebay.start();
    let http = &mut forebay.http();
    let order = r#"{"id":"o-1","amount":1}"#;
    assert_eq!(call(http, "billing-token", "POST", "/v1/commands/order.create", order).status, 200);
    expect(&call(http, "billing-token", "GET", "/v1/users", ""), 403, "forbidden");
    assert_eq!(get(http, "ops-token", "/v1/users"), 200);
    for bad in ["other", &digest("ops-token"), "a.b.c"] {
        expect(&call(http, bad, "GET", "/v1/users", ""), 401, "invalid_token");
    }
    registered(http, 1);
    expect(&login(http, "user-1", "correct horse 1"), 404, "not_found");

    // Added and removed tokens take effect without a restart.
    write_file(&forebay, "tokens", &format!("new {} admin", digest("new-token")));
    await_status(http, "new-token", "/v1/users", 200);
    assert_eq!(get(http, "ops-token", "/v1/users"), 401);
}

#[test]
fn users_and_services_can_authenticate_together() {
    let forebay = with_tokens(&format!("billing {}", digest("billing-token")));
    let keys = write_file(&forebay, "keys", SECRET);
    let mut forebay = forebay.set("auth.jwt_key_file", keys.display().to_string());
    forebay.start();
    let http = &mut forebay.http();
    registered(http, 1);
    let token = Tokens::of_user(http, 1).access;
    assert_eq!(get(http, &token, "/v1/users/user-1"), 200);
    assert_eq!(get(http, "billing-token", "/v1/users/user-1"), 403);
}

#[test]
fn an_authorization_header_without_a_bearer_token_is_rejected() {
    let mut forebay = guarded();
    forebay.start();
    let http = &mut forebay.http();
    for header in ["Basic cm9vdDpyb290", "Bearer", "Bearer a b", "root"] {
        let headers = [("Authorization", header)];
        let answer = http.request("GET", "/v1/users", &headers, b"").unwrap();
        expect(&answer, 401, "unauthenticated");
        assert!(answer.header("www-authenticate").is_some_and(|value| value.starts_with("Bearer")));
    }
    let twice = [("Authorization", "Bearer a"), ("Authorization", "Bearer b")];
    expect(&http.request("GET", "/v1/users", &twice, b"").unwrap(), 400, "bad_header");
}

#[test]
fn all_auth_config_errors_are_reported_without_secrets() {
    let forebay = embedded();
    let tokens = write_file(&forebay, "tokens", "billing hunter2-is-no-digest");
    let keys = write_file(&forebay, "keys", "hunter2");
    let said = refused(
        forebay
            .set("auth.mode", "token")
            .set("auth.tokens_file", tokens.display().to_string())
            .set("auth.jwt_key_file", keys.display().to_string())
            .set("auth.access_ttl", "0s"),
    );
    for key in ["[auth] tokens_file", "[auth] jwt_key_file", "[auth] access_ttl"] {
        assert!(said.contains(key), "{key}: {said}");
    }
    assert!(!said.contains("hunter2"), "{said}");
    assert!(refused(embedded().set("auth.mode", "jwt")).contains("[auth] jwt_key_file"));
}

#[test]
fn open_mode_off_loopback_requires_a_setting() {
    let said = refused(embedded().set("server.listen", "0.0.0.0:0"));
    assert!(said.contains("[server] listen") && said.contains("allow_open"), "{said}");
}

#[test]
fn proxies_need_authentication_and_embedded_brokers_need_open_mode() {
    let said = refused(embedded().set("server.trusted_proxies", json!(["10.0.0.0/8"])));
    assert!(said.contains("[server] trusted_proxies: found 10.0.0.0/8"), "{said}");
    let forebay = embedded();
    let keys = write_file(&forebay, "keys", SECRET);
    let said = refused(forebay.set("auth.mode", "jwt").set("auth.jwt_key_file", keys.display().to_string()));
    assert!(said.contains("[kafka] brokers: found embedded"), "{said}");
}

/// Binds to all addresses of the machine, at the same ports as on loopback.
fn off_loopback(forebay: Forebay, key: &str, address: &str) -> Forebay {
    let (_, port) = address.rsplit_once(':').expect("a port");
    forebay.set(key, format!("0.0.0.0:{port}"))
}

#[test]
fn allow_open_keeps_the_admin_listener_on_loopback() {
    let exposed = |forebay: Forebay| {
        let address = forebay.admin_address();
        off_loopback(forebay.set("server.allow_open", true), "server.admin_listen", &address)
    };
    let forebay = embedded().set("kafka.brokers", NO_BROKER);
    let keys = write_file(&forebay, "keys", SECRET);
    let jwt = forebay.set("auth.mode", "jwt").set("auth.jwt_key_file", keys.display().to_string());
    for forebay in [embedded(), jwt] {
        let said = refused(exposed(forebay));
        assert!(said.contains("[server] admin_listen") && said.contains("allow_open_admin = true"), "{said}");
    }
}

#[test]
fn every_start_logs_what_a_setting_exposes() {
    let mut forebay = embedded();
    forebay.start();
    assert!(!forebay.log().contains("listener.exposed"), "{}", forebay.log());
    let (public, admin) = (forebay.address(), forebay.admin_address());
    forebay = off_loopback(forebay.set("server.allow_open", true), "server.listen", &public);
    forebay = off_loopback(forebay.set("server.allow_open_admin", true), "server.admin_listen", &admin);
    for starts in 1..=2 {
        forebay.restart();
        for key in ["server.allow_open", "server.allow_open_admin"] {
            let names =
                |line: &&str| line.contains("listener.exposed") && line.contains(&format!("\"{key}\""));
            // The listeners respond shortly before the warnings are logged.
            wait::until_true(&format!("warning {starts} of {key}"), LONG, || {
                forebay.log().lines().filter(names).count() == starts
            });
        }
    }
}

#[test]
fn a_token_signed_by_openssl_is_accepted() {
    // Every holder of the key may sign: a gateway, or an operator with a shell.
    let forebay = guarded();
    let key = forebay.dir().join("ed25519.pem");
    let made = Command::new("openssl").args(["genpkey", "-algorithm", "ed25519", "-out"]).arg(&key).status();
    assert!(made.unwrap().success());
    let mut forebay = forebay.set("auth.jwt_key_file", key.display().to_string());
    forebay.start();
    let http = &mut forebay.http();
    let kid = super::accounts::part(&Tokens::of_admin(http).access, 0)["kid"].clone();
    let encode =
        |value: serde_json::Value| data_encoding::BASE64URL_NOPAD.encode(value.to_string().as_bytes());
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_secs();
    let claims = json!({"iss": "forebay", "aud": "forebay", "sub": "gateway", "admin": true,
                        "iat": now, "nbf": now, "exp": now + 600});
    let header = json!({"alg": "EdDSA", "typ": "at+jwt", "kid": kid});
    let message = format!("{}.{}", encode(header), encode(claims));
    let file = write_file(&forebay, "message", &message);
    let signed = Command::new("openssl")
        .args(["pkeyutl", "-sign", "-rawin", "-inkey"])
        .arg(&key)
        .arg("-in")
        .arg(&file)
        .output()
        .unwrap();
    assert!(signed.status.success(), "{}", String::from_utf8_lossy(&signed.stderr));
    let token = format!("{message}.{}", data_encoding::BASE64URL_NOPAD.encode(&signed.stdout));
    assert_eq!(get(http, &token, "/v1/users"), 200);
}
