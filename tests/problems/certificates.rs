//! Certificates and keys of a running daemon that expire soon or can no longer be read.

use support::clock::FakeClock;
use support::process::Forebay;
use support::tls::{CertificateFiles, Identity, replace};
use support::{daemon, scratch};

use super::list::{assert_on_all_surfaces, await_end, await_problem, entries, text};

/// Within the last third of the validity of a certificate that is valid for 48 hours.
const NEAR_THE_END_S: i64 = 40 * 3_600;

fn with_certificate(forebay: Forebay, identity: &Identity) -> (Forebay, CertificateFiles) {
    let place = CertificateFiles::with(forebay.dir(), identity);
    let forebay = forebay
        .set("server.tls_cert_file", place.cert.display().to_string())
        .set("server.tls_key_file", place.key.display().to_string());
    (forebay, place)
}

/// Reads `/readyz` of the admin listener, which has no certificate.
#[test]
fn a_certificate_near_its_end_is_reported_until_renewed() {
    let test = "a_certificate_near_its_end_is_reported_until_renewed";
    let Some(identity) = Identity::make(test) else { return };
    let home = scratch::dir("clock");
    let (forebay, _) = with_certificate(daemon::under_test(), &identity);
    let (mut forebay, clock) = FakeClock::install(forebay, home.path());
    forebay.start();
    assert!(entries(&forebay, "certificate_expiring").is_empty(), "two days remain");
    clock.set(NEAR_THE_END_S);
    let entry = await_problem(&forebay, "certificate_expiring");
    assert!(text(&entry, "detail").contains("server.tls_cert_file expires at 20"), "{entry}");
}

#[test]
fn a_damaged_certificate_is_reported_until_it_is_replaced() {
    let Some(identity) = Identity::make("a_damaged_certificate_is_reported_until_it_is_replaced") else {
        return;
    };
    let (mut forebay, place) = with_certificate(daemon::under_test(), &identity);
    forebay.start();
    replace(&place.cert, "no certificate");
    let entry = await_problem(&forebay, "certificate_unreadable");
    assert!(text(&entry, "last_error").contains("tls_cert_file"), "{entry}");
    replace(&place.cert, &identity.cert);
    await_end(&forebay, "certificate_unreadable");
}

#[test]
fn an_invalid_tokens_file_is_reported_until_it_is_fixed() {
    // Authentication requires a broker other than the embedded one.
    let forebay = daemon::forebay("127.0.0.1:9").set("auth.mode", "token");
    let tokens = forebay.dir().join("tokens");
    std::fs::write(&tokens, "# none\n").unwrap();
    let mut forebay = forebay.set("auth.tokens_file", tokens.display().to_string());
    forebay.start();
    std::fs::write(&tokens, "nobody\n").unwrap();
    let entry = await_problem(&forebay, "certificate_unreadable");
    assert!(text(&entry, "last_error").contains("tokens_file"), "{entry}");
    assert_on_all_surfaces(&forebay, &entry);
    std::fs::write(&tokens, "# none\n").unwrap();
    await_end(&forebay, "certificate_unreadable");
}
