//! Invalid input, and the errors for it.

use serde_json::{Value, json};

use super::test_users::{embedded, expect, new_user, register};

fn with(member: &str, value: Value) -> Value {
    let mut user = new_user(1);
    user[member] = value;
    user
}

#[test]
fn an_invalid_field_is_named_without_its_value() {
    let mut forebay = embedded();
    forebay.start();
    let http = &mut forebay.http();
    let cases = [
        ("name", json!("../../etc/passwd")),
        ("name", json!("'; DROP TABLE users; --")),
        ("name", json!("a\u{0}b")),
        ("name", json!("ada\u{202e}nimda")),
        ("name", json!("")),
        ("name", json!(7)),
        ("email", json!("ada at example.org")),
        ("email", json!(null)),
        ("phone", json!("call me")),
        ("password", json!("short")),
        ("password", json!("password1")),
        ("password", json!("aaaaaaaaaaaa")),
        ("password", json!("abcdefghij".repeat(8))),
        ("nickname", json!("a\u{200b}b")),
        ("isAdmin", json!(true)),
        ("password_hash", json!("$2b$04$abcdefghijklmnopqrstuv")),
        ("claim", json!("00")),
    ];
    for (member, value) in cases {
        let refusal = register(http, &with(member, value.clone()));
        let document = expect(&refusal, 422, "invalid_user");
        assert_eq!(document["field"], member, "{document}");
        assert_eq!(document["errors"][0]["pointer"], format!("/{member}"));
        if let Some(text) = value.as_str().filter(|text| text.len() > 8) {
            assert!(!refusal.text().contains(text), "{}", refusal.text());
        }
    }
    let long = register(http, &with("password", json!("abcdefghij".repeat(8)))).text();
    assert!(long.contains("72 bytes"), "{long}");
    assert_eq!(http.get("/v1/users").unwrap().json()["users"], json!([]), "no user may be registered");
}

#[test]
fn every_mistake_is_reported_at_once() {
    let mut forebay = embedded();
    forebay.start();
    let answer = register(&mut forebay.http(), &json!({"name": "a b", "phone": "1", "x": 1}));
    let document = expect(&answer, 422, "invalid_user");
    let pointers: Vec<_> =
        document["errors"].as_array().unwrap().iter().map(|error| error["pointer"].clone()).collect();
    assert_eq!(pointers, ["/name", "/email", "/phone", "/password", "/x"]);
}

#[test]
fn the_response_size_is_bounded_for_many_errors() {
    let mut forebay = embedded();
    forebay.start();
    let http = &mut forebay.http();
    let mut user = new_user(1);
    for number in 0..1_000 {
        user[format!("unknown-{number}")] = json!(1);
    }
    let answer = register(http, &user);
    assert_eq!(expect(&answer, 422, "invalid_user")["errors"].as_array().unwrap().len(), 20);
    assert!(answer.text().len() < 4 << 10, "{} bytes", answer.text().len());
}

#[test]
fn a_body_larger_than_any_user_is_rejected_unread() {
    let mut forebay = embedded();
    forebay.start();
    let large = new_user(1).to_string() + &" ".repeat(16 << 10);
    for (method, path) in [
        ("POST", "/v1/users"),
        ("PUT", "/v1/users/ada"),
        ("PUT", "/v1/users/ada/password"),
        ("POST", "/login"),
        ("POST", "/refresh"),
        ("POST", "/logout"),
    ] {
        let answer = forebay.http().request(method, path, &[], large.as_bytes()).unwrap();
        let refusal = expect(&answer, 413, "body_too_large");
        assert_eq!(refusal["detail"], "The body may have at most 16384 bytes.", "{method} {path}");
    }
    let answer =
        forebay.admin_http().request("PUT", "/admin/ratelimit/login", &[], large.as_bytes()).unwrap();
    expect(&answer, 413, "body_too_large");
}

#[test]
fn a_body_must_be_one_user_object() {
    let mut forebay = embedded();
    forebay.start();
    let http = &mut forebay.http();
    let duplicate = r#"{"name":"ada","name":"bob"}"#;
    for body in ["", "[]", "null", "{", duplicate, "{}{}"] {
        expect(&http.post("/v1/users", body).unwrap(), 400, "malformed_body");
    }
    let lines = [("Content-Type", "application/x-ndjson")];
    let refused = http.request("POST", "/v1/users", &lines, new_user(1).to_string().as_bytes()).unwrap();
    expect(&refused, 415, "unsupported_media_type");
    expect(&http.post("/v1/commands/user.create", &new_user(1).to_string()).unwrap(), 404, "unknown_kind");
    expect(&http.put("/v1/users/ada", "{}").unwrap(), 422, "invalid_user");
    expect(&http.put("/v1/users/ada", r#"{"name":"bob","nickname":"x"}"#).unwrap(), 422, "invalid_user");
}

#[test]
fn the_list_accepts_only_numbers_and_issued_cursors() {
    let mut forebay = embedded();
    forebay.start();
    let http = &mut forebay.http();
    for query in ["", "?limit=1", "?limit=1000000000", "?limit=1000"] {
        expect(&http.get(&format!("/v1/users{query}")).unwrap(), 200, "");
    }
    for query in [
        "?limit=0",
        "?limit=-1",
        "?limit=x",
        "?limit=",
        "?limit=1&limit=2",
        "?cursor=",
        "?cursor=x",
        "?cursor=YWRhYWRhYWRhYWRhYWRhYWRhYWRh",
        "?page=2",
    ] {
        expect(&http.get(&format!("/v1/users{query}")).unwrap(), 400, "bad_parameter");
    }
}

#[test]
fn impossible_names_are_not_found() {
    let mut forebay = embedded();
    forebay.start();
    let http = &mut forebay.http();
    for name in ["nobody", "%2e%2e", "a%2Fb", "%00", "%ff", "a%20b", "%E2%80%AE", &"n".repeat(65)] {
        expect(&http.get(&format!("/v1/users/{name}")).unwrap(), 404, "not_found");
        let update = http.put(&format!("/v1/users/{name}"), r#"{"nickname":"x"}"#).unwrap();
        expect(&update, 404, "not_found");
    }
}
