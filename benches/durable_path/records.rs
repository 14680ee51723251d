//! The records of all measurements, and logs filled with them.

use std::path::Path;
use std::sync::Arc;

use forebay::command::{CommandId, Envelope, IdGenerator, lane};
use forebay::units::Timestamp;
use forebay::wal::{Lock, NewRecord, OpenedLog, Options};
use forebay::{ingest, wal};

use crate::client;

/// A kind of the default configuration.
pub const KIND: &str = "order.create";
pub const JSON: &str = "application/json";
/// Bytes of a body.
pub const BODY: usize = 300;
/// Number of different keys, and so of different records.
pub const KEYS: u64 = 10_000;
/// Records written and flushed together while a log is filled.
const GROUP: u64 = 1000;

/// The key of the n-th record.
pub fn key(n: u64) -> String {
    format!("o-{}", n % KEYS)
}

/// The body of the n-th record.
pub fn body(n: u64) -> String {
    let body = format!(r#"{{"id":"{}","amount":12,"note":""}}"#, key(n));
    let note = "x".repeat(BODY - body.len());
    format!(r#"{}{note}"}}"#, &body[..body.len() - 2])
}

/// The request that sends the n-th record.
pub fn request(n: u64) -> Vec<u8> {
    client::request("POST", &format!("/v1/commands/{KIND}"), &body(n))
}

/// One request for each of `connections` connections.
pub fn requests(connections: usize) -> Vec<Vec<u8>> {
    (0..connections as u64).map(request).collect()
}

/// The envelope of the n-th record, as the log stores it.
pub fn envelope<T>(n: u64, id: CommandId, topic: &str, then: impl FnOnce(&Envelope<'_>) -> T) -> T {
    let (key, body) = (key(n), body(n));
    then(&Envelope { key: Some(key.as_bytes()), ..Envelope::new(id, KIND, topic, JSON, body.as_bytes()) })
}

/// Opens a log as the daemon does by default. `redeliver`: see `wal::Options`.
pub fn open(dir: &Path, redeliver: bool) -> (Lock, OpenedLog) {
    let config = ingest::Config::default();
    let options = Options {
        segment_size: config.segment_size.0,
        reserve_space: config.reserve_space.0,
        redeliver,
        keys: wal::Keys::default(),
        label: |_| Some(KIND.to_owned()),
        observer: Arc::new(|_| {}),
    };
    wal::open_locked(dir, &options, Timestamp::now()).expect("the log opens")
}

/// Puts `count` records for `topic` into the log in `dir`.
pub fn fill(dir: &Path, topic: &str, count: u64) {
    let config = ingest::Config::default();
    let (_lock, OpenedLog { mut writer, log, .. }) = open(dir, false);
    let generator = IdGenerator::new(&log.identity().log_id, &log.identity().secret);
    for group in 0..count / GROUP {
        if log.wait_for_preallocation_request(std::time::Duration::ZERO) {
            assert!(
                log.preallocate_segment(config.segment_size.0, config.reserve_space.0),
                "the disk has free space"
            );
        }
        for n in group * GROUP..(group + 1) * GROUP {
            let (at, lsn) = (Timestamp::now(), writer.next_lsn());
            let mut payload = Vec::new();
            envelope(n, generator.generate(at, lsn, [0; 9]), topic, |envelope| envelope.encode(&mut payload));
            let entry =
                NewRecord { lane: lane(Some(key(n).as_bytes()), lsn), label: KIND, payload: &payload };
            writer.append(&[entry], at).expect("the log accepts it");
        }
        writer.commit().expect("the flush succeeds");
    }
}
