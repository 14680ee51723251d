//! Reads the topics only with Kafka's own console consumer: committed records, from the beginning to a marked end.

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

use rdkafka::ClientConfig;
use rdkafka::producer::{BaseProducer, BaseRecord, Producer};

use crate::checker::TopicRecord;
use crate::command::Kind;
use support::child::Child;
use support::kafka::Kafka;

/// The key of the record behind all others. A consumer that reads committed records gets it only when no transaction
/// before it is open.
const END_KEY: &str = "end-of-storm";
/// Timeout between two records, and before the first. It covers the start of a Java process and the forming of a
/// group.
const NEXT_RECORD_TIMEOUT: Duration = Duration::from_secs(60);
/// Maximum number of lines in the channel from the consumer to the checker.
const LINES: usize = 10_000;

/// Passes every record of every topic to `judge`, in the order of each partition. Returns other errors as text.
pub fn read_all(cluster: &Kafka, dir: &Path, mut judge: impl FnMut(&TopicRecord<'_>)) -> Result<(), String> {
    for kind in Kind::ALL {
        mark_end(&cluster.internal_bootstrap(), kind)?;
        read(cluster, dir, kind, &mut judge)?;
    }
    Ok(())
}

/// Appends a record behind all others of each partition.
fn mark_end(bootstrap: &str, kind: Kind) -> Result<(), String> {
    let mut config = ClientConfig::new();
    let producer: BaseProducer =
        config.set("bootstrap.servers", bootstrap).create().map_err(|error| error.to_string())?;
    for partition in 0..kind.partitions() {
        let partition = i32::try_from(partition).map_err(|error| error.to_string())?;
        let record = BaseRecord::to(kind.topic()).partition(partition).key(END_KEY).payload("");
        producer.send(record).map_err(|(error, _)| error.to_string())?;
    }
    producer
        .flush(NEXT_RECORD_TIMEOUT)
        .map_err(|error| format!("the end of {} is not marked: {error}", kind.topic()))
}

fn read(
    cluster: &Kafka,
    dir: &Path,
    kind: Kind,
    judge: &mut impl FnMut(&TopicRecord<'_>),
) -> Result<(), String> {
    // Otherwise Java's log lines would appear between the records.
    let mut java = cluster.jars().java(&["-Xmx256m", "-Dorg.apache.logging.log4j.level=OFF"]);
    java.arg("org.apache.kafka.tools.consumer.ConsoleConsumer");
    java.args(["--bootstrap-server", &cluster.internal_bootstrap(), "--topic", kind.topic()]);
    java.args(["--from-beginning", "--isolation-level", "read_committed"]);
    for shown in ["key", "headers", "partition", "offset", "value"] {
        java.args(["--formatter-property", &format!("print.{shown}=true")]);
    }
    let (mut child, output) = Child::spawn_piped("console consumer", &java, &dir.join("consumer.log"));
    let (lines, received) = mpsc::sync_channel(LINES);
    let pump = thread::spawn(move || {
        for line in BufReader::new(output).lines() {
            // The receiver has seen the end.
            let Ok(line) = line else { return };
            if lines.send(line).is_err() {
                return;
            }
        }
    });
    let result = take(&received, kind, judge);
    drop(received);
    child.kill();
    pump.join().map_err(|_| "the reading thread panicked".to_owned())?;
    result.map_err(|what| format!("{what}\n{}", child.log_tail()))
}

fn take(
    lines: &mpsc::Receiver<String>,
    kind: Kind,
    judge: &mut impl FnMut(&TopicRecord<'_>),
) -> Result<(), String> {
    let (mut ends, mut count) = (0, 0_u64);
    let began = Instant::now();
    while ends < kind.partitions() {
        let line = lines.recv_timeout(NEXT_RECORD_TIMEOUT).map_err(|_| {
            let topic = kind.topic();
            format!("{topic}: {count} records in {:?}, and then no end of all partitions", began.elapsed())
        })?;
        let record = parse(kind, &line).ok_or_else(|| format!("{}: not a record: {line}", kind.topic()))?;
        if record.key == Some(END_KEY) {
            ends += 1;
        } else {
            count += 1;
            judge(&record);
        }
    }
    Ok(())
}

/// A line of the console consumer: `Partition:0<tab>Offset:7<tab>headers<tab>key<tab>value`.
fn parse(kind: Kind, line: &str) -> Option<TopicRecord<'_>> {
    let mut parts = line.splitn(5, '\t');
    let partition = parts.next()?.strip_prefix("Partition:")?.parse().ok()?;
    let offset = parts.next()?.strip_prefix("Offset:")?.parse().ok()?;
    let headers = parts.next()?;
    let key = parts.next().filter(|key| *key != "null");
    Some(TopicRecord { kind, partition, offset, key, headers, value: parts.next()? })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_of_the_console_consumer_is_a_record() {
        let line =
            "Partition:1\tOffset:22\tforebay-command-id:01AB,forebay-kind:note.create\tnull\t{\"a\":1}";
        let record = parse(Kind::Note, line).unwrap();
        assert_eq!((record.partition, record.offset, record.key), (1, 22, None));
        assert_eq!(record.headers, "forebay-command-id:01AB,forebay-kind:note.create");
        assert_eq!(record.value, "{\"a\":1}");
        assert!(parse(Kind::Note, "Processed a total of 3 messages").is_none());
    }
}
