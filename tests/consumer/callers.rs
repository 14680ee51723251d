//! Commands whose caller's name is too long for its column: from an earlier version's log, or from another program.

use forebay::command::{UserKind, UserValue};

use super::commands::{CommandSource, send};
use super::test_servers::{TestServers, for_each_database};

#[test]
fn a_command_with_a_long_caller_name_is_applied() {
    for_each_database("a_command_with_a_long_caller_name_is_applied", |stage| {
        let mut log = CommandSource::new(1);
        let long = "ğ".repeat(255);
        let callers = [long.clone(), format!("{long}a"), format!("{long}b"), "a\u{0}b".to_owned()];
        let mut sent = vec![log.create(1, "ada")];
        for actor in &callers {
            let nickname = Some(Some(format!("from {}", sent.len())));
            let actor = Some(actor.clone());
            let value = UserValue { name: "ada".to_owned(), nickname, actor, ..UserValue::default() };
            sent.push(log.command(2, UserKind::Update, value));
        }
        send(&stage.kafka.bootstrap(), &sent);
        let _running = stage.start(TestServers::config());
        let ids: Vec<_> = sent.iter().map(|one| one.id).collect();
        let outcomes = stage.await_outcomes(&ids);
        assert!(outcomes.values().all(|row| row.state == "applied"), "{outcomes:#?}");
        assert_eq!(stage.users()["ada"].nickname.as_deref(), Some("from 4"));
        let mut kept: Vec<_> =
            ids[1..].iter().map(|id| outcomes[&id.to_string()].actor.clone().unwrap()).collect();
        assert_eq!(kept[0], long, "a name that fits is unchanged");
        kept.sort();
        kept.dedup();
        assert_eq!(kept.len(), 4, "two callers never become one: each could read the other's statuses");
    });
}
