//! Bounded queue of log lines, and the thread that writes them to standard error.
//!
//! Logging is best effort. A line is lost and counted if the queue is full or its write fails. The thread that logs
//! neither waits nor fails. When writes succeed again, a log line reports the number of lost lines.

use std::collections::VecDeque;
use std::fs::File;
use std::io::Write;
use std::os::fd::AsFd;
use std::sync::Arc;
use std::time::{Duration, Instant};
use std::{io, thread};

use prometheus::IntCounter;
use tracing::Metadata;
use tracing_subscriber::fmt::MakeWriter;

use crate::sync::{Condvar, Mutex, MutexGuard};
use crate::task::{OnFailure, Thread};

use super::journal;
use super::repeat_filter::RepeatFilter;

/// Capacity in bytes: some thousand lines, so that a burst survives a reader that is briefly slow.
const MAX_BYTES: usize = 1 << 20;
/// Pause before the next attempt if standard error is non-blocking and full. A pipe is rarely full for longer.
const RETRY: Duration = Duration::from_millis(10);
/// Interval between two checks for repeated lines to report. They are counted over 10 s or more.
const REPEAT_CHECK_INTERVAL: Duration = Duration::from_secs(1);

/// The queue. Its writing thread runs until the process ends.
pub(super) struct LogQueue {
    state: Mutex<State>,
    filled: Condvar,
    emptied: Condvar,
    lost: IntCounter,
    /// Repeated lines that were suppressed. The writing thread reports them.
    pub(super) repeats: Arc<RepeatFilter>,
}

#[derive(Default)]
struct State {
    lines: VecDeque<Box<[u8]>>,
    /// Total size of these lines.
    bytes: usize,
    /// Size of the line that is being written.
    writing: usize,
}

impl LogQueue {
    /// Starts the thread that writes to standard error. `lost` counts lost lines.
    pub(super) fn start(lost: &IntCounter) -> io::Result<Arc<Self>> {
        let output = Arc::new(Self::new(lost));
        // Not `io::stderr()`: its lock would be held while a full pipe is waited for, and block all other users.
        let stderr = File::from(io::stderr().as_fd().try_clone_to_owned()?);
        Arc::clone(&output).write_to(stderr)?;
        Ok(output)
    }

    fn new(lost: &IntCounter) -> Self {
        Self {
            state: Mutex::default(),
            filled: Condvar::new(),
            emptied: Condvar::new(),
            lost: lost.clone(),
            repeats: Arc::default(),
        }
    }

    /// Starts a thread that writes to `file`. If it panics, another one replaces it; at least one line is lost then.
    fn write_to(self: Arc<Self>, file: File) -> io::Result<()> {
        let (successor, its) = (Arc::clone(&self), file.try_clone()?);
        let on_failure = OnFailure::Report(Box::new(move |_| {
            successor.lost.inc();
            // Without a thread, the queue stays full and lines are counted as lost.
            let _ = successor.write_to(its);
        }));
        let thread = Thread::spawn("log", on_failure, move |_| {
            self.done();
            LineWriter { out: file, torn: false }.run(&self);
            Ok(())
        })?;
        // It ends with the process, because any thread may log until then.
        drop(thread);
        Ok(())
    }

    /// Queues a line, or drops it if the queue is full.
    pub(super) fn push(&self, line: &[u8]) {
        let mut state = self.state();
        if state.bytes + state.writing + line.len() > MAX_BYTES {
            drop(state);
            self.lost.inc();
            return;
        }
        state.bytes += line.len();
        state.lines.push_back(line.into());
        drop(state);
        self.filled.notify_one();
    }

    /// Waits until all lines are written, or for `timeout`. Returns `true` if all are written.
    pub(super) fn flush(&self, timeout: Duration) -> bool {
        let is_pending = |state: &mut State| state.bytes + state.writing > 0;
        let mut state = self.emptied.wait_timeout_while(self.state(), timeout, is_pending);
        !is_pending(&mut state)
    }

    /// Returns the next line. Waits for it for a limited time.
    fn next(&self) -> Option<Box<[u8]>> {
        let mut state = self
            .filled
            .wait_timeout_while(self.state(), REPEAT_CHECK_INTERVAL, |state| state.lines.is_empty());
        let line = state.lines.pop_front()?;
        state.bytes -= line.len();
        state.writing = line.len();
        Some(line)
    }

    /// Records that the current line is written or lost.
    fn done(&self) {
        self.state().writing = 0;
        self.emptied.notify_all();
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock()
    }
}

/// Writes lines to an output.
struct LineWriter<W> {
    out: W,
    /// Whether only a part of the last line was written.
    torn: bool,
}

impl<W: Write> LineWriter<W> {
    /// Writes lines indefinitely.
    fn run(mut self, output: &LogQueue) {
        let (mut reported, mut checked_at) = (output.lost.get(), Instant::now());
        loop {
            let line = output.next();
            if checked_at.elapsed() >= REPEAT_CHECK_INTERVAL {
                checked_at = Instant::now();
                output.repeats.log_due_counts(checked_at);
            }
            let Some(line) = line else { continue };
            if self.write(&line).is_err() {
                output.lost.inc();
                output.done();
                continue;
            }
            output.done();
            let lost = output.lost.get();
            if lost > reported {
                tracing::warn!(
                    event = "log.lines_lost",
                    log.lines_lost = lost - reported,
                    log.lines_lost_total = lost,
                    "log lines lost; standard error was full, closed or not read"
                );
                reported = lost;
            }
        }
    }

    /// Writes one line. If the previous line is incomplete, ends it first.
    fn write(&mut self, line: &[u8]) -> io::Result<()> {
        if self.torn {
            self.write_whole(b"\n")?;
        }
        self.write_whole(line)
    }

    fn write_whole(&mut self, mut bytes: &[u8]) -> io::Result<()> {
        while !bytes.is_empty() {
            match self.out.write(bytes) {
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                Ok(count) => {
                    bytes = &bytes[count..];
                    self.torn = !bytes.is_empty();
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => thread::sleep(RETRY),
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }
}

/// Creates writers to the queue for a subscriber, which writes each line in a single call.
#[derive(Clone)]
pub(super) struct QueueWriter {
    pub(super) output: Arc<LogQueue>,
    /// Whether each line begins with a priority.
    pub(super) to_journal: bool,
}

/// Writer of one line.
pub(super) struct QueuedLine<'a> {
    output: &'a LogQueue,
    /// `None` if lines have no priority.
    priority: Option<&'static str>,
}

impl<'a> MakeWriter<'a> for QueueWriter {
    type Writer = QueuedLine<'a>;

    fn make_writer(&'a self) -> Self::Writer {
        QueuedLine { output: &self.output, priority: None }
    }

    fn make_writer_for(&'a self, line: &Metadata<'_>) -> Self::Writer {
        let priority = self.to_journal.then(|| journal::priority(*line.level()));
        QueuedLine { output: &self.output, priority }
    }
}

impl Write for QueuedLine<'_> {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        match self.priority {
            Some(priority) => self.output.push(&journal::prefixed(priority, line)),
            None => self.output.push(line),
        }
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use super::*;

    /// Longer than any test may run.
    const LONG: Duration = Duration::from_secs(60);

    fn output() -> Arc<LogQueue> {
        Arc::new(LogQueue::new(&IntCounter::new("lost", "lost").unwrap()))
    }

    /// A reader that takes what the test allows and reports what it took.
    struct Reader {
        results: mpsc::Receiver<io::Result<usize>>,
        took: mpsc::Sender<Vec<u8>>,
    }

    impl Write for Reader {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            let count = self.results.recv().map_err(io::Error::other)??.min(bytes.len());
            let _ = self.took.send(bytes[..count].to_vec());
            Ok(count)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn a_full_queue_drops_and_counts_lines_without_waiting() {
        let output = output();
        let line = vec![b'x'; MAX_BYTES / 4];
        (0..6).for_each(|_| output.push(&line));
        assert_eq!((output.lost.get(), output.state().lines.len()), (2, 4));
        let taken = output.next().unwrap();
        output.push(&line);
        assert_eq!(output.lost.get(), 3, "the line that is being written counts");
        assert!(!output.flush(Duration::ZERO), "{} bytes are being written", taken.len());
        output.done();
        output.push(&line);
        assert_eq!(output.lost.get(), 3);
    }

    #[test]
    fn a_file_is_written_and_flushed_in_order() {
        let (mut reader, writer) = io::pipe().unwrap();
        let output = output();
        Arc::clone(&output).write_to(std::os::fd::OwnedFd::from(writer).into()).unwrap();
        (0..100).for_each(|n| output.push(format!("{n}\n").as_bytes()));
        assert!(output.flush(LONG));
        let mut expected = Vec::new();
        (0..100).for_each(|n| expected.extend_from_slice(format!("{n}\n").as_bytes()));
        let mut read = vec![0; expected.len()];
        io::Read::read_exact(&mut reader, &mut read).unwrap();
        assert_eq!((read, output.lost.get()), (expected, 0));
    }

    #[test]
    fn the_line_after_a_failed_write_starts_a_new_line() {
        let (allow, results) = mpsc::channel();
        let (took, taken) = mpsc::channel();
        let mut sink = LineWriter { out: Reader { results, took }, torn: false };
        let full = || Err(io::ErrorKind::StorageFull.into());
        for result in [Ok(2), full(), Ok(9), Err(io::ErrorKind::WouldBlock.into()), Ok(9), full(), Ok(9)] {
            allow.send(result).unwrap();
        }
        assert!(sink.write(b"first\n").is_err(), "half of it was written");
        assert!(sink.write(b"second\n").is_ok());
        assert!(sink.write(b"third\n").is_err(), "none of it was written");
        assert!(sink.write(b"fourth\n").is_ok());
        let written: Vec<u8> = taken.try_iter().flatten().collect();
        assert_eq!(String::from_utf8(written).unwrap(), "fi\nsecond\nfourth\n");
    }
}
