//! The report: faults, counts and findings.

use std::fmt::Write as _;
use std::fs;
use std::process::Command;
use std::sync::atomic::Ordering;

use crate::findings::Violation;
use crate::options::Options;
use crate::storm::StormResult;
use support::daemon;

/// The guarantees in the words of the report.
const PROMISES: [(&str, &[Violation]); 8] = [
    ("acknowledged but not in the topic", &[Violation::Lost]),
    ("in the topic twice where that is not allowed", &[Violation::Repeated, Violation::TwoIds]),
    ("out of the order of their key", &[Violation::OutOfOrder]),
    ("in the topic but never sent, or rejected, or changed", &[Violation::Invented, Violation::Altered]),
    ("batches of which only part arrived", &[Violation::HalfBatch]),
    ("statuses contradicted", &[Violation::Status]),
    ("repeated keys with a different response", &[Violation::Key]),
    ("other failures", &[Violation::Answer, Violation::Daemon, Violation::Stuck, Violation::Storm]),
];

/// Writes the report to stdout, and to a file if one is configured.
pub fn write(options: &Options, result: &StormResult) {
    let text = text(options, result);
    println!("{text}");
    if let Some(path) = &options.report {
        fs::write(path, &text).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    }
}

fn text(options: &Options, result: &StormResult) -> String {
    let (shared, counts) = (&result.shared, &result.counts);
    let mut text = String::new();
    let minutes = options.length.as_secs_f64() / 60.0;
    let passed = if shared.findings.is_empty() { "nothing found" } else { "VIOLATIONS" };
    let _ = writeln!(text, "# Storm of {minutes:.1} minutes, {}: {passed}\n", options.delivery.name());
    let mode = options.delivery.name();
    let _ = writeln!(
        text,
        "`scripts/storm --minutes {minutes:.1} --delivery {mode} --seed {} --rate {}`\n",
        options.seed, options.rate
    );
    let longest = result.drains.iter().max().copied().unwrap_or_default();
    let rows = [
        ("requests", shared.requests.load(Ordering::Relaxed)),
        ("of them with a repeated key", shared.replays.load(Ordering::Relaxed)),
        ("commands acknowledged", counts.acknowledged),
        ("of them not delivered in the end", counts.waiting),
        ("commands rejected", counts.refused),
        ("commands without a response", counts.unknown),
        ("of them in the topic", counts.unknown_found),
        ("records in the topics", counts.records),
        ("of them repeats of the same id", counts.repeats),
        ("of them accepted again after their key expired", counts.key_expired),
        ("ordered keys", counts.keys),
        ("dead letters", result.dead),
        ("of them expected because acknowledged", counts.dead_expected),
        ("statuses checked", counts.statuses),
        ("of them no longer retained", counts.statuses_gone),
        ("statuses with less information after a crash", shared.statuses_lost.load(Ordering::Relaxed)),
        ("largest backlog", shared.largest_backlog.load(Ordering::Relaxed)),
        ("longest time without an acknowledgement, ms", shared.longest_ack_gap().as_millis() as u64),
        ("rounds of faults, the backlog drained after each", result.drains.len() as u64),
        ("longest of these drains, ms", longest.as_millis() as u64),
        ("total, s", result.elapsed.as_secs()),
    ];
    text.push_str("| counted | |\n|---|---:|\n");
    for (what, count) in rows {
        let _ = writeln!(text, "| {what} | {count} |");
    }
    text.push_str("\n| promise | violations |\n|---|---:|\n");
    for (what, violations) in PROMISES {
        let count: u64 = violations.iter().map(|violation| shared.findings.count(*violation)).sum();
        let _ = writeln!(text, "| {what} | {count} |");
    }
    text.push_str("\n| fault or event | times |\n|---|---:|\n");
    for (what, count) in shared.tally() {
        let _ = writeln!(text, "| {what} | {count} |");
    }
    let _ = writeln!(text, "\n{}", versions());
    if !shared.findings.is_empty() {
        let why = match &options.planted {
            Some(fault) => format!("{fault} was enabled."),
            None => format!("Journals, logs and data are kept in {}.", result.dir.display()),
        };
        let _ = writeln!(text, "\n{why}\n\n{}", shared.findings);
    }
    text
}

fn versions() -> String {
    let first_line = |program: &str, arguments: &[&str]| {
        let output = Command::new(program).args(arguments).output().ok()?;
        let said = [output.stdout, output.stderr].concat();
        Some(String::from_utf8_lossy(&said).lines().next()?.trim().to_owned())
    };
    let unknown = || "unknown".to_owned();
    let forebay = first_line(&daemon::binary().display().to_string(), &["--version"]).unwrap_or_else(unknown);
    let commit = first_line("git", &["-C", env!("CARGO_MANIFEST_DIR"), "describe", "--always", "--dirty"]);
    let java = first_line("java", &["-version"]).unwrap_or_else(unknown);
    let kernel = first_line("uname", &["-sr"]).unwrap_or_else(unknown);
    let pom = include_str!("../services/pom.xml");
    let kafka =
        pom.split("<kafka.version>").nth(1).and_then(|rest| rest.split('<').next()).unwrap_or("unknown");
    format!("{forebay} ({}), Apache Kafka {kafka}, {java}, {kernel}", commit.unwrap_or_else(unknown))
}
