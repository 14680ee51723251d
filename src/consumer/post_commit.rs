//! What follows a commit: pending markers go, caches are refreshed, whoever waits is woken. All of it may be lost with
//! the process: markers and cache entries have times to live, and who waits looks again.

use std::collections::VecDeque;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use prometheus::IntCounter;

use crate::command::CommandId;
use crate::kv::reservation_marker::ReservationMarker;
use crate::kv::{Kv, KvError, reservation_marker};

use super::command::Command;

/// What a hook returns.
pub type HookFuture<'a> = Pin<Box<dyn Future<Output = ()> + Send + 'a>>;

/// Whoever wants to know what was applied. Called after the commit, in this order; the consumer waits for both, and
/// not longer than a moment.
pub trait PostCommit: Send + Sync + 'static {
    /// These users' rows are other ones now; some have been for a while, and may have been told of then.
    fn users_changed<'a>(&'a self, names: &'a [String]) -> HookFuture<'a>;

    /// These commands have an outcome. Some had it before.
    fn commands_finished<'a>(&'a self, ids: &'a [CommandId]) -> HookFuture<'a>;
}

/// Nobody wants to know.
pub struct Noop;

impl PostCommit for Noop {
    fn users_changed<'a>(&'a self, _: &'a [String]) -> HookFuture<'a> {
        Box::pin(std::future::ready(()))
    }

    fn commands_finished<'a>(&'a self, _: &'a [CommandId]) -> HookFuture<'a> {
        Box::pin(std::future::ready(()))
    }
}

/// A hook takes no longer: the next batch waits.
const HOOK_TIMEOUT: Duration = Duration::from_secs(2);
/// Commands whose markers wait for a store that is away. The oldest go first; their markers end by themselves.
const MAX_WAITING: usize = 100_000;
/// Commands whose markers are removed at once.
const REMOVE_BATCH: usize = 1_000;

/// The markers of one command.
struct CommandReservations {
    claim: [u8; 16],
    keys: Vec<String>,
}

/// Does what follows a commit.
pub(super) struct PostCommitRunner {
    kv: Option<Kv>,
    hooks: Arc<dyn PostCommit>,
    waiting: VecDeque<CommandReservations>,
    is_store_unavailable: bool,
    bound_hit: IntCounter,
}

impl PostCommitRunner {
    pub(super) fn new(kv: Option<Kv>, hooks: Arc<dyn PostCommit>, bound_hit: IntCounter) -> Self {
        Self { kv, hooks, waiting: VecDeque::new(), is_store_unavailable: false, bound_hit }
    }

    /// After a commit: the users of these names have changed, `commands_finished` have an outcome.
    pub(super) async fn on_committed(&mut self, changed: &[String], finished: &[&Command]) {
        if !changed.is_empty() {
            self.run_hook("changed", self.hooks.users_changed(changed)).await;
        }
        if self.kv.is_some() {
            self.waiting.extend(finished.iter().filter_map(|command| claim(command)));
        }
        while self.waiting.len() > MAX_WAITING {
            self.waiting.pop_front();
            self.bound_hit.inc();
        }
        self.remove_reservations().await;
        let ids: Vec<CommandId> = finished.iter().filter_map(|command| command.parsed).collect();
        if !ids.is_empty() {
            self.run_hook("finished", self.hooks.commands_finished(&ids)).await;
        }
    }

    async fn run_hook(&self, hook: &str, work: HookFuture<'_>) {
        if tokio::time::timeout(HOOK_TIMEOUT, work).await.is_err() {
            tracing::warn!(
                event = "consumer.hook_timed_out",
                hook,
                "work after a commit timed out and was abandoned"
            );
        }
    }

    /// Removes the markers that wait, until there are none or the store does not answer.
    pub(super) async fn remove_reservations(&mut self) {
        while !self.waiting.is_empty() {
            let count = self.waiting.len().min(REMOVE_BATCH);
            match self.remove_batch(count).await {
                Ok(()) => {
                    self.waiting.drain(..count);
                    self.log_store_state(None);
                }
                Err(error) => return self.log_store_state(Some(&error)),
            }
        }
    }

    /// The value names the log too, which the command does not know: look, then remove what is still the same.
    async fn remove_batch(&self, count: usize) -> Result<(), KvError> {
        let Some(kv) = &self.kv else { return Ok(()) };
        let claims = self.waiting.iter().take(count);
        let keys: Vec<(&[u8; 16], &String)> =
            claims.flat_map(|claim| claim.keys.iter().map(|key| (&claim.claim, key))).collect();
        let asked: Vec<String> = keys.iter().map(|(_, key)| (*key).clone()).collect();
        let found = kv.get_all(&asked).await?;
        let ours = keys.iter().zip(found).filter_map(|((claim, key), value)| {
            let marker = ReservationMarker::decode(&value?)?;
            (marker.claim == **claim).then(|| ((*key).clone(), marker.owner()))
        });
        let ours: Vec<(String, Vec<u8>)> = ours.collect();
        if !ours.is_empty() {
            kv.remove_all(&ours).await?;
        }
        Ok(())
    }

    fn log_store_state(&mut self, error: Option<&KvError>) {
        match (error, self.is_store_unavailable) {
            (Some(error), false) => tracing::warn!(
                event = "consumer.reservations_kept",
                %error,
                "reservations of applied commands not removed; tried again"
            ),
            (None, true) => tracing::info!(
                event = "consumer.reservations_removed",
                "reservations of applied commands are removed again"
            ),
            _ => {}
        }
        self.is_store_unavailable = error.is_some();
    }
}

fn claim(command: &Command) -> Option<CommandReservations> {
    let value = command.value()?;
    let claim = data_encoding::HEXLOWER.decode(value.claim.as_ref()?.as_bytes()).ok()?;
    let mut keys = vec![reservation_marker::name_key(&value.name)];
    keys.extend(value.email.as_deref().map(reservation_marker::email_key));
    keys.extend(value.phone.as_deref().map(reservation_marker::phone_key));
    Some(CommandReservations { claim: claim.try_into().ok()?, keys })
}
