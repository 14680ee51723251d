//! A bare librdkafka producer: one loop that only calls `send`.

use std::time::{Duration, Instant};

use forebay::command::{CommandId, headers};
use forebay::kafka::Config;
use forebay::units::Timestamp;
use rdkafka::ClientConfig;
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::{Header, OwnedHeaders};
use rdkafka::producer::{BaseRecord, DefaultProducerContext, Producer, ThreadedProducer};

use crate::records;

const FLUSH_WITHIN: Duration = Duration::from_secs(120);

/// Time for producers to get their ids before the measurement. Half a second each is usual.
pub const PRODUCER_WARM_UP: Duration = Duration::from_secs(2);

/// Sends `count` records like those of the log, with headers. Returns the time from a ready producer to the last
/// confirmation.
pub fn sent(count: u64, topic: &str, bootstrap: &str) -> Duration {
    let id = CommandId::from_bytes([7; 25]);
    let its_headers = records::envelope(0, id, topic, |envelope| {
        headers(envelope, Timestamp::now())
            .iter()
            .fold(OwnedHeaders::new(), |all, (key, value)| all.insert(Header { key, value: Some(&**value) }))
    });
    // Made before the measurement, which includes only sending.
    let records: Vec<(String, String)> =
        (0..records::KEYS).map(|n| (records::key(n), records::body(n))).collect();
    let settings = settings(bootstrap);
    let producer: ThreadedProducer<DefaultProducerContext> = settings.create().expect("a producer");
    std::thread::sleep(PRODUCER_WARM_UP);
    let started = Instant::now();
    for (key, body) in records.iter().cycle().take(count as usize) {
        let mut record = BaseRecord::to(topic).key(key).payload(body).headers(its_headers.clone());
        while let Err((error, back)) = producer.send(record) {
            let full = KafkaError::MessageProduction(RDKafkaErrorCode::QueueFull);
            assert_eq!(error, full, "the record is accepted");
            std::thread::sleep(Duration::from_millis(1));
            record = back;
        }
    }
    producer.flush(FLUSH_WITHIN).expect("all are confirmed");
    started.elapsed()
}

/// The settings of the drain's producers (`kafka::client::producer`).
pub fn settings(bootstrap: &str) -> ClientConfig {
    let config = Config::default();
    let mut settings = ClientConfig::new();
    settings
        .set("bootstrap.servers", bootstrap)
        .set("client.id", &config.client_id)
        .set("acks", config.acks.as_str())
        .set("enable.idempotence", "true")
        .set("enable.gapless.guarantee", "true")
        .set("max.in.flight.requests.per.connection", "5")
        .set("message.timeout.ms", "0")
        .set("message.send.max.retries", i32::MAX.to_string())
        .set("compression.type", config.compression.as_str())
        .set("linger.ms", config.linger.of_producer().0.as_millis().to_string())
        .set("batch.size", config.batch_size.0.to_string())
        .set("message.max.bytes", config.message_max.0.to_string())
        .set("queue.buffering.max.messages", "10000000")
        .set("queue.buffering.max.kbytes", "1048576")
        // The partitioner of a client that does not know lanes.
        .set("partitioner", "murmur2_random");
    settings
}
