//! The connection pools of the three databases behind one type, and the setup of their connections.

use std::fs::OpenOptions;
use std::os::unix::fs::OpenOptionsExt;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};
use std::{fs, io};

use sqlx::mysql::MySqlConnectOptions;
use sqlx::pool::{PoolConnection, PoolOptions};
use sqlx::postgres::PgConnectOptions;
use sqlx::sqlite::{SqliteJournalMode, SqliteSynchronous};
use sqlx::{
    AssertSqlSafe, ConnectOptions, Connection, Database as Driver, MySql, MySqlConnection, Postgres, Sqlite,
};

use super::config::Config;
use super::dialect::Dialect;
use super::error::DbError;
use super::pooler;
use super::pooler::{Pooler, SettingsIgnored};
use super::retired_connections::RetiredConnections;
use super::url::DriverOptions;

/// Above the number of statements (40 queries; those over many rows have four shapes), so that none is ever closed.
const STATEMENT_CACHE: usize = 256;

/// Maximum number of SQLite connections. An SQLite file has one writer at a time; each connection is a thread with a
/// cache of 2 MiB.
const SQLITE_CONNECTIONS: u32 = 4;

/// A connection that was idle for this long is tested before use: the server may have restarted. A connection in
/// constant use is not tested, because each test costs a round trip.
const UNCHECKED_IDLE: Duration = Duration::from_millis(500);

/// Limit on the locks of an abandoned transaction: its owner disappeared without closing it (its machine lost power).
const ABANDONED_AFTER: Duration = Duration::from_secs(30);

/// A pool of connections to one of the three databases.
#[derive(Clone)]
pub(super) enum Pool {
    MySql(sqlx::Pool<MySql>),
    Postgres(sqlx::Pool<Postgres>),
    Sqlite(sqlx::Pool<Sqlite>),
}

/// A connection from a pool.
pub(super) enum DriverConnection {
    MySql(PoolConnection<MySql>),
    Postgres(PoolConnection<Postgres>),
    Sqlite(PoolConnection<Sqlite>),
}

macro_rules! each {
    ($pool:expr, $inner:ident => $do:expr) => {
        match $pool {
            Pool::MySql($inner) => $do,
            Pool::Postgres($inner) => $do,
            Pool::Sqlite($inner) => $do,
        }
    };
}

impl Pool {
    /// Reads the URL and the password file. Opens no connection.
    pub(super) async fn open(
        config: &Config,
        retired: &Arc<RetiredConnections>,
        ignored: &SettingsIgnored,
    ) -> Result<Self, DbError> {
        let limit = server_side(config.statement_timeout.0);
        let password = password(config).await?;
        Ok(match config.url.driver_options()? {
            DriverOptions::MySql(options) => {
                let options = with_password(options, password, MySqlConnectOptions::password);
                let options = options.statement_cache_capacity(STATEMENT_CACHE).disable_statement_logging();
                let pool = pool::<MySql>(config, config.max_connections, retired);
                let pool =
                    pool.after_connect(move |connection, _| Box::pin(prepare_mysql(connection, limit)));
                Self::MySql(pool.connect_lazy_with(options))
            }
            DriverOptions::Postgres(options) => {
                let options = with_password(options, password, PgConnectOptions::password);
                let options = options.statement_cache_capacity(STATEMENT_CACHE).disable_statement_logging();
                // PgBouncer refuses the driver's setting for floating-point numbers. forebay stores no such numbers.
                let options = options.application_name("forebay").extra_float_digits(None);
                let pool = pool::<Postgres>(config, config.max_connections, retired);
                Self::Postgres(match config.pooler {
                    Pooler::Transaction => pool.connect_lazy_with(options),
                    Pooler::None => {
                        let ignored = ignored.clone();
                        let pool = pool.after_connect(move |connection, _| {
                            Box::pin(ignored.clone().check(connection, limit))
                        });
                        pool.connect_lazy_with(options.options(postgres_settings(limit)))
                    }
                })
            }
            DriverOptions::Sqlite(options) => {
                make_private_file(options.get_filename().to_owned()).await?;
                let options = options
                    .create_if_missing(true)
                    .journal_mode(SqliteJournalMode::Wal)
                    // The outcome of a command must survive a power failure, as the log does.
                    .synchronous(SqliteSynchronous::Full)
                    .foreign_keys(true)
                    .busy_timeout(limit)
                    .statement_cache_capacity(STATEMENT_CACHE)
                    .disable_statement_logging();
                let connections = config.max_connections.min(SQLITE_CONNECTIONS);
                Self::Sqlite(pool::<Sqlite>(config, connections, retired).connect_lazy_with(options))
            }
        })
    }

    pub(super) fn dialect(&self) -> Dialect {
        match self {
            Self::MySql(_) => Dialect::MySql,
            Self::Postgres(_) => Dialect::Postgres,
            Self::Sqlite(_) => Dialect::Sqlite,
        }
    }

    /// A connection, within `acquire_timeout`.
    pub(super) async fn acquire(&self) -> Result<DriverConnection, DbError> {
        let acquired = match self {
            Self::MySql(pool) => pool.acquire().await.map(DriverConnection::MySql),
            Self::Postgres(pool) => pool.acquire().await.map(DriverConnection::Postgres),
            Self::Sqlite(pool) => pool.acquire().await.map(DriverConnection::Sqlite),
        };
        acquired.map_err(|error| DbError::from_sqlx(&error))
    }

    /// Closes the idle connections.
    pub(super) fn close_idle(&self) {
        each!(self, pool => {
            for _ in 0..pool.size() {
                let Some(connection) = pool.try_acquire() else { break };
                drop(connection.detach());
            }
        });
    }

    pub(super) fn size(&self) -> u32 {
        each!(self, pool => pool.size())
    }

    pub(super) fn idle(&self) -> usize {
        each!(self, pool => pool.num_idle())
    }

    /// Whether all connections are in use.
    pub(super) fn exhausted(&self) -> bool {
        let most = each!(self, pool => pool.options().get_max_connections());
        self.size() >= most && self.idle() == 0
    }
}

/// The statement that begins a transaction behind a pooler.
pub(super) fn begin_behind_pooler(config: &Config) -> Option<Arc<str>> {
    match config.pooler {
        Pooler::None => None,
        Pooler::Transaction => Some(pooler::begin(server_side(config.statement_timeout.0), ABANDONED_AFTER)),
    }
}

/// The server's limit, a little below the caller's: if the server cancels first, the connection stays usable.
fn server_side(limit: Duration) -> Duration {
    limit * 9 / 10
}

fn pool<DB: Driver>(config: &Config, connections: u32, retired: &Arc<RetiredConnections>) -> PoolOptions<DB> {
    let retired = Arc::clone(retired);
    PoolOptions::new()
        .max_connections(connections)
        .acquire_timeout(config.acquire_timeout.0)
        .max_lifetime(config.max_lifetime.0)
        .test_before_acquire(false)
        .before_acquire(move |connection: &mut DB::Connection, meta| {
            let retired = retired.contains(meta.age, Instant::now());
            Box::pin(async move {
                if retired {
                    return Ok(false);
                }
                if meta.idle_for > UNCHECKED_IDLE {
                    connection.ping().await?;
                }
                Ok(true)
            })
        })
}

/// Sets up a session of MySQL or MariaDB. The two name their time limit differently.
async fn prepare_mysql(connection: &mut MySqlConnection, limit: Duration) -> Result<(), sqlx::Error> {
    let version: String = sqlx::query_scalar("SELECT VERSION()").fetch_one(&mut *connection).await?;
    let limits = match version.contains("MariaDB") {
        true => {
            let abandoned = ABANDONED_AFTER.as_secs();
            format!("max_statement_time = {}, idle_transaction_timeout = {abandoned}", limit.as_secs_f64())
        }
        false => format!("max_execution_time = {}", limit.as_millis()),
    };
    let lock_wait = limit.as_secs().max(1);
    // Strict: a text that is too long is an error, and is not truncated.
    let session = format!(
        "SET SESSION sql_mode = CONCAT(@@sql_mode, ',STRICT_ALL_TABLES'), innodb_lock_wait_timeout = {lock_wait}, {limits}"
    );
    sqlx::raw_sql(AssertSqlSafe(session)).execute(&mut *connection).await?;
    let isolation = "SET SESSION TRANSACTION ISOLATION LEVEL READ COMMITTED";
    sqlx::raw_sql(isolation).execute(connection).await.map(drop)
}

fn postgres_settings(limit: Duration) -> [(&'static str, String); 4] {
    let limit = limit.as_millis().to_string();
    [
        ("default_transaction_isolation", "read committed".to_owned()),
        ("statement_timeout", limit.clone()),
        ("lock_timeout", limit),
        ("idle_in_transaction_session_timeout", ABANDONED_AFTER.as_millis().to_string()),
    ]
}

fn with_password<T>(options: T, password: Option<String>, set: impl Fn(T, &str) -> T) -> T {
    match password {
        Some(password) => set(options, &password),
        None => options,
    }
}

/// The content of the password file, without its final newline.
async fn password(config: &Config) -> Result<Option<String>, DbError> {
    let Some(path) = config.password_file.clone() else { return Ok(None) };
    let name = path.display().to_string();
    let text = run_blocking(move || fs::read_to_string(path)).await;
    let text = text.map_err(|error| DbError::Refused(format!("[database] password_file {name}: {error}")))?;
    Ok(Some(text.trim_end_matches(['\r', '\n']).to_owned()))
}

/// Creates the database's file readable by its owner only, before SQLite creates it readable by everyone. SQLite gives
/// its other files the same permissions.
async fn make_private_file(path: PathBuf) -> Result<(), DbError> {
    let name = path.display().to_string();
    let made = run_blocking(move || {
        if let Some(parent) = path.parent().filter(|parent| !parent.as_os_str().is_empty()) {
            fs::create_dir_all(parent)?;
        }
        OpenOptions::new().create(true).append(true).mode(0o600).open(path).map(drop)
    });
    made.await.map_err(|error| DbError::Refused(format!("[database] url: {name} cannot be opened: {error}")))
}

async fn run_blocking<T: Send + 'static>(
    work: impl FnOnce() -> io::Result<T> + Send + 'static,
) -> io::Result<T> {
    tokio::task::spawn_blocking(work).await.map_err(io::Error::other)?
}
