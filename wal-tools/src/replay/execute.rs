//! Appends the chosen records to the log again, chunk by chunk: through the daemon if one runs, otherwise in this
//! process.

use anyhow::bail;
use forebay_wal::control::{ControlResponse, MAX_REPLAY, RecordOutcome, Request, RequestError};
use forebay_wal::inspect::LogView;
use forebay_wal::units::ByteSize;
use forebay_wal::{Lsn, control};
use serde::Serialize;

use super::plan::ReplayPlan;
use crate::log_context::LogContext;
use crate::offline_log::OfflineLog;
use crate::output::note;

/// Disk space that a replay without a daemon leaves free: the default of `[wal] reserve_space`. The tool does not read
/// the daemon's configuration.
const RESERVE: ByteSize = ByteSize::mib(512);

/// Progress of a replay.
#[derive(Debug, Default, Serialize)]
pub struct ReplayProgress {
    /// Records that were appended to the log again.
    pub replayed: u64,
    /// Original number of the last of these records.
    pub last_done: Option<Lsn>,
    /// New number of that record.
    pub last_as: Option<Lsn>,
    /// Error that ended the replay early.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
}

/// Process that appends the records: the daemon, or this process.
pub enum Executor<'a> {
    Daemon(&'a LogContext),
    Offline(Box<OfflineLog>),
}

impl<'a> Executor<'a> {
    /// Chooses the daemon if one responds, otherwise opens the log in this process, under its lock.
    pub fn begin(log: &'a LogContext, view: &LogView, plan: &ReplayPlan) -> anyhow::Result<Self> {
        match control::send_request(&log.dir, &Request::Status) {
            Ok(_) => return Ok(Self::Daemon(log)),
            Err(RequestError::NotRunning(_)) => {}
            Err(error) => bail!("{error}"),
        }
        let store = OfflineLog::open(log, view)?;
        let (free, needed) = (store.free_space()?, plan.bytes.saturating_add(RESERVE.0));
        if free < needed {
            bail!(
                "{free} bytes are free; the records and a reserve of {RESERVE} need {needed} bytes: free space, or replay a \
                 smaller range"
            );
        }
        Ok(Self::Offline(Box::new(store)))
    }

    /// Replays one chunk. Returns `false` after an error.
    pub fn replay_chunk(&mut self, lsns: &[Lsn], done: &mut ReplayProgress) -> bool {
        let outcomes = match self {
            Self::Daemon(log) => ask_daemon(log, lsns),
            Self::Offline(store) => Ok(store.replay(lsns)),
        };
        match outcomes {
            Ok(outcomes) => outcomes.into_iter().for_each(|outcome| done.add(outcome)),
            Err(error) => done.error = Some(error),
        }
        done.error.is_none()
    }

    /// Ends the replay; without a daemon, saves the checkpoint.
    pub fn end(self) -> anyhow::Result<()> {
        match self {
            Self::Daemon(_) => Ok(()),
            Self::Offline(store) => {
                note!("the next start of the daemon delivers them");
                store.close()
            }
        }
    }
}

fn ask_daemon(log: &LogContext, lsns: &[Lsn]) -> Result<Vec<RecordOutcome>, String> {
    match control::send_request(&log.dir, &Request::Replay { lsns: lsns.to_vec() }) {
        Ok(ControlResponse::Done(outcomes)) => Ok(outcomes),
        Ok(ControlResponse::Error(error)) => Err(format!("the daemon refused: {error}")),
        Ok(ControlResponse::Status(_)) => Err("the daemon sent a response to another request".to_owned()),
        Err(error) => Err(error.to_string()),
    }
}

impl ReplayProgress {
    fn add(&mut self, outcome: RecordOutcome) {
        match outcome.error {
            None => {
                self.replayed += 1;
                (self.last_done, self.last_as) = (Some(outcome.lsn), outcome.requeued_as);
            }
            Some(error) => self.error = Some(format!("record {}: {error}", outcome.lsn)),
        }
    }
}

/// Records per chunk.
pub const CHUNK: usize = MAX_REPLAY;
