//! Rejects logins at once when too many are in progress (fast fail), so that the others stay fast.
//!
//! One address gets at most three quarters of the permits, whatever its rate limits. So it cannot block all others.

use std::collections::HashMap;
use std::net::IpAddr;

use crate::sync::{Mutex, MutexGuard};

/// Logins in progress.
pub(super) struct LoginLimiter {
    state: Mutex<LimiterState>,
    max: usize,
    max_per_address: usize,
}

#[derive(Default)]
struct LimiterState {
    in_progress: usize,
    /// Logins in progress, by address.
    by_address: HashMap<IpAddr, usize>,
}

/// Permit of one login; returned when dropped.
pub(super) struct LoginPermit<'a> {
    limiter: &'a LoginLimiter,
    address: IpAddr,
}

impl LoginLimiter {
    pub fn new(most: usize) -> Self {
        // A single permit cannot be shared.
        let most_of_one = (most - most.div_ceil(4)).max(1);
        Self { state: Mutex::default(), max: most, max_per_address: most_of_one }
    }

    /// A permit for a login from this address or network. `None`: too many logins in progress, in total or from it.
    pub fn try_acquire(&self, address: IpAddr) -> Option<LoginPermit<'_>> {
        let mut seats = self.state();
        let own = seats.by_address.get(&address).copied().unwrap_or(0);
        if seats.in_progress >= self.max || own >= self.max_per_address {
            return None;
        }
        seats.in_progress += 1;
        seats.by_address.insert(address, own + 1);
        Some(LoginPermit { limiter: self, address })
    }

    fn state(&self) -> MutexGuard<'_, LimiterState> {
        self.state.lock()
    }
}

impl Drop for LoginPermit<'_> {
    fn drop(&mut self) {
        let mut seats = self.limiter.state();
        seats.in_progress -= 1;
        match seats.by_address.get_mut(&self.address) {
            Some(own) if *own > 1 => *own -= 1,
            _ => drop(seats.by_address.remove(&self.address)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(last: u8) -> IpAddr {
        [203, 0, 113, last].into()
    }

    #[test]
    fn a_permit_is_returned_when_its_login_ends() {
        let logins = LoginLimiter::new(2);
        let (one, two) = (logins.try_acquire(address(1)), logins.try_acquire(address(2)));
        assert!(one.is_some() && two.is_some());
        assert!(logins.try_acquire(address(3)).is_none() && logins.try_acquire(address(3)).is_none());
        drop(one);
        let third = logins.try_acquire(address(3));
        assert!(third.is_some());
        drop((two, third));
        let seats = logins.state();
        assert!(seats.in_progress == 0 && seats.by_address.is_empty());
    }

    #[test]
    fn one_address_cannot_use_all_permits() {
        for (most, of_one) in [(1_000, 750), (4, 3), (3, 2), (2, 1)] {
            let logins = LoginLimiter::new(most);
            let taken: Vec<_> = (0..most).filter_map(|_| logins.try_acquire(address(1))).collect();
            assert_eq!(taken.len(), of_one);
            assert!(logins.try_acquire(address(2)).is_some());
        }
        assert!(LoginLimiter::new(1).try_acquire(address(1)).is_some(), "a single permit can be acquired");
    }
}
