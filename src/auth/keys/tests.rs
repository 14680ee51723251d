use std::process::Command;

use hmac::{Hmac, KeyInit, Mac};
use serde_json::{Value, json};
use sha2::Sha256;

use super::*;
use crate::units::Timestamp;

const SECRET: &str = "c2VjcmV0c2VjcmV0c2VjcmV0c2VjcmV0c2VjcmV0c2VjcmV0";

fn claims() -> Claims {
    Claims { admin: true, sid: Some("s".into()), ..Claims::new("ada", Timestamp::now(), 60) }
}

/// Runs openssl, the program with which operators create keys.
fn openssl(arguments: &[&str], input: &str) -> String {
    use std::io::Write;
    let mut child = Command::new("openssl")
        .args(arguments)
        .stdin(std::process::Stdio::piped())
        .stdout(std::process::Stdio::piped())
        .stderr(std::process::Stdio::null())
        .spawn()
        .unwrap();
    child.stdin.take().unwrap().write_all(input.as_bytes()).unwrap();
    String::from_utf8(child.wait_with_output().unwrap().stdout).unwrap()
}

fn ed25519() -> String {
    openssl(&["genpkey", "-algorithm", "ed25519"], "")
}

fn rsa() -> String {
    openssl(&["genpkey", "-algorithm", "rsa", "-pkeyopt", "rsa_keygen_bits:2048"], "")
}

fn public(private: &str) -> String {
    openssl(&["pkey", "-pubout"], private)
}

fn header(token: &str) -> Value {
    let part = token.split('.').next().unwrap();
    serde_json::from_slice(&BASE64URL_NOPAD.decode(part.as_bytes()).unwrap()).unwrap()
}

/// A token with an arbitrary header, signed as HS256 with an arbitrary secret.
fn forged(header: &Value, claims: &Value, secret: &[u8]) -> String {
    let part = |value: &Value| BASE64URL_NOPAD.encode(value.to_string().as_bytes());
    let message = format!("{}.{}", part(header), part(claims));
    let mut mac = Hmac::<Sha256>::new_from_slice(secret).unwrap();
    mac.update(message.as_bytes());
    format!("{message}.{}", BASE64URL_NOPAD.encode(&mac.finalize().into_bytes()))
}

fn genuine() -> Value {
    serde_json::to_value(claims()).unwrap()
}

#[test]
fn each_type_of_private_key_signs_and_its_public_verifies() {
    let ec = openssl(&["genpkey", "-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-256"], "");
    for (pem, algorithm) in [(ed25519(), "EdDSA"), (rsa(), "RS256"), (ec, "ES256")] {
        let keys = Keys::parse(&pem).unwrap();
        let token = keys.sign(&claims(), TokenUse::Access).unwrap();
        assert_eq!(header(&token)["alg"], algorithm);
        assert_eq!(keys.verify(&token, TokenUse::Access).unwrap().sub, "ada");
        assert_eq!(Keys::parse(&public(&pem)).err(), Some(KeyError::NoSigningKey));
        let elsewhere = Keys::parse(&format!("{SECRET}\n{}", public(&pem))).unwrap();
        assert_eq!(elsewhere.verify(&token, TokenUse::Access).unwrap().sub, "ada", "{algorithm}");
    }
}

#[test]
fn an_invalid_key_is_reported_by_number_without_its_content() {
    let short = "c2hvcnQ=";
    for (text, error) in [
        ("", KeyError::NoSigningKey),
        ("# nothing", KeyError::NoSigningKey),
        (short, KeyError::Unreadable(1)),
        (&format!("{SECRET}\nhunter2"), KeyError::Unreadable(2)),
        ("-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----", KeyError::Unreadable(1)),
        ("-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----", KeyError::Unreadable(1)),
    ] {
        let found = Keys::parse(text).err().unwrap();
        assert_eq!(found, error, "{text}");
        assert!(!found.to_string().contains("hunter2"));
    }
}

#[test]
fn a_subject_that_cannot_be_stored_has_its_own_error() {
    let keys = Keys::parse(SECRET).unwrap();
    let verified = |sub: &str| {
        let claims = Claims { sub: sub.to_owned(), ..claims() };
        keys.verify(&keys.sign(&claims, TokenUse::Access).unwrap(), TokenUse::Access).map(|claims| claims.sub)
    };
    for sub in ["", "a\0b", "a\nb", &"g".repeat(256)] {
        assert_eq!(verified(sub), Err(TokenError::UserChanged), "{sub:?}");
    }
    let longest = "ğ".repeat(255);
    assert_eq!(verified(&longest), Ok(longest));
}

#[test]
fn only_a_forebay_session_counts() {
    let session = |sid: &str| Claims { sid: Some(sid.to_owned()), ..claims() }.session().map(str::to_owned);
    let ours = "0123456789abcdef0123456789abcdef";
    assert_eq!(session(ours).as_deref(), Some(ours));
    for other in ["", "s", &ours.to_uppercase(), &ours.repeat(2), &"ß".repeat(16), &ours.replace('0', "\0")]
    {
        assert_eq!(session(other), None, "{other:?}");
    }
}

#[test]
fn only_the_algorithm_of_the_key_is_accepted() {
    let private = rsa();
    let public = public(&private);
    let keys = Keys::parse(&private).unwrap();
    let real = keys.sign(&claims(), TokenUse::Access).unwrap();
    let kid = header(&real)["kid"].clone();
    let payload = real.split('.').nth(1).unwrap();
    // The classic attack: the public key, which everyone knows, as the secret of an HMAC.
    let swapped = json!({"alg": "HS256", "typ": "at+jwt", "kid": kid});
    assert_eq!(
        keys.verify(&forged(&swapped, &genuine(), public.as_bytes()), TokenUse::Access),
        Err(TokenError::Invalid)
    );
    for none in ["none", "None", "NONE", "nOnE"] {
        let head = json!({"alg": none, "typ": "at+jwt", "kid": kid}).to_string();
        let head = BASE64URL_NOPAD.encode(head.as_bytes());
        for token in [format!("{head}.{payload}."), format!("{head}.{payload}")] {
            assert_eq!(keys.verify(&token, TokenUse::Access), Err(TokenError::Invalid), "{none}");
        }
    }
}

#[test]
fn an_hmac_key_accepts_no_signature_algorithm() {
    let private = rsa();
    let mine = Keys::parse(SECRET).unwrap();
    let kid = header(&mine.sign(&claims(), TokenUse::Access).unwrap())["kid"].clone();
    let mut head = Header::new(Algorithm::RS256);
    head.typ = Some("at+jwt".into());
    head.kid = kid.as_str().map(str::to_owned);
    let theirs = EncodingKey::from_rsa_pem(private.as_bytes()).unwrap();
    let token = jsonwebtoken::encode(&head, &claims(), &theirs).unwrap();
    assert_eq!(mine.verify(&token, TokenUse::Access), Err(TokenError::Invalid));
}

#[test]
fn a_foreign_key_is_rejected_whatever_its_id() {
    let keys = Keys::parse(SECRET).unwrap();
    let others = b"another secret of thirty-two byte";
    let kid = header(&keys.sign(&claims(), TokenUse::Access).unwrap())["kid"].clone();
    for head in [
        json!({"alg": "HS256", "typ": "at+jwt"}),
        json!({"alg": "HS256", "typ": "at+jwt", "kid": kid}),
        json!({"alg": "HS256", "typ": "at+jwt", "kid": "another"}),
        json!({"alg": "HS256", "typ": "at+jwt", "kid": "../../../../dev/null"}),
        json!({"alg": "HS256", "typ": "at+jwt", "kid": ""}),
        json!({"alg": "HS256", "typ": "at+jwt", "kid": "x", "jku": "http://127.0.0.1/keys"}),
        json!({"alg": "HS256", "typ": "at+jwt", "kid": "x", "jwk": {"kty": "oct", "k": "YQ"}}),
    ] {
        let token = forged(&head, &genuine(), others);
        assert_eq!(keys.verify(&token, TokenUse::Access), Err(TokenError::Invalid), "{head}");
    }
    let real = keys.sign(&claims(), TokenUse::Access).unwrap();
    for broken in
        ["", ".", "..", "a.b.c", &real[1..], &real[..real.len() - 1], &"a".repeat(MAX_TOKEN_BYTES + 1)]
    {
        assert_eq!(keys.verify(broken, TokenUse::Access), Err(TokenError::Invalid), "{broken}");
    }
}

#[test]
fn a_token_is_checked_for_time_use_issuer_and_audience() {
    let keys = Keys::parse(SECRET).unwrap();
    let now = Timestamp::now();
    let verify = |claims: &Claims, for_| keys.verify(&keys.sign(claims, TokenUse::Access).unwrap(), for_);
    assert!(verify(&claims(), TokenUse::Access).is_ok());
    assert_eq!(verify(&claims(), TokenUse::Refresh), Err(TokenError::Invalid), "the wrong kind of token");
    let past = Timestamp(now.0 - 3_600_000);
    assert_eq!(verify(&Claims::new("ada", past, 60), TokenUse::Access), Err(TokenError::Expired));
    let future = Timestamp(now.0 + 3_600_000);
    assert_eq!(verify(&Claims::new("ada", future, 60), TokenUse::Access), Err(TokenError::Invalid));

    let secret = BASE64.decode(SECRET.as_bytes()).unwrap();
    let head = header(&keys.sign(&claims(), TokenUse::Access).unwrap());
    for (member, value) in [
        ("iss", json!("another")),
        ("aud", json!("another")),
        ("exp", Value::Null),
        ("exp", json!("never")),
        ("sub", Value::Null),
    ] {
        let mut claims = genuine();
        claims[member] = value;
        let token = forged(&head, &claims, &secret);
        assert_eq!(keys.verify(&token, TokenUse::Access), Err(TokenError::Invalid), "{member}");
    }
    assert!(
        keys.verify(&forged(&head, &genuine(), &secret), TokenUse::Access).is_ok(),
        "the forger can sign"
    );
}

#[test]
fn hexadecimal_digits_are_not_read_as_base64() {
    let secret: Vec<u8> = (0..32).map(|n| n * 8 + 3).collect();
    let lower = data_encoding::HEXLOWER.encode(&secret);
    for written in [lower.clone(), lower.to_uppercase(), format!("# openssl rand -hex 32\n{lower}\n")] {
        let keys = Keys::parse(&written).unwrap();
        let head = header(&keys.sign(&claims(), TokenUse::Access).unwrap());
        assert!(keys.verify(&forged(&head, &genuine(), &secret), TokenUse::Access).is_ok(), "{written}");
        let others = BASE64.decode(lower.as_bytes()).unwrap();
        assert!(keys.verify(&forged(&head, &genuine(), &others), TokenUse::Access).is_err());
    }
    assert!(Keys::parse(&format!("{lower}ab")).is_ok(), "33 bytes");
    assert_eq!(Keys::parse(&format!("{lower}a")).err(), Some(KeyError::Unreadable(1)), "half a byte");
}

/// An issuer other than forebay, with its key and the header that it must send.
struct ThirdParty {
    keys: Keys,
    secret: Vec<u8>,
    head: Value,
}

impl ThirdParty {
    fn new() -> Self {
        let keys = Keys::parse(SECRET).unwrap();
        let head = header(&keys.sign(&claims(), TokenUse::Access).unwrap());
        Self { keys, secret: BASE64.decode(SECRET.as_bytes()).unwrap(), head }
    }

    /// Verifies a token with this header member and these claims.
    fn verify(&self, member: &str, value: &Value, claims: &Value) -> Result<Claims, TokenError> {
        let mut head = self.head.clone();
        head[member] = value.clone();
        self.keys.verify(&forged(&head, claims, &self.secret), TokenUse::Access)
    }
}

#[test]
fn a_token_with_a_critical_extension_is_rejected() {
    let party = ThirdParty::new();
    for crit in [json!(["b64"]), json!(["https://example.org/x"]), json!(["exp"]), json!([]), json!("exp")] {
        assert_eq!(party.verify("crit", &crit, &genuine()), Err(TokenError::Invalid), "{crit}");
    }
    assert!(party.verify("x-other", &json!(1), &genuine()).is_ok(), "other members are ignored");
}

#[test]
fn a_type_is_compared_as_a_media_type() {
    let party = ThirdParty::new();
    for typ in ["at+jwt", "AT+JWT", "application/at+jwt", "Application/At+Jwt"] {
        assert!(party.verify("typ", &json!(typ), &genuine()).is_ok(), "{typ}");
    }
    for typ in [json!("JWT"), json!("rt+jwt"), json!("application/rt+jwt"), json!("text/at+jwt"), Value::Null]
    {
        assert_eq!(party.verify("typ", &typ, &genuine()), Err(TokenError::Invalid), "{typ}");
    }
}

#[test]
fn dates_may_have_fractions_and_only_the_expiry_is_required() {
    let party = ThirdParty::new();
    let verify = |claims: &Value| party.verify("typ", &json!("at+jwt"), claims);
    let now = Timestamp::now().0 / 1000;
    let bare = json!({"iss": "forebay", "aud": ["forebay", "other"], "sub": "gateway", "exp": now + 60});
    let found = verify(&bare).unwrap();
    assert_eq!((found.iat, found.nbf, found.exp), (None, None, now + 60));
    let mut fractional = bare.clone();
    for member in ["iat", "nbf"] {
        fractional[member] = json!(now as f64 - 0.5);
    }
    fractional["exp"] = json!(now as f64 + 60.25);
    let found = verify(&fractional).unwrap();
    assert_eq!((found.iat, found.nbf, found.exp), (Some(now - 1), Some(now - 1), now + 60));
    for (member, value) in [
        ("exp", json!(now as f64 - 60.5)),
        ("exp", json!(-1.5)),
        ("exp", json!(1e300)),
        ("nbf", json!(now as f64 + 60.5)),
        ("nbf", json!("soon")),
        ("iat", json!("yesterday")),
    ] {
        let mut claims = fractional.clone();
        claims[member] = value;
        assert!(verify(&claims).is_err(), "{claims}");
    }
}
