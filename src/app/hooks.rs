//! The hooks that the drain and the consumer offer, filled with the components above them.

use crate::auth::CacheGenerations;
use crate::command::{CommandId, Envelope};
use crate::consumer::{PostCommit, Work};
use crate::drain::{Answer, Prepare};
use crate::status::Statuses;
use crate::task::Task;
use crate::users::{DeferredHasher, Profiles, Unopened};

/// Makes the values of sealed records, with the user service's hashing.
pub(super) struct DeferredHashResolver(pub(super) DeferredHasher);

impl Prepare for DeferredHashResolver {
    fn prepare(&self, envelope: &Envelope<'_>, answer: Answer) {
        self.0.open(envelope, move |made| match made {
            Ok(value) => answer.value(value.to_vec()),
            Err(Unopened::Never(reason)) => answer.dead(reason),
            // Without a word: asked for again.
            Err(Unopened::NotNow) => drop(answer),
        });
    }
}

/// What follows when the consumer has applied commands: caches forget the users concerned, and requests that wait are
/// answered.
pub(super) struct PostCommitHook {
    pub(super) profiles: Profiles,
    /// What this process remembers of tokens and passwords; none where nobody calls: in a consumer alone.
    pub(super) generations: Option<CacheGenerations>,
    /// None where nobody can wait: in a consumer alone.
    pub(super) statuses: Option<Statuses>,
    /// Repeats what other daemons could not be told; none where the user service does.
    pub(super) _notices: Option<Task>,
}

impl PostCommit for PostCommitHook {
    fn changed<'a>(&'a self, names: &'a [String]) -> Work<'a> {
        // First, and waiting for nobody: a user who is deleted or has another password is not let in any more, whether
        // the shared store answers or not.
        if let Some(generations) = &self.generations {
            names.iter().for_each(|name| generations.invalidate(name));
        }
        Box::pin(self.profiles.changed(names))
    }

    fn finished<'a>(&'a self, ids: &'a [CommandId]) -> Work<'a> {
        Box::pin(async {
            if let Some(statuses) = &self.statuses {
                statuses.decided(ids);
            }
        })
    }
}
