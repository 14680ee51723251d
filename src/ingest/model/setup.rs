//! An in-memory log with its commit thread, under shuttle.

use std::collections::HashMap;
use std::path::Path;
use std::sync::{Arc, LazyLock};
use std::time::Duration;

use bytes::Bytes;
use shuttle::future::block_on;
use shuttle::thread;
use shuttle::thread::JoinHandle;

use super::super::commit::Committer;
use super::super::group_gatherer::GatherRule;
use super::super::index::{IdempotencyIndex, IndexEntry, IndexError, IndexLookup, ScopeDigest};
use super::super::metrics::Metrics;
use super::super::{CommitQueueConfig, Config, Ingest, Receipt, Request, Shared, Submission, SubmitError};
use crate::command::Envelope;
use crate::metrics::Registry;
use crate::sync::Mutex;
use crate::units::{ByteSize, Timestamp};
use crate::wal::fs::Fs;
use crate::wal::memory_fs::MemoryFs;
use crate::wal::{Log, Lsn, OpenedLog, Options, open};

/// Longer than the real time of any model. A wait that ended by timeout would hide a lost wake-up.
pub const FOREVER: Duration = Duration::from_secs(24 * 3600);
/// Size of a segment, enough for the header and one or two commands.
pub const SEGMENT: u64 = 5 << 10;

static METRICS: LazyLock<Arc<Metrics>> =
    LazyLock::new(|| Arc::new(Metrics::register(&Registry::new().unwrap()).unwrap()));

/// Settings of a model.
#[derive(Clone, Copy)]
pub struct Shape {
    pub segment: u64,
    pub requests: usize,
    pub bytes: u64,
    /// Whether each group waits until as many requests have come as in the previous group.
    pub gathers: bool,
}

impl Default for Shape {
    fn default() -> Self {
        Self { segment: 64 << 10, requests: 16, bytes: 1 << 20, gathers: false }
    }
}

#[derive(Clone)]
pub struct ModelSetup {
    pub fs: MemoryFs,
    pub ingest: Ingest,
    pub log: Arc<Log>,
    pub shape: Shape,
}

/// The commit thread.
pub struct Commits(JoinHandle<()>);

impl ModelSetup {
    pub fn start(shape: Shape) -> (Self, Commits) {
        let fs = MemoryFs::default();
        let OpenedLog { writer, log, .. } = reopen(&fs, shape.segment);
        let commit_queue = CommitQueueConfig { requests: shape.requests, bytes: ByteSize(shape.bytes) };
        let config = Config { commit_queue, ..Config::default() };
        let shared =
            Arc::new(Shared::new(&writer, &config, Box::<MapOfKeys>::default(), Arc::clone(&METRICS)));
        // By count alone, because time does not pass in a model.
        let always = GatherRule { above: 0, max_wait: FOREVER, recent: FOREVER };
        let rule = if shape.gathers { always } else { GatherRule::default() };
        let committer = Committer::new(Arc::clone(&shared), writer, FOREVER, rule);
        let commits = thread::spawn(move || committer.run());
        let ingest = Ingest { shared, flush_deadline: FOREVER };
        (Self { fs, ingest, log, shape }, Commits(commits))
    }

    /// Submits and waits, and checks at the reply that the request is flushed.
    pub fn submit(&self, request: Request) -> Result<Receipt, SubmitError> {
        let answer = block_on(self.ingest.commit(request));
        if let Ok(receipt) = &answer {
            self.assert_flushed(receipt);
        }
        answer
    }

    pub fn assert_flushed(&self, receipt: &Receipt) {
        assert!(!receipt.ids.is_empty());
        let flushed = self.fs.flushed();
        let pending: Vec<_> = flushed.iter().filter(|(path, _)| path.starts_with("/log/pending")).collect();
        for id in &receipt.ids {
            let id = id.as_bytes();
            let there = pending.iter().any(|(_, bytes)| bytes.windows(id.len()).any(|window| window == id));
            assert!(there, "acknowledged before the flush that covers it");
        }
    }

    pub fn close(&self) {
        self.ingest.shared.queue.close();
    }

    /// Stops the commit thread and checks that every acknowledged command survives a power failure.
    pub fn end(self, commits: Commits, acknowledged: &[Receipt]) {
        self.close();
        commits.0.join().unwrap();
        let after = MemoryFs::default();
        self.fs.flushed().iter().for_each(|(path, bytes)| after.put(path, bytes));
        let log = reopen(&after, self.shape.segment).log;
        let mut cursor = log.cursor(Lsn(0));
        let mut kept = Vec::new();
        while let Some(frame) = cursor.next_retained().unwrap() {
            kept.push(Envelope::decode(frame.payload).unwrap().id);
        }
        for id in acknowledged.iter().flat_map(|receipt| &receipt.ids) {
            assert!(kept.contains(id), "an acknowledged command is lost after a power failure");
        }
    }
}

pub fn reopen(fs: &MemoryFs, segment_size: u64) -> OpenedLog {
    let options = Options {
        segment_size,
        reserve_space: 0,
        redeliver: false,
        keys: crate::wal::Keys::default(),
        label: |_| Some("test".to_owned()),
        observer: Arc::new(|_| {}),
    };
    let fs: Arc<dyn Fs> = Arc::new(fs.clone());
    #[cfg(feature = "planted-faults")]
    let fs = crate::wal::faulty_fs::wrap(fs);
    // The current time: the commit thread would seal an older segment at a moment that depends on the machine's speed.
    open(fs, Path::new("/log"), &options, Timestamp::now()).unwrap()
}

/// A request with `commands` commands of `bytes` bytes each.
pub fn request(commands: usize, bytes: usize) -> Request {
    let command = Submission {
        kind: "test".into(),
        topic: "test".into(),
        key: None,
        content_type: "application/json".into(),
        claim: None,
        fingerprint: None,
        sealed: false,
        headers: Default::default(),
        no_value: false,
        value: Bytes::from(vec![b'x'; bytes]),
    };
    Request { commands: vec![command; commands], traceparent: None, idempotency: None, principal: None }
}

/// The index as a map, without files.
#[derive(Default)]
struct MapOfKeys(Mutex<HashMap<ScopeDigest, Lsn>>);

impl IdempotencyIndex for MapOfKeys {
    fn unused(&self, scope: &ScopeDigest) -> Result<Option<Lsn>, IndexError> {
        let map = self.0.lock();
        Ok((!map.contains_key(scope)).then_some(Lsn(0)))
    }

    fn find(&self, scope: &ScopeDigest, _: Lsn) -> Result<IndexLookup, IndexError> {
        let map = self.0.lock();
        Ok(map.get(scope).map_or(IndexLookup::Unused { since: Lsn(0) }, |first| IndexLookup::Found(*first)))
    }

    fn add(&self, entries: &[IndexEntry], _: Lsn) {
        self.0.lock().extend(entries.iter().copied());
    }

    fn report_mismatch(&self, _: &ScopeDigest, _: Lsn) {}

    fn stop(&self, _: Duration) {}
}
