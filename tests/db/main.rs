//! The database module on SQLite, MariaDB and PostgreSQL: one suite for all three, and tests of server failures.
// A failed step of a test's preparation has no caller to return an error to: it names the step and ends the test.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use forebay::db::{AuditRow, Config, Database, Metrics, OutcomeRow, Pooler, UserRow, Version};
use forebay::metrics::Registry;
use forebay::units::{Span, Timestamp};
use sqlx::{AssertSqlSafe, Connection};

mod cancelled;
mod encoding;
mod expired;
mod extras;
mod failover;
mod full;
mod grants;
mod last_logins;
mod migrations;
mod outage;
mod plans;
mod pooler;
mod queue;
mod sessions;
mod stalls;
mod suite;
mod transactions;
mod users;

/// A database of one test.
struct TestDatabase {
    url: String,
    /// The URL through a pooler, for tests that use one.
    pooled: Option<String>,
    _dir: Option<tempfile::TempDir>,
}

impl TestDatabase {
    fn sqlite() -> TestDatabase {
        let dir = support::scratch::dir("sqlite");
        let url = format!("sqlite:{}", dir.path().join("users.sqlite").display());
        TestDatabase { url, pooled: None, _dir: Some(dir) }
    }

    fn server(url: String) -> TestDatabase {
        TestDatabase { url, pooled: None, _dir: None }
    }

    fn behind_pooler((url, pooled): (String, String)) -> TestDatabase {
        TestDatabase { url, pooled: Some(pooled), _dir: None }
    }

    fn config(&self) -> Config {
        // The machine may be busy: longer than any statement of a test.
        let mut config = Config { url: self.url.as_str().into(), ..Config::default() };
        if let Some(pooled) = &self.pooled {
            config.url = pooled.as_str().into();
            config.pooler = Pooler::Transaction;
        }
        config.acquire_timeout = Span::secs(20);
        config.statement_timeout = Span::secs(20);
        config
    }

    /// A separate pool.
    async fn database(&self) -> Database {
        self.with(|_| {}).await
    }

    /// A separate pool with other settings.
    async fn with(&self, set: impl FnOnce(&mut Config)) -> Database {
        let mut config = self.config();
        set(&mut config);
        Database::connect(&config, &Metrics::register(&Registry::new().unwrap()).unwrap()).await.unwrap()
    }

    /// A pool whose metrics the test reads.
    async fn measured(&self, metrics: &Metrics) -> Database {
        Database::connect(&self.config(), metrics).await.unwrap()
    }

    /// A separate pool on an up-to-date schema.
    async fn migrated(&self) -> Database {
        let database = self.database().await;
        database.migrate().await.unwrap();
        database
    }

    /// The first column of a query's rows, without the tested module.
    async fn texts(&self, query: &str) -> Vec<String> {
        let sql = AssertSqlSafe(query);
        match self.url.split(':').next().unwrap() {
            "sqlite" => {
                let mut connection = sqlx::SqliteConnection::connect(&self.url).await.unwrap();
                sqlx::query_scalar(sql).fetch_all(&mut connection).await
            }
            "mysql" => {
                let mut connection = sqlx::MySqlConnection::connect(&self.url).await.unwrap();
                sqlx::query_scalar(sql).fetch_all(&mut connection).await
            }
            _ => {
                let mut connection = sqlx::PgConnection::connect(&self.url).await.unwrap();
                sqlx::query_scalar(sql).fetch_all(&mut connection).await
            }
        }
        .unwrap()
    }

    /// Runs statements without the tested module.
    async fn sql(&self, statements: &str) {
        let sql = AssertSqlSafe(statements);
        match self.url.split(':').next().unwrap() {
            "sqlite" => {
                let mut connection = sqlx::SqliteConnection::connect(&self.url).await.unwrap();
                sqlx::raw_sql(sql).execute(&mut connection).await.map(drop)
            }
            "mysql" => {
                let mut connection = sqlx::MySqlConnection::connect(&self.url).await.unwrap();
                sqlx::raw_sql(sql).execute(&mut connection).await.map(drop)
            }
            _ => {
                let mut connection = sqlx::PgConnection::connect(&self.url).await.unwrap();
                sqlx::raw_sql(sql).execute(&mut connection).await.map(drop)
            }
        }
        .unwrap();
    }
}

/// A user with an e-mail address and a phone number derived from the name.
fn user(name: &str) -> UserRow {
    let digits: String = name.bytes().map(|byte| format!("{byte:03}")).collect();
    UserRow {
        name: name.to_owned(),
        email: Some(format!("{name}@example.org")),
        phone: Some(digits.chars().rev().take(30).collect()),
        password_hash: "$2b$10$hash".to_owned(),
        nickname: None,
        is_admin: false,
        created_at: Timestamp(1),
        updated_at: Timestamp(1_000),
        last_login_at: None,
        version: version(1_000, "c1"),
    }
}

fn version(at: u64, id: &str) -> Version {
    Version { at: Timestamp(at), id: id.to_owned() }
}

fn outcome(id: &str, finished_at: u64) -> OutcomeRow {
    OutcomeRow {
        id: id.to_owned(),
        kind: "user.create".to_owned(),
        name: "ada".to_owned(),
        state: "rejected".to_owned(),
        field: Some("email".to_owned()),
        reason: Some("taken".to_owned()),
        actor: None,
        accepted_at: Timestamp(1),
        finished_at: Timestamp(finished_at),
        partition: -1,
        offset: 1 << 40,
    }
}

fn audit(id: &str) -> AuditRow {
    AuditRow {
        id: id.to_owned(),
        actor: Some("root".to_owned()),
        action: "user.create".to_owned(),
        target: "ada".to_owned(),
        outcome: "applied".to_owned(),
        reason: None,
        at: Timestamp(2),
    }
}

fn strings(texts: &[&str]) -> Vec<String> {
    texts.iter().map(|&text| text.to_owned()).collect()
}

/// Commits new users.
async fn insert(database: &Database, users: &[UserRow]) {
    let mut batch = database.begin().await.unwrap();
    batch.insert_users(users).await.unwrap();
    batch.commit().await.unwrap();
}
