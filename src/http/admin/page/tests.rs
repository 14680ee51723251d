use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::*;
use crate::history::{CAPACITY, History, HistoryView, MetricsSample, TopicSample};
use crate::http::admin::overview::{DeadLetterRow, DeadLetterSummary, Instance, WorkerRow};
use crate::http::readiness::Readiness;
use crate::metrics::Registry;
use crate::problems::{Code, Observation, Problem, ProblemMetrics, Problems};

const HOSTILE: &str = "<script>alert(\"1\")</script>";

fn problems(observed: Vec<Observation>) -> Vec<Problem> {
    Problems::new(ProblemMetrics::register(&Registry::new().unwrap()).unwrap()).refresh(|| observed)
}

/// A history with one sample per given second. In each second, 7 records are accepted and none are delivered.
fn recorded(seconds: impl Iterator<Item = u64>, problems: usize) -> History {
    let (history, end, now) =
        (History::default(), Instant::now() + Duration::from_secs(100_000), Timestamp::now());
    for second in seconds {
        let topic = TopicSample { accepted: second * 7, delivered: 0, backlog: second * 7 };
        let reading = MetricsSample {
            at: end + Duration::from_secs(second),
            accepted: second * 7,
            delivered: 0,
            flushes: second,
            flush_seconds: second as f64 / 1e3,
            backlog: second * 7,
            backlog_bytes: 2_048,
            oldest_age: Duration::from_secs(second),
            dead: 1,
            problems,
            topics: BTreeMap::from([(HOSTILE.to_owned(), topic)]),
        };
        history.record(reading, now);
    }
    history
}

fn overview(history: &History, problems: Vec<Problem>) -> Overview {
    let letter = DeadLetterRow {
        lsn: 7,
        kind: Some(HOSTILE.to_owned()),
        died_at: Timestamp(0),
        reason: HOSTILE.to_owned(),
        attempts: 1,
    };
    Overview {
        readiness: Readiness { ready: true, reason: None, dependencies: BTreeMap::new(), problems },
        accepts: true,
        instance: Arc::new(Instance {
            facts: vec![("Configuration", HOSTILE.to_owned())],
            ..Instance::default()
        }),
        history: history.view(),
        workers: vec![WorkerRow {
            index: 0,
            state: "waiting",
            lanes: HOSTILE.to_owned(),
            in_flight: 0,
            parked: 0,
            unconfirmed_for: Duration::ZERO,
        }],
        held_back: BTreeMap::from([(HOSTILE.to_owned(), HOSTILE.to_owned())]),
        dead_letters: DeadLetterSummary {
            stored: 1,
            since_start: vec![(HOSTILE.to_owned(), 1)],
            newest: Arc::from([letter]),
        },
    }
}

fn html(history: &History, problems: Vec<Problem>) -> String {
    Page::new(&overview(history, problems), None, Timestamp::now()).html()
}

#[test]
fn external_text_is_escaped_in_every_section() {
    let hostile = Observation::new(Code::DrainPaused, HOSTILE).with_error(HOSTILE);
    let look_up =
        CommandLookup { id: HOSTILE.to_owned(), found: Err(StatusError::Unavailable(HOSTILE.to_owned())) };
    let overview = overview(&recorded(0..20, 1), problems(vec![hostile]));
    let page = Page::new(&overview, Some(&look_up), Timestamp::now());
    let html = page.html();
    assert!(!html.contains("<script>"), "{html}");
    assert!(html.matches("&lt;script&gt;").count() >= 11, "every section shows the text: {html}");
    // The script gets the same sections as the page.
    assert!(page.sections.iter().all(|(_, section)| html.contains(section.as_str())));
    let json = serde_json::to_value(&page).unwrap();
    assert_eq!(
        json["sections"]["problems"],
        page.sections.iter().find(|(name, _)| *name == "problems").unwrap().1
    );
}

#[test]
fn charts_show_ten_minutes_up_to_one_hour() {
    assert!(html(&recorded(0..60, 0), Vec::new()).contains("The last 10 minutes</h2>"));
    assert!(html(&recorded(0..1_200, 0), Vec::new()).contains("The last 30 minutes</h2>"));
    assert!(html(&recorded(0..5 * CAPACITY as u64, 0), Vec::new()).contains("The last hour</h2>"));
}

#[test]
fn charts_have_a_summary_in_words() {
    let html = html(&recorded(0..60, 0), Vec::new());
    assert!(html.contains("Accepted: 7/s now, highest 7/s at"), "{html}");
    assert!(html.contains("Delivered: none in this time."), "{html}");
    assert!(html.contains("↑ grows by 7/s"), "{html}");
}

/// Such a time occurs if the machine sleeps or the disk does not respond.
#[test]
fn lines_are_interrupted_at_times_without_points() {
    let pieces = |html: &str| {
        let (_, line) = html.split_once("class=\"line in\" data-name=\"accepted\" d=\"").unwrap();
        line.split_once('"').unwrap().0.matches('M').count()
    };
    assert_eq!(pieces(&html(&recorded(0..60, 0), Vec::new())), 1);
    assert_eq!(pieces(&html(&recorded((0..60).chain(300..360), 0), Vec::new())), 2);
}

#[test]
fn page_without_a_log_does_not_show_accepting() {
    let readiness =
        Readiness { ready: true, reason: None, dependencies: BTreeMap::new(), problems: Vec::new() };
    let html = Page::new(&Overview::without_log(readiness, Arc::default()), None, Timestamp::now()).html();
    assert!(html.contains("Applying commands") && !html.contains("Accepting"), "{html}");
    assert!(!html.contains("<form") && !html.contains("figures"), "{html}");
}

#[test]
fn times_with_problems_are_shaded() {
    assert!(!html(&recorded(0..60, 0), Vec::new()).contains("class=\"problem-period\""));
    assert!(html(&recorded(0..60, 2), Vec::new()).contains("class=\"problem-period\""));
}

#[test]
fn old_figures_show_their_time() {
    let history = recorded(0..2, 0);
    let mut overview = overview(&history, Vec::new());
    let at = overview.history.as_ref().unwrap().taken_at;
    assert!(Page::new(&overview, None, at).html().contains("As of <time"));
    overview.history = overview
        .history
        .map(|view| HistoryView { taken_at: view.taken_at.saturating_sub(Duration::from_secs(60)), ..view });
    assert!(Page::new(&overview, None, at).html().contains("the daemon cannot take newer ones"));
}
