//! `config/production.toml` with every setting enabled, as its first lines describe, gives a working daemon.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use data_encoding::HEXLOWER;
use serde_json::Value;
use sha2::{Digest, Sha256};
use support::daemon::{LONG, await_drained, migrated, under_test};
use support::http::Response;
use support::kafka::{CLIENT_PASSWORD, CLIENT_USER, ClusterOptions};
use support::process::Forebay;
use support::tls::{CertificateFiles, Identity};
use support::{admin::Admin, consume, services, tls};
use tokio_rustls::rustls::ALL_VERSIONS;

const PRODUCTION: &str = include_str!("../../config/production.toml");
const TOKEN: &str = "5ad0f1f0c2d94b6e8f4d4c1f1a2b3c4d";
const REDIS_PASSWORD: &str = "redis-secret";

/// The directory of the files that the configuration names.
const ETC: &str = "/etc/forebay";

/// Enables the disabled settings: lines that begin with `#` and no space.
fn turned_on(text: &str) -> String {
    let on = |line: &str| match line.strip_prefix('#') {
        Some(setting) if !setting.is_empty() && !setting.starts_with(' ') => setting.to_owned(),
        _ => line.to_owned(),
    };
    text.lines().map(|line| on(line) + "\n").collect()
}

/// Creates the files that the configuration names, as it describes.
fn files(dir: &Path, identity: &Identity) {
    let CertificateFiles { cert, .. } = CertificateFiles::with(dir, identity);
    fs::rename(cert, dir.join("tls-chain.pem")).unwrap();
    let random = "0123456789abcdef".repeat(4);
    for (name, text) in [
        ("tokens", format!("orders {}\n", HEXLOWER.encode(&Sha256::digest(TOKEN)))),
        ("jwt.keys", random.clone() + "\n"),
        ("wal.key", random + "\n"),
        ("kafka.password", CLIENT_PASSWORD.to_owned()),
        ("kafka-ca.pem", identity.cert.clone()),
        ("redis.password", REDIS_PASSWORD.to_owned()),
        ("order.create.json", r#"{"required":["amount"]}"#.to_owned()),
    ] {
        fs::write(dir.join(name), text).unwrap();
        fs::set_permissions(dir.join(name), fs::Permissions::from_mode(0o600)).unwrap();
    }
}

/// Sends a request over TLS, with a token.
fn ask(forebay: &Forebay, identity: &Identity, request: &str, token: Option<&str>, body: &str) -> Response {
    let mut greeted = tls::connect(&forebay.address(), &[identity], ALL_VERSIONS).unwrap();
    let token = token.map(|token| format!("Authorization: Bearer {token}\r\n")).unwrap_or_default();
    let head = format!(
        "{request} HTTP/1.1\r\nHost: localhost\r\nPrefer: wait=30\r\n{token}Content-Length: {}\r\n\r\n{body}",
        body.len()
    );
    greeted.connection.send(head.as_bytes()).unwrap();
    greeted.connection.receive("POST").unwrap()
}

#[test]
fn the_production_config_works_with_all_settings_enabled() {
    let test = "the_production_config_works_with_all_settings_enabled";
    let Some(identity) = Identity::make(test) else { return };
    let (Some(kafka), Some(place)) = (services::kafka(test), services::redis(test)) else { return };
    let Some(database) = services::postgres(test) else { return };
    let cluster = kafka.start(ClusterOptions::single().acls());
    Admin::new(&cluster.bootstrap()).create_topic("orders.v1", 2, 1, &[]);
    let redis = place.start_with(&["--requirepass", REDIS_PASSWORD]);
    migrated(&database, &[]);

    let mut forebay = under_test();
    files(forebay.dir(), &identity);
    // The addresses and protocols of this machine's servers. The password of the database is in its URL.
    let dir = forebay.dir().display().to_string();
    let brokers = PRODUCTION.lines().find(|line| line.starts_with("brokers")).unwrap();
    let mut text = turned_on(PRODUCTION);
    for (example, here) in [
        (brokers, format!("brokers = [\"{}\"]", cluster.sasl_bootstrap())),
        ("0.0.0.0:8443", forebay.address()),
        (ETC, dir),
        ("/var/lib/forebay/wal", forebay.wal_dir().display().to_string()),
        ("\"sasl_ssl\"", "\"sasl_plaintext\"".to_owned()),
        ("SCRAM-SHA-512", "PLAIN".to_owned()),
        ("sasl_username = \"forebay\"", format!("sasl_username = \"{CLIENT_USER}\"")),
        ("rediss://redis.example:6379", redis.url()),
        ("postgres://forebay@db.example/forebay?sslmode=verify-full", database),
    ] {
        assert!(text.contains(example), "{example}");
        text = text.replace(example, &here);
    }
    let without_second_password: Vec<_> =
        text.lines().filter(|line| !line.contains("database.password")).collect();
    for key in ["server.listen", "wal.dir", "server.admin_listen"] {
        forebay.unset(key);
    }
    let admin_address = forebay.admin_address();
    forebay = forebay
        .toml(&without_second_password.join("\n"))
        .env("FOREBAY__SERVER__ADMIN_LISTEN", &admin_address)
        .env("FOREBAY__USERS__PASSWORD_COST", "4");
    forebay.start();

    let order = r#"{"id":"o-1","amount":12}"#;
    let post = |token, body: &str| ask(&forebay, &identity, "POST /v1/commands/order.create", token, body);
    assert_eq!(post(None, order).status, 401);
    assert_eq!(post(Some(TOKEN), r#"{"id":"o-1"}"#).status, 422, "the schema is used");
    let sent = post(Some(TOKEN), order);
    assert_eq!((sent.status, sent.json()["state"].as_str()), (200, Some("sent")), "{}", sent.text());
    assert_eq!(consume::read_all(&cluster.bootstrap(), "orders.v1")[0].text(), order);

    let ada = r#"{"name":"ada","email":"ada@example.org","phone":"+491701234567","password":"correct horse battery"}"#;
    let registered = ask(&forebay, &identity, "POST /v1/users", None, ada);
    assert_eq!(registered.status, 201, "{}", registered.text());
    let credentials = r#"{"name":"ada","password":"correct horse battery"}"#;
    let login = ask(&forebay, &identity, "POST /login", None, credentials);
    assert_eq!(login.status, 200, "{}", login.text());
    let access: Value = login.json()["access_token"].clone();
    let read = ask(&forebay, &identity, "GET /v1/users/ada", access.as_str(), "");
    assert_eq!(
        (read.status, read.json()["email"].as_str()),
        (200, Some("ada@example.org")),
        "{}",
        read.text()
    );
    await_drained(&forebay);
    let said = forebay.log();
    for secret in [TOKEN, CLIENT_PASSWORD, REDIS_PASSWORD] {
        assert!(!said.contains(secret), "{secret}");
    }
    assert!(forebay.terminate().success());
    // Encrypted: no file of the log contains client data.
    for segment in walk(&forebay.wal_dir()) {
        let bytes = fs::read(&segment).unwrap();
        let shown = bytes.windows(order.len()).any(|part| part == order.as_bytes());
        assert!(!shown, "{}", segment.display());
    }
    let mut check = forebay.args(&["check-config", "--connect"]);
    check.launch();
    assert!(check.wait(LONG).success(), "{}", check.log());
}

fn walk(dir: &Path) -> Vec<std::path::PathBuf> {
    let entries = fs::read_dir(dir).unwrap().flatten().map(|entry| entry.path());
    entries
        .flat_map(|path| if path.is_dir() { walk(&path) } else { vec![path] })
        .filter(|path| path.is_file())
        .collect()
}
