//! The consumer in embedded mode, with the in-process broker and SQLite.

use std::sync::Arc;
use std::time::{Duration, Instant};

use sqlx::Connection as _;
use tokio::runtime::Runtime;

use super::*;
use crate::command::{CommandId, IdGenerator, USER_DEAD_TOPIC, USER_TOPIC};
use crate::db;
use crate::db::OutcomeRow;
use crate::kafka::{EmbeddedBroker, GroupConsumer, OutboxRecord, PollOutcome};
use crate::metrics::Registry;
use crate::task::FatalSignal;
use crate::units::{Lsn, Span, Timestamp};

/// The embedded broker delays the first member of a group by three seconds.
const LONG: Duration = Duration::from_secs(60);

/// One retry, without a delay.
fn retry_at_once() -> Config {
    Config {
        retry_attempts: 1,
        retry_backoff_min: Span::millis(10),
        retry_backoff_max: Span::millis(10),
        ..Config::default()
    }
}

struct ConsumerFixture {
    runtime: Runtime,
    db: Database,
    dir: tempfile::TempDir,
}

impl ConsumerFixture {
    fn new() -> Self {
        let runtime = Runtime::new().unwrap();
        let dir = tempfile::tempdir().unwrap();
        let url = format!("sqlite:{}", dir.path().join("users.sqlite").display());
        let config = db::Config { url: url.as_str().into(), ..db::Config::default() };
        let db = runtime.block_on(async {
            let metrics = db::Metrics::register(&Registry::new().unwrap()).unwrap();
            let db = Database::connect(&config, &metrics).await.unwrap();
            db.migrate().await.unwrap();
            db
        });
        Self { runtime, db, dir }
    }

    /// Executes a statement of the test.
    fn sql(&self, statement: &'static str) {
        let file = self.dir.path().join("users.sqlite").display().to_string();
        self.runtime.block_on(async {
            let mut connection = sqlx::SqliteConnection::connect(&file).await.unwrap();
            sqlx::raw_sql(statement).execute(&mut connection).await.unwrap();
        });
    }

    fn consumer(&self, broker: &EmbeddedBroker, config: Config) -> Consumer {
        let parts = ConsumerParts {
            db: self.db.clone(),
            kv: None,
            post_commit: Arc::new(Noop),
            config,
            kafka: kafka::Config::default(),
            bootstrap: broker.bootstrap().to_owned(),
            metrics: Arc::new(Metrics::register(&Registry::new().unwrap()).unwrap()),
            runtime: self.runtime.handle().clone(),
            slow_step: LONG,
            tracer: Tracer::default(),
        };
        Consumer::start(parts, FatalSignal::default()).unwrap()
    }

    fn wait_for<T>(&self, what: &str, mut look: impl AsyncFnMut(&Database) -> Option<T>) -> T {
        let deadline = Instant::now() + LONG;
        loop {
            if let Some(found) = self.runtime.block_on(look(&self.db)) {
                return found;
            }
            assert!(Instant::now() < deadline, "{what}");
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    fn outcomes(&self, ids: &[CommandId]) -> Vec<OutcomeRow> {
        let ids: Vec<String> = ids.iter().map(CommandId::to_string).collect();
        self.wait_for("every command has an outcome", async |db| {
            let rows = db.outcomes(&ids).await.unwrap();
            (rows.len() == ids.len()).then_some(rows)
        })
    }
}

fn command_record(id: CommandId, kind: &str, name: &str, value: &str) -> OutboxRecord {
    let headers =
        vec![("forebay-command-id".to_owned(), id.to_string()), ("forebay-kind".to_owned(), kind.to_owned())];
    OutboxRecord { topic: USER_TOPIC, key: Some(name.into()), headers, value: value.into() }
}

/// An embedded broker loses its retry topic when it ends. After redelivery, a parked command is sent there again.
#[test]
fn commands_parked_before_an_embedded_broker_crash_are_settled() {
    let fixture = ConsumerFixture::new();
    let mint = IdGenerator::new(&[1; 16], &[2; 32]);
    let ids: Vec<_> = (1..=3).map(|n| mint.generate(Timestamp(n), Lsn(n), [n as u8; 9])).collect();
    let create = r#"{"name":"ada","email":"a@b","phone":"1","password_hash":"x"}"#;
    let records = [
        command_record(ids[0], "user.create", "ada", create),
        command_record(ids[1], "user.update", "ada", "?"),
        command_record(ids[2], "user.update", "ada", r#"{"name":"ada","nickname":"A"}"#),
    ];
    let broker = EmbeddedBroker::start().unwrap();
    let config = kafka::Config::default();
    Outbox::new(&config, broker.bootstrap()).send(&records, &mut || true).unwrap();
    let never = Config {
        retry_backoff_min: Span::secs(3600),
        retry_backoff_max: Span::secs(3600),
        ..Config::default()
    };
    let consumer = fixture.consumer(&broker, never);
    fixture.wait_for("two commands are parked", async |db| {
        let mut batch = db.begin().await.unwrap();
        (batch.parked(&["ada".to_owned()]).await.unwrap().len() == 2).then_some(())
    });
    consumer.stop(Instant::now() + LONG);
    drop(broker);

    let broker = EmbeddedBroker::start().unwrap();
    Outbox::new(&config, broker.bootstrap()).send(&records, &mut || true).unwrap();
    let consumer = fixture.consumer(&broker, retry_at_once());
    let handle = consumer.handle();
    let states: Vec<_> = fixture.outcomes(&ids).into_iter().map(|row| (row.id, row.state)).collect();
    for (id, state) in ids.iter().zip(["applied", "dead", "applied"]) {
        assert!(states.contains(&(id.to_string(), state.to_owned())), "{id}: {states:?}");
    }
    let row = fixture.wait_for("ada is there", async |db| db.user("ada").await.unwrap());
    assert_eq!(row.nickname.as_deref(), Some("A"));
    assert_eq!(handle.settled().into_values().sum::<i64>(), 3);
    assert_eq!(handle.problem(), None);
    consumer.stop(Instant::now() + LONG);
}

/// Commands are read while another connection keeps the database from being written.
#[test]
fn commands_unsettled_for_long_are_reported_as_a_problem() {
    let fixture = ConsumerFixture::new();
    let broker = EmbeddedBroker::start().unwrap();
    let consumer = fixture.consumer(&broker, retry_at_once());
    let handle = consumer.handle();
    let mint = IdGenerator::new(&[1; 16], &[2; 32]);
    let id = |n: u8| mint.generate(Timestamp(n.into()), Lsn(n.into()), [n; 9]);
    let person = |name: &str| {
        let phone = name.len();
        format!(r#"{{"name":"{name}","email":"{name}@b","phone":"{phone}","password_hash":"x"}}"#)
    };
    let config = kafka::Config::default();
    let send = |n: u8, name: &str| {
        let records = [command_record(id(n), "user.create", name, &person(name))];
        Outbox::new(&config, broker.bootstrap()).send(&records, &mut || true).unwrap();
    };
    send(1, "ada");
    fixture.outcomes(&[id(1)]);
    let later = |seconds| handle.shared.progress.stalled(Instant::now() + Duration::from_secs(seconds));
    fixture.wait_for("nothing is pending", async |_| later(1_000).is_none().then_some(()));

    let file = fixture.dir.path().join("users.sqlite").display().to_string();
    let lock = fixture.runtime.block_on(async {
        let mut connection = sqlx::SqliteConnection::connect(&file).await.unwrap();
        sqlx::raw_sql("BEGIN IMMEDIATE").execute(&mut connection).await.unwrap();
        connection
    });
    send(2, "robert");
    let stalled = fixture.wait_for("it is seen", async |_| later(1_000));
    assert!(stalled.ends_with("while 1 are pending"), "{stalled}");
    fixture.runtime.block_on(lock.close()).unwrap();
    fixture.outcomes(&[id(2)]);
    fixture.wait_for("nothing is pending", async |_| later(1_000).is_none().then_some(()));
    consumer.stop(Instant::now() + LONG);

    // Half a minute later.
    let now = Instant::now();
    handle.shared.progress.record(3, false, now.checked_sub(Duration::from_secs(31)).unwrap());
    let problem_text = handle.problem().unwrap();
    assert!(problem_text.starts_with("no command was settled for 31 s"), "{problem_text}");
    handle.observe();
    assert_eq!((handle.blocked(), handle.metrics.blocked.get()), (None, 1));
}

/// A unique index added by an operator rejects a command's audit row, whatever its outcome.
#[test]
fn a_command_that_no_table_accepts_becomes_a_dead_letter() {
    let fixture = ConsumerFixture::new();
    fixture.sql("CREATE UNIQUE INDEX one_update ON audit (target) WHERE action = 'user.update'");
    let mint = IdGenerator::new(&[1; 16], &[2; 32]);
    let ids: Vec<_> = (1..=5).map(|n| mint.generate(Timestamp(n), Lsn(n), [n as u8; 9])).collect();
    let person = |name: &str| {
        format!(r#"{{"name":"{name}","email":"{name}@b","phone":"{}","password_hash":"x"}}"#, name.len())
    };
    let records = [
        command_record(ids[0], "user.create", "ada", &person("ada")),
        command_record(ids[1], "user.update", "ada", r#"{"name":"ada","nickname":"A"}"#),
        command_record(ids[2], "user.update", "ada", r#"{"name":"ada","nickname":"B"}"#),
        command_record(ids[3], "user.delete", "ada", r#"{"name":"ada"}"#),
        command_record(ids[4], "user.create", "robert", &person("robert")),
    ];
    let broker = EmbeddedBroker::start().unwrap();
    let config = kafka::Config::default();
    Outbox::new(&config, broker.bootstrap()).send(&records, &mut || true).unwrap();
    let consumer = fixture.consumer(&broker, retry_at_once());
    let handle = consumer.handle();
    let taken = [ids[0], ids[1], ids[3], ids[4]];
    assert!(fixture.outcomes(&taken).iter().all(|row| row.state == "applied"));
    assert_eq!(fixture.runtime.block_on(fixture.db.outcome(&ids[2].to_string())), Ok(None));
    let source = GroupConsumer::new(&config, broker.bootstrap(), "reader", &[USER_DEAD_TOPIC]).unwrap();
    let dead = fixture.wait_for("the dead letter is there", async |_| {
        match source.poll(Duration::from_millis(100)) {
            PollOutcome::Record(record) => Some(record),
            _ => None,
        }
    });
    assert_eq!(dead.header("forebay-command-id"), Some(ids[2].to_string().as_str()));
    fixture.wait_for("nothing is pending", async |_| (handle.problem().is_none()).then_some(()));
    consumer.stop(Instant::now() + LONG);
}
