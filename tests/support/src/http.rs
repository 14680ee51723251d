//! A small blocking HTTP/1.1 client for tests.
//!
//! It sends exactly the given bytes, so tests can send invalid requests. It follows no redirect, retries no request,
//! and no call outlasts its timeout.

use std::io;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::time::Duration;

/// Longer than the longest response of the daemon (`Prefer: wait=60`), so only a hanging response exceeds it.
const READ_TIMEOUT: Duration = Duration::from_secs(75);

/// Far above any body in the tests; a longer one is an error of the server.
const MAX_BODY_BYTES: usize = 256 * 1024 * 1024;

/// A longer status line or header is an error of the server.
const MAX_LINE_BYTES: u64 = 64 * 1024;

/// A response.
#[derive(Clone, Debug)]
pub struct Response {
    /// Status code.
    pub status: u16,
    /// Headers in order, names in lower case.
    pub headers: Vec<(String, String)>,
    /// Body, with chunks joined.
    pub body: Vec<u8>,
}

impl Response {
    /// The value of the first header with this name (in lower case).
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(own, _)| own == name).map(|(_, value)| value.as_str())
    }

    /// The body as text.
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    /// The body as JSON. Fails the test if it is not JSON.
    pub fn json(&self) -> serde_json::Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|error| panic!("{error} in {}", self.text()))
    }
}

/// A client of one address. It uses one connection while the server keeps it open.
pub struct Client {
    address: String,
    within: Duration,
    connection: Option<Connection>,
}

impl Client {
    /// A client that connects when first used.
    pub fn new(address: &str) -> Client {
        Client { address: address.to_owned(), within: READ_TIMEOUT, connection: None }
    }

    /// Sets the maximum wait for each piece of a response.
    pub fn with_read_within(mut self, within: Duration) -> Client {
        self.within = within;
        self
    }

    /// Closes the connection. The next request opens another.
    pub fn hang_up(&mut self) {
        self.connection = None;
    }

    /// Connects, unless already connected. After an error no byte was sent.
    pub fn connect(&mut self) -> io::Result<()> {
        if self.connection.is_none() {
            let mut connection = Connection::open(&self.address)?;
            connection.set_read_within(self.within)?;
            self.connection = Some(connection);
        }
        Ok(())
    }

    /// Sends a GET request.
    pub fn get(&mut self, path: &str) -> io::Result<Response> {
        self.request("GET", path, &[], b"")
    }

    /// Sends a POST request with JSON.
    pub fn post(&mut self, path: &str, body: &str) -> io::Result<Response> {
        self.request("POST", path, &[("Content-Type", "application/json")], body.as_bytes())
    }

    /// Sends a PUT request with JSON.
    pub fn put(&mut self, path: &str, body: &str) -> io::Result<Response> {
        self.request("PUT", path, &[("Content-Type", "application/json")], body.as_bytes())
    }

    /// Sends any request. `Host` and `Content-Length` are added. After an error the next request reconnects.
    pub fn request(
        &mut self,
        method: &str,
        path: &str,
        headers: &[(&str, &str)],
        body: &[u8],
    ) -> io::Result<Response> {
        let mut message = format!("{method} {path} HTTP/1.1\r\nHost: {}\r\n", self.address);
        for (name, value) in headers {
            message.push_str(&format!("{name}: {value}\r\n"));
        }
        // A server may treat a request without length and chunks as one with an empty body; for GET this is intended.
        if !body.is_empty() || !matches!(method, "GET" | "HEAD") {
            message.push_str(&format!("Content-Length: {}\r\n", body.len()));
        }
        message.push_str("\r\n");
        let mut message = message.into_bytes();
        message.extend_from_slice(body);

        let mut connection = match self.connection.take() {
            Some(connection) => connection,
            None => {
                self.connect()?;
                self.connection.take().ok_or(io::ErrorKind::NotConnected)?
            }
        };
        // A server may respond and close before it has read all of a refused body: the response counts.
        let sent = connection.send(&message);
        let received = connection.receive(method);
        let response = if received.is_ok() { received? } else { sent.and(received)? };
        if response.header("connection").is_none_or(|value| !value.eq_ignore_ascii_case("close")) {
            self.connection = Some(connection);
        }
        Ok(response)
    }
}

/// The transport of a connection: TCP, or TLS over TCP.
pub trait Stream: Read + Write + Send {}

impl<T: Read + Write + Send> Stream for T {}

/// A connection on which a test can send any bytes.
pub struct Connection {
    stream: BufReader<Box<dyn Stream>>,
    /// The TCP socket below the stream.
    tcp: TcpStream,
}

impl Connection {
    /// Opens a TCP connection.
    pub fn open(address: &str) -> io::Result<Connection> {
        let tcp = tcp(address)?;
        let stream = Box::new(tcp.try_clone()?);
        Ok(Connection::over(tcp, stream))
    }

    /// A connection over `stream`, which runs on `tcp`.
    pub fn over(tcp: TcpStream, stream: Box<dyn Stream>) -> Connection {
        Connection { stream: BufReader::new(stream), tcp }
    }

    /// Sets the maximum wait for each piece of later responses.
    pub fn set_read_within(&mut self, within: Duration) -> io::Result<()> {
        self.tcp.set_read_timeout(Some(within))
    }

    /// Sends bytes unchanged.
    pub fn send(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.stream.get_mut().write_all(bytes)?;
        self.stream.get_mut().flush()
    }

    /// Sends one chunk of a body with `Transfer-Encoding: chunked`; an empty one ends the body.
    pub fn send_chunk(&mut self, bytes: &[u8]) -> io::Result<()> {
        let mut chunk = format!("{:x}\r\n", bytes.len()).into_bytes();
        chunk.extend_from_slice(bytes);
        chunk.extend_from_slice(b"\r\n");
        self.send(&chunk)
    }

    /// Receives the response to a request with this method, and skips interim (1xx) responses.
    pub fn receive(&mut self, method: &str) -> io::Result<Response> {
        loop {
            let response = self.receive_any(method)?;
            if response.status >= 200 {
                return Ok(response);
            }
        }
    }

    /// Receives one response, including an interim one.
    pub fn receive_any(&mut self, method: &str) -> io::Result<Response> {
        let status_line = self.line()?;
        let status = status_line
            .strip_prefix("HTTP/1.1 ")
            .and_then(|rest| rest.get(..3)?.parse().ok())
            .ok_or_else(|| invalid(&format!("status line {status_line:?}")))?;
        let headers = self.headers()?;
        let mut response = Response { status, headers, body: Vec::new() };
        response.body = self.body(method, &response)?;
        Ok(response)
    }

    /// Waits until the server closes the connection. Returns the bytes that it sent before.
    pub fn read_to_close(&mut self) -> io::Result<Vec<u8>> {
        let mut rest = Vec::new();
        self.stream.read_to_end(&mut rest)?;
        Ok(rest)
    }

    fn headers(&mut self) -> io::Result<Vec<(String, String)>> {
        let mut headers = Vec::new();
        loop {
            let line = self.line()?;
            if line.is_empty() {
                return Ok(headers);
            }
            let (name, value) = line.split_once(':').ok_or_else(|| invalid(&format!("header {line:?}")))?;
            headers.push((name.to_ascii_lowercase(), value.trim().to_owned()));
        }
    }

    fn body(&mut self, method: &str, response: &Response) -> io::Result<Vec<u8>> {
        if method == "HEAD" || response.status < 200 || matches!(response.status, 204 | 304) {
            return Ok(Vec::new());
        }
        if response.header("transfer-encoding").is_some_and(|value| value.eq_ignore_ascii_case("chunked")) {
            return self.chunked_body();
        }
        let Some(length) = response.header("content-length") else {
            return self.read_to_close();
        };
        let length = length.parse().map_err(|_| invalid(&format!("content-length {length:?}")))?;
        self.exactly(length)
    }

    fn chunked_body(&mut self) -> io::Result<Vec<u8>> {
        let mut body = Vec::new();
        loop {
            let line = self.line()?;
            let size = line.split(';').next().unwrap_or_default().trim();
            let size =
                usize::from_str_radix(size, 16).map_err(|_| invalid(&format!("chunk size {line:?}")))?;
            if size == 0 {
                self.headers()?; // the trailer
                return Ok(body);
            }
            body.extend(self.exactly(size)?);
            self.line()?; // the line end behind a chunk
        }
    }

    fn exactly(&mut self, length: usize) -> io::Result<Vec<u8>> {
        if length > MAX_BODY_BYTES {
            return Err(invalid(&format!("a body of {length} bytes")));
        }
        let mut bytes = vec![0; length];
        self.stream.read_exact(&mut bytes)?;
        Ok(bytes)
    }

    /// A line without its line ending.
    fn line(&mut self) -> io::Result<String> {
        let mut line = String::new();
        (&mut self.stream).take(MAX_LINE_BYTES).read_line(&mut line)?;
        let line = line.strip_suffix("\r\n").ok_or(io::ErrorKind::UnexpectedEof)?;
        Ok(line.to_owned())
    }
}

/// A socket with timeouts for all operations.
pub fn tcp(address: &str) -> io::Result<TcpStream> {
    let tcp = TcpStream::connect(address)?;
    // A request is sent whole, but tests also send pieces, and each piece must arrive at once.
    tcp.set_nodelay(true)?;
    tcp.set_read_timeout(Some(READ_TIMEOUT))?;
    tcp.set_write_timeout(Some(READ_TIMEOUT))?;
    Ok(tcp)
}

fn invalid(what: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, format!("not HTTP: {what}"))
}
