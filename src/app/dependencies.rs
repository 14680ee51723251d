//! How the database and the marker store do: looked at in the background, shown by `/readyz`, logged when it changes.
//! Each look does what the work needs, writes above all: a server that only answers reads is of no use. None of them
//! makes the daemon unready.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use crate::db::{Database, DbError};
use crate::kv::Kv;
use crate::sync::{Mutex, MutexGuard};
use crate::task::Task;
use crate::users;

/// Beside a time-out of a second or less this is not much to ask of either.
const LOOK_EVERY: Duration = Duration::from_secs(5);

/// What was seen last, by dependency.
#[derive(Default)]
pub(super) struct Dependencies(Mutex<BTreeMap<&'static str, String>>);

impl Dependencies {
    /// What was seen last; nothing before the first look.
    pub(super) fn states(&self) -> BTreeMap<&'static str, String> {
        self.table().clone()
    }

    /// Looks, as long as the task is held. Without `db` at the marker store alone: the consumer says by itself how the
    /// database does.
    pub(super) fn watch(self: &Arc<Self>, db: Option<Database>, kv: Kv) -> Task {
        let this = Arc::clone(self);
        Task::spawn("dependencies", async move {
            loop {
                if let Some(db) = &db {
                    this.seen("database", database(db).await.unwrap_or_else(|error| error.to_string()));
                }
                this.seen("markers", markers(&kv).await);
                tokio::time::sleep(LOOK_EVERY).await;
            }
        })
    }

    fn seen(&self, dependency: &'static str, state: String) {
        let before = self.table().insert(dependency, state.clone());
        if before.as_ref() == Some(&state) {
            return;
        }
        match state.as_str() {
            "ok" => tracing::info!(dependency, "well"),
            _ => tracing::warn!(dependency, state, "degraded"),
        }
    }

    fn table(&self) -> MutexGuard<'_, BTreeMap<&'static str, String>> {
        self.0.lock()
    }
}

/// Over the channel on which changes are published: without it other daemons miss revocations.
async fn markers(kv: &Kv) -> String {
    kv.look(users::CHANNEL).await.map_or_else(|error| error.to_string(), |()| "ok".to_owned())
}

async fn database(db: &Database) -> Result<String, DbError> {
    if let Some(lacking) = db.lacks().await? {
        return Ok(lacking);
    }
    db.check_writes().await?;
    Ok("ok".to_owned())
}
