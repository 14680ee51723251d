//! Fakes for fuzzing: a command service that records all requests, and a socket in memory.

use std::collections::VecDeque;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use crate::auth::Caller;
use crate::command::{CommandId, CommandStatus};
use crate::http::readiness::Readiness;
use crate::http::server::timed_io::Transport;
use crate::http::services::{AdminService, CommandService};
use crate::ingest::{Receipt, Request, SubmitError};
use crate::status::StatusError;
use crate::sync::Mutex;
use crate::units::Timestamp;

/// Accepts and records all requests. Clones share the records.
#[derive(Clone, Default)]
pub struct RecordingService(Arc<Mutex<Vec<Request>>>);

impl RecordingService {
    pub fn take(&self) -> Vec<Request> {
        std::mem::take(&mut *self.0.lock())
    }
}

impl CommandService for RecordingService {
    async fn submit(&self, request: Request) -> Result<Receipt, SubmitError> {
        let ids = vec![CommandId::from_bytes([7; 25]); request.commands.len()];
        self.0.lock().push(request);
        Ok(Receipt { ids, accepted_at: Timestamp(1), replayed: false })
    }

    fn retry_after(&self, _: &SubmitError) -> Duration {
        Duration::from_secs(1)
    }

    async fn find(&self, _: CommandId, _: &Caller) -> Result<CommandStatus, StatusError> {
        Err(StatusError::NotFound)
    }

    async fn final_state(&self, _: CommandId, _: bool, _: Instant) {}
}

/// An admin service without a log.
pub struct EmptyAdmin;

impl AdminService for EmptyAdmin {
    fn backlog_json(&self) -> serde_json::Value {
        serde_json::Value::Null
    }

    fn readiness(&self) -> Readiness {
        Readiness { ready: true, reason: None, dependencies: Default::default(), problems: Vec::new() }
    }

    fn pause(&self, _: &str) {}

    fn resume(&self, _: &str) {}

    fn rate_limit_changed(&self) {}

    fn refresh_gauges(&self) {}
}

/// A socket in memory. Each read returns one piece of the input, then the end. Output is recorded.
pub struct Pipe {
    pub input: VecDeque<Vec<u8>>,
    pub output: Arc<Mutex<Vec<u8>>>,
}

impl Transport for Pipe {
    fn try_write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.output.lock().extend_from_slice(bytes);
        Ok(bytes.len())
    }
}

impl AsyncRead for Pipe {
    fn poll_read(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let Some(mut piece) = self.input.pop_front() else { return Poll::Ready(Ok(())) };
        let rest = piece.split_off(piece.len().min(buf.remaining()));
        buf.put_slice(&piece);
        if !rest.is_empty() {
            self.input.push_front(rest);
        }
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Pipe {
    fn poll_write(mut self: Pin<&mut Self>, _: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Poll::Ready(self.try_write(bytes))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}
