//! One run of a daemon, as other daemons tell it from the previous run.
//!
//! Every claim begins with the id of the run that made it. Once a run has gone through its log, all markers of commands in
//! the log carry command ids, and its heartbeat names the run. A marker of an earlier run that still has no id stands for
//! nothing: its daemon died before the log had the command.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{SystemTime, UNIX_EPOCH};

use data_encoding::HEXLOWER;

/// Of 16 bytes of a claim, those that name the run.
const RUN_ID_BYTES: usize = 8;

/// This run.
pub(in crate::users) struct InstanceId {
    run: [u8; RUN_ID_BYTES],
    caught_up: AtomicBool,
}

impl InstanceId {
    pub fn new() -> Self {
        Self { run: unique(), caught_up: AtomicBool::new(false) }
    }

    /// A claim of this run.
    pub fn new_claim(&self) -> [u8; 16] {
        let mut claim = [0; 16];
        claim[..RUN_ID_BYTES].copy_from_slice(&self.run);
        claim[RUN_ID_BYTES..].copy_from_slice(&unique());
        claim
    }

    /// The markers of what the log holds have their ids.
    pub fn mark_caught_up(&self) {
        self.caught_up.store(true, Ordering::Release);
    }

    /// What the sign of life says.
    pub fn heartbeat_value(&self) -> Vec<u8> {
        match self.caught_up.load(Ordering::Acquire) {
            true => HEXLOWER.encode(&self.run).into_bytes(),
            false => b"-".to_vec(),
        }
    }

    /// Whether the claim is of an earlier run than the one that gives this sign and has caught up.
    pub fn is_of_ended_run(sign: &[u8], claim: &[u8; 16]) -> bool {
        HEXLOWER.decode(sign).is_ok_and(|run| run.len() == RUN_ID_BYTES && run != claim[..RUN_ID_BYTES])
    }
}

/// Unique is enough: a claim is no secret.
fn unique() -> [u8; RUN_ID_BYTES] {
    let mut bytes = [0; RUN_ID_BYTES];
    if getrandom::fill(&mut bytes).is_err() {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        bytes.copy_from_slice(&now.as_nanos().to_be_bytes()[RUN_ID_BYTES..]);
    }
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn claims_of_an_earlier_run_are_over_when_the_next_one_has_caught_up() {
        let (before, now) = (InstanceId::new(), InstanceId::new());
        let (old, new) = (before.new_claim(), now.new_claim());
        assert_ne!(now.new_claim(), new);
        assert!(
            !InstanceId::is_of_ended_run(&now.heartbeat_value(), &old),
            "it may still find the command in its log"
        );
        now.mark_caught_up();
        assert_eq!(
            (
                InstanceId::is_of_ended_run(&now.heartbeat_value(), &old),
                InstanceId::is_of_ended_run(&now.heartbeat_value(), &new)
            ),
            (true, false)
        );
        // Of a version that says nothing of runs.
        assert!(!InstanceId::is_of_ended_run(b"1", &old));
    }
}
