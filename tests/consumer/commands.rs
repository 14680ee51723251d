//! Commands as sent by the daemon.

use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use forebay::command::{CommandId, IdGenerator, USER_TOPIC, UserKind, UserValue};
use forebay::units::{Lsn, Timestamp};
use rdkafka::message::{Header, OwnedHeaders};
use rdkafka::producer::{BaseProducer, BaseRecord, DeliveryResult, Producer as _, ProducerContext};
use rdkafka::{ClientConfig, ClientContext};

use support::daemon::LONG;
use support::wait;

/// A simulated log: generates command ids.
pub struct CommandSource {
    mint: IdGenerator,
    count: u64,
}

impl CommandSource {
    pub fn new(number: u8) -> CommandSource {
        CommandSource { mint: IdGenerator::new(&[number; 16], &[9; 32]), count: 0 }
    }

    /// The next id with this time.
    pub fn id(&mut self, at: u64) -> CommandId {
        self.count += 1;
        let random = std::array::from_fn(|byte| self.count.to_le_bytes().get(byte).copied().unwrap_or(0));
        self.mint.generate(Timestamp(at), Lsn(self.count), random)
    }

    pub fn command(&mut self, at: u64, kind: UserKind, value: UserValue) -> SentCommand {
        let id = self.id(at);
        SentCommand {
            id,
            kind: kind.as_str().to_owned(),
            key: value.name.clone(),
            value: value.to_bytes().to_vec(),
        }
    }

    /// A registration with a unique address and number.
    pub fn create(&mut self, at: u64, name: &str) -> SentCommand {
        self.command(at, UserKind::Create, person(name))
    }

    pub fn delete(&mut self, at: u64, name: &str) -> SentCommand {
        self.command(at, UserKind::Delete, UserValue { name: name.to_owned(), ..UserValue::default() })
    }

    pub fn rename(&mut self, at: u64, name: &str, nickname: &str) -> SentCommand {
        let nickname = Some(Some(nickname.to_owned()));
        let value = UserValue { name: name.to_owned(), nickname, ..UserValue::default() };
        self.command(at, UserKind::Update, value)
    }
}

/// A user with a unique address and number.
pub fn person(name: &str) -> UserValue {
    let mut number = DefaultHasher::new();
    name.hash(&mut number);
    UserValue {
        name: name.to_owned(),
        email: Some(format!("{name}@example.org")),
        phone: Some(format!("49{:020}", number.finish())),
        password_hash: Some("$2b$10$abcdefghijklmnopqrstuv".to_owned()),
        ..UserValue::default()
    }
}

/// A record for `user.commands.v1`.
#[derive(Clone)]
pub struct SentCommand {
    pub id: CommandId,
    pub kind: String,
    pub key: String,
    pub value: Vec<u8>,
}

impl SentCommand {
    pub fn with_value(mut self, value: &str) -> SentCommand {
        self.value = value.into();
        self
    }
}

/// Sends all commands in order, and returns when the broker has them.
pub fn send(bootstrap: &str, commands: &[SentCommand]) {
    let mut settings = ClientConfig::new();
    settings.set("bootstrap.servers", bootstrap).set("enable.idempotence", "true");
    settings.set("partitioner", "murmur2_random").set("reconnect.backoff.max.ms", "500");
    let producer: BaseProducer<DeliveryFailures> =
        settings.create_with_context(DeliveryFailures(Mutex::default())).expect("a producer");
    for command in commands {
        let id = command.id.to_string();
        let at = command.id.accepted_at().to_string();
        let fields = [
            ("forebay-command-id", id.as_str()),
            ("forebay-kind", command.kind.as_str()),
            ("forebay-accepted-at", at.as_str()),
            ("content-type", "application/json"),
        ];
        let headers = fields.iter().fold(OwnedHeaders::new(), |headers, (key, value)| {
            headers.insert(Header { key, value: Some(*value) })
        });
        let mut record =
            BaseRecord::to(USER_TOPIC).key(command.key.as_str()).payload(&command.value).headers(headers);
        while let Err((_, back)) = producer.send(record) {
            producer.poll(Duration::from_millis(5));
            record = back;
        }
    }
    wait::until_true("all commands are sent", LONG, || {
        producer.poll(Duration::from_millis(20));
        producer.in_flight_count() == 0
    });
    let failures = producer.context().0.lock().unwrap_or_else(PoisonError::into_inner);
    assert_eq!(*failures, Vec::<String>::new());
}

struct DeliveryFailures(Mutex<Vec<String>>);

impl ClientContext for DeliveryFailures {}

impl ProducerContext for DeliveryFailures {
    type DeliveryOpaque = ();

    fn delivery(&self, result: &DeliveryResult<'_>, (): ()) {
        if let Err((error, _)) = result {
            self.0.lock().unwrap_or_else(PoisonError::into_inner).push(error.to_string());
        }
    }
}
