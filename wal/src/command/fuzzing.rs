//! Fuzz target: the payload of a record, and the text of a command id from a client.
#![allow(clippy::expect_used, reason = "fuzzing needs a panic on each violated invariant")]

use super::{CommandId, Envelope, IdGenerator, headers, requeued_record};
use crate::units::{Lsn, Timestamp};

/// An envelope that decodes is equal after it was encoded again without its skippable fields. An id that parses has one
/// spelling.
pub fn command(data: &[u8]) {
    if let Ok(text) = str::from_utf8(data)
        && let Ok(id) = text.parse::<CommandId>()
    {
        assert_eq!(id.to_string(), text.to_uppercase());
        let generator = IdGenerator::new(&[1; 16], &[2; 32]);
        let _ = generator.lsn(&id);
    }
    let again = requeued_record(data, Lsn(1), Lsn(2));
    let Ok(read) = Envelope::decode(data) else {
        assert_eq!(again.payload, data, "an unreadable payload is requeued unchanged");
        return;
    };
    let mut bytes = Vec::new();
    read.encode(&mut bytes);
    assert_eq!(Envelope::decode(&bytes).as_ref(), Ok(&read));
    assert!(bytes.len() <= data.len() + 4 * 5, "a missing field is written as an empty one");
    assert_eq!(headers(&read, Timestamp(1))[0].1, read.id.to_string());
    let requeued = Envelope::decode(&again.payload).expect("just written");
    assert_eq!(requeued, Envelope { requeued_from: Some(Lsn(1)), idempotency: None, ..read });
}
