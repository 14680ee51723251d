//! Random bytes for values that must be unpredictable and unique.

use super::error::DbError;

/// `N` random bytes from the operating system.
pub(super) fn bytes<const N: usize>() -> Result<[u8; N], DbError> {
    let mut bytes = [0; N];
    getrandom::fill(&mut bytes)
        .map_err(|_| DbError::Busy("the operating system returned no random bytes".to_owned()))?;
    Ok(bytes)
}
