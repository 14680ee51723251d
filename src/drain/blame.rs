//! What follows for topics and partitions from what Kafka refused: the same whether or not there are transactions.

use std::time::Duration;
use std::time::Instant;

use crate::drain::gates::Place;
use crate::drain::suspects::Suspects;
use crate::drain::topics::Topic;
use crate::drain::topics::Topics;
use crate::kafka::Fault;
use crate::wal::Lsn;

/// A topic is at fault, or what is known of it is old. For other faults it cannot help.
pub(super) fn blame(topic: &mut Topic, fault: Fault, now: Instant, grace: Duration) {
    match fault {
        Fault::Topic(reason) => {
            tracing::warn!(
                kafka.topic = &*topic.name,
                drain.reason = reason,
                "topic at fault; its records wait"
            );
            topic.refused(reason, true, now, grace);
        }
        Fault::Stale => topic.doubt(now),
        Fault::Record(_) | Fault::Producer | Fault::Passing => {}
    }
}

/// A batch was refused, with these records (number, bytes) in it: any of them may be the reason.
pub(super) fn accuse(suspects: &mut Suspects, topics: &Topics, place: Place, records: &[(Lsn, u64, Fault)]) {
    let Some((lsn, _, fault)) = records.first().copied() else { return };
    let last = records.iter().map(|(lsn, ..)| *lsn).max().unwrap_or(lsn);
    let bytes = records.iter().map(|(_, bytes, _)| bytes).sum();
    suspects.accuse(place, last, bytes, fault);
    tracing::warn!(
        kafka.topic = &**topics.name(place.topic),
        kafka.partition = place.partition,
        drain.records = records.len(),
        "batch refused; its records go one at a time"
    );
}

/// A record of this partition is delivered or dead.
pub(super) fn settle(suspects: &mut Suspects, topics: &mut Topics, place: Place, lsn: Lsn) {
    let Some(cap) = suspects.settled(place, lsn) else { return };
    let topic = topics.get(place.topic);
    topic.shrink(cap);
    tracing::warn!(
        kafka.topic = &*topic.name,
        drain.batch_bytes = topic.cap,
        "topic takes only small batches"
    );
}
