//! The drain on a real log and the embedded broker, with faults injected there.

mod deferred;
mod gather;
mod reader;
mod rejected;

use std::collections::HashMap;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use rdkafka::consumer::{BaseConsumer, Consumer as _};
use rdkafka::types::{RDKafkaApiKey, RDKafkaRespErr};
use rdkafka::{ClientConfig, Message as _, TopicPartitionList};

use super::*;
use crate::command::{CommandId, Envelope, lane};
use crate::kafka::EmbeddedBroker;
use crate::metrics::Registry;
use crate::units::{ByteSize, Span, ThreadCount, Timestamp};
use crate::wal;
use crate::wal::{Lsn, NewRecord};

const TOPIC: &str = "orders.v1";
/// Far longer than any test needs. A stalled test fails.
const LIMIT: Duration = Duration::from_secs(60);

struct DrainFixture {
    broker: EmbeddedBroker,
    writer: wal::Writer,
    log: Arc<Log>,
    metrics: Arc<Metrics>,
    config: Config,
    kafka: kafka::Config,
    resolver: Arc<dyn ValueResolver>,
    _dir: tempfile::TempDir,
}

/// A segment size that fits all records that one test appends at once.
const SEGMENT: u64 = 16 << 20;

impl DrainFixture {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let opened = open_log(Arc::new(wal::fs::RealFs), dir.path(), SEGMENT);
        Self {
            broker: EmbeddedBroker::start().unwrap(),
            writer: opened.writer,
            log: opened.log,
            metrics: Arc::new(Metrics::register(&Registry::new().unwrap(), &[]).unwrap()),
            config: Config {
                workers: ThreadCount::Count(2.try_into().unwrap()),
                retry_backoff_min: Span::millis(20),
                retry_backoff_max: Span::millis(200),
                ..Config::default()
            },
            kafka: kafka::Config::default(),
            resolver: Arc::new(NoDeferredValues),
            _dir: dir,
        }
    }

    /// Appends records with `numbers` as values and key = number mod `keys`.
    fn append(&mut self, topic: &str, numbers: std::ops::Range<u64>, keys: u64) {
        self.append_padded(topic, numbers, keys, 0);
    }

    /// Like `append`, with `filling` bytes after each number.
    fn append_padded(&mut self, topic: &str, numbers: std::ops::Range<u64>, keys: u64, filling: usize) {
        let next = self.writer.next_lsn().0;
        let filling = "x".repeat(filling);
        let payloads: Vec<(u8, Vec<u8>)> = numbers
            .enumerate()
            .map(|(at, n)| {
                record(topic, n % keys, format!("{n} {filling}").as_bytes(), Lsn(next + at as u64))
            })
            .collect();
        self.commit(&payloads);
    }

    /// A fixture with one worker and one partition, requests of one record, and delayed responses, so that several
    /// are in flight at once. (While five records are, librdkafka sends no further request.)
    fn pipelined() -> Self {
        let mut fixture = Self::new();
        fixture.broker.cluster().create_topic(TOPIC, 1, 1).unwrap();
        fixture.config.workers = ThreadCount::Count(1.try_into().unwrap());
        fixture.kafka.batch_size = ByteSize::kib(1);
        fixture.delay_responses(Duration::from_millis(50));
        fixture.append_padded(TOPIC, 0..60, 2, 800);
        fixture
    }

    fn commit(&mut self, payloads: &[(u8, Vec<u8>)]) {
        let entries: Vec<_> = payloads
            .iter()
            .map(|(lane, payload)| NewRecord { lane: *lane, label: "test", payload })
            .collect();
        if self.log.wait_for_preallocation_request(Duration::ZERO) {
            self.log.preallocate_segment(SEGMENT, 0);
        }
        self.writer.append(&entries, Timestamp::now()).unwrap();
        self.writer.commit().unwrap();
        self.log.wake_ready_readers();
    }

    fn drain(&self) -> Drain {
        Drain::start(self.parts()).unwrap()
    }

    fn parts(&self) -> DrainParts {
        DrainParts {
            log: Arc::clone(&self.log),
            statuses: Statuses::new(Arc::clone(&self.log)),
            metrics: Arc::clone(&self.metrics),
            config: self.config.clone(),
            kafka: self.kafka.clone(),
            fatal: FatalSignal::default(),
            bootstrap: self.broker.bootstrap().to_owned(),
            backpressure: None,
            resolver: Arc::clone(&self.resolver),
            tracer: Tracer::default(),
        }
    }

    /// Polls frequently until the condition holds.
    fn wait_until(&self, what: &str, holds: impl Fn(&Self) -> bool) {
        let start = Instant::now();
        while !holds(self) {
            assert!(start.elapsed() < LIMIT, "{what}: {:?}", self.log.backlog_stats());
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    fn wait_until_drained(&self) {
        self.wait_until("drained", |fixture| fixture.log.backlog_stats().backlog == 0);
    }

    fn inject_errors(&self, errors: &[RDKafkaRespErr]) {
        self.broker.cluster().request_errors(RDKafkaApiKey::Produce, errors);
    }

    fn delay_responses(&self, delay: Duration) {
        self.broker.cluster().broker_round_trip_time(1, delay).unwrap();
    }

    /// The delivered numbers by key, first occurrences only, in the order of their partition.
    fn delivered_numbers(&self, topic: &str) -> HashMap<String, Vec<u64>> {
        let consumer: BaseConsumer = ClientConfig::new()
            .set("bootstrap.servers", self.broker.bootstrap())
            .set("group.id", "test")
            .set("enable.partition.eof", "true")
            // Commit events would end a poll without a message.
            .set("enable.auto.commit", "false")
            .create()
            .unwrap();
        let mut list = TopicPartitionList::new();
        let metadata = consumer.fetch_metadata(Some(topic), LIMIT).unwrap();
        let partitions = metadata.topics()[0].partitions().len();
        for partition in 0..partitions {
            let partition = i32::try_from(partition).unwrap();
            list.add_partition_offset(topic, partition, rdkafka::Offset::Beginning).unwrap();
        }
        consumer.assign(&list).unwrap();
        let (mut ends, mut found) = (0, HashMap::<String, Vec<u64>>::new());
        while ends < partitions {
            match consumer.poll(LIMIT).unwrap() {
                Ok(message) => {
                    let key = String::from_utf8(message.key().unwrap().to_vec()).unwrap();
                    let number = std::str::from_utf8(message.payload().unwrap()).unwrap();
                    let numbers = found.entry(key).or_default();
                    let number = number.split(' ').next().unwrap().parse().unwrap();
                    if !numbers.contains(&number) {
                        numbers.push(number);
                    }
                }
                Err(rdkafka::error::KafkaError::PartitionEOF(_)) => ends += 1,
                Err(error) => panic!("{error}"),
            }
        }
        found
    }

    /// Asserts that every number of the range was delivered except the `missing` ones, each key in order.
    fn assert_in_order(&self, topic: &str, numbers: std::ops::Range<u64>, keys: u64, missing: &[u64]) {
        let arrived = self.delivered_numbers(topic);
        for key in 0..keys {
            let wanted: Vec<u64> =
                numbers.clone().filter(|n| n % keys == key && !missing.contains(n)).collect();
            assert_eq!(arrived.get(&key.to_string()).cloned().unwrap_or_default(), wanted, "key {key}");
        }
    }
}

fn open_log(fs: Arc<dyn wal::fs::Fs>, dir: &Path, segment_size: u64) -> wal::OpenedLog {
    let options = wal::Options {
        redeliver: false,
        keys: wal::Keys::default(),
        segment_size,
        reserve_space: 0,
        label: |_| None,
        observer: Arc::new(|_| {}),
    };
    wal::open(fs, dir, &options, Timestamp::now()).unwrap()
}

fn record(topic: &str, key: u64, value: &[u8], lsn: Lsn) -> (u8, Vec<u8>) {
    record_as(topic, key, value, lsn, false)
}

fn record_as(topic: &str, key: u64, value: &[u8], lsn: Lsn, sealed: bool) -> (u8, Vec<u8>) {
    let key = key.to_string();
    let mut payload = Vec::new();
    let envelope = Envelope {
        key: Some(key.as_bytes()),
        sealed,
        ..Envelope::new(CommandId::from_bytes([1; 25]), "order.create", topic, "application/json", value)
    };
    envelope.encode(&mut payload);
    (lane(Some(key.as_bytes()), lsn), payload)
}

const DUPLICATE: RDKafkaRespErr = RDKafkaRespErr::RD_KAFKA_RESP_ERR_DUPLICATE_SEQUENCE_NUMBER;
const FEW_REPLICAS: RDKafkaRespErr = RDKafkaRespErr::RD_KAFKA_RESP_ERR_NOT_ENOUGH_REPLICAS;
const TOO_LARGE: RDKafkaRespErr = RDKafkaRespErr::RD_KAFKA_RESP_ERR_MSG_SIZE_TOO_LARGE;
const UNKNOWN: RDKafkaRespErr = RDKafkaRespErr::RD_KAFKA_RESP_ERR_UNKNOWN_TOPIC_OR_PART;
const NOT_AUTHORIZED: RDKafkaRespErr = RDKafkaRespErr::RD_KAFKA_RESP_ERR_TOPIC_AUTHORIZATION_FAILED;
const NO_ERROR: RDKafkaRespErr = RDKafkaRespErr::RD_KAFKA_RESP_ERR_NO_ERROR;

#[test]
fn all_records_arrive_in_the_order_of_their_key() {
    let mut fixture = DrainFixture::new();
    fixture.append(TOPIC, 0..3000, 40);
    let drain = fixture.drain();
    fixture.append(TOPIC, 3000..6000, 40);
    fixture.wait_until_drained();
    drain.stop(Instant::now() + LIMIT);
    fixture.assert_in_order(TOPIC, 0..6000, 40, &[]);
    assert_eq!(fixture.metrics.sent.with_label_values(&[TOPIC]).get(), 6000);
    assert!(matches!(fixture.log.record_state(Lsn(1)).unwrap(), wal::RecordState::Sent(_)));
}

#[test]
fn weaker_acks_also_deliver_all_records() {
    for acks in [kafka::Acks::Leader, kafka::Acks::None] {
        let mut fixture = DrainFixture::new();
        fixture.kafka.acks = acks;
        fixture.append(TOPIC, 0..2000, 40);
        let drain = fixture.drain();
        fixture.wait_until_drained();
        drain.stop(Instant::now() + LIMIT);
        fixture.wait_until("arrived", |fixture| {
            fixture.delivered_numbers(TOPIC).values().map(Vec::len).sum::<usize>() == 2000
        });
        fixture.assert_in_order(TOPIC, 0..2000, 40, &[]);
    }
}

/// Found by a storm of an hour, as three records of 1.5 million. A partition with too few replicas rejected the first
/// request of a producer it did not know, and accepted the second.
#[test]
fn a_rejected_first_request_is_not_taken_for_delivered() {
    let fixture = DrainFixture::pipelined();
    fixture.inject_errors(&[FEW_REPLICAS]);
    let drain = fixture.drain();
    fixture.wait_until_drained();
    drain.stop(Instant::now() + LIMIT);
    fixture.delay_responses(Duration::ZERO);
    fixture.assert_in_order(TOPIC, 0..60, 2, &[]);
}

/// Found by a storm of an hour, as 255 records of 1.5 million that librdkafka assumed to be persisted and that were
/// not.
#[test]
fn a_success_without_an_offset_is_sent_again() {
    let fixture = DrainFixture::pipelined();
    // The embedded broker stores no record that it answers in this way. To librdkafka it is a success.
    fixture.inject_errors(&[NO_ERROR, DUPLICATE]);
    let drain = fixture.drain();
    fixture.wait_until_drained();
    drain.stop(Instant::now() + LIMIT);
    fixture.delay_responses(Duration::ZERO);
    let mut arrived: Vec<u64> = fixture.delivered_numbers(TOPIC).into_values().flatten().collect();
    arrived.sort_unstable();
    assert_eq!(arrived, (0..60).collect::<Vec<_>>());
}

#[test]
fn a_rejected_batch_causes_no_dead_letter_by_itself() {
    let mut fixture = DrainFixture::new();
    fixture.broker.cluster().create_topic(TOPIC, 1, 1).unwrap();
    fixture.config.workers = ThreadCount::Count(1.try_into().unwrap());
    fixture.append(TOPIC, 0..400, 10);
    // The first record is sent alone.
    fixture.inject_errors(&[NO_ERROR, TOO_LARGE]);
    let drain = fixture.drain();
    fixture.wait_until_drained();
    drain.stop(Instant::now() + LIMIT);
    assert_eq!(fixture.log.backlog_stats().dead, 0);
    fixture.assert_in_order(TOPIC, 0..400, 10, &[]);
}

#[test]
fn successors_of_a_rejected_record_keep_their_order() {
    let mut fixture = DrainFixture::new();
    fixture.broker.cluster().create_topic(TOPIC, 1, 1).unwrap();
    fixture.config.workers = ThreadCount::Count(1.try_into().unwrap());
    // All but the first are in one batch, so that the second rejection affects the first suspect.
    fixture.kafka.linger = kafka::Linger::For(Span::millis(200));
    fixture.append(TOPIC, 0..20, 2);
    fixture.inject_errors(&[NO_ERROR, TOO_LARGE, TOO_LARGE]);
    let drain = fixture.drain();
    fixture.wait_until_drained();
    drain.stop(Instant::now() + LIMIT);
    assert_eq!(fixture.log.backlog_stats().dead, 1);
    fixture.assert_in_order(TOPIC, 0..20, 2, &[1]);
    let wal::RecordState::Dead { reason, .. } = fixture.log.record_state(Lsn(2)).unwrap() else {
        panic!("not a dead letter")
    };
    assert_eq!(reason, kafka::TOO_LARGE);
}

#[test]
fn a_record_too_large_for_the_client_fails_alone() {
    let mut fixture = DrainFixture::new();
    fixture.append(TOPIC, 0..10, 2);
    let large = [b"10 ".to_vec(), vec![b'x'; 2 << 20]].concat();
    fixture.commit(&[record(TOPIC, 0, &large, Lsn(11))]);
    fixture.append(TOPIC, 11..20, 2);
    let drain = fixture.drain();
    fixture.wait_until_drained();
    drain.stop(Instant::now() + LIMIT);
    assert_eq!(fixture.log.backlog_stats().dead, 1);
    fixture.assert_in_order(TOPIC, 0..20, 2, &[10]);
}

#[test]
fn an_invalid_envelope_becomes_a_dead_letter() {
    let mut fixture = DrainFixture::new();
    fixture.commit(&[(0, b"from the future".to_vec())]);
    fixture.append(TOPIC, 0..10, 2);
    let drain = fixture.drain();
    fixture.wait_until_drained();
    drain.stop(Instant::now() + LIMIT);
    assert_eq!(fixture.log.backlog_stats().dead, 1);
    fixture.assert_in_order(TOPIC, 0..10, 2, &[]);
}

#[test]
fn an_unknown_topic_parks_its_records_and_others_pass() {
    let mut fixture = DrainFixture::new();
    fixture.broker.cluster().topic_error("lost", UNKNOWN).unwrap();
    fixture.append("lost", 0..500, 10);
    fixture.append(TOPIC, 0..500, 10);
    let drain = fixture.drain();
    fixture.wait_until("others passed", |fixture| fixture.log.backlog_stats().backlog == 500);
    let handle = drain.handle();
    fixture.wait_until("parked", |_| handle.parked().get("lost") == Some(&500));
    fixture.wait_until("no record waits", |_| handle.oldest_waiting().is_none());
    fixture.broker.cluster().topic_error("lost", NO_ERROR).unwrap();
    fixture.append("lost", 500..600, 10);
    fixture.wait_until_drained();
    fixture.wait_until("gauge back", |_| handle.parked().get("lost") == Some(&0));
    drain.stop(Instant::now() + LIMIT);
    assert_eq!(fixture.log.backlog_stats().dead, 0);
    fixture.assert_in_order("lost", 0..600, 10, &[]);
    fixture.assert_in_order(TOPIC, 0..500, 10, &[]);
}

#[test]
fn an_unknown_topic_is_dead_lettered_after_the_grace_time() {
    let mut fixture = DrainFixture::new();
    fixture.config.topic_fault_grace = Span::millis(300);
    fixture.broker.cluster().topic_error("lost", UNKNOWN).unwrap();
    fixture.append("lost", 0..200, 10);
    let drain = fixture.drain();
    fixture.wait_until_drained();
    assert_eq!(fixture.log.backlog_stats().dead, 200);
    fixture.append("lost", 200..210, 10);
    fixture.wait_until_drained();
    assert_eq!(fixture.log.backlog_stats().dead, 210);
    fixture.broker.cluster().topic_error("lost", NO_ERROR).unwrap();
    // The metadata is fetched again within 200 ms, the maximum delay.
    let sent = fixture.metrics.sent.with_label_values(&["lost"]);
    let mut next = 210;
    while sent.get() == 0 {
        fixture.append("lost", next..next + 1, 10);
        next += 1;
        fixture.wait_until_drained();
    }
    drain.stop(Instant::now() + LIMIT);
}

#[test]
fn a_temporarily_forbidden_topic_loses_nothing_and_keeps_order() {
    let mut fixture = DrainFixture::new();
    fixture.broker.cluster().create_topic(TOPIC, 2, 1).unwrap();
    fixture.inject_errors(&[NOT_AUTHORIZED; 6]);
    fixture.append(TOPIC, 0..1000, 20);
    let drain = fixture.drain();
    fixture.wait_until_drained();
    drain.stop(Instant::now() + LIMIT);
    assert_eq!(fixture.log.backlog_stats().dead, 0);
    fixture.assert_in_order(TOPIC, 0..1000, 20, &[]);
}

#[test]
fn a_partition_without_a_leader_parks_only_its_records() {
    let mut fixture = DrainFixture::new();
    let mock = fixture.broker.cluster();
    mock.create_topic(TOPIC, 4, 1).unwrap();
    mock.partition_leader(TOPIC, 1, None).unwrap();
    let keys = 40;
    let stuck =
        (0..keys).filter(|key| partitioner::for_key(key.to_string().as_bytes(), 4) == 1).count() as u64;
    drop(mock);
    // More records than the partition's share of the in-flight limit.
    for from in (0..40_000).step_by(8000) {
        fixture.append(TOPIC, from..from + 8000, keys);
    }
    let drain = fixture.drain();
    fixture.wait_until("others passed", |fixture| {
        fixture.log.backlog_stats().backlog == stuck * (40_000 / keys)
    });
    fixture.broker.cluster().partition_leader(TOPIC, 1, Some(1)).unwrap();
    // New records of the parked keys arrive while the old ones are sent. They must not overtake.
    let mut next = 40_000;
    while fixture.log.backlog_stats().backlog > 1000 {
        fixture.append(TOPIC, next..next + 100, keys);
        next += 100;
        std::thread::sleep(Duration::from_millis(3));
    }
    fixture.wait_until_drained();
    drain.stop(Instant::now() + LIMIT);
    fixture.assert_in_order(TOPIC, 0..next, keys, &[]);
}

#[test]
fn a_stop_does_not_wait_for_unavailable_brokers() {
    let mut fixture = DrainFixture::new();
    fixture.append(TOPIC, 0..100, 10);
    let drain = fixture.drain();
    fixture.wait_until_drained();
    fixture.broker.cluster().broker_down(-1).unwrap();
    fixture.append(TOPIC, 100..300, 10);
    fixture.wait_until("in flight", |_| drain.handle().workers().iter().any(|worker| worker.in_flight > 0));
    let start = Instant::now();
    drain.stop(start + LIMIT);
    assert!(start.elapsed() < LIMIT / 2, "it waited for an unavailable broker");
    assert_eq!(fixture.log.backlog_stats().backlog, 200);
    fixture.broker.cluster().broker_up(-1).unwrap();
    let drain = fixture.drain();
    fixture.wait_until_drained();
    drain.stop(Instant::now() + LIMIT);
    fixture.assert_in_order(TOPIC, 0..300, 10, &[]);
}

#[test]
fn a_pause_sends_nothing_new_and_heartbeats_continue() {
    let mut fixture = DrainFixture::new();
    let drain = fixture.drain();
    let handle = drain.handle();
    handle.pause();
    fixture.wait_until("paused", |_| handle.workers().iter().all(|worker| worker.state == "paused"));
    fixture.append(TOPIC, 0..10, 2);
    let before = handle.heartbeats();
    fixture.wait_until("beating", |_| handle.heartbeats().iter().zip(&before).all(|(now, then)| now > then));
    assert_eq!(fixture.log.backlog_stats().backlog, 10);
    handle.resume();
    fixture.wait_until_drained();
    handle.observe();
    drain.stop(Instant::now() + LIMIT);
}
