//! A small HTTP/1.1 server whose responses the test decides.

use std::io::{BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;

use serde_json::Value;

/// A request as it arrived.
#[derive(Clone, Debug)]
pub struct Request {
    /// Number, from 1.
    pub number: u64,
    pub method: String,
    pub path: String,
    /// Headers, with names in lower case.
    pub headers: Vec<(String, String)>,
    pub body: String,
}

impl Request {
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(own, _)| own == name).map(|(_, value)| value.as_str())
    }
}

/// A response.
pub struct ServerReply {
    pub status: u16,
    pub body: String,
    /// Whether the server announces the close of the connection, and closes it afterwards.
    pub close: bool,
}

impl ServerReply {
    pub fn status(status: u16) -> Self {
        Self { status, body: String::new(), close: false }
    }

    pub fn json(body: &Value) -> Self {
        Self { status: 200, body: body.to_string(), close: false }
    }
}

/// A running server. It ends with the test program.
pub struct Server {
    address: String,
    requests: Arc<Mutex<Vec<Request>>>,
}

type Answer = dyn Fn(&Request) -> ServerReply + Send + Sync;

impl Server {
    /// Responds to each request with the result of `answer`; each connection has its own thread.
    pub fn start(answer: impl Fn(&Request) -> ServerReply + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let requests = Arc::<Mutex<Vec<Request>>>::default();
        let (answer, number, seen): (Arc<Answer>, _, _) =
            (Arc::new(answer), Arc::new(AtomicU64::new(0)), Arc::clone(&requests));
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let (answer, number, seen) = (Arc::clone(&answer), Arc::clone(&number), Arc::clone(&seen));
                thread::spawn(move || serve(&stream, &*answer, &number, &seen));
            }
        });
        Self { address, requests }
    }

    /// The URL of a path.
    pub fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }

    /// All requests so far.
    pub fn requests(&self) -> Vec<Request> {
        self.requests.lock().unwrap().clone()
    }

    /// The number of requests to this path so far.
    pub fn count(&self, path: &str) -> u64 {
        self.requests().iter().filter(|request| request.path == path).count() as u64
    }
}

/// Serves a connection until the client closes it.
fn serve(stream: &TcpStream, answer: &Answer, number: &AtomicU64, seen: &Mutex<Vec<Request>>) -> Option<()> {
    stream.set_nodelay(true).ok()?;
    let mut reader = BufReader::new(stream);
    loop {
        let request = read(&mut reader, number)?;
        seen.lock().unwrap().push(request.clone());
        let ServerReply { status, body, close } = answer(&request);
        let close_header = if close { "connection: close\r\n" } else { "" };
        let reply =
            format!("HTTP/1.1 {status} x\r\ncontent-length: {}\r\n{close_header}\r\n{body}", body.len());
        (&mut &*stream).write_all(reply.as_bytes()).ok()?;
        if close {
            return None;
        }
    }
}

fn read(reader: &mut impl BufRead, number: &AtomicU64) -> Option<Request> {
    let mut line = || {
        let mut line = String::new();
        reader.read_line(&mut line).ok().filter(|length| *length > 0)?;
        Some(line.trim_end().to_owned())
    };
    let first = line()?;
    let mut words = first.split(' ');
    let (method, path) = (words.next()?.to_owned(), words.next()?.to_owned());
    let mut headers = Vec::new();
    loop {
        let line = line()?;
        match line.split_once(':') {
            Some((name, value)) => headers.push((name.to_ascii_lowercase(), value.trim().to_owned())),
            None => break,
        }
    }
    let length =
        headers.iter().find(|(name, _)| name == "content-length").map_or(Ok(0), |(_, value)| value.parse());
    let mut body = vec![0; length.ok()?];
    reader.read_exact(&mut body).ok()?;
    let number = number.fetch_add(1, Ordering::Relaxed) + 1;
    Some(Request { number, method, path, headers, body: String::from_utf8(body).ok()? })
}
