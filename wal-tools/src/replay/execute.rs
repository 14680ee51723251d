//! Puts the chosen records into the log again, chunk by chunk: through the daemon if one runs, else here.

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

/// What a replay without a daemon leaves free on the disk: the default of `[wal] reserve_space`, which it cannot know.
const RESERVE: ByteSize = ByteSize::mib(512);

/// How far it came.
#[derive(Debug, Default, Serialize)]
pub struct ReplayProgress {
    /// Records that lie in the log again.
    pub replayed: u64,
    /// The last of them.
    pub last_done: Option<Lsn>,
    /// The number it has now.
    pub last_as: Option<Lsn>,
    /// Why it ended before the end.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
}

/// Who does it.
pub enum Executor<'a> {
    Daemon(&'a LogContext),
    Offline(Box<OfflineLog>),
}

impl<'a> Executor<'a> {
    /// A daemon if one answers, else ourselves, under its lock.
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
                "{free} bytes are free; the records and a reserve of {RESERVE} need {needed}: free space, or replay a \
                 smaller range"
            );
        }
        Ok(Self::Offline(Box::new(store)))
    }

    /// Does one chunk; false when that is the end.
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

    /// Saves what is done.
    pub fn end(self) -> anyhow::Result<()> {
        match self {
            Self::Daemon(_) => Ok(()),
            Self::Offline(store) => {
                note!("the next start delivers them");
                store.close()
            }
        }
    }
}

fn ask_daemon(log: &LogContext, lsns: &[Lsn]) -> Result<Vec<RecordOutcome>, String> {
    match control::send_request(&log.dir, &Request::Replay { lsns: lsns.to_vec() }) {
        Ok(ControlResponse::Done(outcomes)) => Ok(outcomes),
        Ok(ControlResponse::Error(error)) => Err(format!("the daemon refused: {error}")),
        Ok(ControlResponse::Status(_)) => Err("the daemon answered another question".to_owned()),
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

/// How many records go together.
pub const CHUNK: usize = MAX_REPLAY;
