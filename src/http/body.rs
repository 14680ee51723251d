//! Reading a body against its limit, its deadline and a budget for all bodies together.

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

/// Bytes of all bodies that are being read or committed, whatever the number of connections: 10,000 clients could
/// otherwise send 10,000 batches at a time. Memory is to stay below 512 MiB.
const BUDGET: usize = 128 << 20;

/// The bound on bodies held at a time.
pub(super) struct BodyBudget {
    bytes_in_use: AtomicUsize,
    body_hit: IntCounter,
    bodies_hit: IntCounter,
}

/// A body, counted until it is dropped.
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

    /// The whole body, at most `limit` bytes. A body whose announced length is too large is refused unread, so that
    /// a client that asked first (`Expect: 100-continue`) never sends it.
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
            // A frame that is no data is a trailer, which says nothing here.
            let Ok(data) = frame.map_err(|error| failed(&error))?.into_data() else { continue };
            if held.reserved + data.len() > limit {
                return Err(self.too_large(limit));
            }
            held.reserve(data.len())?;
            if held.reserved as u64 == announced.unwrap_or(u64::MAX) && gathered.is_empty() {
                // The usual body comes in one piece and is not copied.
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

/// Why a body did not arrive: too slow, cut off, or its chunks make no sense.
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
    Problem::new(&problem::TRUNCATED_BODY, "The body ended before its announced length.")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metrics::Registry;

    #[test]
    fn all_bodies_together_are_bounded_and_give_back_what_they_held() {
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
