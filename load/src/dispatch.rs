//! Dispatches each request when it is due, however slow the target is.

use std::time::Duration;

use crate::clock::Clock;

/// The longest sleep, and so the longest delay until an interruption is noticed.
const MAX_SLEEP: Duration = Duration::from_millis(50);

/// Calls `on_due` with each time of `arrivals` and the current time, at that time or as soon as possible after it.
///
/// `stop` ends the loop early. Returns the time of that, or `None` after the last request.
pub fn dispatch_when_due(
    arrivals: impl Iterator<Item = Duration>,
    clock: &impl Clock,
    stop: impl Fn() -> bool,
    mut on_due: impl FnMut(Duration, Duration),
) -> Option<Duration> {
    for due in arrivals {
        let mut now = clock.now();
        loop {
            // Checked also when requests are late: a dispatcher that cannot keep up never sleeps.
            if stop() {
                return Some(now);
            }
            if now >= due {
                break;
            }
            clock.sleep_until(due.min(now + MAX_SLEEP));
            now = clock.now();
        }
        on_due(due, now);
    }
    None
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use super::*;

    /// A clock that moves only during a sleep, and then by a little more than requested.
    struct ManualClock {
        now: Cell<Duration>,
        late: Duration,
    }

    impl Clock for ManualClock {
        fn now(&self) -> Duration {
            self.now.get()
        }

        fn sleep_until(&self, at: Duration) {
            self.now.set(at + self.late);
        }
    }

    fn ms(ms: u64) -> Duration {
        Duration::from_millis(ms)
    }

    fn clock(late: u64) -> ManualClock {
        ManualClock { now: Cell::default(), late: ms(late) }
    }

    #[test]
    fn each_request_is_dispatched_when_it_is_due() {
        let clock = clock(0);
        let mut seen = Vec::new();
        let ended = dispatch_when_due(
            [0, 10, 200].map(ms).into_iter(),
            &clock,
            || false,
            |due, now| seen.push((due, now)),
        );
        assert_eq!(seen, [(ms(0), ms(0)), (ms(10), ms(10)), (ms(200), ms(200))]);
        assert_eq!(ended, None);
    }

    #[test]
    fn a_late_thread_dispatches_all_due_requests() {
        // Each sleep is 25 ms too long: the due times must not move with it.
        let clock = clock(25);
        let mut seen = Vec::new();
        dispatch_when_due(
            [10, 20, 30, 40].map(ms).into_iter(),
            &clock,
            || false,
            |due, now| seen.push((due, now)),
        );
        assert_eq!(seen, [(ms(10), ms(35)), (ms(20), ms(35)), (ms(30), ms(35)), (ms(40), ms(65))]);
    }

    #[test]
    fn an_interruption_ends_dispatching_between_two_requests() {
        let clock = clock(0);
        let mut seen = 0;
        let stop = || clock.now() >= ms(100);
        let ended = dispatch_when_due([0, 10, 60_000].map(ms).into_iter(), &clock, stop, |_, _| seen += 1);
        assert_eq!((seen, ended), (2, Some(ms(110))));
    }

    #[test]
    fn an_interruption_ends_dispatching_when_all_requests_are_late() {
        let clock = clock(0);
        clock.sleep_until(ms(500));
        let seen = Cell::new(0);
        let on_due = |_, _| seen.set(seen.get() + 1);
        let ended =
            dispatch_when_due([0, 10, 20, 30].map(ms).into_iter(), &clock, || seen.get() == 2, on_due);
        assert_eq!((seen.get(), ended), (2, Some(ms(500))));
    }
}
