//! Fuzzed: the payload of a record, and a command id as a client writes it.
#![allow(clippy::expect_used, reason = "a broken promise ends the program: that is what fuzzing looks for")]

use super::{CommandId, Envelope, IdGenerator, headers, requeued_record};
use crate::units::{Lsn, Timestamp};

/// An envelope that is accepted is the same one after it was written again, with whatever may be skipped left out;
/// an id that is accepted has one spelling.
pub fn command(data: &[u8]) {
    if let Ok(text) = str::from_utf8(data)
        && let Ok(id) = text.parse::<CommandId>()
    {
        assert_eq!(id.to_string(), text.to_uppercase());
        let mint = IdGenerator::new(&[1; 16], &[2; 32]);
        let _ = mint.lsn(&id);
    }
    let again = requeued_record(data, Lsn(1), Lsn(2));
    let Ok(read) = Envelope::decode(data) else {
        assert_eq!(again.payload, data, "what cannot be read is taken up as it is");
        return;
    };
    let mut bytes = Vec::new();
    read.encode(&mut bytes);
    assert_eq!(Envelope::decode(&bytes).as_ref(), Ok(&read));
    assert!(bytes.len() <= data.len() + 4 * 5, "a field that was missing is written empty");
    assert_eq!(headers(&read, Timestamp(1))[0].1, read.id.to_string());
    let taken_up = Envelope::decode(&again.payload).expect("just written");
    assert_eq!(taken_up, Envelope { requeued_from: Some(Lsn(1)), idempotency: None, ..read });
}
