//! Outages of the database.

use super::commands::{CommandSource, send};
use super::test_servers::TestServers;
use support::daemon::LONG;
use support::sql::SqlServer;
use support::{services, wait};

/// Kills the database in the middle of batches. No command may be lost or dead, every command reported as applied must
/// have its row, and the consumer stays a member of its group.
fn survives(test: &str, server: &dyn SqlServer) {
    let Some(stage) = TestServers::new(test, &server.create_database()) else { return };
    let mut log = CommandSource::new(1);
    let sent: Vec<_> = (0..6_000).map(|number| log.create(number, &format!("user{number}"))).collect();
    let ids: Vec<_> = sent.iter().map(|one| one.id).collect();
    send(&stage.kafka.bootstrap(), &sent);
    let mut consumer = stage.process().set("consumer.batch_size", 100);
    consumer.start();
    for part in 1..=3 {
        stage.await_some(&ids, part * ids.len() / 5);
        server.kill();
        let trouble =
            || consumer.admin_http().get("/readyz").unwrap().json()["dependencies"]["database"].clone();
        wait::until_true("the outage is reported", LONG, || trouble() != "ok");
        server.start();
        wait::until_true("the consumer is healthy again", LONG, || trouble() == "ok");
        let outcomes = wait::until("the database is available", LONG, || stage.try_outcomes(&ids));
        let users = stage.users();
        for row in outcomes.values() {
            assert_eq!(row.state, "applied");
            assert!(users.contains_key(&row.name), "{} was rolled back and is called applied", row.name);
        }
    }
    stage.await_outcomes(&ids);
    assert_eq!(stage.users().len(), ids.len());
    assert!(!consumer.log().contains("partitions_revoked"), "{}", consumer.log());
    assert_eq!(
        consumer.log().matches("consumer.database_unwritable").count(),
        3,
        "logged once per outage: {}",
        consumer.log()
    );
    assert!(consumer.terminate().success(), "{}", consumer.log());
}

#[test]
fn a_killed_mariadb_loses_nothing() {
    let test = "a_killed_mariadb_loses_nothing";
    if let Some(server) = services::own_mariadb(test) {
        survives(test, &server);
    }
}

#[test]
fn a_killed_postgres_loses_nothing() {
    let test = "a_killed_postgres_loses_nothing";
    if let Some(server) = services::own_postgres(test) {
        survives(test, &server);
    }
}
