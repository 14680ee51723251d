//! Log lines on their way to standard error: a bounded queue, and one thread that writes.
//!
//! Logging is best effort. A line that finds the queue full, or whose write fails, is lost and counted; the thread that
//! logs neither waits nor fails. When writing works again, a line says how many were lost.

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

/// Bytes that wait to be written: some thousand lines, so that a burst passes a reader that is slow for a moment.
const MAX_BYTES: usize = 1 << 20;
/// Pause before the next attempt where standard error is non-blocking and full: a pipe is seldom full for longer.
const RETRY: Duration = Duration::from_millis(10);
/// Between two looks whether repeated lines are to be told: they are counted over 10 s and more.
const REPEAT_CHECK_INTERVAL: Duration = Duration::from_secs(1);

/// The queue. The thread that writes lives as long as the process.
pub(super) struct LogQueue {
    state: Mutex<State>,
    filled: Condvar,
    emptied: Condvar,
    lost: IntCounter,
    /// What was left out. Told by the thread that writes.
    pub(super) repeats: Arc<RepeatFilter>,
}

#[derive(Default)]
struct State {
    lines: VecDeque<Box<[u8]>>,
    /// Of these lines.
    bytes: usize,
    /// Bytes of the line that is being written.
    writing: usize,
}

impl LogQueue {
    /// Starts the thread that writes to standard error. Lost lines are counted in `lost`.
    pub(super) fn start(lost: &IntCounter) -> io::Result<Arc<Self>> {
        let output = Arc::new(Self::new(lost));
        // Not `io::stderr()`: its lock, held while a full pipe is waited for, would hold whoever else wants it.
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

    /// Starts a thread that writes to `file`; another one follows if it panics, which costs at least a line.
    fn write_to(self: Arc<Self>, file: File) -> io::Result<()> {
        let (successor, its) = (Arc::clone(&self), file.try_clone()?);
        let on_failure = OnFailure::Report(Box::new(move |_| {
            successor.lost.inc();
            // Without a thread the queue stays full, and lines are counted as lost.
            let _ = successor.write_to(its);
        }));
        let thread = Thread::spawn("log", on_failure, move |_| {
            self.done();
            LineWriter { out: file, torn: false }.run(&self);
            Ok(())
        })?;
        // It ends with the process: until then somebody may log.
        drop(thread);
        Ok(())
    }

    /// Queues a line, or loses it where there is no room.
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

    /// Waits until all lines are written, or for `timeout`; says whether they are.
    pub(super) fn flush(&self, timeout: Duration) -> bool {
        let waits = |state: &mut State| state.bytes + state.writing > 0;
        let mut state = self.emptied.wait_timeout_while(self.state(), timeout, waits);
        !waits(&mut state)
    }

    /// The next line; waits for it, but not for ever.
    fn next(&self) -> Option<Box<[u8]>> {
        let mut state = self
            .filled
            .wait_timeout_while(self.state(), REPEAT_CHECK_INTERVAL, |state| state.lines.is_empty());
        let line = state.lines.pop_front()?;
        state.bytes -= line.len();
        state.writing = line.len();
        Some(line)
    }

    /// The line that was taken is written, or lost.
    fn done(&self) {
        self.state().writing = 0;
        self.emptied.notify_all();
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock()
    }
}

/// What the thread writes to.
struct LineWriter<W> {
    out: W,
    /// Part of a line was written, and its rest was not.
    torn: bool,
}

impl<W: Write> LineWriter<W> {
    /// Writes line after line, for ever.
    fn run(mut self, output: &LogQueue) {
        let (mut told, mut looked) = (output.lost.get(), Instant::now());
        loop {
            let line = output.next();
            if looked.elapsed() >= REPEAT_CHECK_INTERVAL {
                looked = Instant::now();
                output.repeats.log_due_counts(looked);
            }
            let Some(line) = line else { continue };
            if self.write(&line).is_err() {
                output.lost.inc();
                output.done();
                continue;
            }
            output.done();
            let lost = output.lost.get();
            if lost > told {
                tracing::warn!(
                    event = "log.lines_lost",
                    log.lines_lost = lost - told,
                    log.lines_lost_total = lost,
                    "log lines lost: standard error was full, closed or not read"
                );
                told = lost;
            }
        }
    }

    /// Writes one line, after ending one that was torn.
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

/// A subscriber's way to the queue. It writes each line in one call.
#[derive(Clone)]
pub(super) struct QueueWriter {
    pub(super) output: Arc<LogQueue>,
    /// Whether each line begins with a priority.
    pub(super) to_journal: bool,
}

/// One line's way to the queue.
pub(super) struct QueuedLine<'a> {
    output: &'a LogQueue,
    /// None where lines have no priority.
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

    /// Longer than any test may take.
    const LONG: Duration = Duration::from_secs(60);

    fn output() -> Arc<LogQueue> {
        Arc::new(LogQueue::new(&IntCounter::new("lost", "lost").unwrap()))
    }

    /// Takes what its owner lets it take, and says what it took.
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
    fn a_full_queue_loses_lines_and_counts_them_without_a_wait() {
        let output = output();
        let line = vec![b'x'; MAX_BYTES / 4];
        (0..6).for_each(|_| output.push(&line));
        assert_eq!((output.lost.get(), output.state().lines.len()), (2, 4));
        let taken = output.next().unwrap();
        output.push(&line);
        assert_eq!(output.lost.get(), 3, "the line that is being written counts");
        assert!(!output.flush(Duration::ZERO), "{} bytes are under way", taken.len());
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
    fn a_failed_write_loses_its_line_and_the_next_line_begins_a_line() {
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
