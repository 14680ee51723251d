//! Records that the drain gathers: the events that end the gathering, with a log, producers and a broker. The
//! gathering itself would last an hour, so that no test depends on its time.

use super::*;
use crate::command::{CommandId, IdGenerator};
use crate::drain::release_pacer::{FULL_BATCH_RECORDS, ReleasePacer};

const HOUR: Duration = Duration::from_secs(3600);

impl DrainFixture {
    /// Starts a drain that gathers since its first record was sent.
    fn gathering(&mut self) -> (Drain, Statuses) {
        let parts = self.parts();
        let statuses = parts.statuses.clone();
        let drain = Drain::start_with(parts, ReleasePacer::new(HOUR)).unwrap();
        self.append(TOPIC, 0..1, 1);
        self.wait_until_drained();
        (drain, statuses)
    }

    fn id_of(&self, lsn: Lsn) -> CommandId {
        let identity = self.log.identity();
        IdGenerator::new(&identity.log_id, &identity.secret).generate(Timestamp::now(), lsn, [0; 9])
    }
}

/// Returns when the command is final, or when the test has lasted too long.
fn wait_for_outcome(statuses: &Statuses, id: &CommandId) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(statuses.wait_until_final(id, false, Instant::now() + LIMIT));
}

#[test]
fn a_record_that_a_client_waits_for_is_not_gathered() {
    let mut fixture = DrainFixture::new();
    let (drain, statuses) = fixture.gathering();
    let lsn = fixture.writer.next_lsn();
    fixture.append(TOPIC, 1..3, 1);
    wait_for_outcome(&statuses, &fixture.id_of(lsn));
    // The record was sent, and the one behind it as well.
    fixture.wait_until_drained();
    // No client waits for this record: it is gathered, and remains in the log at the stop.
    fixture.append(TOPIC, 3..4, 1);
    drain.stop(Instant::now() + LIMIT);
    fixture.assert_in_order(TOPIC, 0..3, 1, &[]);
}

#[test]
fn full_batches_are_not_gathered() {
    let mut fixture = DrainFixture::new();
    let (drain, _) = fixture.gathering();
    fixture.append(TOPIC, 1..FULL_BATCH_RECORDS, 1);
    assert_eq!(fixture.log.backlog_stats().backlog, FULL_BATCH_RECORDS - 1, "one fewer is gathered");
    fixture.append(TOPIC, FULL_BATCH_RECORDS..FULL_BATCH_RECORDS + 1, 1);
    fixture.wait_until_drained();
    drain.stop(Instant::now() + LIMIT);
    fixture.assert_in_order(TOPIC, 0..FULL_BATCH_RECORDS + 1, 1, &[]);
}

#[test]
fn a_stop_does_not_wait_for_gathered_records() {
    let mut fixture = DrainFixture::new();
    let (drain, _) = fixture.gathering();
    fixture.append(TOPIC, 1..10, 1);
    let begun = Instant::now();
    drain.stop(Instant::now() + LIMIT);
    assert!(begun.elapsed() < LIMIT, "the gathering thread received the stop");
    assert_eq!(fixture.log.backlog_stats().backlog, 9, "the log keeps them");
}
