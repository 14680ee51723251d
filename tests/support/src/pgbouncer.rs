//! A PgBouncer of one test in front of a PostgreSQL. Settings other than locations are PgBouncer's defaults.

use std::fmt::Write;
use std::fs;
use std::fs::Permissions;
use std::net::TcpStream;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use tempfile::TempDir;

use super::child::Child;
use super::ports::Port;
use super::sql::{PASSWORD, USER};
use super::{postgres, scratch, wait};

const READY_TIMEOUT: Duration = Duration::from_secs(60);
/// `pool_mode = transaction`, and another session for each transaction: session state is lost. Few sessions with a
/// short idle timeout, because a PostgreSQL that tests share has one pool per database.
const TRANSACTION_SETTINGS: [&str; 4] =
    ["pool_mode = transaction", "server_round_robin = 1", "default_pool_size = 4", "server_idle_timeout = 2"];

/// A running pooler.
pub struct PgBouncer {
    // First, so that it has ended before its port and directory are released.
    child: Child,
    port: Port,
    _dir: TempDir,
}

/// The program, or the name of the missing package. Debian installs it in sbin.
fn program() -> Result<PathBuf, String> {
    let mut places =
        ["/usr/sbin", "/usr/bin", "/usr/local/bin"].map(|dir| Path::new(dir).join("pgbouncer")).into_iter();
    places.find(|program| program.is_file()).ok_or_else(|| "no pgbouncer (package pgbouncer)".to_owned())
}

impl PgBouncer {
    /// Starts a pooler of transactions in front of the server at this address; `settings` are further lines of its
    /// configuration.
    pub fn start(server: &str, settings: &[&str]) -> Result<PgBouncer, String> {
        let (program, port, dir) = (program()?, Port::free(), scratch::dir("pgbouncer"));
        postgres::give_to_service_user(dir.path())?;
        let (accounts, file) = (dir.path().join("accounts"), dir.path().join("pgbouncer.ini"));
        write_readable(&accounts, &format!("\"{USER}\" \"{PASSWORD}\"\n"));
        let (host, server_port) = server.rsplit_once(':').expect("host:port");
        let mut text = format!(
            "[databases]\n* = host={host} port={server_port}\n[pgbouncer]\nlisten_addr = 127.0.0.1\nlisten_port = {}\n\
             unix_socket_dir =\nauth_type = scram-sha-256\nauth_file = {}\n",
            port.number(),
            accounts.display(),
        );
        for setting in TRANSACTION_SETTINGS.iter().chain(settings) {
            writeln!(text, "{setting}").expect("writing to a string");
        }
        write_readable(&file, &text);
        let mut command = postgres::as_service_user(&program);
        command.arg(&file);
        let mut child = Child::spawn("pgbouncer", &command, &dir.path().join("log"));
        wait::until_true("PgBouncer listens", READY_TIMEOUT, || {
            let ended = child.ended().map(|status| (status, child.log_tail()));
            assert!(ended.is_none(), "PgBouncer ended: {ended:?}");
            TcpStream::connect(port.address()).is_ok()
        });
        Ok(PgBouncer { child, port, _dir: dir })
    }

    /// The URL of the same database through the pooler.
    pub fn url(&self, direct: &str) -> String {
        let (before, after) = direct.split_once('@').expect("a URL with an account");
        let (_, name) = after.split_once('/').expect("a URL with a database");
        format!("{before}@{}/{name}", self.port.address())
    }

    /// The whole log.
    pub fn log(&self) -> String {
        self.child.log()
    }
}

/// `host:port` of a URL with an account and a database.
pub fn address_of(url: &str) -> &str {
    let (_, after) = url.split_once('@').expect("a URL with an account");
    after.split_once('/').expect("a URL with a database").0
}

/// The file contains the tests' own password, and the pooler runs as another user.
fn write_readable(path: &Path, text: &str) {
    fs::write(path, text).expect("a file of the pooler's");
    fs::set_permissions(path, Permissions::from_mode(0o644)).expect("a readable file");
}
