//! Deleting expired rows.

use std::collections::HashSet;
use std::time::Duration;

use forebay::db::{AuditRow, Database, Metrics, Retention, RetentionPass};
use forebay::metrics::Registry;
use forebay::units::Timestamp;

use crate::{TestDatabase, audit, insert, outcome, strings, user, version};

/// Longer than any pass of a test.
const LONG: Duration = Duration::from_secs(600);

/// All rows expire after one second.
fn seconds() -> Retention {
    let second = Duration::from_secs(1);
    Retention { outcomes: second, sessions: second, audit: Some(second) }
}

/// Deletes rows older than `at`.
async fn before(database: &Database, at: u64) -> RetentionPass {
    database.delete_expired(&seconds(), Timestamp(at + 1000), LONG).await
}

fn ids(count: u64) -> Vec<String> {
    (0..count).map(|number| format!("c{number:05}")).collect()
}

/// Inserts outcomes and audit rows of commands that finished at 0, 1, 2 and so on, eight at a time.
async fn decide(database: &Database, ids: &[String]) {
    let at = |number: usize| number as u64 / 8;
    for (page, ids) in ids.chunks(2_000).enumerate() {
        let numbered = || ids.iter().enumerate().map(|(number, id)| (id, at(page * 2_000 + number)));
        let outcomes: Vec<_> = numbered().map(|(id, at)| outcome(id, at)).collect();
        let audits: Vec<_> = numbered().map(|(id, at)| AuditRow { at: Timestamp(at), ..audit(id) }).collect();
        let mut batch = database.begin().await.unwrap();
        batch.insert_outcomes(&outcomes).await.unwrap();
        batch.insert_audit(&audits).await.unwrap();
        batch.commit().await.unwrap();
    }
}

async fn outcomes_left(database: &Database, ids: &[String]) -> HashSet<String> {
    database.outcomes(ids).await.unwrap().into_iter().map(|outcome| outcome.id).collect()
}

pub async fn one_pass_deletes_a_large_backlog_and_allows_writes(test_db: &TestDatabase) {
    let database = test_db.migrated().await;
    let ids = ids(20_000);
    decide(&database, &ids).await;
    let tombstones: Vec<_> =
        (0..5_000).map(|number| (format!("gone{number}"), version(number, "c"))).collect();
    let mut batch = database.begin().await.unwrap();
    batch.put_tombstones(&tombstones).await.unwrap();
    batch.commit().await.unwrap();

    // A quarter of the outcomes and of the audit has not expired.
    let expiring = database.clone();
    let mut pass = tokio::spawn(async move { before(&expiring, 2_500 * 3 / 4).await });
    let mut written = 0;
    let pass = loop {
        let somebody = [user(&format!("user{written}"))];
        tokio::select! {
            pass = &mut pass => break pass.unwrap(),
            () = insert(&database, &somebody) => written += 1,
        }
    };
    assert_eq!(
        pass,
        RetentionPass { deleted: 15_000 * 2 + 1_875, audit: 15_000, ..RetentionPass::default() }
    );
    assert_eq!(outcomes_left(&database, &ids).await, ids[15_000..].iter().cloned().collect());
    assert_eq!(database.decided(&ids).await.unwrap().len(), 5_000);
    assert!(written > 0, "no other write succeeded");
}

pub async fn a_pass_over_its_time_limit_continues_in_the_next(test_db: &TestDatabase) {
    let metrics = Metrics::register(&Registry::new().unwrap()).unwrap();
    test_db.migrated().await;
    let database = test_db.measured(&metrics).await;
    let ids = ids(4_000);
    decide(&database, &ids).await;
    let now = Timestamp(1_000_000);
    let lag = metrics.retention_lag.with_label_values(&["command_outcomes"]);
    let cut_short = &metrics.retention_hit;
    let pass = database.delete_expired(&seconds(), now, Duration::ZERO).await;
    assert!(pass.cut_short && pass.deleted > 0, "{pass:?}");
    // The oldest rows were deleted first. The remaining rows have been expired for almost 999 s.
    let left = outcomes_left(&database, &ids).await;
    assert!(left.len() < 4_000 && left.contains(&ids[3_999]) && !left.contains(&ids[0]), "{}", left.len());
    assert_eq!((lag.get(), cut_short.get()), (998, 1));

    let rest = database.delete_expired(&seconds(), now, LONG).await;
    let left = RetentionPass {
        deleted: 8_000 - pass.deleted,
        audit: 4_000 - pass.audit,
        ..RetentionPass::default()
    };
    assert_eq!(rest, left);
    assert_eq!((lag.get(), cut_short.get()), (0, 1));
    for table in ["command_outcomes", "audit"] {
        assert_eq!(metrics.retention_deleted.with_label_values(&[table]).get(), 4_000, "{table}");
    }
    assert_eq!(database.delete_expired(&seconds(), now, LONG).await, RetentionPass::default());
}

pub async fn many_rows_of_one_instant_are_deleted(test_db: &TestDatabase) {
    let database = test_db.migrated().await;
    let ids = ids(3_000);
    for ids in ids.chunks(1_500) {
        let mut batch = database.begin().await.unwrap();
        batch.insert_outcomes(&ids.iter().map(|id| outcome(id, 7)).collect::<Vec<_>>()).await.unwrap();
        batch.commit().await.unwrap();
    }
    assert_eq!(before(&database, 7).await, RetentionPass::default());
    assert_eq!(before(&database, 8).await, RetentionPass { deleted: 3_000, ..RetentionPass::default() });
}

pub async fn two_daemons_can_delete_at_once(test_db: &TestDatabase) {
    let (one, other) = (test_db.migrated().await, test_db.database().await);
    let ids = ids(6_000);
    decide(&one, &ids).await;
    let both = [one.clone(), other].map(|database| {
        tokio::spawn(async move { database.delete_expired(&seconds(), Timestamp(1_000_000), LONG).await })
    });
    let mut deleted = 0;
    for pass in both {
        // A server may abort one of two transactions that lock the same rows; its daemon continues with the next pass.
        let pass = pass.await.unwrap();
        deleted += pass.deleted;
        assert!(pass.failed.iter().all(|(_, error)| error.is_transient()));
    }
    deleted += before(&one, 1_000_000).await.deleted;
    assert!(deleted <= 12_000 && one.decided(&ids).await.unwrap().is_empty(), "{deleted}");
}

/// A command that is delivered again after its outcome expired is recognised by its audit row alone.
pub async fn an_audit_row_outlives_its_outcome_and_the_configured_retention(test_db: &TestDatabase) {
    let database = test_db.migrated().await;
    let ids = ids(80);
    decide(&database, &ids).await;
    let retention = |audit: Option<u64>| Retention {
        outcomes: Duration::from_millis(1_000),
        sessions: Duration::ZERO,
        audit: audit.map(Duration::from_millis),
    };
    let expire = async |audit, now| {
        let pass = database.delete_expired(&retention(audit), Timestamp(now), LONG).await;
        let decided = database.decided(&ids).await.unwrap().len();
        (pass.deleted, outcomes_left(&database, &ids).await.len(), decided)
    };
    assert_eq!(expire(None, 1_002).await, (16, 64, 80), "kept indefinitely");
    assert_eq!(expire(Some(1_001), 1_003).await, (8 + 16, 56, 64), "longer than outcomes");
    assert_eq!(expire(Some(0), 1_004).await, (8 + 16, 48, 48), "never shorter");
    assert_eq!(expire(Some(0), 1_004).await, (0, 48, 48));
}

pub async fn a_name_deleted_again_keeps_its_newer_tombstone(test_db: &TestDatabase) {
    let database = test_db.migrated().await;
    let mut batch = database.begin().await.unwrap();
    let tombstones = [("ada".to_owned(), version(5, "c1")), ("eve".to_owned(), version(5, "c2"))];
    batch.put_tombstones(&tombstones).await.unwrap();
    batch.put_tombstones(&[("ada".to_owned(), version(50, "c3"))]).await.unwrap();
    batch.commit().await.unwrap();
    assert_eq!(before(&database, 10).await.deleted, 1);
    let mut batch = database.begin().await.unwrap();
    let left = batch.tombstones(&strings(&["ada", "eve"])).await.unwrap();
    assert_eq!(left, [("ada".to_owned(), version(50, "c3"))]);
}

/// An administrator may forbid deleting from the audit, for example.
pub async fn a_failing_table_does_not_stop_other_tables(test_db: &TestDatabase) {
    let database = test_db.migrated().await;
    let ids = ids(3_000);
    decide(&database, &ids).await;
    test_db.sql("DROP TABLE command_outcomes").await;
    let pass = before(&database, 1_000_000).await;
    assert!(
        matches!(*pass.failed, [("command_outcomes", _)]) && !pass.cut_short && !pass.unavailable,
        "{pass:?}"
    );
    assert_eq!(pass.deleted, 0, "no audit row is deleted before its outcome");

    let tombstones: Vec<_> =
        (0..3_000).map(|number| (format!("gone{number}"), version(number, "c"))).collect();
    let mut batch = database.begin().await.unwrap();
    batch.put_tombstones(&tombstones).await.unwrap();
    batch.commit().await.unwrap();
    assert_eq!(before(&database, 1_000_000).await.deleted, 3_000);
}

/// Forbids deleting from the audit.
async fn protect_audit(test_db: &TestDatabase) {
    let protect = match test_db.url.split(':').next().unwrap() {
        "sqlite" => "CREATE TRIGGER keep BEFORE DELETE ON audit BEGIN SELECT RAISE(ABORT, 'kept'); END",
        "mysql" => "CREATE TRIGGER keep BEFORE DELETE ON audit FOR EACH ROW SIGNAL SQLSTATE '45000'",
        _ => {
            "CREATE FUNCTION keep() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RAISE 'kept'; END $$; \
             CREATE TRIGGER keep BEFORE DELETE ON audit FOR EACH ROW EXECUTE FUNCTION keep()"
        }
    };
    test_db.sql(protect).await;
}

pub async fn a_failing_table_reports_its_retention_lag(test_db: &TestDatabase) {
    let metrics = Metrics::register(&Registry::new().unwrap()).unwrap();
    test_db.migrated().await;
    let database = test_db.measured(&metrics).await;
    let ids = ids(8);
    decide(&database, &ids).await;
    protect_audit(test_db).await;
    let lag = |table| metrics.retention_lag.with_label_values(&[table]).get();
    for (now, failures) in [(11_000, 1), (21_000, 2)] {
        let pass = database.delete_expired(&seconds(), Timestamp(now), LONG).await;
        assert!(matches!(*pass.failed, [("audit", _)]) && !pass.cut_short && !pass.unavailable, "{pass:?}");
        let seconds = i64::try_from(now / 1_000).unwrap() - 1;
        assert_eq!((lag("audit"), lag("command_outcomes")), (seconds, 0));
        assert_eq!(metrics.retention_hit.get(), failures);
    }
    test_db
        .sql(if test_db.url.starts_with("postgres") {
            "DROP TRIGGER keep ON audit"
        } else {
            "DROP TRIGGER keep"
        })
        .await;
    assert_eq!(before(&database, 20_000).await.deleted, 8);
    assert_eq!(lag("audit"), 0);
}

/// The audit waits for the outcomes, but its rows still count as expired.
pub async fn the_audit_reports_its_lag_while_outcomes_fail(test_db: &TestDatabase) {
    let metrics = Metrics::register(&Registry::new().unwrap()).unwrap();
    test_db.migrated().await;
    let database = test_db.measured(&metrics).await;
    let ids = ids(8);
    decide(&database, &ids).await;
    test_db.sql("DROP TABLE command_outcomes").await;
    let pass = database.delete_expired(&seconds(), Timestamp(11_000), LONG).await;
    assert_eq!(pass.deleted, 0);
    assert_eq!(metrics.retention_lag.with_label_values(&["audit"]).get(), 10);
}

/// The index that finds the rows may be part of a pending migration.
pub async fn nothing_is_deleted_while_migrations_are_pending(test_db: &TestDatabase) {
    let database = test_db.migrated().await;
    let ids = ids(8);
    decide(&database, &ids).await;
    test_db.sql("DELETE FROM forebay_migrations WHERE name = '0009_audit_at'").await;
    let pass = before(&database, 10_000).await;
    assert!(pass.deleted == 0 && pass.skipped.unwrap().contains("forebay migrate"));
    database.migrate().await.unwrap();
    assert_eq!(before(&database, 10_000).await.deleted, 16);
}
