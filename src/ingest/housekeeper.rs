//! Two threads that keep the log going beside the commit path: one fills the next segment's file, one takes
//! checkpoints, retires segments and keeps the index.

use std::io;
use std::sync::Arc;
use std::sync::Condvar;
use std::sync::Mutex;
use std::sync::PoisonError;
use std::thread::JoinHandle;
use std::time::Duration;

use super::Shared;
use super::config::Config;
use crate::units::Timestamp;
use crate::wal::Log;
use crate::wal::Retention;

/// How soon room is looked for again on a full disk: acceptance resumes within a second of the cause's end.
const LOOK_FOR_ROOM: Duration = Duration::from_millis(500);

pub(super) struct Housekeeper {
    log: Arc<Log>,
    retention: Retention,
    stop: Arc<Stop>,
    threads: Vec<JoinHandle<()>>,
}

#[derive(Default)]
struct Stop {
    asked: Mutex<bool>,
    changed: Condvar,
}

impl Stop {
    /// Sleeps for `time` unless asked to stop; says whether it was.
    fn sleep(&self, time: Duration) -> bool {
        let asked = self.asked.lock().unwrap_or_else(PoisonError::into_inner);
        let waited = self.changed.wait_timeout_while(asked, time, |asked| !*asked);
        *waited.unwrap_or_else(PoisonError::into_inner).0
    }

    fn ask(&self) {
        *self.asked.lock().unwrap_or_else(PoisonError::into_inner) = true;
        self.changed.notify_all();
    }
}

impl Housekeeper {
    pub fn start(shared: Arc<Shared>, config: &Config, checkpoint_interval: Duration) -> io::Result<Self> {
        let retention = Retention { age: config.retain_acked_age.0, size: config.retain_acked_size.0 };
        let stop = Arc::<Stop>::default();
        let (segment_size, reserve) = (config.segment_size.0, config.reserve_space.0);
        let log = Arc::clone(&shared.log);
        let (its_log, its_stop) = (Arc::clone(&log), Arc::clone(&stop));
        let filler = std::thread::Builder::new()
            .name("segment".into())
            .spawn(move || keep_a_spare(&its_log, &its_stop, segment_size, reserve))?;
        let its_stop = Arc::clone(&stop);
        let keeper = std::thread::Builder::new()
            .name("checkpoint".into())
            .spawn(move || keep_house(&shared, &its_stop, retention, checkpoint_interval))?;
        Ok(Self { log, retention, stop, threads: vec![filler, keeper] })
    }

    /// Until a segment was let go of early, the time it is kept; from then on, the age of the oldest kept record.
    pub fn idempotency_window(&self) -> Duration {
        let oldest = self.log.oldest_kept();
        if oldest.0 <= 1 {
            return self.retention.age;
        }
        let accepted = self.log.accepted_at(oldest).ok().flatten();
        accepted.map_or(Duration::ZERO, |at| Timestamp::now().since(at)).min(self.retention.age)
    }

    /// Ends both threads; the second one takes a last checkpoint.
    pub fn stop(self) {
        self.stop.ask();
        for thread in self.threads {
            // A panic was reported where it happened; the log needs neither thread to be whole.
            let _ = thread.join();
        }
    }
}

fn keep_a_spare(log: &Log, stop: &Stop, segment_size: u64, reserve: u64) {
    loop {
        if log.spare_wanted(LOOK_FOR_ROOM) && log.poisoned().is_none() {
            let ready = log.fill_spare(segment_size, reserve);
            if !ready && stop.sleep(LOOK_FOR_ROOM) {
                return;
            }
        }
        if stop.sleep(Duration::ZERO) {
            return;
        }
    }
}

/// The first time at once: until there is a checkpoint of this life, whoever looks takes the log for an older one.
fn keep_house(shared: &Shared, stop: &Stop, retention: Retention, every: Duration) {
    let mut stopping = false;
    loop {
        let kept = shared.log.keep_house(retention, Timestamp::now()).and_then(|()| shared.index.keep());
        if let Err(error) = kept {
            tracing::warn!(%error, "checkpoint.failed: nothing is lost; a start would repeat what came since the last one");
        }
        if stopping {
            shared.index.stop();
            return;
        }
        stopping = stop.sleep(every);
    }
}
