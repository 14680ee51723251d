//! The progress bar, shown only on a terminal.

use std::io;
use std::io::IsTerminal;
use std::sync::atomic::Ordering;
use std::time::Duration;

use indicatif::{ProgressBar, ProgressStyle};

use crate::worker::ProgressCounts;

fn bar(length: u64, template: &str) -> ProgressBar {
    if !io::stderr().is_terminal() {
        return ProgressBar::hidden();
    }
    let style = ProgressStyle::with_template(template);
    ProgressBar::new(length).with_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()))
}

/// The progress bar of registrations before a run.
pub fn registrations(users: u64) -> ProgressBar {
    bar(users, "registering users {wide_bar} {pos}/{len}")
}

/// The progress bar of a run.
pub struct Progress {
    bar: ProgressBar,
    warm_up: Duration,
}

impl Progress {
    /// Creates the bar of a run of this length.
    pub fn new(length: Duration, warm_up: Duration) -> Self {
        let bar = bar(length.as_millis() as u64, "{wide_bar} {msg}");
        Self { bar, warm_up }
    }

    /// Shows the current counts.
    pub fn show(&self, now: Duration, counts: &ProgressCounts) {
        if self.bar.is_hidden() {
            return;
        }
        let of = |count: &std::sync::atomic::AtomicU64| count.load(Ordering::Relaxed);
        let (due, good, errors) = (of(&counts.due), of(&counts.good), of(&counts.errors));
        let open = due.saturating_sub(good + errors);
        let phase = if now < self.warm_up { "warm-up" } else { "measuring" };
        let left = Duration::from_millis(self.bar.length().unwrap_or(0)).saturating_sub(now).as_secs();
        self.bar.set_position(now.as_millis() as u64);
        self.bar.set_message(format!(
            "{phase}, {left} s left: {due} due, {good} good, {errors} errors, {open} open"
        ));
    }

    /// Removes the bar.
    pub fn end(&self) {
        self.bar.finish_and_clear();
    }
}
