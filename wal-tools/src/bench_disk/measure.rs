//! Writes as the log writes, and looks at the clock.

use std::io;
use std::time::{Duration, Instant};

use cli_support::Interrupt;
use serde::Serialize;

use super::test_file::TestFile;

/// Bytes of a record: a small JSON command.
pub const RECORD_BYTES: usize = 300;
/// What the log adds to it: a frame's header and an envelope, to a multiple of eight bytes.
const RECORD_BYTES_IN_LOG: usize = 448;
/// One piece of the sequential measurement, as the log fills its spare segments.
const CHUNK: usize = 1 << 20;
/// Latencies kept for the percentiles: a minute of flushes of 60 µs.
const SAMPLES: usize = 1 << 20;

/// Groups of so many records, one write and one flush each.
#[derive(Serialize)]
pub struct Measured {
    /// Records in a group.
    pub records: usize,
    pub flushes: usize,
    pub p50_micros: f64,
    pub p99_micros: f64,
    pub max_micros: f64,
    pub records_per_second: f64,
}

/// Writes and flushes groups of so many records until the time is over.
pub fn flushes(
    place: &TestFile,
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
        at = place.offset_with_room(at, group.len() as u64);
        let begun = Instant::now();
        place.write_and_flush(&group, at)?;
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

/// Bytes a second with one flush a mebibyte: what filling the next segment costs.
pub fn sequential(place: &TestFile, time: Duration, interrupt: &Interrupt) -> io::Result<f64> {
    let piece = vec![0xa5; CHUNK];
    let (mut at, mut bytes) = (0, 0);
    let started = Instant::now();
    while bytes == 0 || (started.elapsed() < time && !interrupt.was_received()) {
        at = place.offset_with_room(at, CHUNK as u64);
        place.write_and_flush(&piece, at)?;
        at += CHUNK as u64;
        bytes += CHUNK;
    }
    Ok(bytes as f64 / started.elapsed().as_secs_f64())
}
