//! Two threads that maintain the log next to the commit path. One preallocates the next segment's file. The other takes
//! checkpoints and retires segments.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use super::config::Config;
use super::shared::Shared;
use crate::task::{FatalSignal, OnFailure, StopSignal, Thread};
use crate::units::Timestamp;
use crate::wal::{Log, Retention};

/// How often free space is checked on a full disk. Commands are accepted again within a second after the cause ends.
const ROOM_CHECK_INTERVAL: Duration = Duration::from_millis(500);

pub(super) struct Maintenance {
    threads: [Thread; 2],
}

impl Maintenance {
    pub fn start(
        shared: Arc<Shared>,
        config: &Config,
        checkpoint_interval: Duration,
        fatal: &FatalSignal,
    ) -> io::Result<Self> {
        let retention = Retention { age: config.retain_acked_age.0, size: config.retain_acked_size.0 };
        let (segment_size, reserve) = (config.segment_size.0, config.reserve_space.0);
        let log = Arc::clone(&shared.log);
        let raise = || OnFailure::Raise(fatal.clone());
        let filler = Thread::spawn("segment", raise(), move |stop| {
            run_preallocation(&log, stop, segment_size, reserve);
            Ok(())
        })?;
        let checkpointer = Thread::spawn("checkpoint", raise(), move |stop| {
            run_maintenance(&shared, stop, retention, checkpoint_interval);
            Ok(())
        })?;
        Ok(Self { threads: [checkpointer, filler] })
    }

    /// Ends both threads, the first one with a last checkpoint. Waits for each for at most `within`. Blocks.
    pub fn stop(self, within: Duration) {
        for thread in self.threads {
            if let Err(late) = thread.stop(within) {
                tracing::warn!(event = "task.thread_left", error = %late, "thread still running after its deadline");
            }
        }
    }
}

fn run_preallocation(log: &Log, stop: &StopSignal, segment_size: u64, reserve: u64) {
    loop {
        // A poisoned log always reports that it wants a file, and never takes one: the loop would never sleep.
        let poisoned = log.poisoned().is_some();
        let wanted = !poisoned && log.wait_for_preallocation_request(ROOM_CHECK_INTERVAL);
        let failed = wanted && !log.preallocate_segment(segment_size, reserve);
        let pause = if poisoned || failed { ROOM_CHECK_INTERVAL } else { Duration::ZERO };
        if stop.wait(pause) {
            return;
        }
    }
}

/// Runs at once the first time. Without a checkpoint of this start, the log looks like an older copy to a reader.
fn run_maintenance(shared: &Shared, stop: &StopSignal, retention: Retention, every: Duration) {
    let mut stopping = false;
    loop {
        let kept = shared.log.run_maintenance(retention, Timestamp::now());
        if let Err(error) = kept {
            tracing::warn!(
                event = "wal.checkpoint_failed",
                %error,
                "checkpoint not written; a restart would redeliver the records delivered since the last one"
            );
        }
        if stopping {
            return;
        }
        stopping = stop.wait(every);
    }
}
