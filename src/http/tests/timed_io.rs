//! Time-outs for a peer that reads nothing, with a transport that has its own buffer, as TLS has.

use std::future::poll_fn;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::timeout;

use super::fixture::config;
use crate::http::ConnectionLimits;
use crate::http::server::conn_state::ConnState;
use crate::http::server::timed_io::{TimedIo, Transport};

/// Longer than any step takes, also on a busy machine.
const LONG: Duration = Duration::from_secs(60);

/// Accepts all data into its buffer and never sends it.
struct StalledTransport;

impl Transport for StalledTransport {
    fn try_write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        Ok(bytes.len())
    }
}

impl AsyncRead for StalledTransport {
    fn poll_read(self: Pin<&mut Self>, _: &mut Context<'_>, _: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Poll::Pending
    }
}

impl AsyncWrite for StalledTransport {
    fn poll_write(self: Pin<&mut Self>, _: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Poll::Ready(Ok(bytes.len()))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Pending
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Pending
    }
}

fn stalled() -> TimedIo<StalledTransport> {
    let hour = Duration::from_secs(3600);
    let limits = ConnectionLimits {
        header_timeout: hour,
        idle_timeout: hour,
        body_timeout: Duration::from_millis(20),
        ..config().limits()
    };
    TimedIo::new(StalledTransport, Arc::new(ConnState::new()), limits)
}

#[tokio::test]
async fn response_stuck_in_a_buffer_ends_the_connection() {
    let mut wire = stalled();
    poll_fn(|cx| Pin::new(&mut wire).poll_write(cx, b"a response")).await.unwrap();
    let flushed = timeout(LONG, poll_fn(|cx| Pin::new(&mut wire).poll_flush(cx))).await;
    assert_eq!(flushed.expect("a time-out").unwrap_err().kind(), io::ErrorKind::TimedOut);
}

#[tokio::test]
async fn close_does_not_wait_for_a_stalled_peer() {
    let mut wire = stalled();
    let closed = timeout(LONG, poll_fn(|cx| Pin::new(&mut wire).poll_shutdown(cx))).await;
    closed.expect("a close").unwrap();
}
