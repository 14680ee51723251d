//! Checks whether a token's claims still match the state of its user.

use data_encoding::HEXLOWER;
use sha2::{Digest, Sha256};

use super::claims::Claims;
use super::principal::Principal;
use crate::db::{Database, DbError};
use crate::units::Timestamp;

/// Half a digest. That is long enough: two passwords of one user never share it.
const VERSION_BYTES: usize = 8;

/// Identifier of a user's current password: a digest of the password hash, which has a random salt. It reveals nothing
/// about the password.
pub fn password_version(password_hash: &str) -> String {
    let digest =
        Sha256::new_with_prefix(b"forebay password version 1\n").chain_update(password_hash).finalize();
    HEXLOWER.encode(&digest[..VERSION_BYTES])
}

/// The current principal of these claims. `None` if the user, the password or the session has changed.
pub(super) async fn current_principal(db: &Database, claims: &Claims) -> Result<Option<Principal>, DbError> {
    let Some(version) = &claims.pwv else { return Ok(Some(principal(claims))) };
    let Some(row) = db.user(&claims.sub).await? else { return Ok(None) };
    if password_version(&row.password_hash) != *version {
        return Ok(None);
    }
    if let Some(session) = claims.session()
        && db.session_ended(session).await?
    {
        return Ok(None);
    }
    Ok(Some(Principal { admin: row.is_admin, registered_at: Some(row.created_at), ..principal(claims) }))
}

/// The principal of these claims, without a check against the database.
pub(super) fn principal(claims: &Claims) -> Principal {
    Principal {
        name: claims.sub.as_str().into(),
        admin: claims.admin,
        session: claims.session().map(Into::into),
        registered_at: claims.registered_at.map(Timestamp),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_version_depends_on_the_whole_hash_and_reveals_none() {
        let one = password_version("$2b$10$abcdefghijklmnopqrstuuABCDEFGHIJKLMNOPQRSTUVWXYZ01234");
        let other = password_version("$2b$10$abcdefghijklmnopqrstuuABCDEFGHIJKLMNOPQRSTUVWXYZ01235");
        assert_ne!(one, other);
        assert_eq!(one.len(), 2 * VERSION_BYTES);
    }
}
