//! The one place where a record's value goes to a producer.

use crate::command::Envelope;
use crate::command::headers;
use crate::drain::place::Place;
use crate::drain::sealed::Final;
use crate::kafka::ErrorCode;
use crate::kafka::Message;
use crate::kafka::Producer;
use crate::wal::Frame;

/// Hands a record over. Its value comes apart from the envelope, because that of a sealed record must not leave.
pub(super) fn hand_over(
    producer: &Producer,
    frame: Frame<'_>,
    envelope: &Envelope<'_>,
    place: Place,
    value: Final<'_>,
) -> Result<(), ErrorCode> {
    producer.send(&Message {
        tag: frame.lsn.0,
        topic: envelope.topic,
        partition: place.partition,
        key: envelope.key,
        headers: &headers(envelope, frame.at),
        value: value.bytes(),
    })
}
