//! Helpers shared by the tests of the log.

use std::cell::RefCell;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::super::encryption::MasterKey;
use super::super::fs::Fs;
use super::super::{
    Event, Keys, Log, Lsn, NewRecord, OpenError, OpenedLog, Options, RecordRef, Writer, open,
};
use super::sim_fs::SimFs;
use crate::sync::Mutex;
use crate::units::Timestamp;

/// Bytes of a segment: small, so that a few dozen records rotate.
pub const SEGMENT: u64 = 8 << 10;

pub fn dir() -> PathBuf {
    PathBuf::from("/log")
}

/// Events reported by the log.
pub type Events = Arc<Mutex<Vec<Event>>>;

pub fn options(events: &Events) -> Options {
    let events = Arc::clone(events);
    Options {
        segment_size: SEGMENT,
        reserve_space: 0,
        redeliver: false,
        keys: keys(),
        label: |_| Some("test".into()),
        observer: Arc::new(move |event| events.lock().push(event.clone())),
    }
}

thread_local! {
    /// The master keys of the test that runs in this thread.
    static KEYS: RefCell<Keys> = RefCell::default();
}

/// A master key of 32 bytes `n`.
pub fn master(n: u8) -> MasterKey {
    MasterKey::new(zeroize::Zeroizing::new([n; 32]))
}

/// The keys with which this thread opens logs. By default there are none.
pub fn keys() -> Keys {
    KEYS.with_borrow(Keys::clone)
}

/// After this call, this thread opens logs with these keys.
pub fn use_keys(keys: Keys) {
    KEYS.set(keys);
}

/// After this call, logs of this thread are encrypted.
pub fn encrypt() {
    use_keys(Keys::new(Some(master(1)), Vec::new()));
}

pub fn try_open(fs: &SimFs) -> Result<OpenedLog, OpenError> {
    let fs: Arc<dyn Fs> = Arc::new(fs.clone());
    #[cfg(feature = "planted-faults")]
    let fs = super::super::faulty_fs::wrap(fs);
    open(fs, &dir(), &options(&Events::default()), Timestamp(1_000))
}

pub fn reopen(fs: &SimFs) -> OpenedLog {
    try_open(fs).unwrap()
}

/// Appends a batch. A preallocated segment exists in case of a rotation.
pub fn append(writer: &mut Writer, payloads: &[Vec<u8>]) -> Lsn {
    preallocate(writer.log());
    let entries: Vec<_> = payloads
        .iter()
        .map(|payload| NewRecord { lane: payload.first().copied().unwrap_or(0), label: "test", payload })
        .collect();
    writer.append(&entries, Timestamp(2_000)).unwrap().start
}

pub fn preallocate(log: &Log) {
    if log.wait_for_preallocation_request(std::time::Duration::ZERO) {
        log.preallocate_segment(SEGMENT, 0);
    }
}

/// All flushed records that are not done, in order.
pub fn waiting(log: &Arc<Log>) -> Vec<(Lsn, Vec<u8>)> {
    let mut cursor = log.cursor(Lsn(0));
    let mut all = Vec::new();
    while let Some(RecordRef { lsn, payload, .. }) = cursor.next(|_, _| true).unwrap() {
        all.push((lsn, payload.to_vec()));
    }
    all
}

/// The payload of record `n`. Content and length depend on `n`.
pub fn payload(n: u64) -> Vec<u8> {
    let mut bytes = n.to_le_bytes().to_vec();
    bytes.resize(8 + (n * 37 % 300) as usize, n as u8);
    bytes
}

/// The path of the last segment in `pending/`.
pub fn last_segment(fs: &SimFs) -> PathBuf {
    let pending = dir().join("pending");
    fs.paths().into_iter().rfind(|path| path.parent() == Some(Path::new(&pending))).unwrap()
}
