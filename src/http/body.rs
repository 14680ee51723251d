//! Reads a request body within its size limit, its deadline, and a memory budget that all bodies share.

use std::io;
use std::sync::atomic::AtomicUsize;
use std::sync::atomic::Ordering::Relaxed;

use bytes::{Bytes, BytesMut};
use http_body_util::BodyExt;
use hyper::body::{Body, Incoming};
use prometheus::IntCounter;

use super::problem;
use super::problem::Problem;
use super::server::conn_state::{ConnState, Phase};
use crate::http::metrics::Metrics;

/// Maximum bytes of all bodies that are being read or committed. It is independent of the number of connections:
/// without it, 10,000 clients could send 10,000 batches at the same time. The process must stay below 512 MiB.
const BUDGET: usize = 128 << 20;

/// Limits the memory of all buffered bodies together.
pub(super) struct BodyBudget {
    bytes_in_use: AtomicUsize,
    body_hit: IntCounter,
    bodies_hit: IntCounter,
}

/// A body in memory. Its bytes count against the budget until it is dropped.
pub(super) struct BufferedBody<'a> {
    bodies: &'a BodyBudget,
    reserved: usize,
    pub bytes: Bytes,
}

impl BodyBudget {
    pub fn new(metrics: &Metrics) -> Self {
        Self {
            bytes_in_use: AtomicUsize::new(0),
            body_hit: metrics.body_hit.clone(),
            bodies_hit: metrics.bodies_hit.clone(),
        }
    }

    /// Reads the whole body, at most `limit` bytes. If the announced length is too large, the body is refused unread.
    /// A client that sent `Expect: 100-continue` then never sends the body.
    pub async fn read(
        &self,
        mut body: Incoming,
        limit: usize,
        conn: &ConnState,
    ) -> Result<BufferedBody<'_>, Problem> {
        let mut held = BufferedBody { bodies: self, reserved: 0, bytes: Bytes::new() };
        let announced = body.size_hint().exact();
        if announced.is_some_and(|length| length > limit as u64) {
            return Err(self.too_large(limit));
        }
        let mut gathered = BytesMut::new();
        while let Some(frame) = body.frame().await {
            // A frame without data is a trailer. Trailers are ignored.
            let Ok(data) = frame.map_err(|error| failed(&error))?.into_data() else { continue };
            if held.reserved + data.len() > limit {
                return Err(self.too_large(limit));
            }
            held.reserve(data.len())?;
            if held.reserved as u64 == announced.unwrap_or(u64::MAX) && gathered.is_empty() {
                // Most bodies arrive in one piece. They are not copied.
                held.bytes = data;
            } else {
                gathered.extend_from_slice(&data);
            }
        }
        if !gathered.is_empty() {
            held.bytes = gathered.freeze();
        }
        conn.enter(Phase::Busy);
        Ok(held)
    }

    fn too_large(&self, limit: usize) -> Problem {
        self.body_hit.inc();
        Problem::new(&problem::BODY_TOO_LARGE, format!("The body may have at most {limit} bytes."))
    }
}

impl BufferedBody<'_> {
    fn reserve(&mut self, more: usize) -> Result<(), Problem> {
        self.reserved += more;
        if self.bodies.bytes_in_use.fetch_add(more, Relaxed) + more > BUDGET {
            self.bodies.bodies_hit.inc();
            return Err(Problem::new(&problem::OVERLOADED, "Too many large bodies are being read."));
        }
        Ok(())
    }
}

impl Drop for BufferedBody<'_> {
    fn drop(&mut self) {
        self.bodies.bytes_in_use.fetch_sub(self.reserved, Relaxed);
    }
}

/// The problem for a body that arrived too slowly, incomplete, or with malformed chunks.
fn failed(error: &hyper::Error) -> Problem {
    let mut source = std::error::Error::source(error);
    while let Some(cause) = source {
        match cause.downcast_ref::<io::Error>().map(io::Error::kind) {
            Some(io::ErrorKind::TimedOut) => {
                return Problem::new(&problem::TIMEOUT, "The body did not arrive in time.");
            }
            Some(io::ErrorKind::InvalidInput | io::ErrorKind::InvalidData) => {
                return Problem::new(&problem::MALFORMED_REQUEST, "The body's chunks are malformed.");
            }
            _ => source = cause.source(),
        }
    }
    Problem::new(
        &problem::TRUNCATED_BODY,
        "Send as many bytes as Content-Length announces, or the final chunk.",
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metrics::Registry;

    #[test]
    fn bodies_share_one_budget_and_release_it_when_dropped() {
        let metrics = Metrics::register(&Registry::new().unwrap()).unwrap();
        let bodies = BodyBudget::new(&metrics);
        let hold = || BufferedBody { bodies: &bodies, reserved: 0, bytes: Bytes::new() };
        let mut first = hold();
        first.reserve(BUDGET).unwrap();
        assert_eq!(hold().reserve(1).unwrap_err().kind, &problem::OVERLOADED);
        assert_eq!(metrics.bodies_hit.get(), 1);
        drop(first);
        hold().reserve(BUDGET).unwrap();
    }
}
