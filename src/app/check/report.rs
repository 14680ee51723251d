//! What dependencies answered, for people and for programs.

use std::fmt::Write as _;
use std::io;

use serde::Serialize;

/// One document, with a line end.
pub(super) fn json(value: &impl Serialize) -> io::Result<String> {
    Ok(serde_json::to_string_pretty(value)? + "\n")
}

/// How one thing was found.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(super) enum Verdict {
    /// As the daemon needs it.
    Ok,
    /// It works, but an operator should look at it. It does not count as failed.
    Warning,
    /// Not as the daemon needs it.
    Failed,
    /// Not asked: the configuration does not use it, or it cannot be asked without changing something.
    NotAsked,
}

/// What one thing answered.
#[derive(Debug, Serialize)]
pub(super) struct Check {
    /// `broker`, `topic`, `group`, `transactional-id`, `database`, `redis`.
    pub(super) dependency: &'static str,
    /// Its address or name.
    pub(super) name: String,
    pub(super) verdict: Verdict,
    /// What was found, or the cause in the client's own words.
    pub(super) detail: String,
    /// What to do, where it is not as it must be.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) advice: Option<String>,
}

impl Check {
    pub(super) fn ok(dependency: &'static str, name: impl Into<String>, detail: impl Into<String>) -> Self {
        let (name, detail) = (name.into(), detail.into());
        Self { dependency, name, verdict: Verdict::Ok, detail, advice: None }
    }

    pub(super) fn warning(
        dependency: &'static str,
        name: impl Into<String>,
        detail: impl Into<String>,
        advice: impl Into<String>,
    ) -> Self {
        let (verdict, advice) = (Verdict::Warning, Some(advice.into()));
        Self { verdict, advice, ..Self::ok(dependency, name, detail) }
    }

    pub(super) fn failed(
        dependency: &'static str,
        name: impl Into<String>,
        detail: impl Into<String>,
        advice: impl Into<String>,
    ) -> Self {
        let (verdict, advice) = (Verdict::Failed, Some(advice.into()));
        Self { verdict, advice, ..Self::ok(dependency, name, detail) }
    }

    pub(super) fn not_asked(
        dependency: &'static str,
        name: impl Into<String>,
        why: impl Into<String>,
    ) -> Self {
        Self { verdict: Verdict::NotAsked, ..Self::ok(dependency, name, why) }
    }
}

/// All answers.
#[derive(Debug, Serialize)]
pub(super) struct Report {
    /// Whether nothing failed.
    ok: bool,
    checks: Vec<Check>,
}

impl Report {
    pub(super) fn new(checks: Vec<Check>) -> Self {
        Self { ok: checks.iter().all(|check| check.verdict != Verdict::Failed), checks }
    }

    /// How many failed, and of how many.
    pub(super) fn failed(&self) -> (usize, usize) {
        let failed = self.checks.iter().filter(|check| check.verdict == Verdict::Failed);
        (failed.count(), self.checks.len())
    }

    /// A line for each, and below it what to do.
    pub(super) fn in_words(&self) -> String {
        let mut text = String::new();
        for Check { dependency, name, verdict, detail, advice } in &self.checks {
            let mark = match verdict {
                Verdict::Ok => "ok      ",
                Verdict::Warning => "WARNING ",
                Verdict::Failed => "FAILED  ",
                Verdict::NotAsked => "-       ",
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
