//! Rejected records affect others as little as possible.

use super::*;
use crate::backoff::Backoff;
use crate::drain::dead_letter_buffer::DeadLetterBuffer;

const INVALID: RDKafkaRespErr = RDKafkaRespErr::RD_KAFKA_RESP_ERR_INVALID_RECORD;

/// Records without a key, with their numbers as values.
fn append_keyless(fixture: &mut DrainFixture, numbers: std::ops::Range<u64>) {
    let next = fixture.writer.next_lsn().0;
    let payload = |(at, n): (usize, u64)| {
        let (lsn, value) = (Lsn(next + at as u64), n.to_string());
        let id = CommandId::from_bytes([1; 25]);
        let mut payload = Vec::new();
        Envelope::new(id, "order.create", TOPIC, "application/json", value.as_bytes()).encode(&mut payload);
        (lane(None, lsn), payload)
    };
    let payloads: Vec<_> = numbers.enumerate().map(payload).collect();
    fixture.commit(&payloads);
}

/// Regression: ten thousand of them took ten minutes, one after the other, and the keys of their topic waited.
#[test]
fn keyless_records_are_rejected_in_parallel() {
    let mut fixture = DrainFixture::new();
    fixture.broker.cluster().create_topic(TOPIC, 1, 1).unwrap();
    fixture.config.workers = ThreadCount::Count(1.try_into().unwrap());
    fixture.delay_responses(Duration::from_millis(50));
    append_keyless(&mut fixture, 0..60);
    // The first is sent alone, to a partition that does not know the producer. Then each is sent in its own request.
    fixture.inject_errors(&[INVALID; 61]);
    let drain = fixture.drain();
    let in_flight = || drain.handle().workers()[0].in_flight;
    fixture.wait_until("several are in flight", |_| in_flight() > 2);
    fixture.wait_until_drained();
    assert_eq!(fixture.log.backlog_stats().dead, 60);
    fixture.append(TOPIC, 60..100, 4);
    fixture.wait_until_drained();
    drain.stop(Instant::now() + LIMIT);
    fixture.delay_responses(Duration::ZERO);
    fixture.assert_in_order(TOPIC, 60..100, 4, &[]);
    assert_eq!(fixture.log.backlog_stats().dead, 60);
}

/// Regression: each dead letter had its own flush, and the worker waited for it.
#[test]
fn single_dead_letters_share_a_flush() {
    let mut fixture = DrainFixture::new();
    fixture.append(TOPIC, 0..10, 1);
    let (log, metrics) = (Arc::clone(&fixture.log), Arc::clone(&fixture.metrics));
    let context =
        Context::new(log, Statuses::new(Arc::clone(&fixture.log)), metrics, None, Arc::new(NoDeferredValues));
    let mut dead_letters =
        DeadLetterBuffer::new(Backoff::new(Duration::from_millis(20), Duration::from_secs(1)), false);
    let start = Instant::now();
    for n in 1..=10 {
        dead_letters.add(fixture.log.read(Lsn(n)).unwrap().unwrap(), "record: invalid", None, 1);
        dead_letters.store_if_due(&context, start + Duration::from_millis(n));
    }
    assert_eq!(fixture.log.backlog_stats().dead, 0, "they share a flush");
    assert!(
        dead_letters.contains(Lsn(1)) && !dead_letters.contains(Lsn(11)),
        "and must not be sent again meanwhile"
    );
    dead_letters.store_if_due(&context, start + Duration::from_secs(1));
    assert_eq!(fixture.log.backlog_stats().dead, 10);
    assert!(dead_letters.is_empty());
}
