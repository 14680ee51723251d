//! The database and Redis, as `forebay check-config --connect` asks for them.

use std::net::{TcpStream, ToSocketAddrs};
use std::sync::Arc;
use std::time::Duration;

use crate::config::Config;
use crate::db::{Database, DbError};
use crate::kv::{Kv, KvError};
use crate::metrics::Registry;
use crate::{db, kv, users};

use super::report::Check;
use crate::app::Failure;
use crate::app::process::registered;

const DATABASE: &str = "database";
const REDIS: &str = "redis";
/// A database that answers does so within `acquire_timeout` and `statement_timeout`; this bounds all questions together.
const PATIENCE: Duration = Duration::from_secs(15);
/// A connection by itself, to name the cause where the pool only knows that time is up.
const CONNECT: Duration = Duration::from_secs(3);

/// The database of `[database]`.
pub(super) async fn database(config: &Config, registry: &Registry) -> Result<Check, Failure> {
    let settings = config.database();
    let name = settings.url.to_string();
    if !config.serves_users() {
        return Ok(Check::not_asked(DATABASE, name, "there is no user service: see [users] enabled"));
    }
    if settings.url.is_embedded() {
        let detail = "an SQLite file, which the daemon creates and brings up to date at its start";
        return Ok(Check::not_asked(DATABASE, name, detail));
    }
    let metrics = registered(db::Metrics::register(registry))?;
    let asked = tokio::time::timeout(PATIENCE, ask_database(&settings, &metrics)).await;
    let asked = asked.unwrap_or_else(|_| Err(DbError::Away(format!("no answer within {PATIENCE:?}"))));
    Ok(match asked {
        Ok(None) => Check::ok(DATABASE, name, "answers, its tables are up to date, and it can be written"),
        Ok(Some(lacking)) => Check::failed(DATABASE, name, "answers, but is not as needed", lacking),
        Err(error) => {
            let cause = match (&error, settings.url.address()) {
                (DbError::Away(_), Some(address)) => no_connection(address).await,
                _ => None,
            };
            let detail = cause.map_or_else(|| error.to_string(), |cause| format!("{error} ({cause})"));
            Check::failed(DATABASE, name, detail, of_database(&error))
        }
    })
}

async fn ask_database(config: &db::Config, metrics: &db::Metrics) -> Result<Option<String>, DbError> {
    let db = Database::connect(config, metrics).await?;
    if let Some(lacking) = db.lacks().await? {
        return Ok(Some(lacking));
    }
    // A row that is rolled back.
    db.check_writes().await?;
    Ok(None)
}

/// Why there is no connection to `host:port`, if there is none.
async fn no_connection(address: String) -> Option<String> {
    let connect = move || {
        let mut addresses = address.to_socket_addrs()?;
        let first = addresses.next().ok_or(std::io::ErrorKind::NotFound)?;
        TcpStream::connect_timeout(&first, CONNECT).map(drop)
    };
    let connected = tokio::task::spawn_blocking(connect).await.ok()?;
    connected.err().map(|error| error.to_string())
}

fn of_database(error: &DbError) -> &'static str {
    match error {
        DbError::Away(_) | DbError::Open => {
            "start it, or correct host and port in [database] url; see the firewall and the server's log"
        }
        DbError::Busy(_) => "try again; see the server's log and its limit of connections",
        DbError::Unfit(_) => "change [database] pooler, or the pooler",
        DbError::Conflict | DbError::Refused(_) => {
            "see user, password and database name in [database] url and password_file, the user's privileges, and \
             docs/errors.md"
        }
    }
}

/// The server of `[redis]`.
pub(super) async fn redis(config: &Config, registry: &Registry) -> Result<Check, Failure> {
    let settings = &config.redis;
    if settings.url.is_empty() {
        return Ok(Check::not_asked(REDIS, "embedded", "the store is a part of `forebay serve`"));
    }
    let name = settings.url.to_string();
    let metrics = Arc::new(registered(kv::Metrics::register(registry))?);
    let kv = match Kv::redis(settings, metrics) {
        Ok(kv) => kv,
        Err(error) => return Ok(failed(name, &error)),
    };
    // Its keys expire after a second: a server that only answers reads is of no use.
    let looked = tokio::time::timeout(PATIENCE, kv.look(users::CHANNEL)).await;
    Ok(match looked.unwrap_or(Err(KvError::Timeout)) {
        Ok(()) => Check::ok(REDIS, name, "answers, and can be written"),
        Err(error) => failed(name, &error),
    })
}

fn failed(name: String, error: &KvError) -> Check {
    let advice = match error {
        KvError::Timeout | KvError::Away(_) | KvError::Node(_) | KvError::Open => {
            "start it, or correct [redis] url; see password_file, ca_file, timeout and the server's log"
        }
        KvError::Misfit(_) => "correct [redis] cluster",
        KvError::Denied => "see the page docs/users.md for the rights of the user",
        KvError::Unheard { .. } => "grant the user the channels `forebay:*`, as docs/users.md shows",
        KvError::Malformed(_) => "correct [redis] url, password_file or ca_file",
    };
    Check::failed(REDIS, name, error.to_string(), advice)
}
