//! HTTP/1.1 clients with little overhead: a single blocking connection, and many connections on one thread.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::atomic::{AtomicBool, AtomicU64};
use std::time::{Duration, Instant};

use tokio::runtime;
use tokio::task::JoinSet;

/// Bytes of the buffer for a response. A response has about 400 bytes.
const ANSWER: usize = 2048;
/// A server that does not respond for this time hangs.
const TIMEOUT: Duration = Duration::from_secs(10);

/// Placeholder that [`load`] replaces by a new `Idempotency-Key` in each request.
const NO_KEY: &str = "key-of-a-request";
static KEYS_USED: AtomicU64 = AtomicU64::new(0);

/// One connection, one request at a time.
pub struct SingleConnection {
    stream: TcpStream,
    request: Vec<u8>,
}

impl SingleConnection {
    /// Connects, to send this request repeatedly.
    pub fn connect(address: SocketAddr, request: Vec<u8>) -> Self {
        let stream = TcpStream::connect(address).expect("the server listens");
        stream.set_nodelay(true).expect("TCP_NODELAY");
        stream.set_read_timeout(Some(TIMEOUT)).expect("a timeout");
        Self { stream, request }
    }

    /// Sends the request. Returns the time from its first byte to the last byte of the response.
    pub fn call(&mut self) -> Duration {
        let (mut answer, mut read) = ([0; ANSWER], 0);
        let started = Instant::now();
        self.stream.write_all(&self.request).expect("a request leaves");
        while !is_whole(&answer[..read]) {
            let more = self.stream.read(&mut answer[read..]).expect("an answer comes");
            assert!(more > 0, "the server closed the connection");
            read += more;
        }
        started.elapsed()
    }
}

/// Opens a connection per request in `sent`. Each sends its request again when it has the response. Returns responses
/// per second.
pub fn load(address: SocketAddr, sent: Vec<Vec<u8>>, time: Duration) -> f64 {
    let runtime = runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    runtime.block_on(async {
        let open = connect(address, sent).await;
        let over = Arc::new(AtomicBool::new(false));
        let mut clients = JoinSet::new();
        let started = Instant::now();
        for (stream, request) in open {
            clients.spawn(requests(stream, request, Arc::clone(&over)));
        }
        tokio::time::sleep(time).await;
        over.store(true, Relaxed);
        let mut answered = 0;
        while let Some(count) = clients.join_next().await {
            answered += count.expect("a client's count");
        }
        f64::from(answered) / started.elapsed().as_secs_f64()
    })
}

/// Sends requests at this rate, over all connections together, for the duration `time`. Returns the time of each
/// request. If a connection sends a request late, because the previous response was late, its time begins when it was
/// due.
pub fn paced(address: SocketAddr, sent: Vec<Vec<u8>>, rate: f64, time: Duration) -> Vec<Duration> {
    let runtime = runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    runtime.block_on(async {
        let connections = sent.len() as f64;
        let between = Duration::from_secs_f64(connections / rate);
        let mut clients = JoinSet::new();
        let open = connect(address, sent).await;
        let started = Instant::now();
        for (n, (stream, request)) in open.into_iter().enumerate() {
            let first = started + between.mul_f64(n as f64 / connections);
            clients.spawn(async move {
                let (mut times, mut due) = (Vec::new(), first);
                while due < started + time {
                    let early = Instant::now() < due;
                    tokio::time::sleep_until(due.into()).await;
                    // The delay of a timer is not counted against the server.
                    let begun = if early { Instant::now() } else { due };
                    request_once(&stream, &request).await;
                    times.push(begun.elapsed());
                    due += between;
                }
                times
            });
        }
        clients.join_all().await.into_iter().flatten().collect()
    })
}

async fn connect(address: SocketAddr, sent: Vec<Vec<u8>>) -> Vec<(tokio::net::TcpStream, Vec<u8>)> {
    let mut open = Vec::with_capacity(sent.len());
    for request in sent {
        let stream = tokio::net::TcpStream::connect(address).await.expect("the server listens");
        stream.set_nodelay(true).expect("TCP_NODELAY");
        open.push((stream, request));
    }
    open
}

async fn requests(stream: tokio::net::TcpStream, mut request: Vec<u8>, over: Arc<AtomicBool>) -> u32 {
    let mut answered = 0;
    let key = request.windows(NO_KEY.len()).position(|window| window == NO_KEY.as_bytes());
    while !over.load(Relaxed) {
        if let Some(at) = key {
            let fresh = format!("{:016}", KEYS_USED.fetch_add(1, Relaxed));
            request[at..at + NO_KEY.len()].copy_from_slice(fresh.as_bytes());
        }
        request_once(&stream, &request).await;
        answered += 1;
    }
    answered
}

async fn request_once(stream: &tokio::net::TcpStream, request: &[u8]) {
    let mut answer = [0; ANSWER];
    // One request fits into an empty socket buffer.
    let sent = stream.try_write(request).expect("a request leaves");
    assert_eq!(sent, request.len(), "a request leaves whole");
    let mut read = 0;
    while !is_whole(&answer[..read]) {
        stream.readable().await.expect("a connection");
        match stream.try_read(&mut answer[read..]) {
            Ok(0) => panic!("the server closed the connection"),
            Ok(more) => read += more,
            Err(early) if early.kind() == std::io::ErrorKind::WouldBlock => {}
            Err(error) => panic!("{error}"),
        }
    }
}

/// A request with a JSON body, which may be empty.
pub fn request(method: &str, path: &str, body: &str) -> Vec<u8> {
    let length = body.len();
    format!(
        "{method} {path} HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\ncontent-length: {length}\r\n\r\n{body}"
    )
    .into_bytes()
}

/// The same request with an `Idempotency-Key` that is new each time it is sent.
pub fn keyed(request: &[u8]) -> Vec<u8> {
    let text = std::str::from_utf8(request).expect("a request is text");
    text.replacen("\r\n\r\n", &format!("\r\nidempotency-key: {NO_KEY}\r\n\r\n"), 1).into_bytes()
}

/// Returns whether this is a complete 200 or 202 response, or only its beginning. Another status ends the program.
fn is_whole(answer: &[u8]) -> bool {
    let Some(head) = answer.windows(4).position(|four| four == b"\r\n\r\n") else { return false };
    let head = std::str::from_utf8(&answer[..head]).expect("a head is text");
    assert!(head.starts_with("HTTP/1.1 20"), "{head}");
    let length = head.lines().find_map(|line| line.strip_prefix("content-length: ")).expect("a length");
    answer.len() >= head.len() + 4 + length.parse::<usize>().expect("a length")
}
