//! The processes under load.

use std::fs::Permissions;
use std::net::SocketAddr;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use tempfile::TempDir;

use crate::no_log_server;
use support::child::Child;
use support::http::Client;
use support::ports::Port;
use support::process::Forebay;
use support::{scratch, wait};

/// No broker listens there. Records wait, and all cores serve requests.
pub const UNREACHABLE_KAFKA: &str = "127.0.0.1:1";

const READY_WITHIN: Duration = Duration::from_secs(60);

/// The real binary with its defaults, not started.
pub fn daemon(brokers: &str) -> Forebay {
    Forebay::new(env!("CARGO_BIN_EXE_forebay")).set("kafka.brokers", brokers)
}

/// Creates a file with a master key in a daemon's directory.
pub fn key_file(dir: &Path) -> String {
    let path = dir.join("wal.key");
    std::fs::write(&path, "5a".repeat(32)).expect("a key file");
    std::fs::set_permissions(&path, Permissions::from_mode(0o600)).expect("a private key file");
    path.display().to_string()
}

/// Address of a started daemon.
pub fn address(daemon: &Forebay) -> SocketAddr {
    daemon.address().parse().expect("host:port")
}

/// This program as [`no_log_server`].
pub struct NoLogServer {
    port: Port,
    child: Child,
    _dir: TempDir,
}

impl NoLogServer {
    /// Starts the server, and returns when it responds.
    pub fn start() -> Self {
        Self::start_with(&[])
    }

    /// Starts a server that produces to this topic and waits for the confirmation.
    pub fn producing(bootstrap: &str, topic: &str) -> Self {
        Self::start_with(&[bootstrap, topic])
    }

    /// Process id.
    pub fn pid(&self) -> u32 {
        self.child.pid()
    }

    fn start_with(kafka: &[&str]) -> Self {
        let (port, dir) = (Port::free(), scratch::dir("without-log"));
        let mut command = Command::new(std::env::current_exe().expect("this program's path"));
        command.args([no_log_server::COMMAND, &port.address()]).args(kafka);
        let child = Child::spawn("without-log", &command, &dir.path().join("log"));
        let mut client = Client::new(&port.address());
        wait::until_true("the server without a log responds", READY_WITHIN, || client.get("/readyz").is_ok());
        Self { port, child, _dir: dir }
    }

    /// Address of the server.
    pub fn address(&self) -> SocketAddr {
        self.port.address().parse().expect("host:port")
    }
}
