//! How the database and the marker store do: looked at in the background, shown by `/readyz`, logged when it changes.
//! None of them makes the daemon unready.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::MutexGuard;
use std::sync::PoisonError;
use std::time::Duration;

use crate::db::Database;
use crate::db::DbError;
use crate::kv::Kv;
use crate::task::Task;

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

    /// Looks, as long as the task is held.
    pub(super) fn watch(self: &Arc<Self>, db: Database, kv: Kv) -> Task {
        let this = Arc::clone(self);
        Task::spawn("dependencies", async move {
            loop {
                this.seen("database", database(&db).await.unwrap_or_else(|error| error.to_string()));
                this.seen(
                    "markers",
                    kv.look().await.map_or_else(|error| error.to_string(), |()| "ok".to_owned()),
                );
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
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

async fn database(db: &Database) -> Result<String, DbError> {
    let pending = db.pending_migrations().await?;
    Ok(match pending.len() {
        0 => "ok".to_owned(),
        count => format!("{count} migrations are to be applied: run `forebay migrate`"),
    })
}
