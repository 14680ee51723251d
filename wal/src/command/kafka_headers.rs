//! All headers of a record in Kafka.

use std::borrow::Cow;

use super::Envelope;
use crate::units::Timestamp;

/// The headers of the record in Kafka (docs/http-api.md#records-in-kafka).
pub fn headers<'a>(envelope: &Envelope<'a>, accepted_at: Timestamp) -> Vec<(&'a str, Cow<'a, str>)> {
    let mut headers: Vec<(&str, Cow<'_, str>)> = Vec::with_capacity(6);
    headers.push(("forebay-command-id", envelope.id.to_string().into()));
    headers.push(("forebay-kind", envelope.kind.into()));
    headers.push(("forebay-accepted-at", accepted_at.to_string().into()));
    // An event without data may have no content type.
    if !envelope.content_type.is_empty() {
        headers.push(("content-type", envelope.content_type.into()));
    }
    headers.extend(envelope.traceparent.map(|trace| ("traceparent", trace.into())));
    headers.extend(envelope.idempotency_key.map(|key| ("forebay-idempotency-key", key.into())));
    headers.extend(envelope.headers.iter().map(|(name, value)| (name, value.into())));
    headers
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::command::{CommandId, Headers};

    #[test]
    fn kafka_gets_the_headers_of_the_contract() {
        let id = CommandId::from_bytes([5; 25]);
        let more = Headers::encode([("ce_id", "1"), ("ce_source", "/größe")]);
        let envelope = Envelope {
            traceparent: Some("00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"),
            idempotency_key: Some("abc"),
            headers: Headers::parse(&more).unwrap(),
            ..Envelope::new(id, "order.create", "orders.v1", "application/json", b"{}")
        };
        let all = headers(&envelope, Timestamp(0));
        let names: Vec<_> = all.iter().map(|(name, _)| *name).collect();
        assert_eq!(
            names,
            [
                "forebay-command-id",
                "forebay-kind",
                "forebay-accepted-at",
                "content-type",
                "traceparent",
                "forebay-idempotency-key",
                "ce_id",
                "ce_source",
            ]
        );
        assert_eq!(all[7].1, "/größe");
        let untyped = Envelope::new(id, "order.create", "orders.v1", "", b"");
        assert!(headers(&untyped, Timestamp(0)).iter().all(|(name, _)| *name != "content-type"));
    }
}
