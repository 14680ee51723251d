//! Commands become rows exactly once, and the hooks are called.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use forebay::command::{CommandId, UserKind, UserValue};
use forebay::consumer::{Config, Degraded, HookFuture, PostCommit};
use forebay::kv::reservation_marker::ReservationMarker;
use forebay::kv::{Kv, reservation_marker};

use super::commands::{CommandSource, SentCommand, person, send};
use super::test_servers::{TestServers, for_each_database};
use support::daemon::LONG;
use support::{scratch, wait};

fn ids(sent: &[SentCommand]) -> Vec<CommandId> {
    sent.iter().map(|one| one.id).collect()
}

#[test]
fn redelivered_commands_change_nothing() {
    for_each_database("redelivered_commands_change_nothing", |stage| {
        let mut log = CommandSource::new(1);
        // In another partition a conflicting command could be applied first. It is sent when the first has its outcome.
        let (mut first, mut late) = (Vec::new(), Vec::new());
        for number in 0..1_000_u64 {
            let create = log.create(number, &format!("user{number}"));
            // Every fifth is sent twice, and every tenth conflicts: the name, the address, or the number.
            first.extend((number % 5 == 0).then(|| create.clone()));
            first.push(create);
            if number % 10 == 0 {
                let other = person(&format!("other{number}"));
                let taken = person(&format!("user{number}"));
                let value = match number % 30 {
                    0 => taken,
                    10 => UserValue { email: taken.email, ..other },
                    _ => UserValue { phone: taken.phone, ..other },
                };
                late.push(log.command(number, UserKind::Create, value));
            }
        }
        let sent = [first.clone(), late.clone()].concat();
        let bootstrap = stage.kafka.bootstrap();
        send(&bootstrap, &first);
        let running = stage.start(TestServers::config());
        stage.await_outcomes(&ids(&first));
        send(&bootstrap, &late);
        let outcomes = stage.await_outcomes(&ids(&sent));
        for one in &late {
            let row = &outcomes[&one.id.to_string()];
            let field = match one.id.accepted_at().0 % 30 {
                0 => "name",
                10 => "email",
                _ => "phone",
            };
            let said = (row.state.as_str(), row.field.as_deref(), row.reason.as_deref());
            assert_eq!(said, ("rejected", Some(field), Some("taken")), "{}", row.name);
        }
        let users = stage.users();
        assert_eq!(users.len(), 1_000);
        assert_eq!(outcomes.values().filter(|row| row.state == "applied").count(), 1_000);
        drop(running);

        // From the beginning, as a new group.
        let running = stage.start(Config { group: "another".to_owned(), ..TestServers::config() });
        let repeats = running.metrics.applied.with_label_values(&["repeat"]);
        wait::until_true("all came again", LONG, || repeats.get() as usize == sent.len());
        assert_eq!((stage.users(), stage.await_outcomes(&ids(&sent))), (users.clone(), outcomes.clone()));
        drop(running);

        // And with the command line.
        let mut replay = stage.process().args(&["consume", "--replay", "--partition", "1"]);
        replay.launch();
        assert!(replay.wait(LONG).success(), "{}", replay.log());
        assert!(replay.log().contains(" 0 applied, 0 rejected"), "{}", replay.log());
        assert_eq!(stage.users(), users);
    });
}

/// Hooks that record all calls.
#[derive(Default)]
pub struct RecordingHooks {
    changed: Mutex<Vec<String>>,
    finished: Mutex<Vec<CommandId>>,
}

impl RecordingHooks {
    pub fn changed(&self) -> Vec<String> {
        self.changed.lock().unwrap().clone()
    }

    pub fn finished(&self) -> Vec<CommandId> {
        self.finished.lock().unwrap().clone()
    }
}

impl PostCommit for RecordingHooks {
    fn users_changed<'a>(&'a self, names: &'a [String]) -> HookFuture<'a> {
        self.changed.lock().unwrap().extend_from_slice(names);
        Box::pin(std::future::ready(()))
    }

    fn commands_finished<'a>(&'a self, ids: &'a [CommandId]) -> HookFuture<'a> {
        self.finished.lock().unwrap().extend_from_slice(ids);
        Box::pin(std::future::ready(()))
    }
}

#[test]
fn applied_commands_release_their_reservations_and_notify() {
    for_each_database("applied_commands_release_their_reservations_and_notify", |stage| {
        let dir = scratch::dir("store");
        let kv = Kv::embedded(dir.path()).unwrap();
        let mut log = CommandSource::new(1);
        let claimed = |name: &str, claim: u8| {
            let text = data_encoding::HEXLOWER.encode(&[claim; 16]);
            UserValue { claim: Some(text), ..person(name) }
        };
        let ada = claimed("ada", 1);
        let eve = claimed("eve", 2);
        let mark = |key: String, claim: u8| {
            let marker = ReservationMarker { log: [1; 16], claim: [claim; 16], digest: [0; 16], id: None };
            (key, marker.encode(), Duration::from_secs(600))
        };
        let keys = [
            reservation_marker::name_key("ada"),
            reservation_marker::email_key("ada@example.org"),
            reservation_marker::phone_key(ada.phone.as_deref().unwrap()),
            reservation_marker::name_key("eve"),
        ];
        // Another command has taken over eve's reservation since.
        let entries = [1, 1, 1, 7].into_iter().zip(keys.clone()).map(|(claim, key)| mark(key, claim));
        stage.runtime.block_on(kv.set_all(&entries.collect::<Vec<_>>())).unwrap();
        let sent = [
            log.command(1, UserKind::Create, ada),
            log.command(2, UserKind::Create, eve),
            log.delete(3, "nobody"),
        ];
        let ear = Arc::new(RecordingHooks::default());
        let _running = stage.start_with(kv.clone(), ear.clone());
        send(&stage.kafka.bootstrap(), &sent);
        wait::until_true("all are announced", LONG, || ear.finished().len() == sent.len());
        let left = stage.runtime.block_on(kv.get_all(&keys)).unwrap();
        assert_eq!(left.iter().map(Option::is_some).collect::<Vec<_>>(), [false, false, false, true]);
        let mut changed = ear.changed();
        changed.sort_unstable();
        assert_eq!(changed, ["ada", "eve"]);
    });
}

#[test]
fn deferred_columns_are_written_after_the_overload() {
    for_each_database("deferred_columns_are_written_after_the_overload", |stage| {
        let mut log = CommandSource::new(1);
        let nick = UserValue { nickname: Some(Some("Ada".to_owned())), ..person("ada") };
        let sent =
            [log.command(1, UserKind::Create, nick), log.create(2, "bob"), log.rename(3, "bob", "Bob")];
        send(&stage.kafka.bootstrap(), &sent);
        let running = stage.start(Config { degraded: Degraded::On, ..TestServers::config() });
        stage.await_outcomes(&ids(&sent));
        drop(running);
        let nicknames =
            || stage.users().into_values().map(|row| row.nickname.unwrap_or_default()).collect::<Vec<_>>();
        assert_eq!(nicknames(), ["Ada", "Bob"], "a reader sees them all the time");
        let merged = stage.runtime.block_on(stage.db.merge_extras(10)).unwrap();
        assert_eq!((merged, nicknames()), (2, vec!["Ada".to_owned(), "Bob".to_owned()]));
    });
}
