//! What follows when the consumer has applied commands: caches forget whom they concern, and who waits is told.

use crate::auth::Marks;
use crate::command::CommandId;
use crate::consumer::AfterApplied;
use crate::consumer::Work;
use crate::status::Statuses;
use crate::task::Task;
use crate::users::Profiles;

/// The consumer's hooks.
pub(super) struct Applied {
    pub(super) profiles: Profiles,
    /// What this process remembers of tokens and passwords; none where nobody calls: in a consumer alone.
    pub(super) marks: Option<Marks>,
    /// None where nobody can wait: in a consumer alone.
    pub(super) statuses: Option<Statuses>,
    /// Repeats what other daemons could not be told; none where the user service does.
    pub(super) _notices: Option<Task>,
}

impl AfterApplied for Applied {
    fn changed<'a>(&'a self, names: &'a [String]) -> Work<'a> {
        // First, and waiting for nobody: a user who is deleted or has another password is not let in any more, whether
        // the shared store answers or not.
        if let Some(marks) = &self.marks {
            names.iter().for_each(|name| marks.remove(name));
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
