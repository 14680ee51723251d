//! Whether what a token says of its user is still so.

use data_encoding::HEXLOWER;
use sha2::{Digest, Sha256};

use super::claims::Claims;
use super::principal::Principal;
use crate::db::{Database, DbError};
use crate::units::Timestamp;

/// Half a digest: two passwords of one user never share it.
const VERSION_BYTES: usize = 8;

/// Tells which password a user has, and nothing about it: a digest of the hash, which has a random salt.
pub fn password_version(password_hash: &str) -> String {
    let digest =
        Sha256::new_with_prefix(b"forebay password version 1\n").chain_update(password_hash).finalize();
    HEXLOWER.encode(&digest[..VERSION_BYTES])
}

/// Who the claims are about now; none when the user, the password or the login is not the same any more.
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

/// Who the claims are about, by their own word.
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
    fn a_version_depends_on_the_whole_hash_and_shows_none_of_it() {
        let one = password_version("$2b$10$abcdefghijklmnopqrstuuABCDEFGHIJKLMNOPQRSTUVWXYZ01234");
        let other = password_version("$2b$10$abcdefghijklmnopqrstuuABCDEFGHIJKLMNOPQRSTUVWXYZ01235");
        assert_ne!(one, other);
        assert_eq!(one.len(), 2 * VERSION_BYTES);
    }
}
