//! The secret that the daemons on one database share, so that each knows a repetition of what another has accepted, and
//! reads another's cursors. It stands in the database: whoever reads that has the password hashes anyway.

use std::time::Duration;

use tokio::sync::watch;

use crate::command::IdSeal;
use crate::db::Database;

/// Between two questions to a database that is away.
const RETRY_INTERVAL: Duration = Duration::from_secs(1);
/// A request right after the start waits this long for the first answer, yes or no: without the secret it would take the
/// repetition of what was accepted before the start for somebody else's wish.
const FIRST_FETCH_TIMEOUT: Duration = Duration::from_secs(1);

/// What is known of it.
#[derive(Clone, Copy, PartialEq, Eq)]
enum SecretState {
    Pending,
    Away,
    Secret([u8; 32]),
}

/// The secret, once the database has said it.
pub(super) struct ClusterSecret(watch::Sender<SecretState>);

impl Default for ClusterSecret {
    fn default() -> Self {
        Self(watch::Sender::new(SecretState::Pending))
    }
}

impl ClusterSecret {
    /// Asks until there is an answer, and lets ids be sealed with it.
    pub async fn fetch(&self, db: &Database, seal: &IdSeal) {
        loop {
            match db.secret().await {
                Ok(secret) => {
                    // First: who has waited for the secret accepts commands next.
                    seal.set(&secret);
                    self.0.send_replace(SecretState::Secret(secret));
                    return;
                }
                Err(error) => {
                    tracing::debug!(%error, "shared secret not known yet");
                    self.0.send_replace(SecretState::Away);
                    tokio::time::sleep(RETRY_INTERVAL).await;
                }
            }
        }
    }

    /// None while the database is away.
    pub async fn get(&self) -> Option<[u8; 32]> {
        let mut known = self.0.subscribe();
        let answered = known.wait_for(|known| *known != SecretState::Pending);
        match tokio::time::timeout(FIRST_FETCH_TIMEOUT, answered).await.ok()?.ok().as_deref() {
            Some(SecretState::Secret(secret)) => Some(*secret),
            _ => None,
        }
    }
}
