//! Common operations on a test's database server.
//!
//! Both servers are as durable as in production: a commit returns after its flush.

use std::future::Future;
use std::os::unix::fs::MetadataExt;
use std::sync::atomic::{AtomicU32, Ordering};
use std::{fs, thread};

use tokio::runtime::Builder;

/// The account that tests use.
pub const USER: &str = "forebay";
/// Its password.
pub const PASSWORD: &str = "geheim";

/// A server of one test, or one that tests share.
pub trait SqlServer: Send + Sync {
    /// The URL of one of its databases.
    fn url(&self, database: &str) -> String;
    /// Runs statements in one of its databases, as an administrator; they must succeed.
    fn sql(&self, database: &str, statements: &str);
    /// The database that exists from the beginning.
    fn default_database(&self) -> &'static str;
    /// Starts the server with its port and data, and returns when it replies.
    fn start(&self);
    /// Stops the server in an orderly way, even with connected clients.
    fn stop(&self);
    /// Kills the server, with all its processes.
    fn kill(&self);
    /// Freezes the server: connections stay open, and no request gets a reply.
    fn freeze(&self);
    /// Resumes the server after [`SqlServer::freeze`].
    fn thaw(&self);

    /// The URL of a new, empty database.
    fn create_database(&self) -> String {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let name = format!("test_{}", COUNT.fetch_add(1, Ordering::Relaxed));
        self.sql(self.default_database(), &format!("CREATE DATABASE {name}"));
        self.url(&name)
    }
}

/// Completes a future on a separate thread and runtime, so that it can be called from within a runtime.
pub fn block_on<T: Send>(future: impl Future<Output = T> + Send) -> T {
    thread::scope(|scope| {
        let run = || Builder::new_current_thread().enable_all().build().expect("a runtime").block_on(future);
        scope.spawn(run).join().expect("the future completes")
    })
}

/// Whether this test runs as root, which neither server accepts by default.
pub fn is_root() -> bool {
    fs::metadata("/proc/self").is_ok_and(|process| process.uid() == 0)
}
