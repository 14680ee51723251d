//! Identifies one run of a daemon, so that other daemons can distinguish it from an earlier run.
//!
//! Every claim begins with the id of the run that made it. When a run has processed the claims in its log, all
//! reservations of logged commands contain command ids, and the run's heartbeat contains its id. A reservation of an
//! earlier run without a command id is then orphaned: that run ended before the log had the command.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{SystemTime, UNIX_EPOCH};

use data_encoding::HEXLOWER;

/// Bytes of the run id within the 16 bytes of a claim.
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

    /// A new claim of this run.
    pub fn new_claim(&self) -> [u8; 16] {
        let mut claim = [0; 16];
        claim[..RUN_ID_BYTES].copy_from_slice(&self.run);
        claim[RUN_ID_BYTES..].copy_from_slice(&unique());
        claim
    }

    /// Records that the reservations of all logged commands have their ids.
    pub fn mark_caught_up(&self) {
        self.caught_up.store(true, Ordering::Release);
    }

    /// Value of the heartbeat.
    pub fn heartbeat_value(&self) -> Vec<u8> {
        match self.caught_up.load(Ordering::Acquire) {
            true => HEXLOWER.encode(&self.run).into_bytes(),
            false => b"-".to_vec(),
        }
    }

    /// Whether the claim belongs to an earlier run than the caught-up run that sent this heartbeat.
    pub fn is_of_ended_run(sign: &[u8], claim: &[u8; 16]) -> bool {
        HEXLOWER.decode(sign).is_ok_and(|run| run.len() == RUN_ID_BYTES && run != claim[..RUN_ID_BYTES])
    }
}

/// Uniqueness is enough, because a claim is not secret.
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
    fn claims_of_a_run_end_when_the_next_catches_up() {
        let (before, now) = (InstanceId::new(), InstanceId::new());
        let (old, new) = (before.new_claim(), now.new_claim());
        assert_ne!(now.new_claim(), new);
        assert!(
            !InstanceId::is_of_ended_run(&now.heartbeat_value(), &old),
            "the run may still find the command in its log"
        );
        now.mark_caught_up();
        assert_eq!(
            (
                InstanceId::is_of_ended_run(&now.heartbeat_value(), &old),
                InstanceId::is_of_ended_run(&now.heartbeat_value(), &new)
            ),
            (true, false)
        );
        // Heartbeat of a version without run ids.
        assert!(!InstanceId::is_of_ended_run(b"1", &old));
    }
}
