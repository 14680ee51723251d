//! Tests of the test tools: processes that end with the test, ports, directories, the HTTP client.
// clippy.toml allows this in test functions; their helper functions are no different.
#![allow(clippy::unwrap_used)]

use std::io::{ErrorKind, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};
use std::{env, fs, thread};

use support::child::Child;
use support::disk::SmallDisk;
use support::http::{Client, Connection};
use support::ports::Port;
use support::proxy::{Flow, LinkState, Proxy};
use support::{scratch, wait};

/// A timeout above the time that a process needs to start or to end, on a busy machine too.
const LONG: Duration = Duration::from_secs(30);

/// Timeout of a read that must receive nothing.
const NOTHING: Duration = Duration::from_millis(150);

/// Set in the process that [`nothing_survives_a_killed_test_process`] starts and kills.
const VICTIM: &str = "FOREBAY_TEST_VICTIM";

#[test]
fn nothing_survives_a_killed_test_process() {
    let dir = scratch::dir("killed");
    let report = dir.path().join("report");
    let mut victim = Command::new(env::current_exe().unwrap())
        .args(["--exact", "a_test_process_to_be_killed", "--nocapture"])
        .env(VICTIM, &report)
        .stdout(Stdio::null())
        .spawn()
        .unwrap();
    let report = wait::until("the victim has started a child", LONG, || {
        fs::read_to_string(&report).ok().filter(|report| report.ends_with('\n'))
    });
    let (process, directory) = report.trim_end().split_once(' ').unwrap();
    let (process, directory) = (PathBuf::from(process), Path::new(directory));
    assert!(process.exists() && directory.exists());

    victim.kill().unwrap();
    victim.wait().unwrap();
    wait::until_true("the child has ended", LONG, || has_ended(&process));
    wait::until_true("the directory is removed", LONG, || !directory.exists());
}

/// The process that the test above kills. On its own it does nothing.
#[test]
fn a_test_process_to_be_killed() {
    let Some(report) = env::var_os(VICTIM) else { return };
    let dir = scratch::dir("victim");
    let child = sleeper(dir.path());
    let line = format!("/proc/{} {}\n", child.pid(), dir.path().display());
    fs::write(report, line).unwrap();
    thread::sleep(LONG);
}

#[test]
fn a_child_outlives_its_thread_but_not_the_process() {
    let dir = scratch::dir("thread");
    let mut child = thread::scope(|scope| scope.spawn(|| sleeper(dir.path())).join().unwrap());
    child.freeze();
    child.thaw();
    assert_eq!(child.ended(), None);
    let process = PathBuf::from(format!("/proc/{}", child.pid()));
    drop(child);
    assert!(has_ended(&process));
}

#[test]
fn a_child_ends_on_request_and_its_output_remains() {
    let dir = scratch::dir("words");
    let mut command = Command::new("sh");
    command.args(["-c", r#"trap "echo bye; exit 7" TERM; echo hello; while :; do sleep 0.01; done"#]);
    let mut child = Child::spawn("sh", &command, &dir.path().join("log"));
    wait::until_true("the child has started", LONG, || child.log() == "hello\n");
    assert_eq!(child.terminate(LONG).code(), Some(7));
    assert_eq!(child.log(), "hello\nbye\n");
}

#[test]
fn a_port_is_reserved_once() {
    let first = Port::free();
    let second = Port::free();
    assert_ne!(first.number(), second.number());
    TcpListener::bind(first.address()).unwrap();
}

#[test]
fn the_http_client_reads_lengths_chunks_and_closed_bodies() {
    let address = scripted_server(&[
        "HTTP/1.1 202 Accepted\r\nContent-Length: 8\r\nX-Two:  b \r\n\r\n{\"a\": 1}",
        "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n2;x=y\r\nde\r\n0\r\nT: 1\r\n\r\n",
        "HTTP/1.1 204 No Content\r\n\r\n",
        "HTTP/1.1 500 Oh\r\nConnection: close\r\n\r\nuntil the end",
    ]);
    let mut client = Client::new(&address);
    let response = client.post("/", "{}").unwrap();
    assert_eq!((response.status, response.header("x-two")), (202, Some("b")));
    assert_eq!(response.json()["a"], 1);
    assert_eq!(client.get("/").unwrap().text(), "abcde");
    assert_eq!(client.put("/", "{}").unwrap().status, 204);
    assert_eq!(client.get("/").unwrap().text(), "until the end");
    assert!(client.get("/").is_err(), "no server accepts any more");
}

#[test]
fn the_http_client_does_not_hang() {
    // The kernel's backlog accepts the connection; no response is ever sent.
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let mut connection = Connection::open(&silent.local_addr().unwrap().to_string()).unwrap();
    connection.set_read_within(Duration::from_millis(20)).unwrap();
    connection.send(b"GET / HTTP/1.1\r\n").unwrap();
    connection.send_chunk(b"what no client sends").unwrap();
    assert!(connection.receive("GET").is_err());
}

fn sleeper(dir: &Path) -> Child {
    let mut command = Command::new("sleep");
    command.arg("1000");
    Child::spawn("sleep", &command, &dir.join("log"))
}

/// Whether the process has ended; a zombie counts as ended.
fn has_ended(process: &Path) -> bool {
    fs::read_to_string(process.join("stat")).map_or(true, |stat| stat.contains(") Z "))
}

/// A server that answers the requests of one connection with these responses, and ends.
fn scripted_server(answers: &[&'static str]) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let answers = answers.to_vec();
    thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        drop(listener);
        for answer in answers {
            // The tests' requests are short and arrive in one piece.
            let mut request = [0; 4096];
            assert!(stream.read(&mut request).unwrap() > 0);
            stream.write_all(answer.as_bytes()).unwrap();
        }
    });
    address
}

/// A connection through a proxy: the proxy, the client's end, the server's end.
fn connected() -> (Proxy, TcpListener, TcpStream, TcpStream) {
    let server = TcpListener::bind("127.0.0.1:0").unwrap();
    let proxy = Proxy::start();
    proxy.forward_to(&server.local_addr().unwrap().to_string());
    let client = TcpStream::connect(proxy.address()).unwrap();
    let (accepted, _) = server.accept().unwrap();
    for stream in [&client, &accepted] {
        stream.set_read_timeout(Some(LONG)).unwrap();
    }
    wait::until_true("the proxy has the connection", LONG, || proxy.connections() == 1);
    (proxy, server, client, accepted)
}

fn passes(mut from: &TcpStream, mut to: &TcpStream, what: &[u8]) {
    from.write_all(what).unwrap();
    arrives(&mut to, what);
}

fn arrives(to: &mut &TcpStream, what: &[u8]) {
    let mut got = vec![0; what.len()];
    to.read_exact(&mut got).unwrap();
    assert_eq!(got, what);
}

fn gets_nothing(mut to: &TcpStream) {
    to.set_read_timeout(Some(NOTHING)).unwrap();
    let error = to.read(&mut [0]).unwrap_err();
    assert!(matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut), "{error}");
    to.set_read_timeout(Some(LONG)).unwrap();
}

#[test]
fn a_cut_link_delays_bytes_without_losing_them() {
    let (proxy, server, client, accepted) = connected();
    passes(&client, &accepted, b"there");
    passes(&accepted, &client, b"and back");
    proxy.set(LinkState::CUT);
    (&client).write_all(b"held").unwrap();
    (&accepted).write_all(b"kept").unwrap();
    gets_nothing(&accepted);
    gets_nothing(&client);
    // Accepted by the kernel, but without a response.
    let second = TcpStream::connect(proxy.address()).unwrap();
    server.set_nonblocking(true).unwrap();
    gets_nothing(&second);
    assert!(server.accept().is_err());
    proxy.heal();
    arrives(&mut &accepted, b"held");
    arrives(&mut &client, b"kept");
    server.set_nonblocking(false).unwrap();
    let (second_accepted, _) = server.accept().unwrap();
    passes(&second, &second_accepted, b"later");
}

#[test]
fn a_link_without_responses_delivers_requests() {
    let (proxy, _server, client, accepted) = connected();
    proxy.set(LinkState::NO_RESPONSES);
    passes(&client, &accepted, b"request");
    (&accepted).write_all(b"answer").unwrap();
    gets_nothing(&client);
    proxy.heal();
    arrives(&mut &client, b"answer");
}

#[test]
fn a_slow_link_delays_and_limits_bytes() {
    let (proxy, _server, client, accepted) = connected();
    let delay = Duration::from_millis(100);
    let slow = Flow::Slow { delay, bytes_per_second: 1 << 20 };
    proxy.set(LinkState { to_server: slow, to_client: Flow::Open });
    let begun = Instant::now();
    passes(&client, &accepted, &[7; 100_000]);
    // At least a tenth of a second for 100,000 bytes, and the delay of the first chunk.
    assert!(begun.elapsed() >= delay + Duration::from_millis(90), "{:?}", begun.elapsed());
    passes(&accepted, &client, b"quick");
}

#[test]
fn a_proxy_can_refuse_reset_and_half_close() {
    let (proxy, server, client, accepted) = connected();
    proxy.half_close();
    assert_eq!((&client).read(&mut [0]).unwrap(), 0, "the server's direction is closed");
    passes(&client, &accepted, b"but goes");
    proxy.reset();
    let error = (&accepted).read(&mut [0]).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::ConnectionReset);

    let client = TcpStream::connect(proxy.address()).unwrap();
    let (accepted, _) = server.accept().unwrap();
    client.set_read_timeout(Some(LONG)).unwrap();
    passes(&client, &accepted, b"again");
    proxy.refuse();
    assert_eq!((&client).read(&mut [0]).unwrap_err().kind(), ErrorKind::ConnectionReset);
    let refused = || {
        TcpStream::connect(proxy.address()).is_err_and(|error| error.kind() == ErrorKind::ConnectionRefused)
    };
    wait::until_true("connections are refused", LONG, refused);
    proxy.heal();
    wait::until_true("connections are accepted", LONG, || TcpStream::connect(proxy.address()).is_ok());
}

#[test]
fn dropping_a_proxy_ends_its_connections() {
    let (proxy, _server, client, accepted) = connected();
    proxy.set(LinkState::CUT);
    drop(proxy);
    for mut end in [&client, &accepted] {
        assert!(!matches!(end.read(&mut [0]), Ok(1..)), "an end");
    }
}

#[test]
fn a_small_disk_can_be_filled_and_cleared() {
    let dir = scratch::dir("disk");
    let disk = SmallDisk::mount(dir.path(), 2);
    disk.fill_but(100_000).unwrap();
    let file = dir.path().join("file");
    assert_eq!(fs::write(&file, vec![1; 200_000]).unwrap_err().kind(), ErrorKind::StorageFull);
    disk.clear().unwrap();
    fs::write(&file, vec![1; 200_000]).unwrap();
    drop(disk);
    assert!(!file.exists(), "the file system and its files are removed");
}
