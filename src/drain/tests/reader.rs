//! The log reader and its queues, without workers and without Kafka.

use std::time::{Duration, Instant};

use proptest::collection::vec;
use proptest::prelude::*;

use super::*;
use crate::backoff::Backoff;
use crate::drain::control::Control;
use crate::drain::lane_reader::{Disposition, LaneReader};
use crate::drain::notify::Notify;
use crate::drain::queue::WorkerQueues;
use crate::drain::reader;
use crate::drain::reader::Reader;
use crate::drain::release_pacer::ReleasePacer;
use crate::wal::memory_fs::MemoryFs;

const WORKERS: usize = 3;
const LARGEST: usize = 900;
/// A segment size that fits all records appended at once.
const SMALL: u64 = 64 << 10;
/// Longer than the reader waits for a worker that takes no records.
const LONG: Duration = Duration::from_secs(1);

#[derive(Clone, Debug)]
enum Op {
    /// Records with these lanes and sizes are flushed.
    Append(Vec<(u8, usize)>),
    /// The reader continues.
    Read,
    /// One worker reader takes at most so many records.
    Take(usize, usize),
    /// One worker reader goes back by so many records, or starts there.
    Seek(usize, u64),
    /// A catch-up reader ends.
    Close(usize),
    /// A record is delivered.
    Confirm(u64),
    /// Time passes.
    Wait,
}

fn op() -> impl Strategy<Value = Op> {
    let record = (any::<u8>(), 0..LARGEST);
    prop_oneof![
        3 => vec(record, 1..40).prop_map(Op::Append),
        6 => Just(Op::Read),
        6 => (0..2 * WORKERS, 1..30_usize).prop_map(|(side, most)| Op::Take(side, most)),
        2 => (0..2 * WORKERS, 0..60_u64).prop_map(|(side, back)| Op::Seek(side, back)),
        1 => (WORKERS..2 * WORKERS).prop_map(Op::Close),
        1 => (0..200_u64).prop_map(Op::Confirm),
        2 => Just(Op::Wait),
    ]
}

/// Model of one worker reader. All records of its lanes below `next` arrived, in order and once since its last seek.
struct ModelSide {
    reader: LaneReader,
    next: u64,
}

struct ReaderModel {
    opened: wal::OpenedLog,
    control: Arc<Control>,
    queues: Arc<WorkerQueues>,
    reader: Reader,
    sides: Vec<Option<ModelSide>>,
    lanes: Vec<u8>,
    done: Vec<bool>,
    capacity: u64,
    now: Instant,
}

/// A reader that gathers no records.
fn reader_of(log: &Arc<Log>, control: &Arc<Control>, queues: &Arc<WorkerQueues>) -> Reader {
    let backoff = Backoff::new(Duration::from_millis(1), Duration::from_millis(1));
    let (pacer, statuses) = (ReleasePacer::new(Duration::ZERO), Statuses::new(Arc::clone(log)));
    let parts =
        reader::ReaderParts::new(Arc::clone(log), Arc::clone(queues), Arc::clone(control), pacer, statuses);
    Reader::new(parts, &backoff, &Metrics::register(&Registry::new().unwrap(), &[]).unwrap())
}

impl ReaderModel {
    fn new(capacity: u64) -> Self {
        let opened = open_log(Arc::new(MemoryFs::default()), Path::new("/log"), SMALL);
        let log = &opened.log;
        let notifies: Vec<Arc<Notify>> = (0..WORKERS).map(|_| Arc::default()).collect();
        let control = Arc::new(Control::new(log.end()));
        let queues = Arc::new(WorkerQueues::with_capacity(log, &control, &notifies, capacity));
        let reader = reader_of(log, &control, &queues);
        let head = |worker| ModelSide { reader: LaneReader::new(log, queues.head(worker), Lsn(1)), next: 1 };
        let sides = (0..2 * WORKERS).map(|side| (side < WORKERS).then(|| head(side))).collect();
        let (lanes, done, now) = (Vec::new(), Vec::new(), Instant::now());
        Self { control, queues: Arc::clone(&queues), opened, reader, sides, lanes, done, capacity, now }
    }

    fn apply(&mut self, op: &Op) {
        match op {
            Op::Append(records) => self.append(records),
            Op::Read => _ = self.reader.turn(self.now),
            Op::Take(side, most) => _ = self.take(*side, *most),
            Op::Seek(side, back) => self.seek(*side, *back),
            Op::Close(side) => self.sides[*side] = None,
            Op::Confirm(lsn) => self.confirm(*lsn),
            Op::Wait => self.now += LONG,
        }
        // An empty queue accepts a record whatever the others hold.
        let most = self.capacity + (2 * WORKERS * (LARGEST + 100)) as u64;
        assert!(self.queues.bytes() <= most, "{} bytes in queues", self.queues.bytes());
    }

    fn append(&mut self, records: &[(u8, usize)]) {
        let (log, writer) = (&self.opened.log, &mut self.opened.writer);
        if log.wait_for_preallocation_request(Duration::ZERO) {
            log.preallocate_segment(SMALL, 0);
        }
        let payloads: Vec<Vec<u8>> = records.iter().map(|(_, size)| vec![7; *size]).collect();
        let lanes = records.iter().map(|(lane, _)| *lane);
        let entry = |(lane, payload)| NewRecord { lane, label: "test", payload };
        let entries: Vec<NewRecord<'_>> =
            lanes.clone().zip(payloads.iter().map(Vec::as_slice)).map(entry).collect();
        writer.append(&entries, Timestamp::now()).unwrap();
        writer.commit().unwrap();
        self.control.release(log.end());
        self.lanes.extend(lanes);
        self.done.resize(self.lanes.len(), false);
    }

    /// Whether this worker reader must still be offered the record.
    fn needs(&self, side: usize, lsn: u64) -> bool {
        let index = lsn as usize - 1;
        usize::from(self.lanes[index]) % WORKERS == side % WORKERS && !self.done[index]
    }

    /// Returns whether the worker reader has received all records.
    fn take(&mut self, index: usize, most: usize) -> bool {
        let Some(mut side) = self.sides[index].take() else { return true };
        let mut ended = false;
        for _ in 0..most {
            let (before, mut got) = (side.reader.position(), None);
            let step = side.reader.advance(|frame| {
                got = Some(frame.lsn);
                Disposition::Processed
            });
            let end = got.map_or(self.opened.log.end(), |lsn| lsn).0;
            if got.is_some() || step.is_none() {
                assert!(side.next <= end, "{} came again to side {index}", end);
                let missed = (side.next..end).find(|lsn| self.needs(index, *lsn));
                assert_eq!(missed, None, "side {index} was offered {got:?}, then {step:?}");
            }
            if let Some(lsn) = got {
                assert!(before <= lsn, "position {before:?} passed {lsn:?}");
                side.next = lsn.0 + 1;
            }
            ended = step.is_none();
            if step != Some(Disposition::Processed) {
                break;
            }
        }
        self.sides[index] = Some(side);
        ended
    }

    fn seek(&mut self, index: usize, back: u64) {
        let from = self.opened.log.end().0.saturating_sub(back).max(1);
        match &mut self.sides[index] {
            Some(side) => {
                side.reader.seek(Lsn(from));
                side.next = from;
            }
            none => {
                let queue = &self.queues.all()[index];
                *none = Some(ModelSide {
                    reader: LaneReader::new(&self.opened.log, queue, Lsn(from)),
                    next: from,
                });
            }
        }
    }

    fn confirm(&mut self, lsn: u64) {
        if let Some(done) = self.done.get_mut((lsn as usize).wrapping_sub(1)) {
            *done = true;
            let (lsn, at) = (Lsn(lsn), Timestamp::now());
            self.opened.log.confirm(&[wal::Confirmation { lsn, bytes: 0, partition: 0, offset: 0, at }]);
        }
    }

    /// All worker readers take their records until none waits. The one at index `stuck` takes none.
    fn take_all(&mut self, stuck: Option<usize>) {
        for _ in 0..10_000 {
            self.reader.turn(self.now);
            self.now += LONG / 4;
            let sides: Vec<usize> = (0..2 * WORKERS).filter(|side| stuck != Some(*side)).collect();
            if sides.iter().filter(|side| !self.take(**side, 50)).count() == 0 {
                return;
            }
        }
        panic!("a worker reader starves");
    }
}

proptest! {
    // A failing case prints its operations, shrunk, and the seed that repeats it.
    #![proptest_config(ProptestConfig { cases: 200, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn every_record_reaches_its_worker_once_and_in_order(
        capacity in 1..20_000_u64,
        ops in vec(op(), 1..120),
        stuck in proptest::option::of(0..2 * WORKERS),
    ) {
        let mut model = ReaderModel::new(capacity);
        ops.iter().for_each(|op| model.apply(op));
        model.take_all(stuck);
        model.take_all(None);
    }
}

/// Regression: each of 128 workers read the whole log. That took half a minute of CPU time; one worker needs a
/// second.
#[test]
fn the_log_is_read_once_for_all_workers() {
    let (fs, mut fixture) = (MemoryFs::default(), DrainFixture::new());
    let open = || open_log(Arc::new(fs.clone()), Path::new("/log"), SEGMENT);
    let wal::OpenedLog { writer, log, .. } = open();
    (fixture.writer, fixture.log) = (writer, log);
    // All records fit into the queues.
    fixture.append_padded(TOPIC, 0..5_000, 1000, 800);
    // The reopened log has none of them in memory.
    let wal::OpenedLog { log, .. } = open();
    let notifies: Vec<Arc<Notify>> = (0..8).map(|_| Arc::default()).collect();
    let control = Arc::new(Control::new(log.end()));
    let queues = Arc::new(WorkerQueues::new(&log, &control, &notifies));
    let mut reader = reader_of(&log, &control, &queues);
    let heads: Vec<_> = (0..8).map(|worker| LaneReader::new(&log, queues.head(worker), Lsn(1))).collect();
    let before = fs.bytes_read();
    while reader.turn(Instant::now()).is_none() {}
    let (read, bytes) = (fs.bytes_read() - before, log.backlog_bytes());
    assert!(
        (0..heads.len()).all(|worker| queues.view(worker).next == log.end()),
        "all records are in the queues"
    );
    assert!(read < 2 * bytes, "{read} bytes were read of a log of {bytes}");
}
