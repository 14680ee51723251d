//! The secret shared by all daemons with the same database. With it, a daemon recognises repetitions of requests
//! accepted by another, and reads another's cursors. It is stored in the database: a reader of the database has the
//! password hashes anyway.

use std::time::Duration;

use tokio::sync::watch;

use crate::command::IdSeal;
use crate::db::Database;

/// Retry interval while the database is unavailable.
const RETRY_INTERVAL: Duration = Duration::from_secs(1);
/// How long a request right after the start waits for the first result, success or failure. Without the secret, the
/// repetition of a request accepted before the start would look like another user's request.
const FIRST_FETCH_TIMEOUT: Duration = Duration::from_secs(1);

/// State of the secret.
#[derive(Clone, Copy, PartialEq, Eq)]
enum SecretState {
    Pending,
    Away,
    Secret([u8; 32]),
}

/// The secret, once it was read from the database.
pub(super) struct ClusterSecret(watch::Sender<SecretState>);

impl Default for ClusterSecret {
    fn default() -> Self {
        Self(watch::Sender::new(SecretState::Pending))
    }
}

impl ClusterSecret {
    /// Reads the secret, with retries, and enables seals on ids with it.
    pub async fn fetch(&self, db: &Database, seal: &IdSeal) {
        loop {
            match db.secret().await {
                Ok(secret) => {
                    // First, because requests that waited for the secret accept commands next.
                    seal.set(&secret);
                    self.0.send_replace(SecretState::Secret(secret));
                    return;
                }
                Err(error) => {
                    tracing::debug!(%error, "shared secret not available yet");
                    self.0.send_replace(SecretState::Away);
                    tokio::time::sleep(RETRY_INTERVAL).await;
                }
            }
        }
    }

    /// The secret; `None` while the database is unavailable.
    pub async fn get(&self) -> Option<[u8; 32]> {
        let mut known = self.0.subscribe();
        let answered = known.wait_for(|known| *known != SecretState::Pending);
        match tokio::time::timeout(FIRST_FETCH_TIMEOUT, answered).await.ok()?.ok().as_deref() {
            Some(SecretState::Secret(secret)) => Some(*secret),
            _ => None,
        }
    }
}
