//! What a record of the log holds for one command.
//!
//! Layout: version (one byte, 1), then fields until the end: tag (one byte), length (four bytes,
//! little-endian), bytes. An unknown tag below 128 is an error, one from 128 on may be skipped, so that later
//! versions can say which of their additions an older reader must understand. Instants stand in the frame.

use super::{CommandId, Headers};
use crate::units::{Lsn, Timestamp};

const VERSION: u8 = 1;
/// Tags from here on may be skipped by readers that do not know them.
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
/// A reader that does not know it would deliver an event without its attributes.
const HEADERS: u8 = 13;
/// A reader that does not know it would deliver an empty value where there is none.
const NO_VALUE: u8 = 14;
/// A reader that does not know it only forgets which pending markers are this record's.
const CLAIM: u8 = 128;
/// A reader that does not know it only takes a repetition for another request once its markers were lost.
const FINGERPRINT: u8 = 129;
/// A reader that does not know it takes the sender's name for the sender.
const REGISTERED_AT: u8 = 130;

const DIGEST_LEN: usize = 16;
const CLAIM_LEN: usize = 16;

/// One command with all that must survive a crash.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Envelope<'a> {
    /// Its id.
    pub id: CommandId,
    /// Its kind, as configured when it was accepted.
    pub kind: &'a str,
    /// Where it goes. Kept here, because kinds may change before it is sent.
    pub topic: &'a str,
    /// Kafka key.
    pub key: Option<&'a [u8]>,
    /// Media type of the value; empty where it has none.
    pub content_type: &'a str,
    /// Headers for Kafka beside those that every record has.
    pub headers: Headers<'a>,
    /// W3C trace context of the request.
    pub traceparent: Option<&'a str>,
    /// The client's `Idempotency-Key`, on every record of its request.
    pub idempotency_key: Option<&'a str>,
    /// What recognises a repetition of the request; on its first record only.
    pub idempotency: Option<RequestDigest>,
    /// Who sent it; none in open mode.
    pub principal: Option<&'a str>,
    /// When the user of that name was registered ([`super::Owner`]).
    pub registered_at: Option<Timestamp>,
    /// The dead letter this record takes up again.
    pub requeued_from: Option<Lsn>,
    /// What the pending markers of a user's command name as their owner; leads back to the record by the index.
    pub claim: Option<[u8; CLAIM_LEN]>,
    /// Keyed digest of the normalised body of a registration: its markers can be set again when they were lost.
    pub fingerprint: Option<[u8; DIGEST_LEN]>,
    /// Whether a password in the value waits to be hashed. Such a value never leaves the daemon as it is.
    pub sealed: bool,
    /// Whether Kafka gets no value, which is not the same as an empty one: in a compacted topic it deletes the key.
    pub no_value: bool,
    /// The value Kafka gets, byte for byte, unless it is sealed.
    pub value: &'a [u8],
}

/// What recognises a repeated request: digests under the log's secret, because a bare hash of a body would be a
/// fast hash of whatever secret stands in it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RequestDigest {
    /// Digest of principal, method, kind and `Idempotency-Key`.
    pub scope: [u8; DIGEST_LEN],
    /// Digest of the body.
    pub body: [u8; DIGEST_LEN],
    /// How many commands the request had; their LSNs follow one another.
    pub count: u32,
}

/// Why the bytes of a record are not an envelope. The frame's checksum was right: another version wrote it.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum EnvelopeError {
    /// Unknown layout.
    #[error("envelope version {0} is not known to this version of forebay")]
    Version(u8),
    /// A field that must be understood and is not known.
    #[error("envelope field {0} is not known to this version of forebay")]
    Field(u8),
    /// A length or a text is wrong.
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

    /// What every command has; all else is none.
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

    /// Reads the payload of a record.
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

    /// The key as a person reads it.
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
    // A frame's length is bounded by the segment's size, 1 GiB.
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
    fn a_cut_envelope_is_an_error_or_a_shorter_one_never_a_panic() {
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
