//! The list of problems in one line, for systemd's status.

use crate::units::Timestamp;

use super::format::{number, span};
use super::registry::Problem;

/// Formats the line, for example "1,500 waiting, Kafka unreachable for 3 min".
pub fn summary(waiting: u64, problems: &[Problem], now: Timestamp) -> String {
    let mut line = format!("{} waiting", number(waiting));
    if let Some(first) = problems.first() {
        line += &format!(", {} for {}", first.code.title(), span(now.since(first.since)));
    }
    match problems.len() {
        0 | 1 => {}
        2 => line += ", and 1 more problem",
        many => line += &format!(", and {} more problems", many - 1),
    }
    line
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metrics::Registry;
    use crate::problems::{Code, Observation, ProblemMetrics, Problems};

    #[test]
    fn the_line_names_the_most_important_problem_with_its_duration() {
        let problems = Problems::new(ProblemMetrics::register(&Registry::new().unwrap()).unwrap());
        assert_eq!(summary(0, &[], Timestamp(0)), "0 waiting");
        let kafka = Observation::new(Code::KafkaUnreachable, "x").since(Timestamp(0));
        let list = problems.refresh(|| vec![kafka.clone()]);
        let line = summary(1_500, &list, Timestamp(185_000));
        assert_eq!(line, "1,500 waiting, Kafka unreachable for 3 min");
        let list = problems.refresh(|| vec![kafka, Observation::new(Code::DeadLetters, "x")]);
        let line = summary(1_234_567, &list, Timestamp(1_000));
        assert_eq!(line, "1,234,567 waiting, Kafka unreachable for 1 s, and 1 more problem");
    }
}
