//! The daemon in the storm: started, ended in every way, and restarted as by systemd.

use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use crate::findings::Violation;
use crate::shared::Shared;
use support::process::Forebay;

/// Recovery of small segments takes milliseconds. The timeout allows for a busy machine.
const START_TIMEOUT: Duration = Duration::from_secs(60);
/// Interval of checks whether the daemon is still running.
const POLL_INTERVAL: Duration = Duration::from_millis(20);
/// A shortened `RestartSec` of systemd.
const RESTART_DELAY: Duration = Duration::from_millis(200);
/// Exit codes for an unusable data directory (EX_CANTCREAT) and for an error of the log (EX_IOERR).
const DISK_CODES: [i32; 2] = [73, 74];

/// Free space on the disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum DiskSpace {
    /// Enough.
    Enough,
    /// Less than the reserve, but some. The daemon must continue.
    Scarce,
    /// None, now or recently. The daemon may end with an error of the log, and must recover.
    None,
}

/// The supervised daemon.
pub struct SupervisedDaemon {
    pub forebay: Forebay,
    shared: Arc<Shared>,
    disk_space: AtomicU8,
}

impl SupervisedDaemon {
    pub fn new(forebay: Forebay, shared: &Arc<Shared>) -> Self {
        Self { forebay, shared: Arc::clone(shared), disk_space: AtomicU8::new(DiskSpace::Enough as u8) }
    }

    pub fn set_disk_space(&self, room: DiskSpace) {
        self.disk_space.store(room as u8, Ordering::SeqCst);
    }

    /// Starts the daemon and returns when it responds.
    pub fn start(&mut self) {
        self.launch();
        self.await_up();
    }

    /// Starts the daemon without waiting.
    pub fn launch(&mut self) {
        self.shared.count("starts of the daemon");
        self.forebay.launch();
    }

    /// Returns when the daemon responds. Restarts it if it ended instead.
    pub fn await_up(&mut self) {
        let deadline = Instant::now() + START_TIMEOUT;
        loop {
            self.restart_if_ended();
            let up =
                self.forebay.admin_http().with_read_within(Duration::from_secs(1)).get("/healthz").is_ok();
            if up {
                return;
            }
            if Instant::now() >= deadline {
                let what = format!("not up within {START_TIMEOUT:?}:\n{}", tail(&self.forebay.log()));
                return self.shared.findings.add(Violation::Daemon, what);
            }
            thread::sleep(POLL_INTERVAL);
        }
    }

    /// SIGKILL.
    pub fn kill(&mut self) {
        self.restart_if_ended();
        self.shared.crashes.fetch_add(1, Ordering::SeqCst);
        self.forebay.kill();
        self.shared.crashes.fetch_add(1, Ordering::SeqCst);
    }

    /// Sends SIGTERM, which must end in a clean exit.
    pub fn stop(&mut self) {
        self.restart_if_ended();
        let status = self.forebay.terminate();
        if !status.success() {
            self.on_exit(status.code());
        }
    }

    /// Waits, and checks that the daemon stays alive.
    pub fn supervise_for(&mut self, time: Duration) {
        let until = Instant::now() + time;
        while Instant::now() < until {
            self.restart_if_ended();
            thread::sleep(POLL_INTERVAL.min(until.saturating_duration_since(Instant::now())));
        }
    }

    /// Restarts the daemon if it has ended by itself.
    pub fn restart_if_ended(&mut self) {
        let Some(status) = self.forebay.ended() else { return };
        self.shared.crashes.fetch_add(2, Ordering::SeqCst);
        self.on_exit(status.code());
        thread::sleep(RESTART_DELAY);
        self.launch();
    }

    fn on_exit(&self, code: Option<i32>) {
        let full = self.disk_space.load(Ordering::SeqCst) == DiskSpace::None as u8;
        if full && code.is_some_and(|code| DISK_CODES.contains(&code)) {
            return self.shared.count(&format!("ended by itself with {} on a full disk", code.unwrap_or(0)));
        }
        let what = format!("the daemon ended with code {code:?}:\n{}", tail(&self.forebay.log()));
        self.shared.findings.add(Violation::Daemon, what);
    }
}

fn tail(log: &str) -> String {
    let lines: Vec<&str> = log.lines().collect();
    lines[lines.len().saturating_sub(20)..].join("\n")
}
