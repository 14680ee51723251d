//! Tests of the checker on constructed topics: each violation is found, and a correct topic has none.

use crate::checker::{CheckCounts, Checker, DeliveryMode, TopicRecord, idempotency_key};
use crate::command::{Command, Key, Kind};
use crate::findings::{Findings, Violation};
use crate::journal::{Journal, RequestOutcome};
use crate::status_observation::{ObservedState, StatusObservation};

const SEED: u64 = 42;

/// A record that a test can corrupt.
#[derive(Clone, Debug)]
struct TestRecord {
    kind: Kind,
    partition: i32,
    offset: i64,
    key: Option<String>,
    headers: String,
    value: String,
}

impl TestRecord {
    fn record(&self) -> TopicRecord<'_> {
        let Self { kind, partition, offset, key, headers, value } = self;
        let (kind, partition, offset) = (*kind, *partition, *offset);
        TopicRecord { kind, partition, offset, key: key.as_deref(), headers, value }
    }
}

/// A client's commands: a few orders of one key, one of them without a response, one rejected; a batch; a note; a
/// poison record.
struct ClientHistory {
    journal: Journal,
    topic: Vec<TestRecord>,
}

fn order(serial: u32) -> Command {
    let key = Some(Key { client: 0, slot: 0, epoch: 0 });
    Command { client: 0, serial, kind: Kind::Order, key, filling: 30 }
}

fn test_record(command: &Command, keyed: bool, batch: u32, offset: i64) -> TestRecord {
    let idempotency = match keyed {
        true => format!(",forebay-idempotency-key:{}", idempotency_key(SEED, 0, batch)),
        false => String::new(),
    };
    let (kind, id) = (command.kind.name(), id(command.serial));
    TestRecord {
        kind: command.kind,
        partition: 1,
        offset,
        key: command.key.map(|key| key.to_string()),
        headers: format!("forebay-command-id:{id},forebay-kind:{kind}{idempotency}"),
        value: command.body(SEED),
    }
}

fn id(serial: u32) -> String {
    format!("ID{serial}")
}

impl ClientHistory {
    fn new() -> Self {
        let mut history = Self { journal: Journal::new(None), topic: Vec::new() };
        history.single(order(0), true, true);
        history.single(order(1), false, true);
        history.unanswered(&[order(2)]);
        history.refused(order(3));
        history.unanswered(&[order(4), order(5), order(6)]);
        history.single(Command { kind: Kind::Note, key: None, ..order(7) }, false, true);
        let poison = Command { kind: Kind::Small, filling: Kind::TOO_LARGE, ..order(8) };
        history.single(poison, false, false);
        history
    }

    fn single(&mut self, command: Command, keyed: bool, delivered: bool) {
        self.journal.begin(command, command.serial, keyed);
        self.journal.end(command.serial, &RequestOutcome::Unknown, &[id(command.serial).into()], false, "");
        if delivered {
            self.topic.push(test_record(&command, keyed, command.serial, i64::from(command.serial)));
        }
    }

    fn unanswered(&mut self, commands: &[Command]) {
        let batch = commands[0].serial;
        for command in commands {
            self.journal.begin(*command, batch, false);
            self.topic.push(test_record(command, false, batch, i64::from(command.serial)));
        }
        self.journal.end(batch, &RequestOutcome::Unknown, &[], false, "");
    }

    fn refused(&mut self, command: Command) {
        self.journal.begin(command, command.serial, false);
        self.journal.end(command.serial, &RequestOutcome::Refused, &[], false, "");
    }

    fn check(&self, delivery: DeliveryMode, observations: &[StatusObservation]) -> (CheckCounts, Findings) {
        let (findings, journals) = (Findings::default(), [Journal::copy(&self.journal)]);
        let mut checker = Checker::new(SEED, delivery, &journals, &findings);
        self.topic.iter().for_each(|made| checker.record(&made.record()));
        let counts = checker.finish(observations);
        (counts, findings)
    }

    /// Asserts exactly one violation of this kind, and none of another.
    fn finds(&self, violation: Violation) {
        let (_, findings) = self.check(DeliveryMode::AtLeastOnce, &[]);
        assert_eq!(findings.count(violation), 1, "{findings}");
        assert_eq!(
            findings.to_string().lines().filter(|line| !line.starts_with(' ')).count(),
            1,
            "{findings}"
        );
    }
}

#[test]
fn a_correct_topic_has_no_violations() {
    let (counts, findings) = ClientHistory::new().check(DeliveryMode::ExactlyOnce, &[]);
    assert!(findings.is_empty(), "{findings}");
    assert_eq!((counts.acknowledged, counts.refused, counts.unknown), (4, 1, 4));
    assert_eq!((counts.records, counts.repeats, counts.unknown_found, counts.dead_expected), (7, 0, 4, 1));
    assert_eq!(counts.keys, 1);
}

#[test]
fn a_command_without_a_response_may_be_missing() {
    let mut history = ClientHistory::new();
    history.topic.retain(|made| !(2..=6).contains(&made.offset));
    let (counts, findings) = history.check(DeliveryMode::ExactlyOnce, &[]);
    assert!(findings.is_empty(), "{findings}");
    assert_eq!((counts.unknown, counts.unknown_found), (4, 0));
}

#[test]
fn an_acknowledged_command_that_is_missing_is_lost() {
    let mut history = ClientHistory::new();
    history.topic.retain(|made| made.offset != 1);
    history.finds(Violation::Lost);
}

#[test]
fn an_undelivered_command_is_not_lost() {
    let mut history = ClientHistory::new();
    history.topic.retain(|made| made.offset != 1 && made.offset != 5);
    let (findings, journals) = (Findings::default(), [Journal::copy(&history.journal)]);
    let mut checker = Checker::new(SEED, DeliveryMode::ExactlyOnce, &journals, &findings);
    checker.not_drained();
    history.topic.iter().for_each(|made| checker.record(&made.record()));
    assert_eq!(checker.finish(&[]).waiting, 1);
    assert!(findings.is_empty(), "{findings}");
}

#[test]
fn a_repeat_is_a_violation_only_with_exactly_once() {
    let mut history = ClientHistory::new();
    let repeat = TestRecord { offset: 20, ..history.topic[0].clone() };
    history.topic.push(repeat);
    let (counts, findings) = history.check(DeliveryMode::AtLeastOnce, &[]);
    assert!(findings.is_empty(), "{findings}");
    assert_eq!(counts.repeats, 1);
    let (_, findings) = history.check(DeliveryMode::ExactlyOnce, &[]);
    assert_eq!(findings.count(Violation::Repeated), 1, "{findings}");
}

#[test]
fn a_repeat_under_another_id_is_found() {
    for serial in [0, 2] {
        let mut history = ClientHistory::new();
        let mut repeat = history.topic[serial].clone();
        repeat.offset = 20;
        repeat.headers = repeat.headers.replace(&format!("ID{serial}"), "ID99");
        history.topic.push(repeat);
        history.finds(Violation::TwoIds);
    }
}

#[test]
fn one_id_for_two_commands_is_found() {
    let mut history = ClientHistory::new();
    history.journal.end(7, &RequestOutcome::Unknown, &[id(0).into()], false, "");
    history.topic.iter_mut().find(|made| made.offset == 7).unwrap().headers =
        "forebay-command-id:ID0,forebay-kind:note.create".to_owned();
    // From 7 on, the poison record has no id. It was not acknowledged, and need not be in the topic.
    history.finds(Violation::TwoIds);
}

#[test]
fn a_repeat_with_another_body_key_or_header_is_found() {
    let spoil: [fn(&mut TestRecord); 4] = [
        |made| made.value = made.value.replace("\"}", "x\"}"),
        |made| made.key = Some("c0-k0-e9".to_owned()),
        |made| made.headers = made.headers.replace("order.create", "note.create"),
        |made| made.headers = made.headers.replace("storm-42-0-0", "storm-42-0-1"),
    ];
    for spoil in spoil {
        let mut history = ClientHistory::new();
        let mut repeat = TestRecord { offset: 20, ..history.topic[0].clone() };
        spoil(&mut repeat);
        history.topic.push(repeat);
        history.finds(Violation::Altered);
    }
}

#[test]
fn a_record_before_its_predecessor_is_found() {
    let mut history = ClientHistory::new();
    history.topic.swap(0, 1);
    history.finds(Violation::OutOfOrder);
}

#[test]
fn a_key_in_two_partitions_is_found() {
    let mut history = ClientHistory::new();
    history.topic[1].partition = 0;
    history.finds(Violation::OutOfOrder);
}

#[test]
fn a_key_has_a_separate_order_in_each_topic() {
    let mut history = ClientHistory::new();
    history.single(Command { kind: Kind::Small, ..order(9) }, false, true);
    let last = history.topic.pop().unwrap();
    history.topic.insert(0, TestRecord { partition: 0, ..last });
    let (_, findings) = history.check(DeliveryMode::ExactlyOnce, &[]);
    assert!(findings.is_empty(), "{findings}");
}

#[test]
fn a_record_never_sent_or_rejected_is_invented() {
    let nobody = Command { serial: 500, ..order(0) };
    let stranger = Command { client: 7, ..order(0) };
    for command in [nobody, stranger, order(3)] {
        let mut history = ClientHistory::new();
        // At its position in the order of its key.
        history.topic.insert(3, test_record(&command, false, command.serial, 20));
        history.finds(Violation::Invented);
    }
    let mut history = ClientHistory::new();
    history.topic.push(TestRecord { offset: 20, value: "{}".to_owned(), ..history.topic[0].clone() });
    history.finds(Violation::Invented);
}

#[test]
fn a_part_of_a_batch_is_found() {
    let mut history = ClientHistory::new();
    history.topic.retain(|made| made.offset != 5);
    history.finds(Violation::HalfBatch);
}

#[test]
fn a_status_that_the_topic_contradicts_is_found() {
    let observation =
        |serial, state, place| StatusObservation { client: 0, serial, state, place, is_final: false };
    let mut history = ClientHistory::new();
    history.topic.push(TestRecord { offset: 20, ..history.topic[0].clone() });
    let truths = [
        observation(0, ObservedState::Sent, Some((1, 0))),
        observation(0, ObservedState::Sent, Some((1, 20))),
        observation(0, ObservedState::Sent, None),
        observation(0, ObservedState::Accepted, None),
        observation(0, ObservedState::Gone, None),
        observation(8, ObservedState::Dead, None),
        StatusObservation { is_final: true, ..observation(8, ObservedState::Dead, None) },
    ];
    let (counts, findings) = history.check(DeliveryMode::AtLeastOnce, &truths);
    assert!(findings.is_empty(), "{findings}");
    assert_eq!((counts.statuses, counts.statuses_gone), (7, 1));
    let lies = [
        observation(0, ObservedState::Sent, Some((1, 1))),
        observation(0, ObservedState::Sent, Some((0, 0))),
        observation(0, ObservedState::Dead, None),
        observation(8, ObservedState::Sent, None),
        StatusObservation { is_final: true, ..observation(0, ObservedState::Accepted, None) },
    ];
    for lie in lies {
        let (_, findings) = history.check(DeliveryMode::AtLeastOnce, &[lie]);
        assert_eq!(findings.count(Violation::Status), 1, "{lie:?}: {findings}");
    }
}

#[test]
fn two_ids_are_valid_after_the_key_expired() {
    let mut history = ClientHistory::new();
    let mut again = history.topic[0].clone();
    again.offset = 20;
    again.headers = again.headers.replace("ID0", "ID99");
    history.topic.push(again);
    history.journal.mark_key_expired(0, 1);
    let (counts, findings) = history.check(DeliveryMode::ExactlyOnce, &[]);
    assert!(findings.is_empty(), "{findings}");
    assert_eq!((counts.key_expired, counts.repeats), (1, 0));
}
