//! The payload of a record: one command with its metadata.
//!
//! Layout: version (1 byte, 1), then fields to the end: tag (1 byte), length (4 bytes, little-endian), bytes. An
//! unknown tag below 128 is an error; a reader may skip an unknown tag from 128 on. A later version thereby chooses
//! which of its additions an older reader must understand. The time of acceptance is in the frame.

use super::{CommandId, Headers};
use crate::units::{Lsn, Timestamp};

const VERSION: u8 = 1;
/// Readers may skip unknown tags from this one on.
const FIRST_SKIPPABLE_TAG: u8 = 128;

const ID: u8 = 1;
const KIND: u8 = 2;
const TOPIC: u8 = 3;
const KEY: u8 = 4;
const CONTENT_TYPE: u8 = 5;
const TRACEPARENT: u8 = 6;
const IDEMPOTENCY_KEY: u8 = 7;
const REPEAT: u8 = 8;
const PRINCIPAL: u8 = 9;
const REQUEUED_FROM: u8 = 10;
const VALUE: u8 = 11;
const SEALED: u8 = 12;
/// Not skippable: a reader that does not know it would deliver an event without its attributes.
const HEADERS: u8 = 13;
/// Not skippable: a reader that does not know it would deliver an empty value instead of none.
const NO_VALUE: u8 = 14;
/// Skippable: a reader that does not know it cannot find the reservations of the record.
const CLAIM: u8 = 128;
/// Skippable: a reader that does not know it takes a repeated registration for another one, if its reservations were
/// lost.
const FINGERPRINT: u8 = 129;
/// Skippable: a reader that does not know it identifies the sender by name only.
const REGISTERED_AT: u8 = 130;

const DIGEST_LEN: usize = 16;
const CLAIM_LEN: usize = 16;

/// One command with everything that must survive a crash.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Envelope<'a> {
    /// Command id.
    pub id: CommandId,
    /// Kind of the command, as configured when it was accepted.
    pub kind: &'a str,
    /// Kafka topic. Stored, because the configuration of the kind may change before the record is sent.
    pub topic: &'a str,
    /// Kafka key.
    pub key: Option<&'a [u8]>,
    /// Media type of the value; empty if it has none.
    pub content_type: &'a str,
    /// Kafka headers in addition to those of every record.
    pub headers: Headers<'a>,
    /// W3C trace context of the request.
    pub traceparent: Option<&'a str>,
    /// The client's `Idempotency-Key`, on every record of its request.
    pub idempotency_key: Option<&'a str>,
    /// Identifies a repetition of the request; on the first record of the request only.
    pub idempotency: Option<RequestDigest>,
    /// Identity of the sender; `None` in mode `open`.
    pub principal: Option<&'a str>,
    /// Time at which the user with this name was registered ([`super::Owner`]).
    pub registered_at: Option<Timestamp>,
    /// The dead letter, or replayed record, that this record sends again.
    pub requeued_from: Option<Lsn>,
    /// Owner id in the reservations of a user command. The index maps it to this record.
    pub claim: Option<[u8; CLAIM_LEN]>,
    /// Keyed digest of a registration's normalised body. Lost reservations are restored with it.
    pub fingerprint: Option<[u8; DIGEST_LEN]>,
    /// Whether the value contains a password that is not hashed yet. Such a value never leaves the daemon unchanged.
    pub sealed: bool,
    /// Whether the Kafka record has no value. In a compacted topic, no value deletes the key; an empty value does not.
    pub no_value: bool,
    /// The value for Kafka, byte for byte, unless it is sealed.
    pub value: &'a [u8],
}

/// Digests that identify a repeated request. They are keyed with the log's secret: a plain hash of a body would be a
/// fast hash of every password or token in it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RequestDigest {
    /// Digest of principal, method, kind and `Idempotency-Key`.
    pub scope: [u8; DIGEST_LEN],
    /// Digest of the body.
    pub body: [u8; DIGEST_LEN],
    /// Number of commands in the request. Their LSNs are consecutive.
    pub count: u32,
}

/// Why a payload cannot be decoded. The frame's checksum was correct, so another version wrote it.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum EnvelopeError {
    /// Unknown version of the layout.
    #[error("envelope version {0} is not known to this version of forebay")]
    Version(u8),
    /// Unknown field that must not be skipped.
    #[error("envelope field {0} is not known to this version of forebay")]
    Field(u8),
    /// Invalid length or text.
    #[error("envelope is malformed at field {0}")]
    Malformed(u8),
}

impl<'a> Envelope<'a> {
    /// Appends the envelope's bytes to `out`.
    pub fn encode(&self, out: &mut Vec<u8>) {
        out.push(VERSION);
        put(out, ID, self.id.as_bytes());
        put(out, KIND, self.kind.as_bytes());
        put(out, TOPIC, self.topic.as_bytes());
        put(out, CONTENT_TYPE, self.content_type.as_bytes());
        put_option(out, KEY, self.key);
        put_option(out, TRACEPARENT, self.traceparent.map(str::as_bytes));
        put_option(out, IDEMPOTENCY_KEY, self.idempotency_key.map(str::as_bytes));
        put_option(
            out,
            REPEAT,
            self.idempotency.map(|repeat| repeat.encode()).as_ref().map(<[u8; 36]>::as_slice),
        );
        put_option(out, PRINCIPAL, self.principal.map(str::as_bytes));
        put_option(
            out,
            REQUEUED_FROM,
            self.requeued_from.map(|lsn| lsn.0.to_le_bytes()).as_ref().map(|b| &b[..]),
        );
        put_option(out, CLAIM, self.claim.as_ref().map(<[u8; CLAIM_LEN]>::as_slice));
        put_option(out, FINGERPRINT, self.fingerprint.as_ref().map(<[u8; DIGEST_LEN]>::as_slice));
        put_option(
            out,
            REGISTERED_AT,
            self.registered_at.map(|at| at.0.to_le_bytes()).as_ref().map(|b| &b[..]),
        );
        put_option(out, SEALED, self.sealed.then_some(&[]));
        put_option(out, HEADERS, Some(self.headers.as_bytes()).filter(|headers| !headers.is_empty()));
        put_option(out, NO_VALUE, self.no_value.then_some(&[]));
        put(out, VALUE, self.value);
    }

    /// An envelope with the fields that every command has. All others are empty.
    pub const fn new(
        id: CommandId,
        kind: &'a str,
        topic: &'a str,
        content_type: &'a str,
        value: &'a [u8],
    ) -> Self {
        Self {
            id,
            kind,
            topic,
            key: None,
            content_type,
            headers: Headers::NONE,
            traceparent: None,
            idempotency_key: None,
            idempotency: None,
            principal: None,
            registered_at: None,
            requeued_from: None,
            claim: None,
            fingerprint: None,
            sealed: false,
            no_value: false,
            value,
        }
    }

    /// Decodes the payload of a record.
    pub fn decode(bytes: &'a [u8]) -> Result<Self, EnvelopeError> {
        let (&version, mut rest) = bytes.split_first().ok_or(EnvelopeError::Version(0))?;
        if version != VERSION {
            return Err(EnvelopeError::Version(version));
        }
        let mut id = None;
        let mut envelope = Envelope::new(CommandId::from_bytes([0; 25]), "", "", "", &[]);
        while let Some((tag, field, after)) = take(rest)? {
            rest = after;
            match tag {
                ID => id = Some(CommandId::from_bytes(fixed(tag, field)?)),
                KIND => envelope.kind = text(tag, field)?,
                TOPIC => envelope.topic = text(tag, field)?,
                KEY => envelope.key = Some(field),
                CONTENT_TYPE => envelope.content_type = text(tag, field)?,
                TRACEPARENT => envelope.traceparent = Some(text(tag, field)?),
                IDEMPOTENCY_KEY => envelope.idempotency_key = Some(text(tag, field)?),
                REPEAT => envelope.idempotency = Some(RequestDigest::decode(fixed(tag, field)?)),
                PRINCIPAL => envelope.principal = Some(text(tag, field)?),
                REQUEUED_FROM => envelope.requeued_from = Some(Lsn(u64::from_le_bytes(fixed(tag, field)?))),
                CLAIM => envelope.claim = Some(fixed(tag, field)?),
                REGISTERED_AT => {
                    envelope.registered_at = Some(Timestamp(u64::from_le_bytes(fixed(tag, field)?)));
                }
                FINGERPRINT => envelope.fingerprint = Some(fixed(tag, field)?),
                SEALED => envelope.sealed = true,
                HEADERS => envelope.headers = Headers::parse(field).ok_or(EnvelopeError::Malformed(tag))?,
                NO_VALUE => envelope.no_value = true,
                VALUE => envelope.value = field,
                later if later >= FIRST_SKIPPABLE_TAG => {}
                unknown => return Err(EnvelopeError::Field(unknown)),
            }
        }
        envelope.id = id.ok_or(EnvelopeError::Malformed(ID))?;
        Ok(envelope)
    }

    /// The key as text, with invalid UTF-8 replaced.
    pub fn key_text(&self) -> Option<String> {
        self.key.map(|key| String::from_utf8_lossy(key).into_owned())
    }
}

impl RequestDigest {
    fn encode(&self) -> [u8; 36] {
        let mut bytes = [0; 36];
        bytes[..16].copy_from_slice(&self.scope);
        bytes[16..32].copy_from_slice(&self.body);
        bytes[32..].copy_from_slice(&self.count.to_le_bytes());
        bytes
    }

    fn decode(bytes: [u8; 36]) -> Self {
        let mut repeat = Self { scope: [0; DIGEST_LEN], body: [0; DIGEST_LEN], count: 0 };
        repeat.scope.copy_from_slice(&bytes[..16]);
        repeat.body.copy_from_slice(&bytes[16..32]);
        let mut count = [0; 4];
        count.copy_from_slice(&bytes[32..]);
        repeat.count = u32::from_le_bytes(count);
        repeat
    }
}

fn put(out: &mut Vec<u8>, tag: u8, field: &[u8]) {
    out.push(tag);
    // The segment's size bounds the length of a frame: 1 GiB.
    out.extend_from_slice(&(field.len() as u32).to_le_bytes());
    out.extend_from_slice(field);
}

fn put_option(out: &mut Vec<u8>, tag: u8, field: Option<&[u8]>) {
    if let Some(field) = field {
        put(out, tag, field);
    }
}

type Field<'a> = (u8, &'a [u8], &'a [u8]);

fn take(bytes: &[u8]) -> Result<Option<Field<'_>>, EnvelopeError> {
    let Some((&tag, rest)) = bytes.split_first() else { return Ok(None) };
    let (length, rest) = rest.split_first_chunk::<4>().ok_or(EnvelopeError::Malformed(tag))?;
    let length = u32::from_le_bytes(*length) as usize;
    let (field, rest) = rest.split_at_checked(length).ok_or(EnvelopeError::Malformed(tag))?;
    Ok(Some((tag, field, rest)))
}

fn fixed<const N: usize>(tag: u8, field: &[u8]) -> Result<[u8; N], EnvelopeError> {
    field.try_into().map_err(|_| EnvelopeError::Malformed(tag))
}

fn text(tag: u8, field: &[u8]) -> Result<&str, EnvelopeError> {
    str::from_utf8(field).map_err(|_| EnvelopeError::Malformed(tag))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn full() -> Envelope<'static> {
        Envelope {
            id: CommandId::from_bytes([5; 25]),
            kind: "order.create",
            topic: "orders.v1",
            key: Some(b"o-1"),
            content_type: "application/json",
            headers: Headers::parse(b"\x05\x00ce_id\x01\x00\x00\x001").unwrap(),
            traceparent: Some("00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"),
            idempotency_key: Some("abc"),
            idempotency: Some(RequestDigest { scope: [1; 16], body: [2; 16], count: 3 }),
            principal: Some("ada"),
            registered_at: Some(Timestamp(5)),
            requeued_from: Some(Lsn(77)),
            claim: Some([9; 16]),
            fingerprint: Some([8; 16]),
            sealed: true,
            no_value: true,
            value: b"{\"id\":\"o-1\"}",
        }
    }

    #[test]
    fn an_envelope_reads_back_as_it_was_written() {
        let mut bytes = Vec::new();
        full().encode(&mut bytes);
        assert_eq!(Envelope::decode(&bytes), Ok(full()));
    }

    #[test]
    fn a_truncated_envelope_never_panics() {
        let mut bytes = Vec::new();
        full().encode(&mut bytes);
        for end in 0..bytes.len() {
            assert_ne!(Envelope::decode(&bytes[..end]).ok(), Some(full()));
        }
    }

    #[test]
    fn unknown_fields_are_refused_unless_they_may_be_skipped() {
        let mut bytes = Vec::new();
        full().encode(&mut bytes);
        put(&mut bytes, 200, b"later");
        assert_eq!(Envelope::decode(&bytes), Ok(full()));
        put(&mut bytes, 99, b"later");
        assert_eq!(Envelope::decode(&bytes), Err(EnvelopeError::Field(99)));
    }
}
