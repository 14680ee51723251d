//! Merging deferred columns into the users' rows.

use super::Database;
use super::error::DbError;
use super::users::{apply_extras, parse_extras};

impl Database {
    /// Writes the deferred columns of up to `limit` users into their rows, and returns the number of users.
    pub async fn merge_extras(&self, limit: u32) -> Result<u64, DbError> {
        let mut batch = self.begin().await?;
        let names = batch.users_with_deferred(limit).await?;
        if names.is_empty() {
            return Ok(0);
        }
        let mut users = batch.users_for_update(&names).await?;
        // Read again under the users' locks: the result above may be older than the locks.
        let extras = batch.extras(&names).await?;
        for user in &mut users {
            if let Some(extras) = extras.get(&user.name) {
                apply_extras(user, &parse_extras(extras)?);
            }
        }
        batch.update_users(&users).await?;
        batch.delete_orphaned_extras(&names).await?;
        batch.commit().await?;
        u64::try_from(names.len())
            .map_err(|_| DbError::Refused("the number of users exceeds 64 bits".to_owned()))
    }
}
