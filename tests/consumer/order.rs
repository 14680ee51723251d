//! Commands of two logs, out of order.

use forebay::command::{UserKind, UserValue};

use super::commands::{CommandSource, send};
use super::test_servers::{TestServers, for_each_database};

#[test]
fn an_older_update_of_another_log_is_superseded() {
    for_each_database("an_older_update_of_another_log_is_superseded", |stage| {
        let (mut one, mut other) = (CommandSource::new(1), CommandSource::new(2));
        let password = |log: &mut CommandSource, at| {
            let hash = Some(format!("$2b$10${at}"));
            let value = UserValue { name: "ada".to_owned(), password_hash: hash, ..UserValue::default() };
            log.command(at, UserKind::Password, value)
        };
        let sent = [
            one.create(1_000, "ada"),
            other.rename(3_000, "ada", "new"),
            one.rename(2_000, "ada", "old"),
            password(&mut one, 2_500),
            one.rename(3_500, "ada", "newest"),
            one.rename(3_500, "ada", "as new and later"),
            // A registration that was accepted before the deletion, and delivered after it.
            other.delete(5_000, "ada"),
            one.create(4_000, "ada"),
            one.rename(6_000, "ada", "gone"),
            other.create(7_000, "ada"),
            one.delete(6_500, "ada"),
        ];
        let _running = stage.start(TestServers::config());
        send(&stage.kafka.bootstrap(), &sent);
        let ids: Vec<_> = sent.iter().map(|one| one.id).collect();
        let outcomes = stage.await_outcomes(&ids);
        let said: Vec<_> = ids
            .iter()
            .map(|id| {
                let row = &outcomes[&id.to_string()];
                row.reason.clone().unwrap_or_else(|| row.state.clone())
            })
            .collect();
        let (yes, old) = ("applied", "superseded");
        assert_eq!(said, [yes, yes, old, old, yes, yes, yes, old, "not_found", yes, old]);
        let users = stage.users();
        assert_eq!(users["ada"].version.id, ids[9].to_string());
    });
}
