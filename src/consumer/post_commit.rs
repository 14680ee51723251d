//! Work after a commit: removes reservations, refreshes caches, and wakes waiting clients. All of it may be lost with
//! the process: reservations and cache entries expire, and waiting clients poll.

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

/// Receives what was applied. Both hooks are called after the commit, in this order. The consumer waits for both, for a
/// limited time.
pub trait PostCommit: Send + Sync + 'static {
    /// The rows of these users have changed. Some may have been reported before.
    fn users_changed<'a>(&'a self, names: &'a [String]) -> HookFuture<'a>;

    /// These commands have an outcome. Some may have been reported before.
    fn commands_finished<'a>(&'a self, ids: &'a [CommandId]) -> HookFuture<'a>;
}

/// Hooks that do nothing.
pub struct Noop;

impl PostCommit for Noop {
    fn users_changed<'a>(&'a self, _: &'a [String]) -> HookFuture<'a> {
        Box::pin(std::future::ready(()))
    }

    fn commands_finished<'a>(&'a self, _: &'a [CommandId]) -> HookFuture<'a> {
        Box::pin(std::future::ready(()))
    }
}

/// Maximum duration of a hook, because the next batch waits.
const HOOK_TIMEOUT: Duration = Duration::from_secs(2);
/// Maximum number of commands whose reservations wait for an unavailable store. The oldest are dropped first; their
/// reservations expire.
const MAX_WAITING: usize = 100_000;
/// Number of commands whose reservations are removed per request.
const REMOVE_BATCH: usize = 1_000;

/// The reservations of one command.
struct CommandReservations {
    claim: [u8; 16],
    keys: Vec<String>,
}

/// Performs the work after commits.
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

    /// Runs after a commit. The users named in `changed` have changed; the commands in `finished` have an outcome.
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
                "work after a commit timed out and was cancelled"
            );
        }
    }

    /// Removes the queued reservations until none is left or the store does not respond.
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

    /// Removes the reservations of `count` commands. Their values contain the log, which the command does not know: so
    /// each value is read first, and the key removed only if the value is unchanged.
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
                "reservations of applied commands not removed; retrying"
            ),
            (None, true) => tracing::info!(
                event = "consumer.reservations_removed",
                "reservations of applied commands are being removed again"
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
