//! Implementations of the hooks of the drain and the consumer, using the components above them.

use crate::auth::CacheGenerations;
use crate::command::{CommandId, Envelope};
use crate::consumer::{HookFuture, PostCommit};
use crate::drain::{ValueCompletion, ValueResolver};
use crate::status::Statuses;
use crate::task::Task;
use crate::users::{DeferredHashError, DeferredHasher, ProfileCache};

/// Computes the deferred values of records with the user service's hash pool.
pub(super) struct DeferredHashResolver(pub(super) DeferredHasher);

impl ValueResolver for DeferredHashResolver {
    fn resolve(&self, envelope: &Envelope<'_>, answer: ValueCompletion) {
        self.0.hash_command(envelope, move |made| match made {
            Ok(value) => answer.complete(value.to_vec()),
            Err(DeferredHashError::Never(reason)) => answer.dead(reason),
            // Dropped without a result: the drain requests it again.
            Err(DeferredHashError::NotNow) => drop(answer),
        });
    }
}

/// Runs after the consumer has applied commands: invalidates the cached users concerned and answers waiting requests.
pub(super) struct PostCommitHook {
    pub(super) profiles: ProfileCache,
    /// Cached data of tokens and passwords. `None` in a process without clients, such as a consumer alone.
    pub(super) generations: Option<CacheGenerations>,
    /// `None` in a process without waiting requests, such as a consumer alone.
    pub(super) statuses: Option<Statuses>,
    /// Repeats notices that other daemons did not receive. `None` if the user service repeats them.
    pub(super) _notices: Option<Task>,
}

impl PostCommit for PostCommitHook {
    fn users_changed<'a>(&'a self, names: &'a [String]) -> HookFuture<'a> {
        // First, and without waiting: a deleted user or an old password is refused, even while the shared store is
        // unavailable.
        if let Some(generations) = &self.generations {
            names.iter().for_each(|name| generations.invalidate(name));
        }
        Box::pin(self.profiles.invalidate(names))
    }

    fn commands_finished<'a>(&'a self, ids: &'a [CommandId]) -> HookFuture<'a> {
        Box::pin(async {
            if let Some(statuses) = &self.statuses {
                statuses.on_decided(ids);
            }
        })
    }
}
