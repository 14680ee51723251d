//! A full disk of the database, and recovery when space is free again.

use std::fs;
use std::process::Command;

use forebay::db::DbError;

use crate::{TestDatabase, outcome};
use support::disk::SmallDisk;
use support::sql::{SqlServer, is_root};
use support::{scratch, services};

/// Size of the disk. A new PostgreSQL database takes 8 MiB.
const MEBIBYTES: u32 = 32;
/// More outcome rows than fit into the existing pages.
const MANY: usize = 10_000;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn postgres_recovers_from_a_full_disk() {
    let test = "postgres_recovers_from_a_full_disk";
    let Some(server) = services::own_postgres(test) else { return };
    let dir = scratch::dir("tablespace");
    let disk = SmallDisk::mount(dir.path(), MEBIBYTES);
    let space = dir.path().join("space");
    fs::create_dir(&space).unwrap();
    if is_root() {
        assert!(Command::new("chown").arg("postgres").arg(&space).status().unwrap().success());
    }
    server.sql(server.default_database(), &format!("CREATE TABLESPACE small LOCATION '{}'", space.display()));
    server.sql(server.default_database(), "CREATE DATABASE full_disk TABLESPACE small");
    let test_db = TestDatabase::server(server.url("full_disk"));
    test_db.migrated().await;
    let database = test_db.database().await;
    let write = async |id: String| {
        let mut batch = database.begin().await?;
        batch.insert_outcomes(&[outcome(&id, 1)]).await?;
        batch.commit().await
    };
    disk.fill_but(0).unwrap();
    let mut refused = None;
    for number in 0..MANY {
        if let Err(error) = write(format!("before-{number}")).await {
            refused = Some((number, error));
            break;
        }
    }
    let (number, error) = refused.expect("the disk is full");
    assert!(matches!(error, DbError::Busy(_)) && error.is_transient(), "{error}");
    assert!(error.to_string().contains("53100"), "{error}");
    assert_eq!(database.ping().await, Ok(()), "reads still succeed");
    disk.clear().unwrap();
    // The refused write succeeds on the existing connections.
    assert_eq!(write(format!("before-{number}")).await, Ok(()));
    assert_eq!(database.check_writes().await, Ok(()));
}
