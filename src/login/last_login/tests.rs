use sqlx::{AssertSqlSafe, Connection, SqliteConnection};
use tempfile::TempDir;

use super::*;
use crate::db;
use crate::db::Config;
use crate::metrics::Registry;

/// Longer than any test takes.
const LONG: Duration = Duration::from_secs(60);

/// Login times on an SQLite file.
struct Fixture {
    db: Database,
    url: String,
    registry: Registry,
    metrics: Metrics,
    _dir: TempDir,
}

impl Fixture {
    async fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let url = format!("sqlite:{}", dir.path().join("users.sqlite").display());
        let config = Config { url: url.as_str().into(), ..Config::default() };
        let registry = Registry::new().unwrap();
        let metrics = Metrics::register(&registry).unwrap();
        let db_metrics = db::Metrics::register(&registry).unwrap();
        let db = Database::connect(&config, &db_metrics).await.unwrap();
        db.migrate().await.unwrap();
        for name in ["ada", "bob", "cid", "dan"] {
            db.create_admin(name, "$2b$10$hash", Timestamp(1)).await.unwrap();
        }
        Self { db, url, registry, metrics, _dir: dir }
    }

    /// Renames the table of users, or restores it together with its rows, atomically.
    async fn rename(&self, from: &str, to: &str) {
        let mut connection = SqliteConnection::connect(&self.url).await.unwrap();
        let statement = format!("ALTER TABLE {from} RENAME TO {to}");
        sqlx::query(AssertSqlSafe(statement)).execute(&mut connection).await.unwrap();
        connection.close().await.unwrap();
    }

    fn logins(&self, buffer: usize, batch_size: usize, flush_interval: Duration) -> LastLogins {
        let config = LastLoginConfig { buffer, batch_size, flush_interval, timeout: LONG };
        LastLogins::new(config, self.db.clone(), &self.metrics)
    }

    async fn last_login(&self, name: &str) -> Option<u64> {
        self.db.user(name).await.unwrap().unwrap().last_login_at.map(|at| at.0)
    }

    /// Waits until the login time is written.
    async fn wait_until_written(&self, name: &str, at: u64) {
        let seen = async {
            while self.last_login(name).await != Some(at) {
                tokio::task::yield_now().await;
            }
        };
        timeout(LONG, seen).await.unwrap();
    }

    fn waiting(&self) -> i64 {
        self.metrics.last_logins_waiting.get()
    }

    fn hit(&self, bound: &str) -> u64 {
        self.registry.bound_hit(bound).get()
    }
}

#[tokio::test]
async fn a_full_batch_is_written_at_once_with_newest_times() {
    let fixture = Fixture::new().await;
    let logins = fixture.logins(100, 3, LONG);
    let _task = logins.run();
    for (name, at) in [("ada", 5), ("ada", 9), ("ada", 7), ("bob", 1)] {
        logins.record(name, Timestamp(at)).await;
    }
    assert_eq!(fixture.waiting(), 2);
    assert_eq!(fixture.last_login("ada").await, None);
    logins.record("cid", Timestamp(2)).await;
    for (name, at) in [("ada", 9), ("bob", 1), ("cid", 2)] {
        fixture.wait_until_written(name, at).await;
    }
    assert_eq!(fixture.waiting(), 0);
}

#[tokio::test]
async fn an_incomplete_batch_is_written_at_the_interval() {
    let fixture = Fixture::new().await;
    let logins = fixture.logins(100, 100, Duration::from_millis(10));
    let _task = logins.run();
    for at in 1..4 {
        logins.record("ada", Timestamp(at)).await;
        fixture.wait_until_written("ada", at).await;
    }
}

#[tokio::test]
async fn a_time_beyond_a_full_queue_is_written_at_once() {
    let fixture = Fixture::new().await;
    let logins = fixture.logins(2, 2, LONG);
    for name in ["ada", "bob", "cid", "ada"] {
        logins.record(name, Timestamp(5)).await;
    }
    assert_eq!(fixture.hit("last_logins"), 1);
    assert_eq!(fixture.last_login("cid").await, Some(5));
    assert_eq!(fixture.last_login("ada").await, None, "the time waits in the queue");
    assert_eq!(fixture.waiting(), 2);
}

#[tokio::test]
async fn times_survive_a_database_outage() {
    let fixture = Fixture::new().await;
    fixture.rename("users", "elsewhere").await;
    let logins = fixture.logins(3, 3, LONG);
    for name in ["ada", "bob", "cid"] {
        logins.record(name, Timestamp(5)).await;
    }
    logins.flush(Duration::from_millis(1)).await;
    assert_eq!(fixture.waiting(), 3);
    logins.record("dan", Timestamp(5)).await;
    assert_eq!((fixture.hit("last_logins"), fixture.hit("last_logins_lost")), (1, 1));
    let _task = logins.run();
    fixture.rename("elsewhere", "users").await;
    for name in ["ada", "bob", "cid"] {
        fixture.wait_until_written(name, 5).await;
    }
    assert_eq!(fixture.last_login("dan").await, None);
}

#[tokio::test]
async fn an_abandoned_batch_returns_to_the_queue() {
    let fixture = Fixture::new().await;
    let logins = fixture.logins(3, 2, LONG);
    for name in ["ada", "bob", "cid"] {
        logins.record(name, Timestamp(5)).await;
    }
    // SQLite allows one writer at a time.
    let other = fixture.db.begin().await.unwrap();
    logins.flush(Duration::from_millis(50)).await;
    assert_eq!(fixture.waiting(), 3);
    other.commit().await.unwrap();
    logins.flush(LONG).await;
    assert_eq!(fixture.waiting(), 0);
    for name in ["ada", "bob", "cid"] {
        assert_eq!(fixture.last_login(name).await, Some(5));
    }
}
