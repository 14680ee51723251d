//! A single connection: its median latency, compared with that of a server without a log plus a bare flush.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::time::{Duration, Instant};

use forebay::command::CommandId;

use crate::client::SingleConnection;
use crate::measure::{Limit, Outcome, median, median_us};
use crate::server::NoLogServer;
use crate::{records, server};

const PAIRS: usize = 11;
const REQUESTS: usize = 400;
/// Bytes before a record's payload. The length of a frame is a multiple of 8.
const FRAME_HEADER: usize = 32;

/// The latency with the log may be at most 1.5 times as long.
pub fn measure() -> Vec<Outcome> {
    let mut daemon = server::daemon(server::UNREACHABLE_KAFKA);
    daemon.start();
    let without = NoLogServer::start();
    let mut turn = LatencyTurn {
        durable: SingleConnection::connect(server::address(&daemon), records::request(0)),
        no_log: SingleConnection::connect(without.address(), records::request(0)),
        raw: RawFile::create(&daemon.dir().join("raw")),
    };
    turn.take();
    let turns: Vec<[f64; 3]> = (0..PAIRS).map(|_| turn.take()).collect();
    let figure = |n: usize| median(&turns.iter().map(|medians| medians[n]).collect::<Vec<_>>());
    vec![Outcome {
        what: "lone: median latency, log / (no log + raw flush)",
        pairs: turns.iter().map(|[log, no_log, raw]| log / (no_log + raw)).collect(),
        limit: Limit::AtMost(1.5),
        figures: format!("{:.0} us, {:.0} us + {:.0} us", figure(0), figure(1), figure(2)),
    }]
}

struct LatencyTurn {
    durable: SingleConnection,
    no_log: SingleConnection,
    raw: RawFile,
}

impl LatencyTurn {
    /// Returns the three medians in microseconds. The three kinds alternate, because a disk is slow or fast for longer
    /// than three requests.
    fn take(&mut self) -> [f64; 3] {
        let mut times: [Vec<Duration>; 3] = Default::default();
        for _ in 0..REQUESTS {
            times[0].push(self.durable.call());
            times[1].push(self.no_log.call());
            times[2].push(self.raw.flush());
        }
        times.map(|times| median_us(&times))
    }
}

/// A file of zeros that is overwritten with records one after the other.
struct RawFile {
    file: File,
    record: Vec<u8>,
    offset: u64,
}

impl RawFile {
    fn create(path: &Path) -> Self {
        let mut payload = Vec::new();
        let id = CommandId::from_bytes([7; 25]);
        records::envelope(0, id, "orders.v1", |envelope| envelope.encode(&mut payload));
        let record = vec![7; (FRAME_HEADER + payload.len()).next_multiple_of(8)];
        let file = File::create(path).expect("a file next to the log");
        let zeros = vec![0; record.len() * REQUESTS * (PAIRS + 1)];
        file.write_all_at(&zeros, 0).and_then(|()| file.sync_all()).expect("a file of zeros");
        Self { file, record, offset: 0 }
    }

    fn flush(&mut self) -> Duration {
        let started = Instant::now();
        self.file.write_all_at(&self.record, self.offset).expect("a write");
        self.file.sync_data().expect("a flush");
        let took = started.elapsed();
        self.offset += self.record.len() as u64;
        took
    }
}
