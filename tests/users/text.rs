//! Different encodings of the same text: passwords, numbers and nicknames in all the forms that keyboards and browsers
//! send.

use serde_json::{Value, json};

use super::login::accounts::{login, write_file};
use super::test_users::{embedded, expect, new_user, register_and_wait, write};
use support::daemon::{LONG, metric};
use support::http::Client;
use support::{daemon, wait};

fn registered(http: &mut Client, member: &str, value: &str) -> Value {
    let mut user = new_user(1);
    user[member] = json!(value);
    let answer = register_and_wait(http, &user);
    expect(&answer, 201, "");
    expect(&http.get("/v1/users/user-1").unwrap(), 200, "")
}

/// Composed, as most keyboards write; decomposed, as others do; with a no-break space, as some make of Option+Space.
const SPELLINGS: [&str; 3] = ["cafe\u{301} au lait", "caf\u{e9} au lait", "caf\u{e9}\u{a0}au lait"];

/// Logins without a bcrypt hash.
const HITS: &str = "forebay_cache_hits_total{cache=\"credentials\"}";

#[test]
fn equivalent_encodings_of_a_password_are_equal() {
    let mut forebay = embedded();
    forebay.start();
    let http = &mut forebay.http();
    registered(http, "password", SPELLINGS[0]);
    for spelling in SPELLINGS {
        expect(&login(http, "user-1", spelling), 200, "");
    }
    expect(&login(http, "user-1", "cafe au lait"), 401, "wrong_credentials");
    let change = json!({"old_password": SPELLINGS[1], "password": "na\u{ef}ve chevaux"}).to_string();
    expect(&write(http, "PUT", "/v1/users/user-1/password", &change), 200, "");
    expect(&login(http, "user-1", "nai\u{308}ve\u{2003}chevaux"), 200, "");
}

#[test]
fn the_credential_cache_recognises_equivalent_password_encodings() {
    let mut forebay = embedded();
    forebay.start();
    let http = &mut forebay.http();
    registered(http, "password", SPELLINGS[0]);
    // The change notice of the registration may arrive after the first login.
    wait::until_true("the other spellings are recognised", LONG, || {
        expect(&login(http, "user-1", SPELLINGS[0]), 200, "");
        let before = metric(&forebay, HITS);
        for spelling in SPELLINGS {
            expect(&login(http, "user-1", spelling), 200, "");
        }
        metric(&forebay, HITS) - before == 3.0
    });
}

#[test]
fn the_created_administrator_logs_in_with_either_encoding() {
    let mut forebay = embedded();
    let database = format!("sqlite:{}", forebay.dir().join("users.sqlite").display());
    let password = write_file(&forebay, "password", SPELLINGS[0]);
    let password = password.display().to_string();
    daemon::migrated(&database, &["--create-admin", "root", "--password-file", &password]);
    forebay.configure("database.url", database);
    forebay.start();
    for spelling in SPELLINGS {
        expect(&login(&mut forebay.http(), "root", spelling), 200, "");
    }
}

#[test]
fn spellings_of_one_phone_number_are_one_user() {
    let mut forebay = embedded().set("users.phone_region", "DE");
    forebay.start();
    let http = &mut forebay.http();
    assert_eq!(registered(http, "phone", "030 1234567")["phone"], "+49301234567");
    let others = [
        "+49 30 1234567",
        "0049 30 1234567",
        "+49 (0)30 / 123-45-67",
        "49301234567",
        "\u{202a}+49301234567\u{202c}",
    ];
    for spelling in others {
        let mut other = new_user(2);
        other["phone"] = json!(spelling);
        let refusal = expect(&register_and_wait(http, &other), 409, "taken");
        assert_eq!(refusal["field"], "phone", "{spelling}");
    }
    expect(&register_and_wait(http, &new_user(3)), 201, "");
    let change = json!({"phone": "(030) 123 45 67"}).to_string();
    expect(&write(http, "PUT", "/v1/users/user-3", &change), 409, "taken");
    // Numbers of another country, with the same digits.
    let mut abroad = new_user(4);
    abroad["phone"] = json!("+43 1 234567");
    expect(&register_and_wait(http, &abroad), 201, "");
}

#[test]
fn without_a_region_numbers_need_their_country_code() {
    let mut forebay = embedded();
    forebay.start();
    let http = &mut forebay.http();
    for national in ["030 1234567", "0049 30 1234567", "49301234567"] {
        let mut user = new_user(1);
        user["phone"] = json!(national);
        let refusal = expect(&register_and_wait(http, &user), 422, "invalid_user");
        assert_eq!(refusal["field"], "phone", "{national}");
        let detail = refusal["errors"][0]["detail"].as_str().unwrap().to_owned();
        assert!(detail.contains("+49 30 123456") && !detail.contains(national), "{detail}");
    }
    assert_eq!(registered(http, "phone", "+49 30 1234567")["phone"], "+49301234567");
}

#[test]
fn an_unknown_region_is_a_config_error() {
    for region in ["XX", "Germany", "UK", ""] {
        let mut forebay = embedded().set("users.phone_region", region);
        forebay.launch();
        assert_eq!(forebay.wait(LONG).code(), Some(64), "{region}: {}", forebay.log());
        assert!(forebay.log().contains("[users] phone_region"), "{}", forebay.log());
    }
}

#[test]
fn nicknames_accept_any_script_and_must_be_visible() {
    let mut forebay = embedded();
    forebay.start();
    let http = &mut forebay.http();
    registered(http, "nickname", "Ada");
    let mut set = |nickname: &str| {
        let change = json!({"nickname": nickname}).to_string();
        write(http, "PUT", "/v1/users/user-1", &change)
    };
    // Persian, Sinhala, a family, a flag, a spelling of a Japanese name.
    for nickname in ["می\u{200c}خواهم", "ශ්\u{200d}රී", "👩\u{200d}👧", "🏳\u{fe0f}\u{200d}🌈", "葛\u{e0100}"]
    {
        expect(&set(nickname), 200, "");
    }
    for blank in
        ["\u{3164}", "\u{2800}\u{2800}", "\u{115f}\u{1160}", "\u{301}", "\u{fe0f}", "\u{200d}", "\u{a0}"]
    {
        let refusal = expect(&set(blank), 422, "invalid_user");
        assert_eq!(refusal["field"], "nickname", "{blank:?}");
    }
}
