//! A raw HTTP client. It sends exactly the bytes of the test.

use std::collections::HashMap;
use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use serde_json::Value;
use tokio::net::TcpStream;

/// Without a response in this time, a test fails instead of hanging.
const TIMEOUT: Duration = Duration::from_secs(20);

pub struct Client {
    tcp: TcpStream,
    buffer: Vec<u8>,
}

#[derive(Debug)]
pub struct Reply {
    pub status: u16,
    pub headers: HashMap<String, String>,
    pub body: String,
}

impl Reply {
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap_or_else(|e| panic!("{e}: {self:?}"))
    }

    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).map(String::as_str)
    }

    /// Checks that the response is a complete problem document with this status and code.
    pub fn assert_problem(&self, status: u16, code: &str) -> Value {
        assert_eq!(self.status, status, "{self:?}");
        assert_eq!(self.header("content-type"), Some("application/problem+json"), "{self:?}");
        let document = self.json();
        assert_eq!(document["code"], code, "{self:?}");
        assert_eq!(document["status"], status);
        assert_eq!(document["type"], format!("/errors/{code}"), "{self:?}");
        for member in ["title", "detail", "trace_id"] {
            assert!(document[member].as_str().is_some_and(|text| !text.is_empty()), "{member}: {self:?}");
        }
        assert!(document["retryable"].is_boolean());
        document
    }
}

impl Client {
    pub async fn connect(address: SocketAddr) -> Self {
        Self { tcp: TcpStream::connect(address).await.unwrap(), buffer: Vec::new() }
    }

    /// Connects and sends these bytes before the server can accept the connection. Therefore time-outs on their arrival
    /// cannot expire, even on a busy machine. The bytes must fit into a socket's buffer.
    pub fn connect_with(address: SocketAddr, bytes: &str) -> Self {
        let mut tcp = std::net::TcpStream::connect(address).unwrap();
        io::Write::write_all(&mut tcp, bytes.as_bytes()).unwrap();
        tcp.set_nonblocking(true).unwrap();
        Self { tcp: TcpStream::from_std(tcp).unwrap(), buffer: Vec::new() }
    }

    pub async fn send(&mut self, bytes: impl AsRef<[u8]>) {
        let mut bytes = bytes.as_ref();
        while !bytes.is_empty() {
            self.tcp.writable().await.unwrap();
            match self.tcp.try_write(bytes) {
                Ok(written) => bytes = &bytes[written..],
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                // The server may have responded and closed before everything was sent.
                Err(_) => return,
            }
        }
    }

    /// Sends a POST with these additional header lines (each with its CRLF) and body.
    pub async fn post(&mut self, path: &str, headers: &str, body: impl AsRef<[u8]>) -> Reply {
        let body = body.as_ref();
        let head =
            format!("POST {path} HTTP/1.1\r\nHost: t\r\n{headers}Content-Length: {}\r\n\r\n", body.len());
        self.send([head.as_bytes(), body].concat()).await;
        self.reply().await
    }

    /// Sends an order without waiting for the response.
    pub async fn send_order(&mut self, headers: &str, body: impl AsRef<[u8]>) {
        let body = body.as_ref();
        let head = format!(
            "POST /v1/commands/order.create HTTP/1.1\r\nHost: t\r\n{headers}Content-Length: {}\r\n\r\n",
            body.len()
        );
        self.send([head.as_bytes(), body].concat()).await;
    }

    pub async fn order(&mut self, headers: &str, body: impl AsRef<[u8]>) -> Reply {
        self.post("/v1/commands/order.create", headers, body).await
    }

    pub async fn get(&mut self, path: &str, headers: &str) -> Reply {
        self.send(format!("GET {path} HTTP/1.1\r\nHost: t\r\n{headers}\r\n")).await;
        self.reply().await
    }

    /// Reads the next complete response.
    pub async fn reply(&mut self) -> Reply {
        loop {
            if let Some(end) = self.buffer.windows(4).position(|window| window == b"\r\n\r\n") {
                let head = String::from_utf8(self.buffer[..end].to_vec()).unwrap();
                let mut lines = head.split("\r\n");
                let status = lines.next().unwrap().split(' ').nth(1).unwrap().parse().unwrap();
                let headers: HashMap<_, _> = lines
                    .map(|line| line.split_once(": ").unwrap())
                    .map(|(name, value)| (name.to_lowercase(), value.to_owned()))
                    .collect();
                let length = headers.get("content-length").map_or(0, |length| length.parse().unwrap());
                if self.buffer.len() >= end + 4 + length {
                    let body = String::from_utf8(self.buffer[end + 4..end + 4 + length].to_vec()).unwrap();
                    self.buffer.drain(..end + 4 + length);
                    return Reply { status, headers, body };
                }
            }
            assert!(self.read().await, "closed after {:?}", String::from_utf8_lossy(&self.buffer));
        }
    }

    /// Reads everything until the server closes.
    pub async fn read_to_end(&mut self) -> String {
        while self.read().await {}
        String::from_utf8(std::mem::take(&mut self.buffer)).unwrap()
    }

    /// Waits until the server closes. Fails if more data arrives.
    pub async fn assert_closed(&mut self) {
        while self.read().await {}
        assert!(self.buffer.is_empty(), "{:?}", String::from_utf8_lossy(&self.buffer));
    }

    /// Reads some bytes. Returns `false` at the end of the stream.
    async fn read(&mut self) -> bool {
        loop {
            tokio::time::timeout(TIMEOUT, self.tcp.readable()).await.expect("a response in time").unwrap();
            let mut chunk = [0; 4096];
            match self.tcp.try_read(&mut chunk) {
                Ok(0) => return false,
                Ok(read) => {
                    self.buffer.extend_from_slice(&chunk[..read]);
                    return true;
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(error) => panic!("reset instead of closed: {error}"),
            }
        }
    }

    /// Closes the sending side. Responses can still be read.
    pub async fn half_close(self) -> Self {
        let tcp = self.tcp.into_std().unwrap();
        tcp.shutdown(std::net::Shutdown::Write).unwrap();
        Self { tcp: TcpStream::from_std(tcp).unwrap(), buffer: self.buffer }
    }
}
