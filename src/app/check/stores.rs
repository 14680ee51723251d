//! Checks of the database and Redis for `forebay check-config --connect`.

use std::net::{TcpStream, ToSocketAddrs};
use std::sync::Arc;
use std::time::Duration;

use crate::config::Config;
use crate::db::{Database, DbError};
use crate::kv::{Kv, KvError};
use crate::metrics::Registry;
use crate::{db, kv, users};

use super::report::CheckResult;
use crate::app::Failure;
use crate::app::process::registered;

const DATABASE: &str = "database";
const REDIS: &str = "redis";
/// Timeout of all database checks together. A healthy database answers within `acquire_timeout` and
/// `statement_timeout`.
const TIMEOUT: Duration = Duration::from_secs(15);
/// Timeout of a separate connection attempt, which finds the cause if the pool reports only a timeout.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(3);

/// Checks the database of `[database]`.
pub(super) async fn database(config: &Config, registry: &Registry) -> Result<CheckResult, Failure> {
    let settings = config.database();
    let name = settings.url.to_string();
    if !config.serves_users() {
        return Ok(CheckResult::not_asked(
            DATABASE,
            name,
            "the user service is disabled; see [users] enabled",
        ));
    }
    if settings.url.is_embedded() {
        let detail = "an SQLite file, which the daemon creates and migrates at start";
        return Ok(CheckResult::not_asked(DATABASE, name, detail));
    }
    let metrics = registered(db::Metrics::register(registry))?;
    let asked = tokio::time::timeout(TIMEOUT, check_database(&settings, &metrics)).await;
    let asked =
        asked.unwrap_or_else(|_| Err(DbError::Unavailable(format!("no response within {TIMEOUT:?}"))));
    Ok(match asked {
        Ok(None) => {
            CheckResult::ok(DATABASE, name, "answers, its tables are up to date, and it can be written")
        }
        Ok(Some(lacking)) => CheckResult::failed(DATABASE, name, "answers, but is not as needed", lacking),
        Err(error) => {
            let cause = match (&error, settings.url.address()) {
                (DbError::Unavailable(_), Some(address)) => connection_error(address).await,
                _ => None,
            };
            let detail = cause.map_or_else(|| error.to_string(), |cause| format!("cannot connect: {cause}"));
            CheckResult::failed(DATABASE, name, detail, database_advice(&error))
        }
    })
}

async fn check_database(config: &db::Config, metrics: &db::Metrics) -> Result<Option<String>, DbError> {
    let db = Database::connect(config, metrics).await?;
    if let Some(lacking) = db.missing_requirement().await? {
        return Ok(Some(lacking));
    }
    // Writes a row and rolls it back.
    db.check_writes().await?;
    Ok(None)
}

/// Error of a connection attempt to `host:port`, if it fails.
async fn connection_error(address: String) -> Option<String> {
    let connect = move || {
        let mut addresses = address.to_socket_addrs()?;
        let first = addresses.next().ok_or(std::io::ErrorKind::NotFound)?;
        TcpStream::connect_timeout(&first, CONNECT_TIMEOUT).map(drop)
    };
    let connected = tokio::task::spawn_blocking(connect).await.ok()?;
    connected.err().map(|error| error.to_string())
}

fn database_advice(error: &DbError) -> &'static str {
    match error {
        DbError::Unavailable(_) | DbError::BreakerOpen => {
            "start it, or correct host and port in [database] url; see the firewall and the server's log"
        }
        DbError::Busy(_) => "try again; see the server's log and its limit of connections",
        DbError::PoolerMismatch(_) => "change [database] pooler, or the pooler",
        DbError::Conflict | DbError::Refused(_) => {
            "see user, password and database name in [database] url and password_file, the user's privileges, and \
             docs/errors.md"
        }
    }
}

/// The server of `[redis]`.
pub(super) async fn redis(config: &Config, registry: &Registry) -> Result<CheckResult, Failure> {
    let settings = &config.redis;
    if settings.url.is_empty() {
        return Ok(CheckResult::not_asked(REDIS, "embedded", "the store is a part of `forebay serve`"));
    }
    let name = settings.url.to_string();
    let metrics = Arc::new(registered(kv::Metrics::register(registry))?);
    let kv = match Kv::redis(settings, metrics) {
        Ok(kv) => kv,
        Err(error) => return Ok(failed(name, &error)),
    };
    // The keys expire after a second. A server that only answers reads is not sufficient.
    let looked = tokio::time::timeout(TIMEOUT, kv.check(users::CHANNEL)).await;
    Ok(match looked.unwrap_or(Err(KvError::Timeout)) {
        Ok(()) => CheckResult::ok(REDIS, name, "answers, and can be written"),
        Err(error) => failed(name, &error),
    })
}

fn failed(name: String, error: &KvError) -> CheckResult {
    let advice = match error {
        KvError::Timeout | KvError::Unavailable(_) | KvError::Node(_) | KvError::BreakerOpen => {
            "start it, or correct [redis] url; see password_file, ca_file, timeout and the server's log"
        }
        KvError::WrongServerMode(_) => "correct [redis] cluster",
        KvError::Denied => "see the page docs/users.md for the rights of the user",
        KvError::NotSubscribed { .. } => "grant the user the channels `forebay:*`, as docs/users.md shows",
        KvError::Malformed(_) => "correct [redis] url, password_file or ca_file",
    };
    CheckResult::failed(REDIS, name, error.to_string(), advice)
}
