//! What follows when the consumer has applied commands: caches are refreshed, and who waits is told.

use crate::command::CommandId;
use crate::consumer::AfterApplied;
use crate::consumer::Change;
use crate::consumer::Work;
use crate::status::Statuses;
use crate::users::Profiles;

/// The consumer's hooks.
pub(super) struct Applied {
    pub(super) profiles: Profiles,
    /// None where nobody can wait: in a consumer alone.
    pub(super) statuses: Option<Statuses>,
}

impl AfterApplied for Applied {
    fn changed<'a>(&'a self, changes: &'a [Change]) -> Work<'a> {
        Box::pin(async {
            let rows: Vec<_> =
                changes.iter().map(|change| (change.name.clone(), change.row.clone())).collect();
            if let Err(error) = self.profiles.applied(&rows).await {
                tracing::debug!(%error, "cached users are old until their time ends");
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
