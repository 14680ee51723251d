//! Caller names in tokens signed by another program: every accepted name can be stored.

use serde_json::{Value, json};

use super::accounts;
use super::accounts::{SECRET, Tokens, call, login, part, registered, write_file};
use crate::test_users::{expect, new_user, on_shared_broker};
use support::http::Client;
use support::process::Forebay;
use support::{daemon, services};

const ME: &str = "/v1/users/user-1";

/// A daemon in mode `jwt` on this database, with `user-1`.
fn guarded(url: &str) -> Forebay {
    daemon::migrated(url, &[]);
    let forebay = on_shared_broker().set("database.url", url).set("auth.mode", "jwt");
    let file = write_file(&forebay, "jwt.keys", SECRET);
    let mut forebay = forebay.set("auth.jwt_key_file", file.display().to_string());
    forebay.start();
    registered(&mut forebay.http(), 1);
    forebay
}

/// The `kid` of the signing key.
fn kid(http: &mut Client) -> Value {
    let password = new_user(1)["password"].as_str().unwrap().to_owned();
    part(&Tokens::of(&login(http, "user-1", &password)).access, 0)["kid"].clone()
}

/// A token of another program with the key.
fn signed(kid: &Value, members: &Value) -> String {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_secs();
    let mut claims = json!({"iss": "forebay", "aud": "forebay", "admin": true, "exp": now + 600});
    claims.as_object_mut().unwrap().extend(members.as_object().unwrap().clone());
    accounts::signed(&json!({"alg": "HS256", "typ": "at+jwt", "kid": kid}), &claims)
}

#[test]
fn a_caller_name_beyond_its_column_is_rejected() {
    let test = "a_caller_name_beyond_its_column_is_rejected";
    for url in [services::mariadb(test), services::postgres(test)].into_iter().flatten() {
        let forebay = guarded(&url);
        let http = &mut forebay.http();
        let kid = kid(http);
        for sub in ["g".repeat(256), "a\u{0}b".to_owned(), String::new()] {
            let token = signed(&kid, &json!({"sub": sub}));
            let refused = call(http, &token, "PUT", ME, r#"{"nickname":"Ada"}"#);
            let document = expect(&refused, 401, "invalid_token");
            let detail = document["detail"].as_str().unwrap();
            assert!(detail.contains("`sub`") && detail.contains("255"), "{detail}");
        }
        let token = signed(&kid, &json!({"sub": "é".repeat(255)}));
        let changed = call(http, &token, "PUT", ME, r#"{"nickname":"Ada"}"#);
        assert_eq!(expect(&changed, 200, "")["state"], "applied");
    }
}

#[test]
fn a_session_of_another_program_cannot_be_ended() {
    let test = "a_session_of_another_program_cannot_be_ended";
    for url in [services::mariadb(test), services::postgres(test)].into_iter().flatten() {
        let forebay = guarded(&url);
        let http = &mut forebay.http();
        let kid = kid(http);
        for sid in ["s".repeat(40), "ß".repeat(20), "a\u{0}b".to_owned()] {
            let token = signed(&kid, &json!({"sub": "gateway", "sid": sid}));
            expect(&call(http, &token, "POST", "/logout", ""), 401, "invalid_token");
            expect(&call(http, &token, "GET", ME, ""), 200, "");
        }
    }
}
