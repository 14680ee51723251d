//! Where bodies are checked: small ones where they were read, large ones on a thread that may block.

use std::sync::Arc;

use tokio::sync::Semaphore;
use tokio::task::spawn_blocking;

use crate::http::problem;
use crate::http::problem::Problem;

/// The largest body that is checked on the runtime: every form and most commands, whose checks cost little.
pub const MAX_INLINE_BYTES: usize = 16 << 10;
/// Large bodies checked at a time. A document takes about 20 times the memory of its text, so that four of them, at the
/// default `max_body`, take 80 MiB. Further bodies wait; their bytes are counted in the budget of all bodies.
pub const MAX_CONCURRENT: usize = 4;

/// The bound on checks of large bodies. Clones share it.
#[derive(Clone)]
pub struct BodyChecks(Arc<Semaphore>);

impl Default for BodyChecks {
    fn default() -> Self {
        Self(Arc::new(Semaphore::new(MAX_CONCURRENT)))
    }
}

impl BodyChecks {
    /// Runs `check` on a body of this many bytes.
    pub async fn run<T: Send + 'static>(
        &self,
        bytes: usize,
        check: impl FnOnce() -> Result<T, Problem> + Send + 'static,
    ) -> Result<T, Problem> {
        if bytes <= MAX_INLINE_BYTES {
            return check();
        }
        let failed = || Problem::new(&problem::INTERNAL, "The body could not be checked.");
        let turn = Arc::clone(&self.0).acquire_owned().await.map_err(|_| failed())?;
        let checked = spawn_blocking(move || {
            // Held also when the client hangs up: the check goes on.
            let _turn = turn;
            check()
        });
        checked.await.map_err(|_| failed())?
    }

    /// Takes every turn until the answer is dropped.
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
    async fn a_large_body_is_checked_while_the_runtime_goes_on() {
        let (runtime, sign) = mpsc::channel();
        // Bounded, so that a check on the runtime fails this test instead of never ending it.
        let check = move || Ok(sign.recv_timeout(Duration::from_secs(60)));
        let checks = BodyChecks::default();
        let (checked, ()) = tokio::join!(checks.run(MAX_INLINE_BYTES + 1, check), async {
            runtime.send(()).unwrap();
        });
        assert_eq!(checked.unwrap(), Ok(()));
    }

    #[tokio::test]
    async fn a_small_body_is_checked_at_once_whatever_large_ones_do() {
        let checks = BodyChecks::default();
        let _busy = checks.acquire_all().await;
        let here = std::thread::current().id();
        let there = checks.run(MAX_INLINE_BYTES, || Ok(std::thread::current().id())).await;
        assert_eq!(there.unwrap(), here);
    }
}
