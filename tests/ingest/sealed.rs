//! Deferred password hashing, with the real binary and with logs built by the library. Plain passwords reach neither
//! Kafka nor a file, and a record has the same content however often it is sent.

use std::collections::BTreeMap;
use std::fs;
use std::fs::Permissions;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use forebay::command::{CommandId, Envelope, IdGenerator, Secret, USER_TOPIC, UserValue, kind_of, lane};
use forebay::units::Timestamp;
use forebay::wal;
use forebay::wal::{DeadLetter, Keys, Lsn, NewRecord, Options};

use crate::daemon;
use crate::daemon::{LONG, await_drained, embedded_broker};
use crate::requests::daemon;
use support::admin::Admin;
use support::consume::{Record, read_all, read_until};
use support::kafka::ClusterOptions;
use support::process::Forebay;
use support::services;

const PASSWORD: &str = "correct horse battery";
const USERS: u64 = 40;
const SEGMENT: u64 = 1 << 20;

fn key(forebay: &Forebay) -> PathBuf {
    let path = forebay.dir().join("key");
    fs::write(&path, format!("{}\n", "5".repeat(64))).unwrap();
    fs::set_permissions(&path, Permissions::from_mode(0o600)).unwrap();
    path
}

/// Fills an encrypted log in the daemon's directory: for each user a command with a deferred password, and later
/// one without.
fn fill(forebay: &Forebay, key: &Path, with_letter: bool) -> BTreeMap<String, CommandId> {
    let options = Options {
        segment_size: SEGMENT,
        reserve_space: 0,
        redeliver: false,
        keys: Keys::read(Some(key), &[]).unwrap(),
        label: kind_of,
        observer: Arc::new(|_| {}),
    };
    let (_lock, mut opened) = wal::open_locked(&forebay.wal_dir(), &options, Timestamp::now()).unwrap();
    if opened.log.wait_for_preallocation_request(Duration::ZERO) {
        opened.log.preallocate_segment(SEGMENT, 0);
    }
    let identity = opened.log.identity().clone();
    let mint = IdGenerator::new(&identity.log_id, &identity.secret);
    let mut sealed_ids = BTreeMap::new();
    for n in 0..2 * USERS {
        let (name, sealed) = (format!("user-{}", n % USERS), n < USERS);
        let (lsn, at) = (opened.writer.next_lsn(), opened.writer.next_timestamp(Timestamp::now()));
        let id = mint.generate(at, lsn, [7; 9]);
        let password = sealed.then(|| Secret::new(format!("{PASSWORD} {n}")));
        let email = Some(format!("{name}@example.org"));
        let value = UserValue { name: name.clone(), email, password, ..UserValue::default() }.to_bytes();
        let envelope = Envelope {
            key: Some(name.as_bytes()),
            sealed,
            ..Envelope::new(
                id,
                if sealed { "user.create" } else { "user.update" },
                USER_TOPIC,
                "application/json",
                &value,
            )
        };
        let mut payload = Vec::new();
        envelope.encode(&mut payload);
        let entry =
            NewRecord { lane: lane(Some(name.as_bytes()), lsn), label: envelope.kind, payload: &payload };
        opened.writer.append(&[entry], at).unwrap();
        opened.writer.commit().unwrap();
        if sealed {
            sealed_ids.insert(name, id);
        }
    }
    if with_letter {
        let record = opened.log.read(Lsn(1)).unwrap().unwrap();
        let (accepted_at, died_at) = (record.at, Timestamp::now());
        let reason = "test".to_owned();
        let letter =
            DeadLetter { lsn: Lsn(1), accepted_at, died_at, reason, attempts: 1, payload: record.payload };
        opened.log.store_dead_letters(&[letter]).unwrap();
    }
    sealed_ids
}

/// Asserts that each user's sealed command comes first, with a hash of its password, and that no record shows a
/// password.
fn assert_hashed(records: &[Record], sealed: &BTreeMap<String, CommandId>) -> BTreeMap<String, Vec<u8>> {
    assert_eq!(records.len(), 2 * sealed.len());
    let mut values = BTreeMap::new();
    for (name, id) in sealed {
        let of_key: Vec<_> =
            records.iter().filter(|record| record.key.as_deref() == Some(name.as_bytes())).collect();
        let [first, second] = of_key[..] else { panic!("{name}: {}", of_key.len()) };
        assert_eq!(first.header("forebay-command-id"), Some(&*id.to_string()));
        assert_eq!(second.header("forebay-kind"), Some("user.update"));
        let value = UserValue::parse(first.value.as_deref().unwrap()).unwrap();
        assert_eq!(value.password, None);
        let number = name.strip_prefix("user-").unwrap();
        let hash = value.password_hash.unwrap();
        assert!(hash.starts_with("$2b$04$"), "{hash}");
        assert!(bcrypt::verify(format!("{PASSWORD} {number}"), &hash).unwrap());
        values.insert(name.clone(), first.value.clone().unwrap());
    }
    assert!(records.iter().all(|record| !record.text().contains(PASSWORD)));
    values
}

/// Whether a file below `dir` contains the password.
fn shows(dir: &Path) -> bool {
    fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path()).any(|path| match path.is_dir() {
        true => shows(&path),
        false => fs::read(&path)
            .is_ok_and(|bytes| bytes.windows(PASSWORD.len()).any(|window| window == PASSWORD.as_bytes())),
    })
}

#[test]
fn redelivered_passwords_have_the_same_hash_with_old_keys() {
    let mut forebay = daemon().set("users.password_cost", 4);
    let key = key(&forebay);
    let sealed = fill(&forebay, &key, false);
    forebay.configure("wal.encryption_key_file", key.to_str().unwrap());
    let mut sent = Vec::new();
    for encrypts in [true, true, false] {
        if !encrypts {
            forebay.unset("wal.encryption_key_file");
            forebay.configure("wal.encryption_old_key_files", vec![key.to_str().unwrap().to_owned()]);
        }
        forebay.start();
        let broker = embedded_broker(&forebay);
        // The embedded broker of each run gets all records again.
        let records = read_until(&broker, USER_TOPIC, LONG, |records| records.len() as u64 == 2 * USERS);
        sent.push(assert_hashed(&records, &sealed));
        forebay.kill();
    }
    assert!(sent.iter().all(|values| *values == sent[0]), "another run produced different records");
    assert!(!shows(&forebay.dir().join("wal")) && !forebay.log().contains(PASSWORD));
}

#[test]
fn passwords_are_hashed_exactly_once_too() {
    let Some(kafka) = services::kafka("passwords_are_hashed_exactly_once_too") else { return };
    let cluster = kafka.start(ClusterOptions::single());
    Admin::new(&cluster.bootstrap()).create_topic(USER_TOPIC, 6, 1, &[]);
    let mut forebay = daemon::forebay(&cluster.bootstrap())
        .set("drain.delivery", "exactly-once")
        .set("users.password_cost", 4);
    let key = key(&forebay);
    let sealed = fill(&forebay, &key, false);
    forebay.configure("wal.encryption_key_file", key.to_str().unwrap());
    forebay.start();
    await_drained(&forebay);
    assert_hashed(&read_all(&cluster.bootstrap(), USER_TOPIC), &sealed);
    assert!(forebay.terminate().success());
}

#[test]
fn a_dead_letter_with_a_password_requires_encryption() {
    let mut forebay = daemon();
    let key = key(&forebay);
    fill(&forebay, &key, true);
    forebay.configure("wal.encryption_old_key_files", vec![key.to_str().unwrap().to_owned()]);
    forebay.launch();
    assert_eq!(forebay.wait(LONG).code(), Some(64), "{}", forebay.log());
    assert!(forebay.log().contains("[wal] encryption_key_file"), "{}", forebay.log());
    assert!(!shows(&forebay.wal_dir()));
}
