//! Commands delivered again long after they were decided.

use forebay::db::{Retention, RetentionPass};
use forebay::units::Timestamp;

use super::commands::{CommandSource, send};
use super::test_servers::{TestServers, for_each_database};
use support::daemon::LONG;
use support::wait;

/// The outcome row has expired; the audit row has not.
#[test]
fn a_repeat_with_an_expired_outcome_changes_nothing() {
    for_each_database("a_repeat_with_an_expired_outcome_changes_nothing", |stage| {
        let mut log = CommandSource::new(1);
        let first = [log.create(1, "ada"), log.delete(2, "ada"), log.create(3, "eve")];
        let ids: Vec<_> = first.iter().map(|one| one.id).collect();
        let running = stage.start(TestServers::config());
        send(&stage.kafka.bootstrap(), &first);
        stage.await_outcomes(&ids);
        let users = stage.users();
        // Deletes outcomes, and the tombstone that would reject the second registration.
        let retention = Retention::new(None);
        let expired = stage.runtime.block_on(stage.db.delete_expired(&retention, Timestamp(1 << 62), LONG));
        assert_eq!(expired, RetentionPass { deleted: 4, ..RetentionPass::default() });

        // In every partition of the topic, behind and next to the repeats.
        let later: Vec<_> = (0..24).map(|number| log.create(4, &format!("user{number}"))).collect();
        send(&stage.kafka.bootstrap(), &[&first[..], &later].concat());
        let repeats = running.metrics.applied.with_label_values(&["repeat"]);
        wait::until_true("the repeats are settled", LONG, || repeats.get() == 3);
        stage.await_outcomes(&later.iter().map(|one| one.id).collect::<Vec<_>>());
        assert_eq!(running.metrics.retried.get(), 0);
        let now = stage.users();
        assert_eq!(now.get("eve"), users.get("eve"));
        assert!(!now.contains_key("ada"), "a deleted user must stay deleted");
    });
}
