//! Results of the checks, as text and as JSON.

use std::fmt::Write as _;
use std::io;

use serde::Serialize;

/// Formats a value as a JSON document with a line end.
pub(super) fn json(value: &impl Serialize) -> io::Result<String> {
    Ok(serde_json::to_string_pretty(value)? + "\n")
}

/// Result of one check.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(super) enum CheckStatus {
    /// The dependency meets the requirements.
    Ok,
    /// The dependency works, but an operator should check it. The report does not count it as failed.
    Warning,
    /// The dependency does not meet the requirements.
    Failed,
    /// Not checked: the configuration does not use it, or a check would change something.
    NotAsked,
}

/// A checked item and its result.
#[derive(Debug, Serialize)]
pub(super) struct CheckResult {
    /// `broker`, `topic`, `group`, `transactional-id`, `database`, `redis`.
    pub(super) dependency: &'static str,
    /// Address or name of the item.
    pub(super) name: String,
    pub(super) verdict: CheckStatus,
    /// The finding, or the error as reported by the client library.
    pub(super) detail: String,
    /// How to fix a failed check.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) advice: Option<String>,
}

impl CheckResult {
    pub(super) fn ok(dependency: &'static str, name: impl Into<String>, detail: impl Into<String>) -> Self {
        let (name, detail) = (name.into(), detail.into());
        Self { dependency, name, verdict: CheckStatus::Ok, detail, advice: None }
    }

    pub(super) fn warning(
        dependency: &'static str,
        name: impl Into<String>,
        detail: impl Into<String>,
        advice: impl Into<String>,
    ) -> Self {
        let (verdict, advice) = (CheckStatus::Warning, Some(advice.into()));
        Self { verdict, advice, ..Self::ok(dependency, name, detail) }
    }

    pub(super) fn failed(
        dependency: &'static str,
        name: impl Into<String>,
        detail: impl Into<String>,
        advice: impl Into<String>,
    ) -> Self {
        let (verdict, advice) = (CheckStatus::Failed, Some(advice.into()));
        Self { verdict, advice, ..Self::ok(dependency, name, detail) }
    }

    pub(super) fn not_asked(
        dependency: &'static str,
        name: impl Into<String>,
        why: impl Into<String>,
    ) -> Self {
        Self { verdict: CheckStatus::NotAsked, ..Self::ok(dependency, name, why) }
    }
}

/// All results.
#[derive(Debug, Serialize)]
pub(super) struct Report {
    /// Whether no check failed.
    ok: bool,
    checks: Vec<CheckResult>,
}

impl Report {
    pub(super) fn new(checks: Vec<CheckResult>) -> Self {
        Self { ok: checks.iter().all(|check| check.verdict != CheckStatus::Failed), checks }
    }

    /// Number of failed checks, and number of all checks.
    pub(super) fn failed(&self) -> (usize, usize) {
        let failed = self.checks.iter().filter(|check| check.verdict == CheckStatus::Failed);
        (failed.count(), self.checks.len())
    }

    /// Formats one line per check, followed by the advice.
    pub(super) fn to_text(&self) -> String {
        let mut text = String::new();
        for CheckResult { dependency, name, verdict, detail, advice } in &self.checks {
            let mark = match verdict {
                CheckStatus::Ok => "ok      ",
                CheckStatus::Warning => "WARNING ",
                CheckStatus::Failed => "FAILED  ",
                CheckStatus::NotAsked => "-       ",
            };
            // Writing to a String cannot fail.
            let _ = writeln!(text, "{mark}{dependency} {name}: {detail}");
            if let Some(advice) = advice {
                let _ = writeln!(text, "        → {advice}");
            }
        }
        text
    }
}
