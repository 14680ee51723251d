//! Completing users whose columns were put off.

use super::Database;
use super::error::DbError;
use super::users::{apply_extras, parse_extras};

impl Database {
    /// Writes what was put off of up to `limit` users into their rows, and says of how many.
    pub async fn merge_extras(&self, limit: u32) -> Result<u64, DbError> {
        let mut batch = self.begin().await?;
        let names = batch.users_with_deferred(limit).await?;
        if names.is_empty() {
            return Ok(0);
        }
        let mut users = batch.users_for_update(&names).await?;
        // Under the users' locks, and read anew: what the answer above shows may be older than they are.
        let extras = batch.extras(&names).await?;
        for user in &mut users {
            if let Some(extras) = extras.get(&user.name) {
                apply_extras(user, &parse_extras(extras)?);
            }
        }
        batch.update_users(&users).await?;
        batch.delete_orphaned_extras(&names).await?;
        batch.commit().await?;
        u64::try_from(names.len()).map_err(|_| DbError::Refused("more users than there can be".to_owned()))
    }
}
