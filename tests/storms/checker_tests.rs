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
        let mut life = Self { journal: Journal::new(None), topic: Vec::new() };
        life.single(order(0), true, true);
        life.single(order(1), false, true);
        life.unanswered(&[order(2)]);
        life.refused(order(3));
        life.unanswered(&[order(4), order(5), order(6)]);
        life.single(Command { kind: Kind::Note, key: None, ..order(7) }, false, true);
        let poison = Command { kind: Kind::Small, filling: Kind::TOO_LARGE, ..order(8) };
        life.single(poison, false, false);
        life
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

    fn judge(&self, delivery: DeliveryMode, sightings: &[StatusObservation]) -> (CheckCounts, Findings) {
        let (findings, journals) = (Findings::default(), [Journal::copy(&self.journal)]);
        let mut checker = Checker::new(SEED, delivery, &journals, &findings);
        self.topic.iter().for_each(|made| checker.record(&made.record()));
        let counts = checker.finish(sightings);
        (counts, findings)
    }

    /// Asserts exactly one violation of this kind, and none of another.
    fn finds(&self, violation: Violation) {
        let (_, findings) = self.judge(DeliveryMode::AtLeastOnce, &[]);
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
    let (counts, findings) = ClientHistory::new().judge(DeliveryMode::ExactlyOnce, &[]);
    assert!(findings.is_empty(), "{findings}");
    assert_eq!((counts.acknowledged, counts.refused, counts.unknown), (4, 1, 4));
    assert_eq!((counts.records, counts.repeats, counts.unknown_found, counts.dead_expected), (7, 0, 4, 1));
    assert_eq!(counts.keys, 1);
}

#[test]
fn a_command_without_a_response_may_be_missing() {
    let mut life = ClientHistory::new();
    life.topic.retain(|made| !(2..=6).contains(&made.offset));
    let (counts, findings) = life.judge(DeliveryMode::ExactlyOnce, &[]);
    assert!(findings.is_empty(), "{findings}");
    assert_eq!((counts.unknown, counts.unknown_found), (4, 0));
}

#[test]
fn an_acknowledged_command_that_is_missing_is_lost() {
    let mut life = ClientHistory::new();
    life.topic.retain(|made| made.offset != 1);
    life.finds(Violation::Lost);
}

#[test]
fn an_undelivered_command_is_not_lost() {
    let mut life = ClientHistory::new();
    life.topic.retain(|made| made.offset != 1 && made.offset != 5);
    let (findings, journals) = (Findings::default(), [Journal::copy(&life.journal)]);
    let mut checker = Checker::new(SEED, DeliveryMode::ExactlyOnce, &journals, &findings);
    checker.not_drained();
    life.topic.iter().for_each(|made| checker.record(&made.record()));
    assert_eq!(checker.finish(&[]).waiting, 1);
    assert!(findings.is_empty(), "{findings}");
}

#[test]
fn a_repeat_is_a_violation_only_with_exactly_once() {
    let mut life = ClientHistory::new();
    let repeat = TestRecord { offset: 20, ..life.topic[0].clone() };
    life.topic.push(repeat);
    let (counts, findings) = life.judge(DeliveryMode::AtLeastOnce, &[]);
    assert!(findings.is_empty(), "{findings}");
    assert_eq!(counts.repeats, 1);
    let (_, findings) = life.judge(DeliveryMode::ExactlyOnce, &[]);
    assert_eq!(findings.count(Violation::Repeated), 1, "{findings}");
}

#[test]
fn a_repeat_under_another_id_is_found() {
    for serial in [0, 2] {
        let mut life = ClientHistory::new();
        let mut repeat = life.topic[serial].clone();
        repeat.offset = 20;
        repeat.headers = repeat.headers.replace(&format!("ID{serial}"), "ID99");
        life.topic.push(repeat);
        life.finds(Violation::TwoIds);
    }
}

#[test]
fn one_id_for_two_commands_is_found() {
    let mut life = ClientHistory::new();
    life.journal.end(7, &RequestOutcome::Unknown, &[id(0).into()], false, "");
    life.topic.iter_mut().find(|made| made.offset == 7).unwrap().headers =
        "forebay-command-id:ID0,forebay-kind:note.create".to_owned();
    // From 7 on, the poison record has no id. It was not acknowledged, and need not be in the topic.
    life.finds(Violation::TwoIds);
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
        let mut life = ClientHistory::new();
        let mut repeat = TestRecord { offset: 20, ..life.topic[0].clone() };
        spoil(&mut repeat);
        life.topic.push(repeat);
        life.finds(Violation::Altered);
    }
}

#[test]
fn a_record_before_its_predecessor_is_found() {
    let mut life = ClientHistory::new();
    life.topic.swap(0, 1);
    life.finds(Violation::OutOfOrder);
}

#[test]
fn a_key_in_two_partitions_is_found() {
    let mut life = ClientHistory::new();
    life.topic[1].partition = 0;
    life.finds(Violation::OutOfOrder);
}

#[test]
fn a_key_has_a_separate_order_in_each_topic() {
    let mut life = ClientHistory::new();
    life.single(Command { kind: Kind::Small, ..order(9) }, false, true);
    let last = life.topic.pop().unwrap();
    life.topic.insert(0, TestRecord { partition: 0, ..last });
    let (_, findings) = life.judge(DeliveryMode::ExactlyOnce, &[]);
    assert!(findings.is_empty(), "{findings}");
}

#[test]
fn a_record_never_sent_or_rejected_is_invented() {
    let nobody = Command { serial: 500, ..order(0) };
    let stranger = Command { client: 7, ..order(0) };
    for command in [nobody, stranger, order(3)] {
        let mut life = ClientHistory::new();
        // At its position in the order of its key.
        life.topic.insert(3, test_record(&command, false, command.serial, 20));
        life.finds(Violation::Invented);
    }
    let mut life = ClientHistory::new();
    life.topic.push(TestRecord { offset: 20, value: "{}".to_owned(), ..life.topic[0].clone() });
    life.finds(Violation::Invented);
}

#[test]
fn a_part_of_a_batch_is_found() {
    let mut life = ClientHistory::new();
    life.topic.retain(|made| made.offset != 5);
    life.finds(Violation::HalfBatch);
}

#[test]
fn a_status_that_the_topic_contradicts_is_found() {
    let sighting =
        |serial, state, place| StatusObservation { client: 0, serial, state, place, is_final: false };
    let mut life = ClientHistory::new();
    life.topic.push(TestRecord { offset: 20, ..life.topic[0].clone() });
    let truths = [
        sighting(0, ObservedState::Sent, Some((1, 0))),
        sighting(0, ObservedState::Sent, Some((1, 20))),
        sighting(0, ObservedState::Sent, None),
        sighting(0, ObservedState::Accepted, None),
        sighting(0, ObservedState::Gone, None),
        sighting(8, ObservedState::Dead, None),
        StatusObservation { is_final: true, ..sighting(8, ObservedState::Dead, None) },
    ];
    let (counts, findings) = life.judge(DeliveryMode::AtLeastOnce, &truths);
    assert!(findings.is_empty(), "{findings}");
    assert_eq!((counts.statuses, counts.statuses_gone), (7, 1));
    let lies = [
        sighting(0, ObservedState::Sent, Some((1, 1))),
        sighting(0, ObservedState::Sent, Some((0, 0))),
        sighting(0, ObservedState::Dead, None),
        sighting(8, ObservedState::Sent, None),
        StatusObservation { is_final: true, ..sighting(0, ObservedState::Accepted, None) },
    ];
    for lie in lies {
        let (_, findings) = life.judge(DeliveryMode::AtLeastOnce, &[lie]);
        assert_eq!(findings.count(Violation::Status), 1, "{lie:?}: {findings}");
    }
}

#[test]
fn two_ids_are_valid_after_the_key_expired() {
    let mut life = ClientHistory::new();
    let mut again = life.topic[0].clone();
    again.offset = 20;
    again.headers = again.headers.replace("ID0", "ID99");
    life.topic.push(again);
    life.journal.mark_key_expired(0, 1);
    let (counts, findings) = life.judge(DeliveryMode::ExactlyOnce, &[]);
    assert!(findings.is_empty(), "{findings}");
    assert_eq!((counts.key_expired, counts.repeats), (1, 0));
}
