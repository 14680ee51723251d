//! The socket below hyper. It enforces a deadline for each phase of a connection, and sends problem documents where
//! hyper would send an empty response.
//!
//! hyper has one time-out only, for request heads. It responds with an empty body to a request that it cannot parse.
//! `TimedIo` limits every wait for the peer and replaces these empty responses.

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
use super::length_checker::LengthChecker;
use super::limits::ConnectionLimits;
use crate::http::problem;
use crate::http::problem::Problem;

/// First byte of a TLS record that carries a handshake.
const TLS_HANDSHAKE: u8 = 0x16;
/// How long received bytes are read and dropped after the last response. If a socket is closed with unread bytes, the
/// kernel resets the connection, and the client loses the response.
const LINGER: Duration = Duration::from_secs(1);

/// Transport of a connection: TCP, TLS, or bytes in memory for fuzzing.
pub trait Transport: AsyncRead + AsyncWrite + Unpin {
    /// Writes as many bytes as possible without waiting.
    fn try_write(&mut self, bytes: &[u8]) -> io::Result<usize>;
}

impl Transport for TcpStream {
    fn try_write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        TcpStream::try_write(self, bytes)
    }
}

/// A transport with deadlines.
pub struct TimedIo<T> {
    tcp: T,
    conn: Arc<ConnState>,
    limits: ConnectionLimits,
    framing: LengthChecker,
    /// The connection's first byte.
    first_byte: Option<u8>,
    /// The phase count to which `read_by` belongs.
    timed_phase: Option<u32>,
    read_by: Option<Instant>,
    write_by: Option<Instant>,
    linger_by: Option<Instant>,
    /// Whether the daemon's side is closed.
    is_closed: bool,
    /// Fires at or before the earliest deadline. The deadlines are checked only when it fires. Therefore most requests,
    /// which never wait, need no timer operation.
    timer: Pin<Box<Sleep>>,
}

impl<T: Transport> TimedIo<T> {
    pub fn new(tcp: T, conn: Arc<ConnState>, limits: ConnectionLimits) -> Self {
        let timer = Box::pin(tokio::time::sleep(limits.header_timeout));
        Self {
            tcp,
            conn,
            limits,
            framing: LengthChecker::default(),
            first_byte: None,
            timed_phase: None,
            read_by: None,
            write_by: None,
            linger_by: None,
            is_closed: false,
            timer,
        }
    }

    /// Sends a problem document and closes the connection. Write errors are ignored.
    pub async fn close_with(mut self, problem: &Problem) {
        let response = problem.raw_response();
        // The response fits into the empty buffer of a new socket.
        let _ = poll_fn(|cx| Pin::new(&mut self).poll_write(cx, &response)).await;
        let _ = poll_fn(|cx| Pin::new(&mut self).poll_shutdown(cx)).await;
    }

    /// Whether `deadline` has passed. If not, the task is woken at the deadline.
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

    /// Whether the read deadline of the current phase has passed.
    fn is_read_due(&mut self, cx: &mut Context<'_>) -> bool {
        let state = self.conn.phase_count();
        if self.timed_phase != Some(state) {
            self.timed_phase = Some(state);
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

    /// Returns an error if the peer has read nothing before the write deadline.
    fn poll_write_timeout<R>(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<R>> {
        let limit = self.limits.body_timeout;
        let deadline = *self.write_by.get_or_insert_with(|| Instant::now() + limit);
        if self.is_due(deadline, cx) {
            return Poll::Ready(Err(io::ErrorKind::TimedOut.into()));
        }
        Poll::Pending
    }

    fn received(&mut self, bytes: &[u8]) {
        let Some(first) = bytes.first() else { return };
        self.first_byte.get_or_insert(*first);
        self.framing.feed(bytes);
        if self.framing.is_ambiguous() {
            self.conn.set_ambiguous();
        }
        if self.conn.phase() == Phase::Idle {
            self.conn.enter(Phase::Head);
        }
    }

    /// Writes a response outside of hyper, without waiting. Bytes that do not fit into the socket's buffer are lost.
    fn write_problem(&mut self, problem: &Problem) {
        if self.write_by.is_none() {
            let _ = self.tcp.try_write(&problem.raw_response());
        }
    }

    /// The problem document for a response of hyper without a body.
    fn explain_status(&self, status: &[u8]) -> Problem {
        match status {
            _ if self.first_byte == Some(TLS_HANDSHAKE) => {
                Problem::new(&problem::TLS_ON_PLAIN_PORT, "Use http://, or a proxy that terminates TLS.")
            }
            _ if self.framing.is_ambiguous() => problem::ambiguous_length(),
            b"414" => Problem::new(&problem::URI_TOO_LONG, "The request target is too long."),
            b"431" => Problem::new(
                &problem::HEADERS_TOO_LARGE,
                format!("Send at most 100 headers with together at most {} bytes.", self.limits.max_headers),
            ),
            _ => Problem::new(&problem::MALFORMED_REQUEST, "The request line or a header is malformed."),
        }
    }
}

/// The offset of hyper's own error response in its output, if the output ends with one. Error responses of the daemon
/// always have a body.
fn hyper_refusal_offset(output: &[u8]) -> Option<usize> {
    if !output.ends_with(b"\r\n\r\n") {
        return None;
    }
    let start = b"HTTP/1.1 4";
    let at = output.windows(start.len()).rposition(|window| window == start)?;
    let empty = b"\r\ncontent-length: 0\r\n";
    output[at..].windows(empty.len()).any(|window| window == empty).then_some(at)
}

impl<T: Transport> AsyncRead for TimedIo<T> {
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
            // The handler that reads the body responds.
            Phase::Body => return Poll::Ready(Err(io::ErrorKind::TimedOut.into())),
            Phase::Head if this.first_byte.is_some() => {
                this.write_problem(&Problem::new(
                    &problem::TIMEOUT,
                    "The head of the request did not arrive in time.",
                ));
            }
            _ => {}
        }
        // The end of the stream makes hyper close the connection.
        Poll::Ready(Ok(()))
    }
}

impl<T: Transport> AsyncWrite for TimedIo<T> {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, output: &[u8]) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        let output = match hyper_refusal_offset(output) {
            Some(0) => {
                // `HTTP/1.1 400 …`
                let problem = this.explain_status(output.get(9..12).unwrap_or_default());
                this.write_problem(&problem);
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
            Poll::Pending => this.poll_write_timeout(cx),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        // After a response, hyper does not read until it is woken. Therefore the idle time-out starts here.
        let _ = this.is_read_due(cx);
        // TLS has its own buffer. Its content is not sent yet.
        match Pin::new(&mut this.tcp).poll_flush(cx) {
            Poll::Pending => this.poll_write_timeout(cx),
            Poll::Ready(done) => {
                this.write_by = None;
                Poll::Ready(done)
            }
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let deadline = *this.linger_by.get_or_insert_with(|| Instant::now() + LINGER);
        if !this.is_closed {
            // TLS sends `close_notify`. A peer that reads nothing does not receive it.
            match Pin::new(&mut this.tcp).poll_shutdown(cx) {
                Poll::Pending if this.is_due(deadline, cx) => return Poll::Ready(Ok(())),
                done => std::task::ready!(done)?,
            }
            this.is_closed = true;
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
