//! The public listener with TLS: accepted and rejected connections, and a change of the certificate.

use std::fs;
use std::io::ErrorKind;

use tokio_rustls::rustls::ALL_VERSIONS;
use tokio_rustls::rustls::version::{TLS12, TLS13};

use crate::daemon::{LONG, metric};
use crate::requests::{ORDERS, daemon, filled, id, order};
use support::http::{Connection, Response};
use support::process::Forebay;
use support::tls::{CertificateFiles, Identity, TlsConnection};
use support::{tls, wait};

/// A started daemon with this certificate, and the location of the files.
fn daemon_with(identity: &Identity) -> (Forebay, CertificateFiles) {
    let (forebay, place) = configured(daemon(), identity);
    let mut forebay = forebay;
    forebay.start();
    (forebay, place)
}

fn configured(forebay: Forebay, identity: &Identity) -> (Forebay, CertificateFiles) {
    let place = CertificateFiles::with(forebay.dir(), identity);
    let forebay = forebay
        .set("server.tls_cert_file", place.cert.display().to_string())
        .set("server.tls_key_file", place.key.display().to_string());
    (forebay, place)
}

fn post(connection: &mut Connection, key: &str) -> Response {
    post_body(connection, &order(key))
}

fn post_body(connection: &mut Connection, body: &str) -> Response {
    let head = format!("POST {ORDERS} HTTP/1.1\r\nHost: localhost\r\nContent-Length: {}\r\n\r\n", body.len());
    connection.send(format!("{head}{body}").as_bytes()).unwrap();
    connection.receive("POST").unwrap()
}

fn failed(forebay: &Forebay, reason: &str) -> f64 {
    metric(forebay, &format!("forebay_tls_handshakes_failed_total{{reason=\"{reason}\"}}"))
}

#[test]
fn both_http_versions_work_over_tls_and_plain_does_not() {
    let Some(identity) = Identity::make("a_command_is_accepted_over_both_versions") else { return };
    let (forebay, _) = daemon_with(&identity);
    for versions in [&[&TLS12], &[&TLS13]] {
        let mut greeted = tls::connect(&forebay.address(), &[&identity], versions).unwrap();
        assert_eq!(greeted.alpn.as_deref(), Some(&b"http/1.1"[..]));
        for key in ["a", "b"] {
            id(&post(&mut greeted.connection, key));
        }
        // Large enough for many TLS records.
        id(&post_body(&mut greeted.connection, &filled(&order("c"), 900_000)));
    }
    let mut plain = Connection::open(&forebay.address()).unwrap();
    plain.send(b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n").unwrap();
    let said = plain.read_to_close().unwrap_or_default();
    assert!(!String::from_utf8_lossy(&said).contains("HTTP"), "{said:?}");
    wait::until_true("it is counted", LONG, || failed(&forebay, "refused") == 1.0);
    assert!(!forebay.log().contains("handshake"), "a failed handshake must not be logged: {}", forebay.log());
}

#[test]
fn a_request_that_is_not_http_gets_an_error() {
    let Some(identity) = Identity::make("a_request_that_is_not_http_gets_an_error") else {
        return;
    };
    let (forebay, _) = daemon_with(&identity);
    let TlsConnection { mut connection, .. } =
        tls::connect(&forebay.address(), &[&identity], ALL_VERSIONS).unwrap();
    connection.send(b"this is no request\r\n\r\n").unwrap();
    let answer = connection.receive("GET").unwrap();
    assert_eq!((answer.status, answer.json()["code"].as_str()), (400, Some("malformed_request")));
    // With a TLS close_notify: without it, reading fails.
    assert_eq!(connection.read_to_close().unwrap(), b"");
}

#[test]
fn silent_clients_are_disconnected_and_delay_no_others() {
    let Some(identity) = Identity::make("who_says_nothing_before_or_after_the_handshake") else { return };
    let (forebay, _) = configured(daemon(), &identity);
    let mut forebay = forebay.set("server.header_timeout", "300ms");
    forebay.start();
    let mut silent = Connection::open(&forebay.address()).unwrap();
    let mut halting = Connection::open(&forebay.address()).unwrap();
    // The beginning of a ClientHello.
    halting.send(&[22, 3, 1, 2, 0, 1]).unwrap();
    let mut shy = tls::connect(&forebay.address(), &[&identity], ALL_VERSIONS).unwrap();
    let mut other = tls::connect(&forebay.address(), &[&identity], ALL_VERSIONS).unwrap();
    id(&post(&mut other.connection, "a"));
    assert_eq!(silent.read_to_close().unwrap(), b"");
    let end = halting.read_to_close();
    assert!(end.is_ok() || end.is_err_and(|error| error.kind() == ErrorKind::ConnectionReset));
    assert_eq!(shy.connection.read_to_close().unwrap(), b"");
    wait::until_true("both are counted", LONG, || failed(&forebay, "timeout") == 2.0);
}

#[test]
fn handshakes_count_towards_the_connection_limit() {
    let Some(identity) = Identity::make("handshakes_count_towards_the_connections") else { return };
    let (forebay, _) = configured(daemon(), &identity);
    let mut forebay = forebay.set("server.max_connections", 1).set("server.header_timeout", "1h");
    forebay.start();
    let silent = Connection::open(&forebay.address()).unwrap();
    wait::until_true("one above the cap is closed", LONG, || {
        tls::connect(&forebay.address(), &[&identity], ALL_VERSIONS).is_err()
    });
    drop(silent);
    wait::until_true("the connection slot is free again", LONG, || {
        tls::connect(&forebay.address(), &[&identity], ALL_VERSIONS).is_ok()
    });
    // The daemon does not wait for a client in the middle of a handshake.
    let _silent = Connection::open(&forebay.address()).unwrap();
    assert!(forebay.terminate().success(), "{}", forebay.log());
    assert!(!forebay.log().contains("listener.connections_cut"), "{}", forebay.log());
}

#[test]
fn a_new_certificate_applies_to_new_connections_only() {
    let test = "a_new_certificate_applies_to_new_connections_only";
    let (Some(old), Some(new)) = (Identity::make(test), Identity::make(test)) else { return };
    let (forebay, place) = daemon_with(&old);
    let connect = || tls::connect(&forebay.address(), &[&old, &new], ALL_VERSIONS).unwrap();
    let mut before = connect();
    assert_eq!(before.cert, old.der());
    id(&post(&mut before.connection, "a"));

    // File by file: the certificate does not change until both files match.
    tls::replace(&place.cert, &new.cert);
    let unfit = "a key that does not belong to the certificate";
    wait::until_true("the new certificate without its key is detected", LONG, || {
        forebay.log().contains(unfit)
    });
    assert_eq!(connect().cert, old.der());
    tls::replace(&place.key, &new.key);
    wait::until_true("the new certificate is shown", LONG, || connect().cert == new.der());
    id(&post(&mut before.connection, "b"));
    id(&post(&mut connect().connection, "c"));
    assert_eq!(forebay.log().matches(unfit).count(), 1, "{}", forebay.log());
    assert_eq!(forebay.log().matches("tls.reloaded").count(), 1, "{}", forebay.log());
}

#[test]
fn broken_or_missing_files_keep_the_current_certificate() {
    let test = "broken_or_missing_files_keep_the_current_certificate";
    let (Some(old), Some(new)) = (Identity::make(test), Identity::make(test)) else { return };
    let (forebay, place) = daemon_with(&old);
    let connect = || tls::connect(&forebay.address(), &[&old, &new], ALL_VERSIONS).unwrap();
    tls::replace(&place.key, "-----BEGIN PRIVATE KEY-----\nc2VjcmV0\n-----END PRIVATE KEY-----\n");
    wait::until_true("the error is logged", LONG, || {
        forebay.log().contains("a private key of an unsupported type")
    });
    id(&post(&mut connect().connection, "a"));
    fs::remove_file(&place.cert).unwrap();
    wait::until_true("the error is logged", LONG, || forebay.log().contains("No such file"));
    assert_eq!(connect().cert, old.der());
    CertificateFiles::with(forebay.dir(), &new);
    wait::until_true("the new certificate is shown", LONG, || connect().cert == new.der());
    assert!(!forebay.log().contains("c2VjcmV0"), "a key must not be logged");
}

#[test]
fn certificate_file_errors_name_their_config_key() {
    let test = "certificate_file_errors_name_their_config_key";
    let (Some(one), Some(other)) = (Identity::make(test), Identity::make(test)) else { return };
    let broken = one.cert.replace("MII", "AAA");
    let (cert, key) = ("[server] tls_cert_file", "[server] tls_key_file");
    // The content of the two files, and the expected errors.
    let cases: [(&str, &str, ExpectedErrors); 6] = [
        (&one.cert, &other.key, &[(key, "a key that does not belong to the certificate")]),
        (&one.key, &one.cert, &[(cert, "no certificate"), (key, "no readable private key")]),
        ("", "", &[(cert, "no certificate"), (key, "no readable private key")]),
        (&broken, &one.key, &[(cert, "a damaged certificate, number 1")]),
        (&format!("{}{broken}", one.cert), &one.key, &[(cert, "a damaged certificate, number 2")]),
        (&"x".repeat(2 << 20), &one.key, &[(cert, "larger than 1 MiB")]),
    ];
    for arguments in [&["serve"], &["check-config"]] {
        for (cert_text, key_text, said) in &cases {
            let identity = Identity { cert: (*cert_text).to_owned(), key: (*key_text).to_owned() };
            let (forebay, _) = configured(daemon().args(arguments), &identity);
            assert_refused(forebay, said);
        }
        let (forebay, place) = configured(daemon().args(arguments), &one);
        fs::remove_file(&place.cert).unwrap();
        fs::remove_file(&place.key).unwrap();
        assert_refused(forebay, &[(cert, "No such file"), (key, "No such file")]);
        let (mut forebay, _) = configured(daemon().args(arguments), &one);
        forebay.unset("server.tls_key_file");
        assert_refused(forebay, &[(key, "found none")]);
    }
    let (forebay, _) = configured(daemon().args(&["check-config"]), &one);
    let mut forebay = forebay;
    forebay.launch();
    assert!(forebay.wait(LONG).success(), "{}", forebay.log());
}

/// Keys of the configuration, and a part of each expected error.
type ExpectedErrors<'a> = &'a [(&'a str, &'a str)];

fn assert_refused(mut forebay: Forebay, said: ExpectedErrors) {
    forebay.launch();
    assert_eq!(forebay.wait(LONG).code(), Some(64), "{}", forebay.log());
    let log = forebay.log();
    for (key, why) in said {
        let line = log.lines().find(|line| line.contains(&format!("{key}: found")));
        assert!(line.is_some_and(|line| line.contains(why)), "{key}: {why} in:\n{log}");
    }
    assert_eq!(log.matches("[server]").count(), said.len(), "{log}");
    assert!(!log.contains("PRIVATE KEY") && !forebay.wal_dir().exists(), "no file may be created");
}
