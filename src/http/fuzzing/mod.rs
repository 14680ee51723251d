//! Fuzzed: what comes over a connection, and the lines of a batch.
#![allow(clippy::expect_used, reason = "a broken promise ends the program: that is what fuzzing looks for")]

mod batch;
mod connection;
mod fake;

pub use batch::batch;
pub use connection::http;

use std::future::Future;

use tokio::runtime::Builder;
use tokio::runtime::Runtime;

thread_local! {
    static RUNTIME: Runtime = Builder::new_current_thread().enable_time().build().expect("a runtime of one thread");
}

fn block_on<T>(future: impl Future<Output = T>) -> T {
    RUNTIME.with(|runtime| runtime.block_on(future))
}
