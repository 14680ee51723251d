//! Ends and starts of the simulated log, and its final check.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::Arc;

use super::super::super::fs::Fs;
use super::super::super::segment_header::parse_segment_name;
use super::super::super::{OpenError, OpenedLog, Options, open};
use super::super::support::dir;
use super::disk::Disk;
use super::drain::Worker;
use super::expectations::{Certainty, CheckResult, ensure};
use super::simulation::Simulation;

/// Maximum starts in a row that crash before they succeed.
const MAX_ABORTED_STARTS: usize = 3;

impl Simulation {
    /// Restores an older copy of the segments under a newer checkpoint. A start must refuse it.
    pub fn restore_old_copy(&mut self) -> CheckResult {
        let Some((copy, end)) = self.old_copy.take() else { return Ok(()) };
        self.disk.kill();
        self.restart(|_| ())?;
        self.checkpoint()?;
        if self.expected.durable_end <= end {
            return Ok(());
        }
        self.forget();
        self.disk.kill();
        self.disk.restore_dirs(&copy, &[&dir().join("pending"), &dir().join("acked")]);
        match self.open() {
            Err(OpenError::Lost { .. }) => {
                self.refused = true;
                Ok(())
            }
            Err(error) => Err(format!("an older copy is refused for the wrong reason: {error}")),
            Ok(_) => Err(format!("an older copy, which ends at {end}, is accepted")),
        }
    }

    pub fn forget(&mut self) {
        self.workers.clear();
        self.opened = None;
    }

    pub fn restart(&mut self, end: impl Fn(&Disk)) -> CheckResult {
        self.forget();
        end(&self.disk);
        self.start()
    }

    pub fn open(&self) -> Result<OpenedLog, OpenError> {
        let options = Options {
            segment_size: self.setup.segment_size,
            reserve_space: self.setup.reserve,
            redeliver: false,
            keys: self.setup.keys(),
            label: |_| Some("test".into()),
            observer: Arc::new(|_| ()),
        };
        let fs: Arc<dyn Fs> = Arc::new(self.disk.clone());
        #[cfg(feature = "planted-faults")]
        let fs = super::super::super::faulty_fs::wrap(fs);
        open(fs, &dir(), &options, self.now())
    }

    /// Starts the log until a start succeeds. Some starts crash.
    pub fn start(&mut self) -> CheckResult {
        for attempt in 0..MAX_ABORTED_STARTS + 4 {
            if attempt < MAX_ABORTED_STARTS && self.rng.one_in(3) {
                self.disk.stop_after(self.rng.below(40) as u64);
            }
            match self.open() {
                Ok(opened) => return self.check_started(opened),
                Err(error) => self.check_open_error(&error)?,
            }
            if self.refused {
                return Ok(());
            }
            self.trace.push("   a start fails".into());
            if self.rng.one_in(2) {
                self.disk.kill()
            } else {
                self.disk.crash()
            }
            self.disk.begin(self.rng.next_u64());
        }
        Err("no start succeeds".into())
    }

    /// Checks that a start may fail with this error.
    pub fn check_open_error(&mut self, error: &OpenError) -> CheckResult {
        if self.disk.has_stopped() || self.disk.fired().is_some() {
            self.expected.had_fault = true;
            self.expected.record_fault(self.disk.fired());
            return Ok(());
        }
        match error {
            // An operator frees disk space.
            OpenError::Io { .. } if self.disk.was_full() => self.disk.set_capacity(u64::MAX),
            // The version in the dead-letter store was corrupted, so it looks like a newer one.
            OpenError::Io { source, .. }
                if self.expected.is_corrupt_in("dead") && source.to_string().contains("of a version") =>
            {
                self.refused = true;
            }
            OpenError::Lost { .. } if self.expected.corrupted.is_some() => self.refused = true,
            error => return Err(format!("the start fails: {error}")),
        }
        Ok(())
    }

    pub fn check_started(&mut self, opened: OpenedLog) -> CheckResult {
        let letters_quarantined = self
            .disk
            .paths()
            .iter()
            .any(|path| path.starts_with(dir().join("quarantine")) && is_letters(path));
        let torn = self.disk.paths().into_iter().filter_map(|path| torn_segment(&path)).collect();
        let disk = self.disk.clone();
        let known = &mut self.expected;
        disk.without_faults(|| known.check_opened(&opened, torn, letters_quarantined))?;
        self.broker.drop_lost(&self.expected);
        let from = opened.log.watermark();
        let worker = |_| Worker {
            cursor: opened.log.cursor(from),
            from: from.0,
            read: BTreeSet::new(),
            in_flight: BTreeMap::new(),
        };
        self.workers = (0..self.setup.workers).map(worker).collect();
        self.opened = Some(opened);
        Ok(())
    }

    /// Ends the run without faults. All acknowledged records are delivered, and the backlog is empty.
    pub fn finish(&mut self) -> CheckResult {
        self.disk.set_capacity(u64::MAX);
        let end = if self.rng.one_in(2) { Disk::kill } else { Disk::crash };
        self.restart(end)?;
        if self.refused {
            return Ok(());
        }
        self.disk.stop_after(u64::MAX);
        for worker in 0..self.setup.workers {
            self.deliver(worker, usize::MAX)?;
            self.confirm(worker, true)?;
        }
        self.maintain()?;
        let left = self.log().backlog_stats().backlog;
        ensure!(left == 0, "{left} records are never delivered");
        for (lsn, record) in &self.expected.acknowledged {
            let elsewhere =
                record.damaged || record.dead == Certainty::Yes || record.removed == Certainty::Yes;
            let arrived = self.broker.records.get(lsn) == Some(&record.payload);
            let letter_lost = record.dead != Certainty::No && self.expected.letters_reported;
            ensure!(arrived || elsewhere || letter_lost, "record {lsn} never arrived");
        }
        self.restart(Disk::crash)?;
        let again = self.opened.as_ref().map_or(0, |opened| opened.log.backlog_stats().backlog);
        ensure!(again == 0, "{again} records are delivered again");
        Ok(())
    }
}

fn is_letters(path: &Path) -> bool {
    path.file_name().is_some_and(|name| name.to_string_lossy().starts_with("letters"))
}

fn torn_segment(path: &Path) -> Option<u64> {
    let name = path.file_name()?.to_str()?.strip_suffix(".torn")?;
    let (first, _) = name.split_once('-')?;
    parse_segment_name(&format!("{first}.wal")).map(|first| first.0)
}
