//! The list of current problems, with their start and last error.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use schemars::JsonSchema;
use serde::Serialize;

use crate::sync::Mutex;
use crate::units::Timestamp;

use super::code::{Code, Severity};
use super::format::span;
use super::metrics::ProblemMetrics;
use super::observation::Observation;

/// Maximum number of subjects per code. Further ones are counted in a single entry.
const MAX_SUBJECTS: usize = 16;

/// Tolerance in milliseconds for a start that is computed from a duration, which varies slightly each time.
const JITTER_MS: u64 = 2_000;

/// Maximum number of different errors logged per problem.
const MAX_LOGGED: usize = 8;

/// One entry of the list.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
#[schemars(rename = "ongoing_problem")]
pub struct Problem {
    /// Stable name of the problem.
    #[schemars(with = "String")]
    pub code: Code,
    /// Start of the problem.
    #[schemars(with = "String", extend("format" = "date-time"))]
    pub since: Timestamp,
    /// Description in one sentence.
    pub detail: String,
    /// The last error reported by a client library, if any.
    pub last_error: Option<String>,
    /// Link to the section of the runbook.
    pub runbook: String,
    #[serde(skip)]
    is_partial: bool,
}

impl Problem {
    /// The same problem for unauthenticated clients: without addresses, paths and errors.
    pub fn redacted(self) -> Self {
        Self { detail: self.code.title().to_owned(), last_error: None, ..self }
    }

    /// The error if there is one, otherwise the description.
    pub fn cause(&self) -> &str {
        self.last_error.as_deref().unwrap_or(&self.detail)
    }

    /// Whether this dependency is unavailable as a whole.
    fn takes_down(&self, dependency: &str) -> bool {
        !self.is_partial && self.code.dependency() == Some(dependency)
    }
}

/// All current problems.
pub struct Problems {
    entries: Mutex<BTreeMap<Key, ActiveProblem>>,
    // Locked from an observation until it is applied, so that an older one never replaces a newer one.
    observing: Mutex<()>,
    metrics: ProblemMetrics,
}

type Key = (Code, Option<String>);

struct ActiveProblem {
    problem: Problem,
    first_seen: Instant,
    /// Whether it was observed for long enough.
    is_ongoing: bool,
    /// Number of times the last error changed.
    changes: u32,
    /// Errors that were logged.
    logged: Vec<String>,
}

impl Problems {
    /// Creates an empty list.
    pub fn new(metrics: ProblemMetrics) -> Self {
        Self { entries: Mutex::default(), observing: Mutex::default(), metrics }
    }

    /// Observes the current problems, updates the list and returns it, the most important problem first.
    pub fn refresh(&self, observe: impl FnOnce() -> Vec<Observation>) -> Vec<Problem> {
        let _observing = self.observing.lock();
        self.update(observe(), Instant::now());
        self.list()
    }

    /// Applies the current observations: a new one starts a problem, a missing one ends it. Both are logged once.
    fn update(&self, observations: Vec<Observation>, now: Instant) {
        let mut entries = self.entries.lock();
        let mut seen: BTreeMap<Key, Observation> = BTreeMap::new();
        for observation in bounded(observations) {
            // Of two observations about the same subject, the first counts.
            seen.entry((observation.code, observation.subject.clone())).or_insert(observation);
        }
        entries.retain(|key, entry| {
            let lasts = seen.contains_key(key);
            if !lasts && entry.is_ongoing {
                ended(entry, now);
            }
            lasts
        });
        for (key, observation) in seen {
            let for_at_least = observation.for_at_least;
            let entry = entries.entry(key).or_insert_with(|| ActiveProblem::new(&observation, now));
            entry.update_from(observation);
            if !entry.is_ongoing && now.saturating_duration_since(entry.first_seen) >= for_at_least {
                entry.is_ongoing = true;
                entry.is_new_cause();
                started(&entry.problem);
            } else if entry.is_ongoing && entry.is_new_cause() {
                changed(&entry.problem);
            }
        }
        let ongoing = || entries.values().filter(|entry| entry.is_ongoing).map(|entry| &entry.problem);
        self.metrics.update(
            |code| ongoing().any(|problem| problem.code == code),
            |dependency| !ongoing().any(|problem| problem.takes_down(dependency)),
        );
    }

    /// Problems at the last refresh, the most important first.
    pub fn list(&self) -> Vec<Problem> {
        let entries = self.entries.lock();
        entries.values().filter(|entry| entry.is_ongoing).map(|entry| entry.problem.clone()).collect()
    }
}

impl ActiveProblem {
    fn new(observation: &Observation, now: Instant) -> Self {
        let Observation { code, detail, last_error, is_partial, .. } = observation.clone();
        let since = observation.since.unwrap_or_else(Timestamp::now);
        let problem = Problem { code, since, detail, last_error, runbook: code.runbook(), is_partial };
        Self { problem, first_seen: now, is_ongoing: false, changes: 0, logged: Vec::new() }
    }

    /// Duration of the problem, which may have begun before its first observation.
    fn duration(&self, now: Instant, today: Timestamp) -> Duration {
        let seen = now.saturating_duration_since(self.first_seen);
        seen.max(today.since(self.problem.since))
    }

    /// Whether the last error must be logged: each error once, and at most [`MAX_LOGGED`].
    fn is_new_cause(&mut self) -> bool {
        let Some(error) = &self.problem.last_error else { return false };
        let is_new = self.logged.len() < MAX_LOGGED && !self.logged.contains(error);
        if is_new {
            self.logged.push(error.clone());
        }
        is_new
    }

    /// Updates the texts and keeps the start.
    fn update_from(&mut self, observation: Observation) {
        let Observation { detail, last_error, since, is_partial, .. } = observation;
        if last_error.is_some() && self.problem.last_error != last_error {
            self.problem.last_error = last_error;
            self.changes += 1;
        }
        if let Some(since) = since.filter(|since| since.0.abs_diff(self.problem.since.0) > JITTER_MS) {
            self.problem.since = since;
        }
        (self.problem.detail, self.problem.is_partial) = (detail, is_partial);
    }
}

/// Limits the observations to [`MAX_SUBJECTS`] per code.
fn bounded(observations: Vec<Observation>) -> Vec<Observation> {
    let mut counts: BTreeMap<Code, usize> = BTreeMap::new();
    let mut kept = Vec::with_capacity(observations.len());
    for observation in observations {
        let count = counts.entry(observation.code).or_default();
        *count += 1;
        if *count <= MAX_SUBJECTS {
            kept.push(observation);
        }
    }
    for (code, count) in counts {
        if let Some(more) = count.checked_sub(MAX_SUBJECTS).filter(|more| *more > 0) {
            let detail = format!("{more} more of the same kind: {}", code.title());
            kept.push(Observation::new(code, detail).about("others").partial());
        }
    }
    kept
}

fn started(problem: &Problem) {
    let Problem { code, detail, last_error, runbook, .. } = problem;
    let (code, title) = (code.as_str(), code.title());
    match problem.code.severity() {
        Severity::Error => {
            tracing::error!(event = "problem.started", code, detail, last_error, runbook, "started: {title}")
        }
        Severity::Warning => {
            tracing::warn!(event = "problem.started", code, detail, last_error, runbook, "started: {title}")
        }
    }
}

fn changed(problem: &Problem) {
    let Problem { code, detail, last_error, .. } = problem;
    let (code, title) = (code.as_str(), code.title());
    tracing::warn!(event = "problem.changed", code, detail, last_error, "new error: {title}");
}

fn ended(entry: &ActiveProblem, now: Instant) {
    let code = entry.problem.code;
    let lasted = entry.duration(now, Timestamp::now());
    tracing::info!(
        event = "problem.ended",
        code = code.as_str(),
        duration_s = lasted.as_secs_f64(),
        error_changes = entry.changes,
        "ended after {}: {}",
        span(lasted),
        code.title()
    );
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metrics::Registry;

    fn problems() -> (Problems, Registry) {
        let registry = Registry::new().unwrap();
        (Problems::new(ProblemMetrics::register(&registry).unwrap()), registry)
    }

    fn gauge(registry: &Registry, series: &str) -> f64 {
        let text = String::from_utf8(registry.render().unwrap()).unwrap();
        let line =
            text.lines().find_map(|line| line.strip_prefix(series)).unwrap_or_else(|| panic!("{text}"));
        line.trim().parse().unwrap()
    }

    fn kafka(error: &str) -> Observation {
        Observation::new(Code::KafkaUnreachable, "no broker answers").with_error(error)
    }

    const GAUGE: &str = "forebay_problem{code=\"kafka_unreachable\"}";
    const UP: &str = "forebay_dependency_up{dependency=\"kafka\"}";

    #[test]
    fn a_problem_keeps_its_start_and_shows_the_last_error() {
        let (problems, registry) = problems();
        assert_eq!((gauge(&registry, GAUGE), gauge(&registry, UP)), (0.0, 1.0), "known from the start");
        let start = Instant::now();
        problems.update(vec![kafka("refused").since(Timestamp(1))], start);
        problems.update(vec![kafka("timed out")], start + Duration::from_secs(60));
        let [problem] = &problems.list()[..] else { panic!("{:?}", problems.list()) };
        assert_eq!((problem.since, problem.cause()), (Timestamp(1), "timed out"));
        assert_eq!((gauge(&registry, GAUGE), gauge(&registry, UP)), (1.0, 0.0));
        problems.update(Vec::new(), start);
        assert_eq!(problems.list(), []);
        assert_eq!((gauge(&registry, GAUGE), gauge(&registry, UP)), (0.0, 1.0));
    }

    #[test]
    fn each_error_is_logged_once_and_their_number_is_bounded() {
        let mut entry = ActiveProblem::new(&kafka("0"), Instant::now());
        let mut logged = Vec::new();
        for error in (0..20).chain(0..20).map(|n| n.to_string()) {
            entry.update_from(kafka(&error));
            logged.extend(entry.is_new_cause().then_some(error));
        }
        assert_eq!(logged, ["0", "1", "2", "3", "4", "5", "6", "7"]);
    }

    #[test]
    fn duration_counts_from_the_start_or_the_first_observation() {
        let (start, minute) = (Instant::now(), Duration::from_secs(60));
        let lasted = |since| {
            let entry = ActiveProblem::new(&kafka("refused").since(Timestamp(since)), start);
            entry.duration(start + minute, Timestamp(600_000))
        };
        assert_eq!(lasted(0), 10 * minute, "it began before it was seen");
        assert_eq!(lasted(590_000), minute, "the clock was set back");
    }

    #[test]
    fn one_broker_of_several_does_not_take_kafka_down() {
        let (problems, registry) = problems();
        problems.update(vec![kafka("refused").about("b:9092").partial()], Instant::now());
        assert_eq!((gauge(&registry, GAUGE), gauge(&registry, UP)), (1.0, 1.0));
    }

    #[test]
    fn a_short_observation_is_no_problem() {
        let (problems, _) = problems();
        let (start, parked) = (Instant::now(), || vec![kafka("x").for_at_least(Duration::from_secs(10))]);
        problems.update(parked(), start);
        problems.update(parked(), start + Duration::from_secs(9));
        assert_eq!(problems.list(), []);
        problems.update(Vec::new(), start + Duration::from_secs(9));
        problems.update(parked(), start + Duration::from_secs(10));
        assert_eq!(problems.list(), [], "the gap restarts the time");
        problems.update(parked(), start + Duration::from_secs(20));
        assert_eq!(problems.list().len(), 1);
    }

    #[test]
    fn the_list_is_bounded_and_ordered() {
        let (problems, _) = problems();
        let paused = Observation::new(Code::DrainPaused, "paused");
        let topics =
            (0..1_000).map(|n| Observation::new(Code::KafkaTopicUnavailable, "x").about(n.to_string()));
        problems.update([paused].into_iter().chain(topics).collect(), Instant::now());
        let list = problems.list();
        assert_eq!(list.len(), MAX_SUBJECTS + 2);
        assert_eq!(list.last().unwrap().code, Code::DrainPaused, "topics matter more");
        assert!(list.iter().any(|problem| problem.detail.starts_with("984 more")), "{list:?}");
    }

    #[test]
    fn the_document_has_the_documented_members() {
        let (problems, _) = problems();
        problems
            .update(vec![Observation::new(Code::DrainPaused, "paused").since(Timestamp(0))], Instant::now());
        let expected = serde_json::json!([{
            "code": "drain_paused", "since": "1970-01-01T00:00:00.000Z", "detail": "paused", "last_error": null,
            "runbook": "docs/runbook.md#drain_paused",
        }]);
        assert_eq!(serde_json::to_value(problems.list()).unwrap(), expected);
    }
}
