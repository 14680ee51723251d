//! Background checks of the database and the reservation store, every five seconds.
//!
//! Each check performs the operations that the daemon needs, above all writes: a server that only answers reads is of
//! no use. A failed check never makes the daemon unready.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use crate::db::{Database, DbError};
use crate::kv::Kv;
use crate::problems::{Code, Observation, Problem};
use crate::sync::Mutex;
use crate::task::Task;
use crate::users;

use super::problems::dependency;

/// A small load, compared with timeouts of one second or less.
const CHECK_INTERVAL: Duration = Duration::from_secs(5);

/// Name of the database in `/readyz`.
pub(super) const DATABASE: &str = "database";
/// Name of the reservation store in `/readyz`.
const RESERVATION_STORE: &str = "markers";

/// Result of the last check per dependency: the error, if any.
#[derive(Default)]
pub(super) struct DependencyChecks(Mutex<BTreeMap<&'static str, Option<String>>>);

impl DependencyChecks {
    /// State of each dependency that was checked.
    pub(super) fn dependency_states(&self, problems: &[Problem]) -> BTreeMap<&'static str, String> {
        let looked_at: Vec<_> = self.0.lock().keys().copied().collect();
        looked_at.into_iter().map(|name| (name, dependency(problems, &[code(name)]))).collect()
    }

    /// Whether the last check failed.
    pub(super) fn is_failing(&self, name: &str) -> bool {
        self.0.lock().get(name).is_some_and(Option::is_some)
    }

    /// Problems found by the last checks.
    pub(super) fn observe(&self) -> Vec<Observation> {
        let errors = self.0.lock().clone();
        let failing = errors.into_iter().filter_map(|(name, error)| Some((name, error?)));
        failing.map(|(name, error)| Observation::new(code(name), detail(name)).with_error(error)).collect()
    }

    /// Checks until the returned `Task` is dropped. Without `db`, checks the reservation store only: a consumer process
    /// reports the state of the database itself.
    pub(super) fn watch(self: &Arc<Self>, db: Option<Database>, kv: Kv) -> Task {
        let this = Arc::clone(self);
        Task::spawn("dependencies", async move {
            loop {
                if let Some(db) = &db {
                    let error = database(db).await.unwrap_or_else(|error| Some(error.to_string()));
                    this.record_check(DATABASE, error);
                }
                // Checks the channel on which changes are published: without it other daemons miss revocations.
                let checked = kv.check(users::CHANNEL).await;
                this.record_check(RESERVATION_STORE, checked.err().map(|error| error.to_string()));
                tokio::time::sleep(CHECK_INTERVAL).await;
            }
        })
    }

    fn record_check(&self, dependency: &'static str, error: Option<String>) {
        self.0.lock().insert(dependency, error);
    }
}

fn code(name: &str) -> Code {
    if name == DATABASE { Code::DatabaseUnavailable } else { Code::RedisUnavailable }
}

fn detail(name: &str) -> &'static str {
    match name {
        DATABASE => "the database fails the daemon's checks",
        _ => "the reservation store (Redis) fails the daemon's checks",
    }
}

/// What the database lacks, if anything.
async fn database(db: &Database) -> Result<Option<String>, DbError> {
    if let Some(lacking) = db.missing_requirement().await? {
        return Ok(Some(lacking));
    }
    db.check_writes().await?;
    Ok(None)
}
