//! Property tests: commands in every order and split into any batches give the result of one transaction per command,
//! and that equals the result of a simple model.

use std::collections::{BTreeMap, BTreeSet};
use std::time::SystemTime;

use proptest::prelude::*;

use super::*;
use crate::command::{CommandId, IdGenerator, UserKind, UserValue};
use crate::db::{Holder, ParkedRow, UserRow, Version};
use crate::units::Lsn;

const TRIES: u32 = 2;

/// The tables, with their unique indexes.
#[derive(Clone, Default, Debug, PartialEq)]
struct Tables {
    users: BTreeMap<String, UserRow>,
    tombstones: BTreeMap<String, Version>,
    outcomes: BTreeMap<String, OutcomeRow>,
    parked: Vec<ParkedRow>,
}

impl Tables {
    fn snapshot(&self, questions: &Lookups) -> Snapshot {
        let asked =
            |list: &[String], value: &Option<String>| value.as_ref().is_some_and(|v| list.contains(v));
        let holder = |row: &UserRow| Holder {
            name: row.name.clone(),
            email: row.email.clone(),
            phone: row.phone.clone(),
        };
        Snapshot {
            decided: questions.ids.iter().filter(|id| self.outcomes.contains_key(*id)).cloned().collect(),
            parked: self.parked.iter().filter(|row| questions.names.contains(&row.name)).cloned().collect(),
            users: questions.names.iter().filter_map(|name| self.users.get(name).cloned()).collect(),
            holders: self
                .users
                .values()
                .filter(|row| asked(&questions.emails, &row.email) || asked(&questions.phones, &row.phone))
                .map(holder)
                .collect(),
            tombstones: questions
                .names
                .iter()
                .filter_map(|name| Some((name.clone(), self.tombstones.get(name)?.clone())))
                .collect(),
        }
    }

    /// Writes row by row and checks the unique indexes after every row, like MySQL.
    fn write(&mut self, writes: WriteSet) {
        for name in writes.deletes {
            self.users.remove(&name).expect("a row to delete");
        }
        for row in writes.updates {
            self.users.insert(row.name.clone(), row).expect("a row to update");
            self.assert_unique();
        }
        for row in writes.inserts {
            assert_eq!(self.users.insert(row.name.clone(), row), None, "the name is free");
            self.assert_unique();
        }
        self.tombstones.extend(writes.tombstones);
        for id in writes.unpark {
            self.parked.retain(|row| row.id != id);
        }
        for row in writes.park {
            self.parked.retain(|other| other.id != row.id);
            self.parked.push(row);
        }
        self.parked.sort_by_key(|row| row.seq);
        for row in writes.outcomes {
            assert_eq!(self.outcomes.insert(row.id.clone(), row), None, "one outcome per command");
        }
        assert_eq!(writes.audit.iter().map(|row| &row.id).collect::<BTreeSet<_>>().len(), writes.audit.len());
    }

    fn assert_unique(&self) {
        for value in [|row: &UserRow| row.email.clone(), |row: &UserRow| row.phone.clone()] {
            let values: Vec<_> = self.users.values().filter_map(value).collect();
            assert_eq!(values.iter().collect::<BTreeSet<_>>().len(), values.len(), "{values:?}");
        }
    }

    /// Plans all commands, in transactions of these sizes.
    fn run(&mut self, commands: &[Command], sizes: &[usize]) -> Vec<CommandOutcome> {
        let (mut rest, mut outcomes) = (commands, Vec::new());
        let mut sizes = sizes.iter().cycle();
        while !rest.is_empty() {
            let size = (*sizes.next().expect("a size")).clamp(1, rest.len());
            let snapshot = self.snapshot(&Lookups::for_commands(&rest[..size]));
            let plan = plan(&rest[..size], snapshot, Timestamp(9), TRIES);
            assert!(!plan.outcomes.is_empty(), "every transaction decides at least one command");
            rest = &rest[plan.outcomes.len()..];
            outcomes.extend(plan.outcomes);
            self.write(plan.writes);
        }
        outcomes
    }
}

/// E-mail, phone, nickname, hash, version, created.
type Columns = (String, String, Option<String>, String, CommandId, Timestamp);

/// The rules in short form, for one command at a time.
#[derive(Default)]
struct Model {
    /// Rows by name.
    users: BTreeMap<String, Columns>,
    tombstones: BTreeMap<String, CommandId>,
    states: BTreeMap<String, String>,
}

impl Model {
    fn older(one: &CommandId, than: &CommandId) -> bool {
        let (a, b) = (one.accepted_at(), than.accepted_at());
        a < b || (a == b && !one.is_of_same_log(than) && one < than)
    }

    fn run(&mut self, command: &Command) {
        let (kind, value) = command.request.as_ref().unwrap();
        let id = command.parsed.unwrap();
        if self.states.contains_key(&command.id) {
            return;
        }
        let name = &value.name;
        let others = || self.users.iter().filter(|(other, _)| *other != name).map(|(_, user)| user);
        let email = others().any(|user| value.email.as_ref() == Some(&user.0));
        let phone = others().any(|user| value.phone.as_ref() == Some(&user.1));
        let state = match (kind, self.users.get_mut(name)) {
            (UserKind::Create, Some(_)) => "taken name",
            (UserKind::Create, None) if self.tombstones.get(name).is_some_and(|at| Self::older(&id, at)) => {
                "superseded"
            }
            (UserKind::Update | UserKind::Password, None) => "not_found",
            (UserKind::Update | UserKind::Password, Some(user)) if Self::older(&id, &user.4) => "superseded",
            (UserKind::Create | UserKind::Update, _) if email => "taken email",
            (UserKind::Create | UserKind::Update, _) if phone => "taken phone",
            (UserKind::Create, None) => {
                let (email, phone) = (value.email.clone().unwrap(), value.phone.clone().unwrap());
                let nickname = value.nickname.clone().flatten();
                let hash = value.password_hash.clone().unwrap();
                let user = (email, phone, nickname, hash, id, id.accepted_at());
                self.users.insert(name.clone(), user);
                "applied"
            }
            (UserKind::Update, Some(user)) => {
                user.0 = value.email.clone().unwrap_or_else(|| user.0.clone());
                user.1 = value.phone.clone().unwrap_or_else(|| user.1.clone());
                user.2 = value.nickname.clone().unwrap_or_else(|| user.2.clone());
                user.4 = id;
                "applied"
            }
            (UserKind::Password, Some(user)) => {
                user.3 = value.password_hash.clone().unwrap();
                user.4 = id;
                "applied"
            }
            (UserKind::Delete, Some(user)) if id.accepted_at() < user.5 => "superseded",
            (UserKind::Delete, _) => {
                self.users.remove(name);
                if self.tombstones.get(name).is_none_or(|at| !Self::older(&id, at)) {
                    self.tombstones.insert(name.clone(), id);
                }
                "applied"
            }
        };
        self.states.insert(command.id.clone(), state.to_owned());
    }

    fn assert_same(&self, tables: &Tables) {
        let users = tables.users.values().map(|row| {
            let version: CommandId = row.version.id.parse().unwrap();
            assert_eq!((row.version.at, row.updated_at), (version.accepted_at(), version.accepted_at()));
            let values = (
                row.email.clone().unwrap(),
                row.phone.clone().unwrap(),
                row.nickname.clone(),
                row.password_hash.clone(),
                version,
                row.created_at,
            );
            (row.name.clone(), values)
        });
        assert_eq!(users.collect::<BTreeMap<_, _>>(), self.users);
        let states = tables.outcomes.values().map(|row| {
            let words = [row.reason.as_deref(), row.field.as_deref()].into_iter().flatten();
            let words = words.collect::<Vec<_>>().join(" ");
            (row.id.clone(), if words.is_empty() { row.state.clone() } else { words })
        });
        assert_eq!(states.collect::<BTreeMap<_, _>>(), self.states);
    }
}

/// A generated command: few names and values, so that they collide.
#[derive(Clone, Debug)]
pub(super) struct CommandSketch {
    log: u8,
    at: u64,
    random: u8,
    kind: UserKind,
    name: u8,
    email: Option<u8>,
    phone: Option<u8>,
    nickname: Option<Option<u8>>,
    pub(super) poison: bool,
}

fn sketch(poison: f64) -> impl Strategy<Value = CommandSketch> {
    let kind = prop::sample::select(UserKind::ALL.to_vec());
    let small = prop::option::weighted(0.6, 0..5u8);
    let nickname = prop::option::of(prop::option::of(0..3u8));
    let ids = (1..3u8, 0..12u64, Just(0));
    (ids, kind, 0..4u8, small.clone(), small, nickname, prop::bool::weighted(poison)).prop_map(
        |((log, at, random), kind, name, email, phone, nickname, poison)| CommandSketch {
            log,
            at,
            random,
            kind,
            name,
            email,
            phone,
            nickname,
            poison,
        },
    )
}

pub(super) fn command(sketch: &CommandSketch, from_retry: bool) -> Command {
    let mint = IdGenerator::new(&[sketch.log; 16], &[9; 32]);
    let id = mint.generate(Timestamp(sketch.at), Lsn(1), [sketch.random; 9]);
    let is_create = sketch.kind == UserKind::Create;
    let text = |prefix: &str, number: Option<u8>| {
        let number = if is_create { Some(number.unwrap_or(0)) } else { number };
        number.filter(|_| is_create || sketch.kind == UserKind::Update).map(|n| format!("{prefix}{n}"))
    };
    let has_hash = is_create || sketch.kind == UserKind::Password;
    let name = format!("name{}", sketch.name);
    let value = UserValue {
        name: name.clone(),
        email: text("e", sketch.email),
        phone: text("p", sketch.phone),
        nickname: sketch.nickname.map(|inner| inner.map(|n| format!("n{n}"))),
        password_hash: has_hash.then(|| format!("h{}", sketch.random)),
        ..UserValue::default()
    };
    Command {
        id: id.to_string(),
        parsed: Some(id),
        kind: sketch.kind.as_str().to_owned(),
        name,
        request: Some((sketch.kind, value)),
        fault: sketch.poison.then(|| "poison".to_owned()),
        accepted_at: id.accepted_at(),
        origin: (0, 0),
        from_retry,
        attempts: None,
        dead_letter_sent: false,
        skip_retries: false,
        lost_predecessor: None,
        received: SystemTime::UNIX_EPOCH,
    }
}

/// Gives every sketch a distinct id.
fn numbered(mut sketches: Vec<CommandSketch>) -> Vec<CommandSketch> {
    for (number, sketch) in (0..).zip(&mut sketches) {
        sketch.random = number;
    }
    sketches
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2_000, ..ProptestConfig::default() })]

    #[test]
    fn every_batch_split_matches_the_model(
        sketches in prop::collection::vec(sketch(0.0), 1..40),
        sizes in prop::collection::vec(1..40usize, 1..6),
    ) {
        let sketches = numbered(sketches);
        // Some commands are delivered twice.
        let again = sketches.iter().chain(sketches.iter().take(4));
        let commands: Vec<Command> = again.map(|sketch| command(sketch, false)).collect();
        let mut model = Model::default();
        commands.iter().for_each(|command| model.run(command));
        let (mut split, mut single) = (Tables::default(), Tables::default());
        let outcomes = split.run(&commands, &sizes);
        prop_assert_eq!(single.run(&commands, &[1]), outcomes);
        model.assert_same(&split);
        prop_assert_eq!(&split, &single);
        // Delivered again in other batches: nothing changes.
        let outcomes = split.run(&commands, &[7]);
        prop_assert!(outcomes.iter().all(|outcome| *outcome == CommandOutcome::AlreadyDecided));
        prop_assert_eq!(&split, &single);
    }

    /// Poison commands and the commands behind them are retried until each has an outcome. The order per name is kept,
    /// and the sizes of the batches do not matter.
    #[test]
    fn parked_commands_are_settled_in_order(
        sketches in prop::collection::vec(sketch(0.2), 1..25),
        sizes in prop::collection::vec(1..10usize, 1..6),
    ) {
        let mut tables = Tables::default();
        let sketches = numbered(sketches);
        let commands: Vec<Command> = sketches.iter().map(|sketch| command(sketch, false)).collect();
        let outcomes = tables.run(&commands, &sizes);
        let waits = |outcome: &CommandOutcome| matches!(
            outcome,
            CommandOutcome::Parked { .. } | CommandOutcome::ParkedBehind | CommandOutcome::NotFirst { .. } | CommandOutcome::Reparked { .. }
        );
        let mut topic: Vec<CommandSketch> =
            sketches.iter().zip(&outcomes).filter(|(_, outcome)| waits(outcome)).map(|(s, _)| s.clone()).collect();
        let mut finished = Vec::new();
        for _ in 0..sketches.len() * (TRIES as usize + 2) {
            let round: Vec<Command> = topic.iter().map(|sketch| command(sketch, true)).collect();
            let outcomes = tables.run(&round, &sizes);
            finished.extend(
                round.iter().zip(&outcomes).filter(|(_, outcome)| !waits(outcome)).map(|(c, _)| c.id.clone()),
            );
            topic = topic.into_iter().zip(&outcomes).filter(|(_, outcome)| waits(outcome)).map(|(s, _)| s).collect();
        }
        prop_assert_eq!(topic.len(), 0, "no command is retried indefinitely");
        prop_assert_eq!(&tables.parked, &vec![]);
        for command in &commands {
            prop_assert!(tables.outcomes.contains_key(&command.id));
        }
        // In the retry topic, a name's commands end in their order of arrival.
        let place = |id: &String| commands.iter().position(|command| command.id == *id).unwrap();
        for name in 0..4u8 {
            let name = format!("name{name}");
            let own: Vec<usize> = finished.iter().map(place).filter(|at| commands[*at].name == name).collect();
            prop_assert!(own.is_sorted(), "{own:?}");
        }
    }
}

pub(super) fn plain(random: u8, kind: UserKind) -> CommandSketch {
    CommandSketch {
        log: 1,
        at: 1,
        random,
        kind,
        name: 0,
        email: None,
        phone: None,
        nickname: None,
        poison: false,
    }
}

/// A parked command whose record is lost and whose outcome row expired: its audit row shows that it was decided.
#[test]
fn a_lost_but_decided_command_gets_no_second_outcome() {
    let sketch = plain;
    let lost = command(&sketch(1, UserKind::Create), true);
    let waiting =
        Command { lost_predecessor: Some(lost.id.clone()), ..command(&sketch(2, UserKind::Delete), true) };
    let parked =
        |seq: i64, id: &String| ParkedRow { id: id.clone(), name: waiting.name.clone(), seq, attempts: 0 };
    let parked = vec![parked(1, &lost.id), parked(2, &waiting.id)];
    let questions = Lookups::for_commands(std::slice::from_ref(&waiting));
    assert!(questions.ids.contains(&lost.id));
    let snapshot = Snapshot {
        decided: BTreeSet::from([lost.id.clone()]).into_iter().collect(),
        parked,
        ..Snapshot::default()
    };
    let plan = plan(std::slice::from_ref(&waiting), snapshot, Timestamp(9), TRIES);
    assert_eq!(plan.outcomes, [CommandOutcome::Applied]);
    let decided: Vec<_> = plan.writes.outcomes.iter().map(|row| &row.id).collect();
    assert_eq!(decided, [&waiting.id]);
    assert_eq!(plan.writes.unpark.len(), 2);
    assert!(plan.writes.lost.is_empty());
}
