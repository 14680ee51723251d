//! Signing keys can be exchanged without ending sessions.

use super::accounts::{SECRET, Tokens, call, get, guarded, part, refresh, registered, write_file};
use crate::test_users::expect;
use support::daemon::LONG;
use support::wait;

const NEW: &str = "bmV3ZXIgYW5kIGJldHRlciB0aGFuIHRoZSBvbmUgYmVmb3Jl";
const ME: &str = "/v1/users/user-1";

#[test]
fn tokens_of_an_old_key_are_valid_until_its_removal() {
    let mut forebay = guarded();
    forebay.start();
    let http = &mut forebay.http();
    registered(http, 1);
    let old = Tokens::of_user(http, 1);
    let kid = |token: &str| part(token, 0)["kid"].clone();

    write_file(&forebay, "jwt.keys", &format!("{NEW}\n{SECRET}"));
    let new = wait::until("the new key signs", LONG, || {
        Some(Tokens::of_user(http, 1)).filter(|new| kid(&new.access) != kid(&old.access))
    });
    assert_eq!((get(http, &old.access, ME), get(http, &new.access, ME)), (200, 200));
    let prolonged = Tokens::of(&refresh(http, &old.refresh));
    assert_eq!(kid(&prolonged.refresh), kid(&new.refresh), "a refreshed session uses the new key");

    write_file(&forebay, "jwt.keys", "no key at all");
    wait::until_true("the file is rejected", LONG, || forebay.log().contains("auth.files_rejected"));
    assert_eq!(get(http, &new.access, ME), 200);

    write_file(&forebay, "jwt.keys", NEW);
    wait::until_true("the old key is gone", LONG, || get(http, &old.access, ME) == 401);
    assert_eq!((get(http, &new.access, ME), get(http, &prolonged.access, ME)), (200, 200));
    expect(&call(http, &old.access, "GET", ME, ""), 401, "invalid_token");
    assert!(!forebay.log().contains(NEW) && !forebay.log().contains("no key at all"), "no key is logged");
}

#[test]
fn expired_tokens_are_rejected_as_expired() {
    let mut forebay = guarded().set("auth.access_ttl", "1s");
    forebay.start();
    let http = &mut forebay.http();
    registered(http, 1);
    let tokens = Tokens::of_user(http, 1);
    wait::until_true("the token expires", LONG, || get(http, &tokens.access, ME) == 401);
    let refused = call(http, &tokens.access, "GET", ME, "");
    let document = expect(&refused, 401, "invalid_token");
    assert!(document["detail"].as_str().is_some_and(|detail| detail.contains("expired")), "{document}");
    let next = Tokens::of(&refresh(http, &tokens.refresh));
    assert_eq!(get(http, &next.access, ME), 200);
}
