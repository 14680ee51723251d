//! Passwords and certificates, and errors that do not reveal them.

use std::fs;
use std::process::Command;
use std::sync::Arc;

use forebay::kv::{Config, Kv, Metrics, ServerUrl};
use forebay::metrics::Registry;
use forebay::units::Span;

use super::test_store::{LONG, TTL};
use support::ports::Port;
use support::{scratch, services};

#[tokio::test]
async fn passwords_are_read_and_never_shown() {
    let Some(starter) = services::redis("passwords_are_read_and_never_shown") else { return };
    let server = starter.start_with(&["--requirepass", "hunter2"]);
    let dir = scratch::dir("password");
    let file = dir.path().join("redis.password");
    fs::write(&file, "hunter2\n").unwrap();
    let config = |url: &str, file| Config {
        url: ServerUrl::from(url),
        password_file: file,
        timeout: Span(LONG),
        ..Config::default()
    };
    let connect = |config: &Config| Kv::redis(config, metrics()).unwrap();
    let address = server.address();

    let right = [
        config(&format!("redis://:hunter2@{address}"), None),
        config(&format!("redis://{address}"), Some(file)),
    ];
    for config in &right {
        connect(config).set("a", b"1", TTL).await.unwrap();
        assert!(!format!("{config:?}").contains("hunter2"));
    }
    for url in [format!("redis://:hunter3@{address}"), format!("redis://{address}")] {
        let error = connect(&config(&url, None)).get("a").await.unwrap_err().to_string();
        assert!(!error.contains("hunter"), "{error}");
    }
}

#[tokio::test]
async fn tls_requires_a_known_server_certificate() {
    let test = "tls_requires_a_known_server_certificate";
    let Some(starter) = services::redis(test) else { return };
    let dir = scratch::dir("tls");
    let certificate = "req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 2 -subj /CN=test \
                       -addext basicConstraints=critical,CA:FALSE -addext subjectAltName=IP:127.0.0.1 \
                       -keyout key.pem -out cert.pem";
    let made = Command::new("openssl").args(certificate.split_whitespace()).current_dir(&dir).output();
    let made = made.map_err(|error| format!("no openssl: {error}"));
    let Some(made) = services::available(test, "openssl", made) else { return };
    assert!(made.status.success(), "{made:?}");
    let (port, cert, key) = (Port::free(), dir.path().join("cert.pem"), dir.path().join("key.pem"));
    let tls =
        format!("--tls-port {} --tls-auth-clients no --tls-cert-file cert --tls-key-file key", port.number());
    let tls: Vec<_> = tls
        .split(' ')
        .map(|word| match word {
            "cert" => cert.to_str().unwrap(),
            "key" => key.to_str().unwrap(),
            word => word,
        })
        .collect();
    let _server = starter.start_with(&tls);
    let url = ServerUrl::from(&*format!("rediss://{}", port.address()));
    let config = |ca_file| Config { url: url.clone(), ca_file, timeout: Span(LONG), ..Config::default() };
    let connect = |config: &Config| Kv::redis(config, metrics()).unwrap();

    connect(&config(Some(cert))).set("a", b"1", TTL).await.unwrap();
    assert!(connect(&config(None)).get("a").await.is_err(), "no known authority signed it");
    assert!(Kv::redis(&config(Some(key)), metrics()).is_err(), "no certificate");
}

fn metrics() -> Arc<Metrics> {
    Arc::new(Metrics::register(&Registry::new().unwrap()).unwrap())
}
