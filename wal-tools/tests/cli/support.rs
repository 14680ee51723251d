//! A log created with the library, and runs of the tool on it.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use forebay_wal as wal;
use forebay_wal::command::{CommandId, Envelope, Headers, IdGenerator, kind_of, lane};
use forebay_wal::units::Timestamp;
use forebay_wal::{Confirmation, DeadLetter, Keys, Lock, Log, Lsn, NewRecord, Options, Writer};
use serde_json::Value;

/// Bytes of a segment: small, so that a few dozen records rotate.
pub const SEGMENT: u64 = 8 << 10;

/// A log with its writer, as a daemon has it.
pub struct TestLog {
    pub log: Arc<Log>,
    pub writer: Writer,
    _lock: Lock,
}

impl TestLog {
    pub fn start(dir: &Path) -> Self {
        Self::start_with(dir, Keys::default())
    }

    pub fn start_with(dir: &Path, keys: Keys) -> Self {
        let options = Options {
            segment_size: SEGMENT,
            reserve_space: 0,
            redeliver: false,
            keys,
            label: kind_of,
            observer: Arc::new(|_| {}),
        };
        let (lock, opened) = wal::open_locked(dir, &options, Timestamp::now()).unwrap();
        Self { log: opened.log, writer: opened.writer, _lock: lock }
    }

    /// Accepts one command.
    pub fn accept(&mut self, kind: &str, key: &str) -> (Lsn, CommandId) {
        let value = format!("{{\"id\":\"{key}\",\"secret\":\"hunter2\"}}");
        self.accept_value(kind, key, value.as_bytes())
    }

    /// Accepts one command with this body.
    pub fn accept_value(&mut self, kind: &str, key: &str, value: &[u8]) -> (Lsn, CommandId) {
        self.accept_as(kind, key, value, false)
    }

    /// Accepts an event without data: attributes as headers, and no value.
    pub fn accept_event(&mut self, key: &str) -> (Lsn, CommandId) {
        let headers = Headers::encode([("ce_id", "1"), ("ce_source", "/größe")]);
        self.accept_with(key, |envelope| {
            (envelope.no_value, envelope.content_type) = (true, "");
            envelope.headers = Headers::parse(&headers).unwrap();
        })
    }

    /// Accepts one command of this media type.
    pub fn accept_typed(&mut self, key: &str, content_type: &str, value: &[u8]) -> (Lsn, CommandId) {
        self.accept_with(key, |envelope| (envelope.content_type, envelope.value) = (content_type, value))
    }

    /// Accepts one command whose password is not hashed yet.
    pub fn accept_sealed(&mut self, key: &str, value: &[u8]) -> (Lsn, CommandId) {
        self.accept_as("user.create", key, value, true)
    }

    fn accept_as(&mut self, kind: &str, key: &str, value: &[u8], sealed: bool) -> (Lsn, CommandId) {
        self.accept_with(key, |envelope| {
            (envelope.kind, envelope.value, envelope.sealed) = (kind, value, sealed)
        })
    }

    fn accept_with<'e>(&mut self, key: &'e str, change: impl FnOnce(&mut Envelope<'e>)) -> (Lsn, CommandId) {
        if self.log.wait_for_preallocation_request(Duration::ZERO) {
            self.log.preallocate_segment(SEGMENT, 0);
        }
        let (lsn, at) = (self.writer.next_lsn(), self.writer.next_timestamp(Timestamp::now()));
        let identity = self.log.identity();
        let id = IdGenerator::new(&identity.log_id, &identity.secret).generate(at, lsn, [7; 9]);
        let mut envelope = Envelope {
            key: Some(key.as_bytes()),
            ..Envelope::new(id, "order.create", "orders.v1", "application/json", b"")
        };
        change(&mut envelope);
        let mut payload = Vec::new();
        envelope.encode(&mut payload);
        let entry =
            NewRecord { lane: lane(Some(key.as_bytes()), lsn), label: envelope.kind, payload: &payload };
        self.writer.append(&[entry], at).unwrap();
        self.writer.commit().unwrap();
        (lsn, id)
    }

    /// Accepts `count` orders with the keys `o-1`, `o-2`, ….
    pub fn accept_many(&mut self, count: u64) -> Vec<CommandId> {
        (1..=count).map(|n| self.accept("order.create", &format!("o-{n}")).1).collect()
    }

    /// Confirms records, like the drain after a confirmation from Kafka.
    pub fn confirm(&self, lsns: impl IntoIterator<Item = u64>) {
        let confirmations: Vec<_> = lsns
            .into_iter()
            .map(|lsn| Confirmation {
                lsn: Lsn(lsn),
                bytes: 0,
                partition: 3,
                offset: 1_000 + lsn as i64,
                at: Timestamp::now(),
            })
            .collect();
        self.log.confirm(&confirmations);
    }

    /// Stores a record as a dead letter, like the drain after a permanent rejection.
    pub fn store_dead_letter(&self, lsn: Lsn, reason: &str) {
        let record = self.log.read(lsn).unwrap().unwrap();
        let letter = DeadLetter {
            lsn,
            accepted_at: record.at,
            died_at: Timestamp::now(),
            reason: reason.to_owned(),
            attempts: 2,
            payload: record.payload,
        };
        self.log.store_dead_letters(&[letter]).unwrap();
    }

    pub fn checkpoint(&self) {
        self.log.checkpoint(Timestamp::now()).unwrap();
    }
}

/// Exit code and output of the tool.
#[derive(Debug)]
pub struct Run {
    pub code: Option<i32>,
    pub out: String,
    pub err: String,
}

impl Run {
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.out).unwrap_or_else(|e| panic!("{e}: {self:?}"))
    }

    pub fn lines(&self) -> Vec<Value> {
        self.out.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    }

    #[track_caller]
    pub fn assert_exit(self, code: i32) -> Self {
        assert_eq!(self.code, Some(code), "{self:?}");
        self
    }
}

pub fn command(dir: &Path, args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_wal-tools"));
    command.env_remove("FOREBAY__WAL__DIR").env_remove("FOREBAY__WAL__ENCRYPTION_KEY_FILE");
    command.arg("--dir").arg(dir).args(args).stdin(Stdio::null());
    command
}

pub fn run(dir: &Path, args: &[&str]) -> Run {
    run_with(dir, args, Stdio::piped(), Stdio::piped())
}

/// Runs the tool with these as stdout and stderr. Output to a pipe is returned.
pub fn run_with(dir: &Path, args: &[&str], stdout: Stdio, stderr: Stdio) -> Run {
    let child = command(dir, args).stdout(stdout).stderr(stderr).spawn().unwrap();
    let output = child.wait_with_output().unwrap();
    Run {
        code: output.status.code(),
        out: String::from_utf8(output.stdout).unwrap(),
        err: String::from_utf8(output.stderr).unwrap(),
    }
}

/// A pipe whose reader is gone.
pub fn closed_pipe() -> Stdio {
    std::io::pipe().unwrap().1.into()
}

/// A file whose every write fails with ENOSPC.
pub fn full_disk() -> Stdio {
    std::fs::File::options().write(true).open("/dev/full").unwrap().into()
}

/// Every file with its content, modification time and permissions; every directory with the latter two.
pub fn fingerprint(dir: &Path) -> BTreeMap<PathBuf, String> {
    let mut all = BTreeMap::new();
    let mut open = vec![dir.to_owned()];
    while let Some(path) = open.pop() {
        let metadata = std::fs::metadata(&path).unwrap();
        let mut print = format!("{:?} {:?}", metadata.modified().unwrap(), metadata.permissions());
        if metadata.is_dir() {
            open.extend(std::fs::read_dir(&path).unwrap().map(|entry| entry.unwrap().path()));
        } else if metadata.is_file() {
            print += &format!(" {:?}", std::fs::read(&path).unwrap());
        }
        all.insert(path, print);
    }
    all
}

/// Path, offset and bytes of a record, as the tool shows them.
pub fn record_position(dir: &Path, lsn: u64) -> (PathBuf, u64, u64) {
    let shown = run(dir, &["--json", "show", &lsn.to_string()]).assert_exit(0).json();
    let name = shown["segment"].as_str().unwrap();
    let paths = ["pending", "acked"].map(|place| dir.join(place).join(name));
    let path = paths.into_iter().find(|path| path.exists()).unwrap();
    (path, shown["offset"].as_u64().unwrap(), shown["bytes"].as_u64().unwrap())
}

/// Overwrites bytes of a file.
pub fn overwrite(path: &Path, offset: u64, bytes: &[u8]) {
    use std::os::unix::fs::FileExt;
    let file = std::fs::OpenOptions::new().write(true).open(path).unwrap();
    file.write_all_at(bytes, offset).unwrap();
}

/// The file name of a segment, as in findings.
pub fn name(path: &Path) -> &str {
    path.file_name().unwrap().to_str().unwrap()
}
