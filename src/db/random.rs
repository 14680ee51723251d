//! Random bytes, for what must not be guessed or met twice.

use super::error::DbError;

/// So many of the system's.
pub(super) fn bytes<const N: usize>() -> Result<[u8; N], DbError> {
    let mut bytes = [0; N];
    getrandom::fill(&mut bytes).map_err(|_| DbError::Busy("the system has no random bytes".to_owned()))?;
    Ok(bytes)
}
