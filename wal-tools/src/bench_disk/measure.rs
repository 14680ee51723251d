//! Measures writes and flushes of the same kind as the log's.

use std::io;
use std::time::{Duration, Instant};

use cli_support::Interrupt;
use serde::Serialize;

use super::test_file::TestFile;

/// Size of the assumed command in bytes: a small JSON body.
pub const RECORD_BYTES: usize = 300;
/// Size of that record in the log: with the frame header and the envelope, rounded up to a multiple of eight bytes.
const RECORD_BYTES_IN_LOG: usize = 448;
/// Bytes per write of the sequential measurement. The log fills preallocated segments in the same steps.
const CHUNK: usize = 1 << 20;
/// Maximum latencies retained for the percentiles: a minute of flushes of 60 µs.
const SAMPLES: usize = 1 << 20;

/// Result for groups of `records` records, with one write and one flush per group.
#[derive(Serialize)]
pub struct Measured {
    /// Records per group.
    pub records: usize,
    pub flushes: usize,
    pub p50_micros: f64,
    pub p99_micros: f64,
    pub max_micros: f64,
    pub records_per_second: f64,
}

/// Writes and flushes groups of `records` records for the duration `time`.
pub fn flushes(
    file: &TestFile,
    records: usize,
    time: Duration,
    interrupt: &Interrupt,
) -> io::Result<Measured> {
    let group = vec![0x5a; records * RECORD_BYTES_IN_LOG];
    let mut micros = Vec::new();
    let mut at = 0;
    let started = Instant::now();
    while micros.is_empty()
        || (started.elapsed() < time && micros.len() < SAMPLES && !interrupt.was_received())
    {
        at = file.offset_with_room(at, group.len() as u64);
        let begun = Instant::now();
        file.write_and_flush(&group, at)?;
        micros.push(begun.elapsed().as_secs_f64() * 1e6);
        at += group.len() as u64;
    }
    let seconds = started.elapsed().as_secs_f64();
    micros.sort_by(f64::total_cmp);
    let of = |share: f64| micros[((micros.len() - 1) as f64 * share).round() as usize];
    Ok(Measured {
        records,
        flushes: micros.len(),
        p50_micros: of(0.5),
        p99_micros: of(0.99),
        max_micros: of(1.0),
        records_per_second: (records * micros.len()) as f64 / seconds,
    })
}

/// Returns bytes per second with one flush per mebibyte. The log fills the next segment in this way.
pub fn sequential(file: &TestFile, time: Duration, interrupt: &Interrupt) -> io::Result<f64> {
    let piece = vec![0xa5; CHUNK];
    let (mut at, mut bytes) = (0, 0);
    let started = Instant::now();
    while bytes == 0 || (started.elapsed() < time && !interrupt.was_received()) {
        at = file.offset_with_room(at, CHUNK as u64);
        file.write_and_flush(&piece, at)?;
        at += CHUNK as u64;
        bytes += CHUNK;
    }
    Ok(bytes as f64 / started.elapsed().as_secs_f64())
}
