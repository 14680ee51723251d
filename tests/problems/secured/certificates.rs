//! Certificates that the daemon or the broker rejects.

use support::kafka::Listener;
use support::proxy::Proxy;
use support::services;

use super::super::list::{assert_on_all_surfaces, await_end, entries, is_up, text};
use super::{await_delivered, await_detail, post, topic, with_certificate};

/// The client library reports the same error for each of these, so the daemon inspects the certificate itself.
#[test]
fn a_faulty_broker_certificate_is_reported_until_it_is_renewed() {
    let test = "a_faulty_broker_certificate_is_reported_until_it_is_renewed";
    let Some(kafka) = services::secure_kafka(test) else { return };
    let topic = topic(kafka);
    let proxy = Proxy::start();
    proxy.forward_to(&kafka.secure_address(Listener::Expired));
    let mut forebay = with_certificate(kafka, &topic, "client").set("kafka.brokers", proxy.address());
    forebay.start();
    post(&forebay);
    let expired = await_detail(&forebay, "kafka_tls_failed", "certificate has expired");
    assert!(text(&expired, "last_error").contains("certificate verify failed"), "{expired}");
    assert_on_all_surfaces(&forebay, &expired);
    assert!(!is_up(&forebay, "kafka") && entries(&forebay, "kafka_unreachable").is_empty());
    proxy.forward_to(&kafka.secure_address(Listener::OtherName));
    await_detail(&forebay, "kafka_tls_failed", "another host name");
    // After the certificate is renewed, the daemon needs no restart.
    proxy.forward_to(&kafka.secure_address(Listener::ClientCertificate));
    await_end(&forebay, "kafka_tls_failed");
    await_delivered(kafka, &forebay, &topic, 1);
}

#[test]
fn a_wrong_authority_is_reported_until_the_file_is_corrected() {
    let test = "a_wrong_authority_is_reported_until_the_file_is_corrected";
    let Some(kafka) = services::secure_kafka(test) else { return };
    let (topic, files) = (topic(kafka), kafka.certificates());
    let mut forebay =
        with_certificate(kafka, &topic, "client").set("kafka.ssl_ca_file", files.text_of("other-ca.pem"));
    forebay.start();
    post(&forebay);
    let untrusted = await_detail(&forebay, "kafka_tls_failed", "no authority in [kafka] ssl_ca_file");
    assert!(text(&untrusted, "last_error").contains("certificate verify failed"), "{untrusted}");
    forebay.configure("kafka.ssl_ca_file", files.ca());
    forebay.restart();
    await_delivered(kafka, &forebay, &topic, 1);
    assert!(entries(&forebay, "kafka_tls_failed").is_empty());
}

#[test]
fn a_missing_or_expired_client_certificate_is_reported_until_renewed() {
    let test = "a_missing_or_expired_client_certificate_is_reported_until_renewed";
    let Some(kafka) = services::secure_kafka(test) else { return };
    let topic = topic(kafka);
    let mut forebay = super::daemon_over(kafka, Listener::ClientCertificate, &topic);
    forebay.start();
    post(&forebay);
    let missing = await_detail(&forebay, "kafka_authentication_failed", "require a client certificate");
    assert!(text(&missing, "last_error").contains("SSL alert number"), "{missing}");
    assert_on_all_surfaces(&forebay, &missing);
    let files = kafka.certificates();
    forebay.configure("kafka.ssl_cert_file", files.text_of("expired-client.pem"));
    forebay.configure("kafka.ssl_key_file", files.text_of("expired-client.key"));
    forebay.restart();
    await_detail(&forebay, "kafka_authentication_failed", "which expired at 20");
    await_detail(&forebay, "certificate_expiring", "kafka.ssl_cert_file has expired");
    forebay.configure("kafka.ssl_cert_file", files.text_of("client.pem"));
    forebay.configure("kafka.ssl_key_file", files.text_of("client.key"));
    forebay.restart();
    await_delivered(kafka, &forebay, &topic, 1);
    assert!(entries(&forebay, "kafka_authentication_failed").is_empty());
}
