//! What an operator's tool may ask over the control socket.

use crate::control::Operator;
use crate::control::Outcome;
use crate::http::AdminBackend;
use crate::ingest::Again;
use crate::units::Timestamp;
use crate::wal::Lsn;
use crate::wal::dead::Dead;
use crate::wal::dead::Removal;

use super::backend::Backend;

impl Operator for Backend {
    /// With a checkpoint taken before, so that what the tool reads beside it is as new.
    fn status(&self) -> serde_json::Value {
        if let Err(error) = self.log.checkpoint(Timestamp::now()) {
            tracing::warn!(%error, "checkpoint.failed: what a tool reads from the files is older");
        }
        self.backlog_json()
    }

    fn requeue(&self, lsn: Lsn) -> Result<Lsn, String> {
        match self.log.dead().get(lsn) {
            Ok(Some(Dead::Letter(letter))) => self.ingest.requeue(&letter),
            Ok(Some(Dead::Sealed(_))) => {
                Err("the letter is encrypted under a key that is not given".to_owned())
            }
            Ok(Some(Dead::Damage(_))) => {
                Err("the record was lost to damage: there is nothing to send".to_owned())
            }
            Ok(None) => Err(format!("no dead letter {lsn}")),
            Err(error) => Err(error.to_string()),
        }
    }

    fn replay(&self, lsns: &[Lsn]) -> Vec<Outcome> {
        let outcome =
            |(lsn, now): Again| Outcome { lsn, requeued_as: now.as_ref().ok().copied(), error: now.err() };
        self.ingest.replay(lsns).into_iter().map(outcome).collect()
    }

    fn drop_letter(&self, lsn: Lsn) -> Result<(), String> {
        match self.log.remove_letter(lsn, Removal::Dropped) {
            Ok(true) => Ok(()),
            Ok(false) => Err(format!("no dead letter {lsn}")),
            Err(error) => Err(error.to_string()),
        }
    }
}
