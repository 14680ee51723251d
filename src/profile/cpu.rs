//! CPU profile: samples of the running threads.

use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::time::{Duration, SystemTime};

use pprof::{ProfilerGuardBuilder, Report, Symbol};

use super::error::ProfileError;
use super::format::{Builder, Frame};

/// Samples per second of CPU time. Not 100, because periodic timers would always be sampled at the same phase.
const HERTZ: i32 = 99;
const NANOS_PER_SAMPLE: i64 = 1_000_000_000 / HERTZ as i64;

/// Samples for `duration`, or until the caller drops the channel. Blocks.
pub(super) fn take(duration: Duration, caller: &Receiver<()>) -> Result<Vec<u8>, ProfileError> {
    let began = SystemTime::now();
    let profiler = ProfilerGuardBuilder::default().frequency(HERTZ).build().map_err(ProfileError::failed)?;
    // The caller never sends a message.
    if caller.recv_timeout(duration) == Err(RecvTimeoutError::Disconnected) {
        return Err(ProfileError::failed("the client no longer waits for the profile"));
    }
    let report = profiler.report().build().map_err(ProfileError::failed)?;
    drop(profiler);
    encode(&report, began, duration)
}

fn encode(report: &Report, began: SystemTime, duration: Duration) -> Result<Vec<u8>, ProfileError> {
    let mut builder = Builder::new("cpu", "nanoseconds", NANOS_PER_SAMPLE);
    for (stack, count) in &report.data {
        let count = i64::try_from(*count).unwrap_or(i64::MAX);
        let frames = stack.frames.iter().map(|inlined| inlined.iter().map(frame).collect());
        let values = [count, count.saturating_mul(NANOS_PER_SAMPLE)];
        builder.sample(frames.collect(), values, &stack.thread_name);
    }
    builder.finish(began, duration).map_err(ProfileError::failed)
}

fn frame(symbol: &Symbol) -> Frame {
    Frame { function: symbol.name(), file: symbol.filename().into_owned(), line: symbol.lineno().into() }
}
