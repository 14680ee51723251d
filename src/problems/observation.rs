//! What an observer says is wrong at this moment.

use std::time::Duration;

use crate::bounded_errors::truncated;
use crate::units::Timestamp;

use super::code::Code;

/// A sentence of our own, or an error of a client: longer ones are cut.
const MAX_TEXT: usize = 500;

/// One thing that is wrong at this moment.
#[derive(Clone, Debug)]
pub struct Observation {
    pub(super) code: Code,
    pub(super) subject: Option<String>,
    pub(super) detail: String,
    pub(super) last_error: Option<String>,
    pub(super) since: Option<Timestamp>,
    pub(super) for_at_least: Duration,
    pub(super) is_partial: bool,
}

impl Observation {
    /// A problem, with a sentence for a person. The sentence should not change while the problem lasts.
    pub fn new(code: Code, detail: impl Into<String>) -> Self {
        Self {
            code,
            subject: None,
            detail: truncated(&detail.into(), MAX_TEXT),
            last_error: None,
            since: None,
            for_at_least: Duration::ZERO,
            is_partial: false,
        }
    }

    /// What it concerns, where there may be several: a broker, a topic, a file.
    pub fn about(mut self, subject: impl Into<String>) -> Self {
        self.subject = Some(truncated(&subject.into(), MAX_TEXT));
        self
    }

    /// The last error in the client's own words.
    pub fn with_error(mut self, error: impl Into<String>) -> Self {
        self.last_error = Some(truncated(&error.into(), MAX_TEXT));
        self
    }

    /// The same where there may be none.
    pub fn with_error_if_any(self, error: Option<String>) -> Self {
        match error {
            Some(error) => self.with_error(error),
            None => self,
        }
    }

    /// When it began, where that is known better than by the first observation.
    pub fn since(mut self, since: Timestamp) -> Self {
        self.since = Some(since);
        self
    }

    /// It is a problem only once it was observed for this long without a gap.
    pub fn for_at_least(mut self, duration: Duration) -> Self {
        self.for_at_least = duration;
        self
    }

    /// The dependency as a whole is available.
    pub fn partial(mut self) -> Self {
        self.is_partial = true;
        self
    }

    /// What is wrong.
    pub fn code(&self) -> Code {
        self.code
    }
}
