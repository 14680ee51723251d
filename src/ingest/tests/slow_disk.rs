//! Requests on a slow or blocked disk: their results and order.

use std::io;
use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;

use super::super::*;
use crate::metrics::Registry;
use crate::sync::{Condvar, Mutex};
use crate::units::Timestamp;
use crate::wal;
use crate::wal::fs::{Dir, File, Fs, OpenMode, RealFs};

/// Far longer than any test takes.
const LONG: Duration = Duration::from_secs(120);

/// A gate for calls of one kind: they wait while it is closed.
#[derive(Default)]
struct CallGate {
    closed: Mutex<bool>,
    opened: Condvar,
}

impl CallGate {
    fn close(&self) {
        *self.closed.lock() = true;
    }

    fn open(&self) {
        *self.closed.lock() = false;
        self.opened.notify_all();
    }

    fn wait_until_open(&self) {
        drop(self.opened.wait_while(self.closed.lock(), |closed| *closed));
    }
}

/// The real file system, with one gate for preallocation and one for flushes.
#[derive(Clone, Default)]
struct GatedFs {
    fills: Arc<CallGate>,
    flushes: Arc<CallGate>,
}

struct GatedFile {
    disk: GatedFs,
    file: Arc<dyn File>,
}

impl Fs for GatedFs {
    fn create_dir_all(&self, dir: &Path) -> io::Result<()> {
        RealFs.create_dir_all(dir)
    }

    fn list(&self, dir: &Path) -> io::Result<Vec<String>> {
        RealFs.list(dir)
    }

    fn open(&self, path: &Path, mode: OpenMode) -> io::Result<Arc<dyn File>> {
        Ok(Arc::new(GatedFile { disk: self.clone(), file: RealFs.open(path, mode)? }))
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        RealFs.rename(from, to)
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        RealFs.remove(path)
    }

    fn open_dir(&self, dir: &Path) -> io::Result<Arc<dyn Dir>> {
        RealFs.open_dir(dir)
    }

    fn free_space(&self, dir: &Path) -> io::Result<u64> {
        RealFs.free_space(dir)
    }
}

impl File for GatedFile {
    fn read_at(&self, buf: &mut [u8], offset: u64) -> io::Result<usize> {
        self.file.read_at(buf, offset)
    }

    fn write_at(&self, buf: &[u8], offset: u64) -> io::Result<usize> {
        // Only preallocation writes nothing but zeros.
        if buf.iter().all(|byte| *byte == 0) {
            self.disk.fills.wait_until_open();
        }
        self.file.write_at(buf, offset)
    }

    fn sync_data(&self) -> io::Result<()> {
        self.disk.flushes.wait_until_open();
        self.file.sync_data()
    }

    fn sync_all(&self) -> io::Result<()> {
        self.disk.flushes.wait_until_open();
        self.file.sync_all()
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.file.set_len(len)
    }

    fn size(&self) -> io::Result<u64> {
        self.file.size()
    }
}

/// Starts ingest on a log with one segment of 1 MiB. No other segment is filled before `fills` is opened.
fn start_on(disk: &GatedFs, dir: &Path) -> (Ingest, IngestThreads) {
    let options = wal::Options {
        segment_size: 1 << 20,
        reserve_space: 0,
        redeliver: false,
        keys: wal::Keys::default(),
        label: |_| None,
        observer: Arc::new(|_| {}),
    };
    let opened = wal::open(Arc::new(disk.clone()), dir, &options, Timestamp::now()).unwrap();
    disk.fills.close();
    let config = Config { segment_size: crate::units::ByteSize::mib(1), ..Config::default() };
    start(IngestParts {
        writer: opened.writer,
        config,
        // One checkpoint, at the end.
        checkpoint_interval: LONG,
        metrics: Arc::new(Metrics::register(&Registry::new().unwrap()).unwrap()),
        fatal: FatalSignal::default(),
        tracer: Tracer::default(),
    })
    .unwrap()
}

fn request(bytes: usize) -> Request {
    let command = Submission {
        kind: "test".into(),
        topic: "t".into(),
        key: None,
        content_type: "application/json".into(),
        claim: None,
        fingerprint: None,
        sealed: false,
        headers: Default::default(),
        no_value: false,
        value: Bytes::from(vec![b'x'; bytes]),
    };
    Request { commands: vec![command], traceparent: None, idempotency: None, principal: None }
}

#[tokio::test]
async fn slow_preallocation_delays_each_group_only_once() {
    let (disk, dir) = (GatedFs::default(), tempfile::tempdir().unwrap());
    let (ingest, threads) = start_on(&disk, dir.path());
    let log = Arc::clone(&ingest.shared.log);
    disk.flushes.close();
    let order = Arc::<Mutex<Vec<_>>>::default();
    let submit = |name: &'static str, bytes| {
        let (ingest, order) = (ingest.clone(), Arc::clone(&order));
        tokio::spawn(async move {
            let answer = ingest.submit(request(bytes)).await;
            order.lock().push(name);
            answer.map(drop)
        })
    };
    // While the first is being flushed, the others form one group.
    let first = submit("first", 1);
    tokio::task::yield_now().await;
    let group = [("fits", 600 << 10), ("full", 600 << 10), ("full too", 600 << 10), ("and this", 600 << 10)];
    let group = group.map(|(name, bytes)| submit(name, bytes));
    tokio::task::yield_now().await;
    disk.flushes.open();
    first.await.unwrap().unwrap();
    let mut answers = Vec::new();
    for waiting in group {
        answers.push(waiting.await.unwrap());
    }
    let refused = Err(SubmitError::SegmentNotReady);
    assert_eq!(answers, [Ok(()), refused.clone(), refused.clone(), refused.clone()]);
    assert_eq!(*order.lock(), ["first", "fits", "full", "full too", "and this"]);
    assert_eq!(ingest.shared.metrics.segment_hit.get(), 1, "one wait for all of them");
    assert_eq!(ingest.admission(), Admission::Closed(SubmitError::SegmentNotReady));
    disk.fills.open();
    let filled = Arc::clone(&log);
    assert!(tokio::task::spawn_blocking(move || filled.wait_while_preallocating(LONG)).await.unwrap());
    assert_eq!(ingest.admission(), Admission::Open);
    submit("accepted", 600 << 10).await.unwrap().unwrap();
    tokio::task::spawn_blocking(move || threads.join(LONG)).await.unwrap();
}

#[tokio::test]
async fn a_flush_timeout_may_still_accept_the_request_later() {
    let (disk, dir) = (GatedFs::default(), tempfile::tempdir().unwrap());
    let (ingest, threads) = start_on(&disk, dir.path());
    disk.flushes.close();
    // The first poll puts the request into the queue.
    let hasty = Ingest { flush_deadline: Duration::ZERO, ..ingest.clone() };
    assert_eq!(hasty.submit(request(1)).await, Err(SubmitError::Undecided));
    disk.flushes.open();
    ingest.submit(request(1)).await.unwrap();
    assert_eq!(ingest.shared.log.end(), Lsn(3), "the first request was accepted later");
    disk.fills.open();
    tokio::task::spawn_blocking(move || threads.join(LONG)).await.unwrap();
}
