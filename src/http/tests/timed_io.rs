//! A peer that takes nothing, under something that has a buffer of its own, as TLS has.

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

/// Above anything that happens at all, on a busy machine too.
const LONG: Duration = Duration::from_secs(60);

/// Takes everything into its buffer and never gets rid of it.
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

fn clogged() -> TimedIo<StalledTransport> {
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
async fn an_answer_that_stays_in_a_buffer_ends_the_connection() {
    let mut wire = clogged();
    poll_fn(|cx| Pin::new(&mut wire).poll_write(cx, b"an answer")).await.unwrap();
    let flushed = timeout(LONG, poll_fn(|cx| Pin::new(&mut wire).poll_flush(cx))).await;
    assert_eq!(flushed.expect("an end").unwrap_err().kind(), io::ErrorKind::TimedOut);
}

#[tokio::test]
async fn a_goodbye_that_nobody_takes_is_not_waited_for() {
    let mut wire = clogged();
    let closed = timeout(LONG, poll_fn(|cx| Pin::new(&mut wire).poll_shutdown(cx))).await;
    closed.expect("an end").unwrap();
}
