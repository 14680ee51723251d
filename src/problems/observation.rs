//! A problem as an observer sees it at one moment.

use std::time::Duration;

use crate::bounded_errors::truncated;
use crate::units::Timestamp;

use super::code::Code;

/// Maximum length of a detail or error in bytes. Longer texts are cut.
const MAX_TEXT: usize = 500;

/// One problem at one moment.
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
    /// Creates an observation with a sentence for people. The sentence should not change while the problem lasts.
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

    /// Adds the subject if a code can have several: a broker, a topic, a file.
    pub fn about(mut self, subject: impl Into<String>) -> Self {
        self.subject = Some(truncated(&subject.into(), MAX_TEXT));
        self
    }

    /// Adds the last error as reported by the client library.
    pub fn with_error(mut self, error: impl Into<String>) -> Self {
        self.last_error = Some(truncated(&error.into(), MAX_TEXT));
        self
    }

    /// Adds the last error, if any.
    pub fn with_error_if_any(self, error: Option<String>) -> Self {
        match error {
            Some(error) => self.with_error(error),
            None => self,
        }
    }

    /// Sets the start, if it is known more precisely than by the first observation.
    pub fn since(mut self, since: Timestamp) -> Self {
        self.since = Some(since);
        self
    }

    /// Makes it a problem only after it was observed for this long without a gap.
    pub fn for_at_least(mut self, duration: Duration) -> Self {
        self.for_at_least = duration;
        self
    }

    /// Marks that the dependency as a whole is available.
    pub fn partial(mut self) -> Self {
        self.is_partial = true;
        self
    }

    /// Code of the problem.
    pub fn code(&self) -> Code {
        self.code
    }
}
