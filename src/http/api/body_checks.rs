//! Runs the checks of bodies: small bodies on the async runtime, large bodies on a thread that may block.

use std::sync::Arc;

use tokio::sync::Semaphore;
use tokio::task::spawn_blocking;

use crate::http::problem;
use crate::http::problem::Problem;

/// Maximum bytes of a body that is checked on the runtime. Every form and most commands are smaller, and their checks
/// are cheap.
pub const MAX_INLINE_BYTES: usize = 16 << 10;
/// Maximum number of large bodies that are checked at the same time. A parsed document takes about 20 times the memory
/// of its text: four of them take 80 MiB at the default `max_body`. More bodies wait. Their bytes count against the
/// budget of all bodies.
pub const MAX_CONCURRENT: usize = 4;

/// Limits the concurrent checks of large bodies. Clones share the limit.
#[derive(Clone)]
pub struct BodyChecks(Arc<Semaphore>);

impl Default for BodyChecks {
    fn default() -> Self {
        Self(Arc::new(Semaphore::new(MAX_CONCURRENT)))
    }
}

impl BodyChecks {
    /// Runs `check`. `bytes` is the size of the body.
    pub async fn run<T: Send + 'static>(
        &self,
        bytes: usize,
        check: impl FnOnce() -> Result<T, Problem> + Send + 'static,
    ) -> Result<T, Problem> {
        if bytes <= MAX_INLINE_BYTES {
            return check();
        }
        let failed = || Problem::new(&problem::INTERNAL, "The body could not be checked.");
        let permit = Arc::clone(&self.0).acquire_owned().await.map_err(|_| failed())?;
        let checked = spawn_blocking(move || {
            // Held until the check ends, because the check continues when the client disconnects.
            let _permit = permit;
            check()
        });
        checked.await.map_err(|_| failed())?
    }

    /// Acquires all permits until the returned value is dropped.
    #[cfg(test)]
    pub async fn acquire_all(&self) -> tokio::sync::OwnedSemaphorePermit {
        Arc::clone(&self.0).acquire_many_owned(MAX_CONCURRENT as u32).await.unwrap()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;
    use std::time::Duration;

    use super::*;

    #[tokio::test]
    async fn checks_of_large_bodies_do_not_block_the_runtime() {
        let (runtime, sign) = mpsc::channel();
        // With a time-out, so that this test fails if the check blocks the runtime, instead of hanging.
        let check = move || Ok(sign.recv_timeout(Duration::from_secs(60)));
        let checks = BodyChecks::default();
        let (checked, ()) = tokio::join!(checks.run(MAX_INLINE_BYTES + 1, check), async {
            runtime.send(()).unwrap();
        });
        assert_eq!(checked.unwrap(), Ok(()));
    }

    #[tokio::test]
    async fn small_bodies_do_not_wait_for_checks_of_large_ones() {
        let checks = BodyChecks::default();
        let _busy = checks.acquire_all().await;
        let here = std::thread::current().id();
        let there = checks.run(MAX_INLINE_BYTES, || Ok(std::thread::current().id())).await;
        assert_eq!(there.unwrap(), here);
    }
}
