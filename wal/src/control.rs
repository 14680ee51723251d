//! The control socket, through which an operator's tool sends requests to a running daemon. Only the daemon may write
//! to its log.
//!
//! `DIR/control.sock` is a Unix socket that only the service user can open. Each request and each response is one line
//! of JSON:
//!
//! ```text
//! {"cmd":"status"}                   {"status":{"backlog":3,…}}
//! {"cmd":"requeue","lsns":[7,9]}     {"done":[{"lsn":7,"requeued_as":20},{"lsn":9,"error":"no such dead letter"}]}
//! {"cmd":"drop","lsns":[8]}          {"done":[{"lsn":8}]}
//! {"cmd":"replay","lsns":[1,2]}      {"done":[{"lsn":1,"requeued_as":21},{"lsn":2,"requeued_as":22}]}
//! anything else                      {"error":"…"}
//! ```

use std::io;
use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::{UnixListener, UnixStream};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::Lsn;

/// The socket's name in the log's directory.
pub const FILE: &str = "control.sock";
/// Longest line. A response about `MAX_REPLAY` records has at most 64 KiB, a status document of many segments about
/// 100 KiB.
const MAX_LINE: u64 = 1 << 20;
/// Maximum number of dead letters per request: each needs two flushes, and other requests wait meanwhile.
pub const MAX_DEAD_LETTERS: usize = 100;
/// Maximum number of delivered records per request: they share flushes, and 1,000 of 1 MiB take some seconds.
pub const MAX_REPLAY: usize = 1_000;
/// The tool writes its request at once. A client that takes longer is not the tool.
const SERVER_TIMEOUT: Duration = Duration::from_secs(2);
/// 100 dead letters on a slow disk: two flushes of 100 ms each per dead letter, and a margin.
const CLIENT_TIMEOUT: Duration = Duration::from_secs(60);
/// Interval between checks for a connection. A person does not notice it, and ten checks per second cost nothing.
const ACCEPT_INTERVAL: Duration = Duration::from_millis(100);

/// A request of a tool.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "cmd", rename_all = "lowercase")]
pub enum Request {
    /// The current status document.
    Status,
    /// Appends dead letters to the log again.
    Requeue {
        /// Numbers of the dead letters.
        lsns: Vec<Lsn>,
    },
    /// Delivers already delivered records again.
    Replay {
        /// Numbers of the records, in order.
        lsns: Vec<Lsn>,
    },
    /// Drops dead letters.
    Drop {
        /// Numbers of the dead letters.
        lsns: Vec<Lsn>,
    },
}

/// The response to a request.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ControlResponse {
    /// The status document, as `wal-tools status --json` prints it.
    Status(serde_json::Value),
    /// The outcome per record, in the order of the request. A replay ends at the first failure.
    Done(Vec<RecordOutcome>),
    /// The request is invalid.
    Error(String),
}

/// The outcome for one dead letter or delivered record.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RecordOutcome {
    /// LSN of the record.
    pub lsn: Lsn,
    /// Number of the new record.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub requeued_as: Option<Lsn>,
    /// Reason of the failure.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
}

/// The operations of a daemon. Called from the server's thread, one call at a time.
pub trait Operator: Send + Sync {
    /// The status document.
    fn status(&self) -> serde_json::Value;
    /// Appends a dead letter to the log again, durably, and removes it from the store. Returns the new record's number.
    /// `origin` identifies the requesting process.
    fn requeue(&self, lsn: Lsn, origin: &str) -> Result<Lsn, String>;
    /// Appends delivered records to the log again, durably and in order. Ends at the first failure.
    fn replay(&self, lsns: &[Lsn], origin: &str) -> Vec<RecordOutcome>;
    /// Removes a dead letter from the store, durably.
    fn drop_dead_letter(&self, lsn: Lsn, origin: &str) -> Result<(), String>;
}

/// Serves requests on the socket until it is stopped.
pub struct Server {
    path: PathBuf,
    stop: Arc<AtomicBool>,
    thread: JoinHandle<()>,
}

impl Server {
    /// Opens the socket in `dir`. The caller has the log's lock, so an existing socket belongs to a dead daemon.
    pub fn start(dir: &Path, operator: Arc<dyn Operator>) -> io::Result<Self> {
        let path = dir.join(FILE);
        match std::fs::remove_file(&path) {
            Err(e) if e.kind() != io::ErrorKind::NotFound => return Err(e),
            _ => {}
        }
        let listener = UnixListener::bind(&path)?;
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600))?;
        listener.set_nonblocking(true)?;
        let stop = Arc::<AtomicBool>::default();
        let stopping = Arc::clone(&stop);
        let thread = std::thread::Builder::new()
            .name("control".into())
            .spawn(move || serve(&listener, &stopping, &*operator))?;
        Ok(Self { path, stop, thread })
    }

    /// Finishes the current request, stops the server, and removes the socket.
    pub fn stop(self) {
        self.stop.store(true, Ordering::Release);
        self.thread.thread().unpark();
        // Panics of requests are caught inside the thread.
        let _ = self.thread.join();
        // If this fails, the next start removes the socket.
        let _ = std::fs::remove_file(&self.path);
    }
}

fn serve(listener: &UnixListener, stop: &AtomicBool, operator: &dyn Operator) {
    while !stop.load(Ordering::Acquire) {
        match listener.accept() {
            // A client that disconnects or sends nothing in time only loses its own request. The same is true of a
            // request that panics; the panic is logged.
            Ok((stream, _)) => drop(catch_unwind(AssertUnwindSafe(|| handle_connection(stream, operator)))),
            // No connection, or temporarily no file descriptors: check again later.
            Err(_) => std::thread::park_timeout(ACCEPT_INTERVAL),
        }
    }
}

/// Handles one request per connection. A client with more requests connects again, and others may be served between.
fn handle_connection(stream: UnixStream, operator: &dyn Operator) -> io::Result<()> {
    stream.set_nonblocking(false)?;
    stream.set_read_timeout(Some(SERVER_TIMEOUT))?;
    stream.set_write_timeout(Some(SERVER_TIMEOUT))?;
    let answer = match read_line(&stream)? {
        Some(line) => match serde_json::from_str(&line) {
            Ok(request) => handle_request(request, &caller_process(&stream), operator),
            Err(e) => ControlResponse::Error(format!("invalid request: {e}")),
        },
        None => ControlResponse::Error("the request is too long, or has no line end".to_owned()),
    };
    write_line(&stream, &answer)
}

/// The process at the other end, as reported by the kernel.
fn caller_process(stream: &UnixStream) -> String {
    match rustix::net::sockopt::socket_peercred(stream) {
        Ok(peer) => {
            format!("control socket, uid {}, pid {}", peer.uid.as_raw(), peer.pid.as_raw_nonzero())
        }
        Err(error) => format!("control socket, unknown process ({error})"),
    }
}

fn handle_request(request: Request, origin: &str, operator: &dyn Operator) -> ControlResponse {
    let each = |lsns: Vec<Lsn>, act: &dyn Fn(Lsn) -> Result<Option<Lsn>, String>| {
        if lsns.len() > MAX_DEAD_LETTERS {
            return ControlResponse::Error(format!("at most {MAX_DEAD_LETTERS} dead letters per request"));
        }
        let outcomes = lsns.into_iter().map(|lsn| match act(lsn) {
            Ok(requeued_as) => RecordOutcome { lsn, requeued_as, error: None },
            Err(error) => RecordOutcome { lsn, requeued_as: None, error: Some(error) },
        });
        ControlResponse::Done(outcomes.collect())
    };
    match request {
        Request::Status => ControlResponse::Status(operator.status()),
        Request::Requeue { lsns } => each(lsns, &|lsn| operator.requeue(lsn, origin).map(Some)),
        Request::Replay { lsns } if lsns.len() > MAX_REPLAY => {
            ControlResponse::Error(format!("at most {MAX_REPLAY} records per request"))
        }
        Request::Replay { lsns } => ControlResponse::Done(operator.replay(&lsns, origin)),
        Request::Drop { lsns } => each(lsns, &|lsn| operator.drop_dead_letter(lsn, origin).map(|()| None)),
    }
}

/// Why a request got no response.
#[derive(Debug, thiserror::Error)]
pub enum RequestError {
    /// No daemon runs, or it has no socket.
    #[error("no daemon listens on {0}")]
    NotRunning(PathBuf),
    /// The daemon did not respond, or its response is not valid.
    #[error("the daemon at {0} did not respond: {1}")]
    Failed(PathBuf, String),
}

/// Sends a request to the daemon of the log in `dir`.
pub fn send_request(dir: &Path, request: &Request) -> Result<ControlResponse, RequestError> {
    let path = dir.join(FILE);
    let Ok(stream) = UnixStream::connect(&path) else { return Err(RequestError::NotRunning(path)) };
    exchange(&stream, request).map_err(|e| RequestError::Failed(path, e.to_string()))
}

fn exchange(stream: &UnixStream, request: &Request) -> io::Result<ControlResponse> {
    stream.set_read_timeout(Some(CLIENT_TIMEOUT))?;
    stream.set_write_timeout(Some(CLIENT_TIMEOUT))?;
    write_line(stream, request)?;
    let line = read_line(stream)?;
    Ok(serde_json::from_str(
        &line.ok_or_else(|| io::Error::other("the response is too long or incomplete"))?,
    )?)
}

/// One complete line; `None` if it does not end within the limit.
fn read_line(stream: &UnixStream) -> io::Result<Option<String>> {
    let mut line = String::new();
    BufReader::new(stream.take(MAX_LINE)).read_line(&mut line)?;
    Ok(line.ends_with('\n').then_some(line))
}

fn write_line(mut stream: &UnixStream, document: &impl Serialize) -> io::Result<()> {
    let mut line = serde_json::to_vec(document)?;
    line.push(b'\n');
    stream.write_all(&line)
}

#[cfg(test)]
mod tests {
    use super::*;

    struct FakeOperator;

    impl Operator for FakeOperator {
        fn status(&self) -> serde_json::Value {
            serde_json::json!({ "backlog": 3 })
        }

        fn requeue(&self, lsn: Lsn, origin: &str) -> Result<Lsn, String> {
            let of_this_process = format!(
                "control socket, uid {}, pid {}",
                rustix::process::getuid().as_raw(),
                std::process::id()
            );
            assert_eq!(origin, of_this_process);
            if lsn.0 == 7 { Ok(Lsn(20)) } else { Err("no such dead letter".to_owned()) }
        }

        fn replay(&self, lsns: &[Lsn], _: &str) -> Vec<RecordOutcome> {
            let again = |&lsn: &Lsn| RecordOutcome { lsn, requeued_as: Some(lsn.plus(20)), error: None };
            lsns.iter().map(again).collect()
        }

        fn drop_dead_letter(&self, _: Lsn, _: &str) -> Result<(), String> {
            Ok(())
        }
    }

    fn raw(dir: &Path, line: &[u8]) -> String {
        let mut stream = UnixStream::connect(dir.join(FILE)).unwrap();
        stream.write_all(line).unwrap();
        let _ = stream.shutdown(std::net::Shutdown::Write);
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        answer
    }

    #[test]
    fn each_request_gets_its_answer() {
        let dir = tempfile::tempdir().unwrap();
        let server = Server::start(dir.path(), Arc::new(FakeOperator)).unwrap();
        let status = send_request(dir.path(), &Request::Status).unwrap();
        assert_eq!(status, ControlResponse::Status(serde_json::json!({ "backlog": 3 })));
        let done = send_request(dir.path(), &Request::Requeue { lsns: vec![Lsn(7), Lsn(9)] }).unwrap();
        let nine =
            RecordOutcome { lsn: Lsn(9), requeued_as: None, error: Some("no such dead letter".into()) };
        assert_eq!(
            done,
            ControlResponse::Done(vec![
                RecordOutcome { lsn: Lsn(7), requeued_as: Some(Lsn(20)), error: None },
                nine
            ])
        );
        assert_eq!(
            raw(dir.path(), b"{\"cmd\":\"replay\",\"lsns\":[1]}\n"),
            "{\"done\":[{\"lsn\":1,\"requeued_as\":21}]}\n"
        );
        assert_eq!(raw(dir.path(), b"{\"cmd\":\"drop\",\"lsns\":[8]}\n"), "{\"done\":[{\"lsn\":8}]}\n");
        server.stop();
        assert!(matches!(send_request(dir.path(), &Request::Status), Err(RequestError::NotRunning(_))));
    }

    #[test]
    fn an_invalid_request_does_not_affect_the_next_one() {
        let dir = tempfile::tempdir().unwrap();
        let server = Server::start(dir.path(), Arc::new(FakeOperator)).unwrap();
        for bad in [&b"{\"cmd\":\"format\"}\n"[..], b"nonsense\n", b"{\"cmd\":\"status\"}"] {
            assert!(raw(dir.path(), bad).starts_with("{\"error\":"));
        }
        let many = Request::Drop { lsns: vec![Lsn(1); MAX_DEAD_LETTERS + 1] };
        assert!(matches!(send_request(dir.path(), &many).unwrap(), ControlResponse::Error(_)));
        let many = Request::Replay { lsns: vec![Lsn(1); MAX_REPLAY + 1] };
        assert!(matches!(send_request(dir.path(), &many).unwrap(), ControlResponse::Error(_)));
        assert!(matches!(send_request(dir.path(), &Request::Status).unwrap(), ControlResponse::Status(_)));
        server.stop();
    }

    #[test]
    fn a_request_that_panics_costs_only_itself() {
        struct Broken;
        impl Operator for Broken {
            fn status(&self) -> serde_json::Value {
                panic!("a bug")
            }
            fn requeue(&self, lsn: Lsn, _: &str) -> Result<Lsn, String> {
                Ok(lsn)
            }
            fn replay(&self, _: &[Lsn], _: &str) -> Vec<RecordOutcome> {
                Vec::new()
            }
            fn drop_dead_letter(&self, _: Lsn, _: &str) -> Result<(), String> {
                Ok(())
            }
        }
        let dir = tempfile::tempdir().unwrap();
        let server = Server::start(dir.path(), Arc::new(Broken)).unwrap();
        assert!(send_request(dir.path(), &Request::Status).is_err());
        let done = send_request(dir.path(), &Request::Drop { lsns: vec![Lsn(7)] }).unwrap();
        assert_eq!(
            done,
            ControlResponse::Done(vec![RecordOutcome { lsn: Lsn(7), requeued_as: None, error: None }])
        );
        server.stop();
    }

    #[test]
    fn the_socket_is_private_and_replaces_an_old_one() {
        let dir = tempfile::tempdir().unwrap();
        drop(UnixListener::bind(dir.path().join(FILE)).unwrap());
        let server = Server::start(dir.path(), Arc::new(FakeOperator)).unwrap();
        let mode = std::fs::metadata(dir.path().join(FILE)).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        server.stop();
        assert!(!dir.path().join(FILE).exists());
    }
}
