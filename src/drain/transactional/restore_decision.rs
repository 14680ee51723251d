//! Decides where each lane begins, and whether this log is current or an older copy.
//!
//! Each start of the log is an epoch with its own incarnation. A position is trusted up to the end of its epoch in
//! *this* log. Suppose this log does not know the epoch, or the position is beyond the epoch's end here. Then another
//! copy wrote the position: this log was restored, or both copies are in use.
//!
//! | Kafka's message | this log | decision |
//! |---|---|---|
//! | none | any | continues from its own checkpoint |
//! | of a known epoch, not beyond that epoch's end | – | continues behind it |
//! | of an unknown epoch | – | restored |
//! | of a known epoch, beyond that epoch's end | – | restored |
//! | any of the last two | `on_restored_log = "stop"` | sends nothing |
//! | | `"continue-after-kafka"` | records that both copies share and Kafka has are done; all others are sent |
//! | | `"resend"` | all records that its own checkpoint does not record as done are sent |

use super::checkpoint_message::{CheckpointMessage, hex};
use super::lane_positions::LanePositions;
use crate::drain::config::OnRestoredLog;
use crate::units::Lsn;
use crate::wal::{Epoch, Transactions};

/// What this log knows about its own history.
pub(super) struct LogHistory<'a> {
    /// Its earlier epochs, and the current one if that has opened transactions.
    pub(super) transactions: &'a Transactions,
    /// The current incarnation.
    pub(super) incarnation: [u8; 16],
    /// The first LSN that is not flushed.
    pub(super) end: Lsn,
}

/// The decision about a log and its messages in Kafka.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum RestoreDecision {
    /// Continue behind these positions.
    Continue(LanePositions),
    /// This log is a copy and the operator has not configured what to do. Contains the explanation.
    Stop(String),
}

impl LogHistory<'_> {
    /// The LSN up to which a position of this incarnation is trusted. `None` if it is not an incarnation of this log.
    fn trusted_until(&self, incarnation: &[u8; 16]) -> Option<Lsn> {
        let epoch = self.transactions.epoch(incarnation)?;
        Some(if epoch.to == Epoch::OPEN { self.end } else { epoch.to })
    }

    /// The end of the last earlier epoch that may have opened transactions. No other copy has seen the records behind
    /// it.
    fn shared_end(&self) -> Lsn {
        let former = |epoch: &&Epoch| epoch.incarnation != self.incarnation;
        self.transactions.epochs.iter().rfind(former).map_or(Lsn(0), |epoch| epoch.to.min(self.end))
    }

    /// Why this message shows that the log is a copy, if it does.
    pub(super) fn is_copy(&self, message: &CheckpointMessage) -> Option<String> {
        let (incarnation, furthest) = (hex(&message.incarnation), message.lane_positions.highest());
        match self.trusted_until(&message.incarnation) {
            None => Some(format!(
                "Kafka has positions of incarnation {incarnation}, which is unknown to this log"
            )),
            Some(reach) if furthest > reach => Some(format!(
                "Kafka has records up to {furthest} of incarnation {incarnation}, which ends at {reach} in this log"
            )),
            Some(_) => None,
        }
    }

    /// Evaluates all messages that Kafka has for this log.
    pub(super) fn decide(&self, messages: &[CheckpointMessage], setting: OnRestoredLog) -> RestoreDecision {
        let mut start = LanePositions::default();
        let copied = messages.iter().find_map(|message| self.is_copy(message));
        if let (Some(reason), OnRestoredLog::Stop) = (&copied, setting) {
            return RestoreDecision::Stop(reason.clone());
        }
        if copied.is_some() && setting == OnRestoredLog::Resend {
            return RestoreDecision::Continue(start);
        }
        for message in messages {
            let reach = self.trusted_until(&message.incarnation).unwrap_or_else(|| self.shared_end());
            start.merge(&message.lane_positions, reach);
        }
        RestoreDecision::Continue(start)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::units::Timestamp;
    use crate::wal;

    const A: [u8; 16] = [1; 16];
    const B: [u8; 16] = [2; 16];
    /// An incarnation of another copy.
    const X: [u8; 16] = [9; 16];
    /// The current incarnation.
    const NOW: [u8; 16] = [7; 16];

    fn message(incarnation: [u8; 16], position: u64) -> CheckpointMessage {
        let mut positions = LanePositions::default();
        positions.advance(3, Lsn(position - 1));
        CheckpointMessage { incarnation, lane_positions: positions }
    }

    /// Epoch A spans 1 to 100, epoch B spans 100 to 200. The log now ends at 300.
    fn decide(messages: &[CheckpointMessage], setting: OnRestoredLog) -> RestoreDecision {
        let epoch = |incarnation, from, to| Epoch { incarnation, from: Lsn(from), to: Lsn(to) };
        let known = Transactions { ids: Some(2), epochs: vec![epoch(A, 1, 100), epoch(B, 100, 200)] };
        LogHistory { transactions: &known, incarnation: NOW, end: Lsn(300) }.decide(messages, setting)
    }

    fn begins_at(decision: RestoreDecision) -> u64 {
        let RestoreDecision::Continue(positions) = decision else { panic!("{decision:?}") };
        positions.get(3).0
    }

    const ALL: [OnRestoredLog; 3] =
        [OnRestoredLog::Stop, OnRestoredLog::ContinueAfterKafka, OnRestoredLog::Resend];

    #[test]
    fn a_log_without_messages_continues_from_its_own_checkpoint() {
        for setting in ALL {
            assert_eq!(begins_at(decide(&[], setting)), 0);
        }
    }

    #[test]
    fn positions_of_its_own_epochs_are_trusted_with_every_setting() {
        for setting in ALL {
            assert_eq!(begins_at(decide(&[message(A, 60), message(B, 200)], setting)), 200);
            assert_eq!(begins_at(decide(&[message(B, 150), message(A, 100)], setting)), 150);
        }
    }

    #[test]
    fn an_unknown_epoch_shows_that_the_log_is_a_copy() {
        let messages = [message(B, 200), message(X, 250)];
        assert!(
            matches!(decide(&messages, OnRestoredLog::Stop), RestoreDecision::Stop(why) if why.contains(&hex(&X)))
        );
        // The records 200 to 250 were accepted here after the copy was made. The other copy has different records
        // with these LSNs.
        assert_eq!(begins_at(decide(&messages, OnRestoredLog::ContinueAfterKafka)), 200);
        assert_eq!(begins_at(decide(&messages, OnRestoredLog::Resend)), 0);
    }

    #[test]
    fn a_position_beyond_its_epoch_shows_a_copy() {
        let messages = [message(B, 201)];
        assert!(matches!(decide(&messages, OnRestoredLog::Stop), RestoreDecision::Stop(_)));
        assert_eq!(begins_at(decide(&messages, OnRestoredLog::ContinueAfterKafka)), 200);
        assert_eq!(begins_at(decide(&messages, OnRestoredLog::Resend)), 0);
    }

    #[test]
    fn a_copy_older_than_the_first_transaction_shares_no_records() {
        let known = Transactions { ids: Some(0), epochs: Vec::new() };
        let own = LogHistory { transactions: &known, incarnation: NOW, end: Lsn(300) };
        let messages = [message(X, 250)];
        assert!(matches!(own.decide(&messages, OnRestoredLog::Stop), RestoreDecision::Stop(_)));
        assert_eq!(begins_at(own.decide(&messages, OnRestoredLog::ContinueAfterKafka)), 0);
    }

    /// Records accepted in such an epoch were never sent, so another copy's positions do not apply to them.
    #[test]
    fn records_of_an_epoch_without_takeover_are_not_shared() {
        let epoch = |incarnation, from, to| Epoch { incarnation, from: Lsn(from), to: Lsn(to) };
        let known = Transactions { ids: Some(2), epochs: vec![epoch(A, 1, 100), epoch(B, 100, 100)] };
        let own = LogHistory { transactions: &known, incarnation: NOW, end: Lsn(300) };
        assert_eq!(begins_at(own.decide(&[message(X, 250)], OnRestoredLog::ContinueAfterKafka)), 100);
    }

    /// Regression: Kafka has the last epoch that completed a takeover. 64 later epochs made the log forget it, so it
    /// looked restored.
    #[test]
    fn failed_takeovers_do_not_make_the_log_look_restored() {
        let dir = tempfile::tempdir().unwrap();
        let options = wal::Options {
            redeliver: false,
            keys: wal::Keys::default(),
            segment_size: 1 << 20,
            reserve_space: 0,
            label: |_| None,
            observer: Arc::new(|_| {}),
        };
        let start = || wal::open(Arc::new(wal::fs::RealFs), dir.path(), &options, Timestamp::now()).unwrap();
        let named = {
            let came_through = start();
            came_through.log.begin_takeover(&[]).unwrap();
            came_through.log.finish_takeover(2).unwrap();
            came_through.log.identity().incarnation
        };
        let in_kafka = [CheckpointMessage { incarnation: named, lane_positions: LanePositions::default() }];
        for died in 0..70 {
            let opened = start();
            let known = opened.log.transactions();
            let incarnation = opened.log.identity().incarnation;
            let own = LogHistory { transactions: &known, incarnation, end: opened.log.end() };
            let decision = own.decide(&in_kafka, OnRestoredLog::Stop);
            assert!(matches!(decision, RestoreDecision::Continue(_)), "after {died} starts: {decision:?}");
            opened.log.begin_takeover(&[named]).unwrap();
        }
    }

    #[test]
    fn positions_of_this_epoch_are_trusted_within_the_log() {
        let lives = vec![Epoch { incarnation: NOW, from: Lsn(200), to: Epoch::OPEN }];
        let known = Transactions { ids: Some(2), epochs: lives };
        let own = LogHistory { transactions: &known, incarnation: NOW, end: Lsn(300) };
        assert_eq!(begins_at(own.decide(&[message(NOW, 300)], OnRestoredLog::Stop)), 300);
        assert!(matches!(own.decide(&[message(NOW, 301)], OnRestoredLog::Stop), RestoreDecision::Stop(_)));
    }
}
