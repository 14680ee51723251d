//! A commit whose reply is lost.

use std::sync::Arc;

use forebay::consumer::ConsumerParts;
use forebay::db;
use forebay::db::Database;
use forebay::metrics::Registry;
use forebay::units::Span;

use super::apply::RecordingHooks;
use super::commands::{CommandSource, send};
use super::test_servers::TestServers;
use support::daemon::LONG;
use support::proxy::{LinkState, Proxy};
use support::statement_gate::StatementGate;
use support::{services, wait};

/// The retry finds the command applied. Without a notification, caches would keep the old user.
#[test]
fn a_commit_with_a_lost_reply_updates_the_caches() {
    let test = "a_commit_with_a_lost_reply_updates_the_caches";
    let Some(url) = services::postgres(test) else { return };
    let Some(stage) = TestServers::new(test, &url) else { return };
    let mut gate = StatementGate::new(&url);
    gate.sql(
        "CREATE CONSTRAINT TRIGGER at_commit AFTER INSERT ON command_outcomes DEFERRABLE INITIALLY DEFERRED \
         FOR EACH ROW EXECUTE FUNCTION pass_gate_trigger()",
    );
    let proxy = Proxy::start();
    let (before, rest) = url.split_once('@').unwrap();
    let (address, name) = rest.split_once('/').unwrap();
    proxy.forward_to(address);
    let behind = format!("{before}@{}/{name}", proxy.address());
    let config = db::Config {
        url: behind.as_str().into(),
        acquire_timeout: Span::secs(5),
        statement_timeout: Span::secs(60),
        ..db::Config::default()
    };
    let metrics = db::Metrics::register(&Registry::new().unwrap()).unwrap();
    let db = stage.runtime.block_on(Database::connect(&config, &metrics)).unwrap();
    let ear = Arc::new(RecordingHooks::default());
    let parts = ConsumerParts { db, post_commit: ear.clone(), ..stage.parts(TestServers::config()) };

    gate.close();
    let _running = stage.start_parts(parts);
    let create = CommandSource::new(1).create(1, "ada");
    send(&stage.kafka.bootstrap(), std::slice::from_ref(&create));
    gate.await_waiter();
    // The database commits, and the reply is lost.
    proxy.set(LinkState::NO_RESPONSES);
    gate.open();
    stage.await_outcomes(&[create.id]);
    assert!(ear.changed().is_empty());
    proxy.reset();
    proxy.heal();
    wait::until_true("the command is settled", LONG, || ear.finished() == [create.id]);
    assert_eq!(ear.changed(), ["ada"]);
}
