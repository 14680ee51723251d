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
pub type Work<'a> = Pin<Box<dyn Future<Output = ()> + Send + 'a>>;

/// Whoever wants to know what was applied. Called after the commit, in this order; the consumer waits for both, and
/// not longer than a moment.
pub trait PostCommit: Send + Sync + 'static {
    /// These users' rows are other ones now; some have been for a while, and may have been told of then.
    fn changed<'a>(&'a self, names: &'a [String]) -> Work<'a>;

    /// These commands have an outcome. Some had it before.
    fn finished<'a>(&'a self, ids: &'a [CommandId]) -> Work<'a>;
}

/// Nobody wants to know.
pub struct Noop;

impl PostCommit for Noop {
    fn changed<'a>(&'a self, _: &'a [String]) -> Work<'a> {
        Box::pin(std::future::ready(()))
    }

    fn finished<'a>(&'a self, _: &'a [CommandId]) -> Work<'a> {
        Box::pin(std::future::ready(()))
    }
}

/// A hook takes no longer: the next batch waits.
const HOOK: Duration = Duration::from_secs(2);
/// Commands whose markers wait for a store that is away. The oldest go first; their markers end by themselves.
const MOST_WAITING: usize = 100_000;
/// Commands whose markers are removed at once.
const CHUNK: usize = 1_000;

/// The markers of one command.
struct Claim {
    claim: [u8; 16],
    keys: Vec<String>,
}

/// Does what follows a commit.
pub(super) struct AfterCommit {
    kv: Option<Kv>,
    hooks: Arc<dyn PostCommit>,
    waiting: VecDeque<Claim>,
    away: bool,
    bound_hit: IntCounter,
}

impl AfterCommit {
    pub(super) fn new(kv: Option<Kv>, hooks: Arc<dyn PostCommit>, bound_hit: IntCounter) -> Self {
        Self { kv, hooks, waiting: VecDeque::new(), away: false, bound_hit }
    }

    /// After a commit: the users of these names have changed, `finished` have an outcome.
    pub(super) async fn committed(&mut self, changed: &[String], finished: &[&Command]) {
        if !changed.is_empty() {
            self.bounded("changed", self.hooks.changed(changed)).await;
        }
        if self.kv.is_some() {
            self.waiting.extend(finished.iter().filter_map(|command| claim(command)));
        }
        while self.waiting.len() > MOST_WAITING {
            self.waiting.pop_front();
            self.bound_hit.inc();
        }
        self.remove_markers().await;
        let ids: Vec<CommandId> = finished.iter().filter_map(|command| command.parsed).collect();
        if !ids.is_empty() {
            self.bounded("finished", self.hooks.finished(&ids)).await;
        }
    }

    async fn bounded(&self, hook: &str, work: Work<'_>) {
        if tokio::time::timeout(HOOK, work).await.is_err() {
            tracing::warn!(
                event = "consumer.hook_timed_out",
                hook,
                "work after a commit timed out and was abandoned"
            );
        }
    }

    /// Removes the markers that wait, until there are none or the store does not answer.
    pub(super) async fn remove_markers(&mut self) {
        while !self.waiting.is_empty() {
            let count = self.waiting.len().min(CHUNK);
            match self.remove_some(count).await {
                Ok(()) => {
                    self.waiting.drain(..count);
                    self.said(None);
                }
                Err(error) => return self.said(Some(&error)),
            }
        }
    }

    /// The value names the log too, which the command does not know: look, then remove what is still the same.
    async fn remove_some(&self, count: usize) -> Result<(), KvError> {
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

    fn said(&mut self, error: Option<&KvError>) {
        match (error, self.away) {
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
        self.away = error.is_some();
    }
}

fn claim(command: &Command) -> Option<Claim> {
    let value = command.value()?;
    let claim = data_encoding::HEXLOWER.decode(value.claim.as_ref()?.as_bytes()).ok()?;
    let mut keys = vec![reservation_marker::name_key(&value.name)];
    keys.extend(value.email.as_deref().map(reservation_marker::email_key));
    keys.extend(value.phone.as_deref().map(reservation_marker::phone_key));
    Some(Claim { claim: claim.try_into().ok()?, keys })
}
