//! The socket under hyper: deadlines for each phase of a connection, and last words where hyper has none.
//!
//! hyper knows one time-out, for heads, and answers what it cannot parse with an empty body. Here every wait for the
//! peer has its own bound, and what hyper would say without a body becomes a problem document.

use std::future::poll_fn;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::time::{Instant, Sleep};

use super::conn_state::{ConnState, Phase};
use super::framing::Framing;
use super::limits::ConnectionLimits;
use crate::http::problem;
use crate::http::problem::Problem;

/// First byte of a TLS record that carries a handshake.
const TLS_HANDSHAKE: u8 = 0x16;
/// How long what a client still sends is read and dropped after our last answer: closing a socket with unread bytes
/// resets it, and the client would lose the answer.
const LINGER: Duration = Duration::from_secs(1);

/// What a connection runs on: TCP, or bytes in memory where it is fuzzed.
pub trait Socket: AsyncRead + AsyncWrite + Unpin {
    /// Writes what goes out at once.
    fn try_write(&mut self, bytes: &[u8]) -> io::Result<usize>;
}

impl Socket for TcpStream {
    fn try_write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        TcpStream::try_write(self, bytes)
    }
}

pub struct TimedIo<T> {
    tcp: T,
    conn: Arc<ConnState>,
    limits: ConnectionLimits,
    framing: Framing,
    /// The connection's first byte.
    first: Option<u8>,
    /// The entry of the phase that `read_by` belongs to.
    waiting_in: Option<u32>,
    read_by: Option<Instant>,
    write_by: Option<Instant>,
    linger_by: Option<Instant>,
    /// Our side is closed.
    shut: bool,
    /// Set to the earliest of the deadlines or earlier: looked at when it fires, so that the usual request, which is
    /// never waited for, costs no timer.
    timer: Pin<Box<Sleep>>,
}

impl<T: Socket> TimedIo<T> {
    pub fn new(tcp: T, conn: Arc<ConnState>, limits: ConnectionLimits) -> Self {
        let timer = Box::pin(tokio::time::sleep(limits.header_timeout));
        Self {
            tcp,
            conn,
            limits,
            framing: Framing::default(),
            first: None,
            waiting_in: None,
            read_by: None,
            write_by: None,
            linger_by: None,
            shut: false,
            timer,
        }
    }

    /// Says only this, and closes. Whoever hangs up first loses nothing.
    pub async fn close_with(mut self, problem: &Problem) {
        let words = problem.last_words();
        // They fit into the empty buffer of a new socket.
        let _ = poll_fn(|cx| Pin::new(&mut self).poll_write(cx, &words)).await;
        let _ = poll_fn(|cx| Pin::new(&mut self).poll_shutdown(cx)).await;
    }

    /// Whether `deadline` has come; else the task is woken when it has.
    fn is_due(&mut self, deadline: Instant, cx: &mut Context<'_>) -> bool {
        loop {
            if self.timer.is_elapsed() || self.timer.deadline() > deadline {
                self.timer.as_mut().reset(deadline);
            }
            if self.timer.as_mut().poll(cx).is_pending() {
                return false;
            }
            if Instant::now() >= deadline {
                return true;
            }
        }
    }

    /// Nothing came: whether the peer has had its time.
    fn is_read_due(&mut self, cx: &mut Context<'_>) -> bool {
        let state = self.conn.entry();
        if self.waiting_in != Some(state) {
            self.waiting_in = Some(state);
            let limit = match self.conn.phase() {
                Phase::Head => Some(self.limits.header_timeout),
                Phase::Idle => Some(self.limits.idle_timeout),
                Phase::Body => Some(self.limits.body_timeout),
                Phase::Busy => None,
            };
            self.read_by = limit.map(|limit| Instant::now() + limit);
        }
        self.read_by.is_some_and(|deadline| self.is_due(deadline, cx))
    }

    /// The peer takes nothing: an error once it has had its time.
    fn stuck<R>(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<R>> {
        let limit = self.limits.body_timeout;
        let deadline = *self.write_by.get_or_insert_with(|| Instant::now() + limit);
        if self.is_due(deadline, cx) {
            return Poll::Ready(Err(io::ErrorKind::TimedOut.into()));
        }
        Poll::Pending
    }

    fn received(&mut self, bytes: &[u8]) {
        let Some(first) = bytes.first() else { return };
        self.first.get_or_insert(*first);
        self.framing.feed(bytes);
        if self.framing.is_ambiguous() {
            self.conn.set_ambiguous();
        }
        if self.conn.phase() == Phase::Idle {
            self.conn.enter(Phase::Head);
        }
    }

    /// An answer nobody waits for. What the socket does not take at once is lost with the connection.
    fn say(&mut self, problem: &Problem) {
        if self.write_by.is_none() {
            let _ = self.tcp.try_write(&problem.last_words());
        }
    }

    /// What hyper meant by an answer without a body.
    fn explain(&self, status: &[u8]) -> Problem {
        match status {
            _ if self.first == Some(TLS_HANDSHAKE) => {
                Problem::new(&problem::TLS_ON_PLAIN_PORT, "Use http://, or configure TLS on the server.")
            }
            _ if self.framing.is_ambiguous() => problem::ambiguous_length(),
            b"414" => Problem::new(&problem::URI_TOO_LONG, "The request target is too long."),
            b"431" => Problem::new(
                &problem::HEADERS_TOO_LARGE,
                format!("At most {} bytes and 100 headers are accepted.", self.limits.max_headers),
            ),
            _ => Problem::new(&problem::MALFORMED_REQUEST, "The request line or a header is malformed."),
        }
    }
}

/// Where hyper's own refusal begins in its output, if it ends with one. Our own 4xx answers always have a body.
fn own_refusal(output: &[u8]) -> Option<usize> {
    if !output.ends_with(b"\r\n\r\n") {
        return None;
    }
    let start = b"HTTP/1.1 4";
    let at = output.windows(start.len()).rposition(|window| window == start)?;
    let empty = b"\r\ncontent-length: 0\r\n";
    output[at..].windows(empty.len()).any(|window| window == empty).then_some(at)
}

impl<T: Socket> AsyncRead for TimedIo<T> {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let before = buf.filled().len();
        if let Poll::Ready(done) = Pin::new(&mut this.tcp).poll_read(cx, buf) {
            this.received(&buf.filled()[before..]);
            return Poll::Ready(done);
        }
        if !this.is_read_due(cx) {
            return Poll::Pending;
        }
        match this.conn.phase() {
            // The request that reads it answers.
            Phase::Body => return Poll::Ready(Err(io::ErrorKind::TimedOut.into())),
            Phase::Head if this.first.is_some() => {
                this.say(&Problem::new(
                    &problem::TIMEOUT,
                    "The headers of the request did not arrive in time.",
                ));
            }
            _ => {}
        }
        // The end of the stream is what makes hyper let go of it.
        Poll::Ready(Ok(()))
    }
}

impl<T: Socket> AsyncWrite for TimedIo<T> {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, output: &[u8]) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        let output = match own_refusal(output) {
            Some(0) => {
                // `HTTP/1.1 400 …`
                let problem = this.explain(output.get(9..12).unwrap_or_default());
                this.say(&problem);
                return Poll::Ready(Ok(output.len()));
            }
            Some(at) => &output[..at],
            None => output,
        };
        match Pin::new(&mut this.tcp).poll_write(cx, output) {
            Poll::Ready(done) => {
                this.write_by = None;
                Poll::Ready(done)
            }
            Poll::Pending => this.stuck(cx),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        // After an answer hyper does not read before something wakes it: the wait for the next request begins here.
        let _ = this.is_read_due(cx);
        // TLS has a buffer of its own, and what is in it has not left.
        match Pin::new(&mut this.tcp).poll_flush(cx) {
            Poll::Pending => this.stuck(cx),
            Poll::Ready(done) => {
                this.write_by = None;
                Poll::Ready(done)
            }
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let deadline = *this.linger_by.get_or_insert_with(|| Instant::now() + LINGER);
        if !this.shut {
            // TLS says goodbye, which a peer that reads nothing does not take.
            match Pin::new(&mut this.tcp).poll_shutdown(cx) {
                Poll::Pending if this.is_due(deadline, cx) => return Poll::Ready(Ok(())),
                done => std::task::ready!(done)?,
            }
            this.shut = true;
        }
        let mut scratch = [0; 4096];
        loop {
            let mut unread = ReadBuf::new(&mut scratch);
            match Pin::new(&mut this.tcp).poll_read(cx, &mut unread) {
                Poll::Ready(Ok(())) if !unread.filled().is_empty() && Instant::now() < deadline => {}
                Poll::Pending if !this.is_due(deadline, cx) => return Poll::Pending,
                _ => return Poll::Ready(Ok(())),
            }
        }
    }
}
