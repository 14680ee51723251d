//! What follows when the consumer has applied commands: caches are refreshed, and who waits is told.

use crate::auth::Marks;
use crate::command::CommandId;
use crate::consumer::AfterApplied;
use crate::consumer::Change;
use crate::consumer::Work;
use crate::status::Statuses;
use crate::users::Profiles;

/// The consumer's hooks.
pub(super) struct Applied {
    pub(super) profiles: Profiles,
    /// What this process remembers of tokens and passwords; none where nobody calls: in a consumer alone.
    pub(super) marks: Option<Marks>,
    /// None where nobody can wait: in a consumer alone.
    pub(super) statuses: Option<Statuses>,
}

impl AfterApplied for Applied {
    fn changed<'a>(&'a self, changes: &'a [Change]) -> Work<'a> {
        // First, and waiting for nobody: a user who is deleted or has another password is not let in any more, whether
        // the shared store answers or not.
        if let Some(marks) = &self.marks {
            changes.iter().for_each(|change| marks.remove(&change.name));
        }
        Box::pin(async {
            let rows: Vec<_> =
                changes.iter().map(|change| (change.name.clone(), change.row.clone())).collect();
            if let Err(error) = self.profiles.applied(&rows).await {
                tracing::warn!(%error, "other daemons may take old users for true until their caches expire");
            }
        })
    }

    fn finished<'a>(&'a self, ids: &'a [CommandId]) -> Work<'a> {
        Box::pin(async {
            if let Some(statuses) = &self.statuses {
                statuses.decided(ids);
            }
        })
    }
}
