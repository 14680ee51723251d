//! A daemon whose callers say who they are, and callers who do.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;

use hmac::{Hmac, KeyInit, Mac};
use serde_json::{Value, json};
use sha2::Sha256;

use crate::test_users;
use crate::test_users::expect;
use support::daemon::LONG;
use support::http::{Client, Response};
use support::process::Forebay;
use support::{daemon, wait};

/// `openssl rand -base64 36` would do the same.
pub const SECRET: &str = "c2lnbnMgZXZlcnkgdG9rZW4gb2YgdGhlIHRlc3RzIGhlcmU=";
/// The administrator that `forebay migrate --create-admin` makes.
pub const ADMIN: &str = "root";
pub const ADMIN_PASSWORD: &str = "correct horse root";

/// In mode `jwt`, with an administrator.
pub fn guarded() -> Forebay {
    let mut forebay = in_mode_jwt();
    with_admin(&mut forebay);
    forebay
}

/// In mode `jwt`, on the database of another daemon.
pub fn guarded_on(other: &Forebay) -> Forebay {
    in_mode_jwt().set("database.url", database_of(other))
}

fn in_mode_jwt() -> Forebay {
    let forebay = test_users::on_shared_broker();
    let file = write_file(&forebay, "jwt.keys", SECRET);
    forebay.set("auth.mode", "jwt").set("auth.jwt_key_file", file.display().to_string())
}

fn database_of(forebay: &Forebay) -> String {
    format!("sqlite:{}", forebay.dir().join("users.sqlite").display())
}

/// A file beside the daemon's own.
pub fn write_file(forebay: &Forebay, name: &str, text: &str) -> PathBuf {
    let path = forebay.dir().join(name);
    fs::write(&path, text).unwrap();
    // Keys that everybody may read are refused.
    fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
    path
}

fn with_admin(forebay: &mut Forebay) {
    let url = database_of(forebay);
    let password = write_file(forebay, "admin.password", ADMIN_PASSWORD);
    let password = password.display().to_string();
    daemon::migrated(&url, &["--create-admin", ADMIN, "--password-file", &password]);
    forebay.configure("database.url", url);
}

/// Registers `user-{number}` and waits until it is there.
pub fn registered(http: &mut Client, number: usize) {
    let registered = test_users::register_and_wait(http, &test_users::new_user(number));
    expect(&registered, 201, "");
}

pub fn login(http: &mut Client, name: &str, password: &str) -> Response {
    http.post("/login", &json!({"name": name, "password": password}).to_string()).expect("an answer")
}

pub fn refresh(http: &mut Client, token: &str) -> Response {
    http.post("/refresh", &json!({"refresh_token": token}).to_string()).expect("an answer")
}

/// Both tokens of a login that works.
pub struct Tokens {
    pub access: String,
    pub refresh: String,
}

impl Tokens {
    pub fn of(answer: &Response) -> Tokens {
        let document = expect(answer, 200, "");
        assert_eq!(document["token_type"], "Bearer");
        let text = |member: &str| document[member].as_str().expect("a token").to_owned();
        Tokens { access: text("access_token"), refresh: text("refresh_token") }
    }

    /// Of `user-{number}`.
    pub fn of_user(http: &mut Client, number: usize) -> Tokens {
        Tokens::of(&login(http, &format!("user-{number}"), &format!("correct horse {number}")))
    }

    pub fn of_admin(http: &mut Client) -> Tokens {
        Tokens::of(&login(http, ADMIN, ADMIN_PASSWORD))
    }
}

/// A request that shows a token, and waits for what becomes of it.
pub fn call(http: &mut Client, token: &str, method: &str, path: &str, body: &str) -> Response {
    let bearer = format!("Bearer {token}");
    let headers = [("Content-Type", "application/json"), ("Prefer", "wait=30"), ("Authorization", &bearer)];
    http.request(method, path, &headers, body.as_bytes()).expect("an answer")
}

/// The status of `GET path` with a token.
pub fn get(http: &mut Client, token: &str, path: &str) -> u16 {
    call(http, token, "GET", path, "").status
}

/// Waits until `GET path` with a token answers this.
pub fn await_status(http: &mut Client, token: &str, path: &str, status: u16) {
    wait::until_true("the answer changes", LONG, || get(http, token, path) == status);
}

/// A token that whoever has the key may sign.
pub fn signed(header: &Value, claims: &Value) -> String {
    let encode = |value: &Value| data_encoding::BASE64URL_NOPAD.encode(value.to_string().as_bytes());
    let message = format!("{}.{}", encode(header), encode(claims));
    let secret = data_encoding::BASE64.decode(SECRET.as_bytes()).expect("base64");
    let mut mac = Hmac::<Sha256>::new_from_slice(&secret).expect("a secret of any length");
    mac.update(message.as_bytes());
    let signature = data_encoding::BASE64URL_NOPAD.encode(&mac.finalize().into_bytes());
    format!("{message}.{signature}")
}

/// A part of a token, decoded.
pub fn part(token: &str, index: usize) -> Value {
    let part = token.split('.').nth(index).expect("a part");
    let bytes = data_encoding::BASE64URL_NOPAD.decode(part.as_bytes()).expect("base64");
    serde_json::from_slice(&bytes).expect("JSON")
}
