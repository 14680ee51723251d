//! A MariaDB of one test: start, stop, kill, freeze, and restart with the same port and data. Settings other than
//! locations are MariaDB's defaults.

use std::fs;
use std::path::PathBuf;
use std::process::Command;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use sqlx::{AssertSqlSafe, Connection, MySqlConnection};
use tempfile::TempDir;

use super::child::Child;
use super::ports::Port;
use super::sql::{PASSWORD, SqlServer, USER, block_on};
use super::{scratch, sql, wait};

/// Timeout for a start, which takes one to three seconds, and longer with a repair after a kill.
const READY_TIMEOUT: Duration = Duration::from_secs(60);
const STOP_TIMEOUT: Duration = Duration::from_secs(60);

/// Directory of temporary tables, one per server: a starting server removes the files that it takes for leftovers, and
/// another server's statement would fail.
const TMPDIR: &str = "TMPDIR";

/// The server, running or not.
pub struct MariaDb {
    // First, so that it has ended before its port and directory are released.
    child: Mutex<Option<Child>>,
    port: Port,
    dir: TempDir,
}

/// The server's program, or the name of the missing package.
pub fn programs() -> Result<PathBuf, String> {
    // A user's PATH does not contain sbin.
    let found = ["/usr/sbin", "/usr/bin", "/usr/local/bin", "/usr/libexec"]
        .map(|dir| PathBuf::from(dir).join("mariadbd"));
    let found = found.into_iter().find(|program| program.is_file());
    found.ok_or_else(|| "no mariadbd (package mariadb-server)".to_owned())
}

impl MariaDb {
    /// Starts a new server with empty data.
    pub fn new() -> Result<MariaDb, String> {
        programs()?;
        let server = MariaDb { child: Mutex::new(None), port: Port::free(), dir: scratch::dir("mariadb") };
        let made = Command::new("mariadb-install-db")
            .args(["--no-defaults", "--skip-test-db", "--auth-root-authentication-method=normal"])
            .arg(format!("--datadir={}", server.data().display()))
            .args(root_user_option())
            .env(TMPDIR, server.dir.path())
            .output()
            .map_err(|error| format!("mariadb-install-db: {error}"))?;
        let said = || [&made.stdout[..], &made.stderr[..]].map(String::from_utf8_lossy).concat();
        assert!(made.status.success(), "mariadb-install-db: {}", said());
        let account = |host: &str| {
            format!(
                "CREATE USER IF NOT EXISTS {USER}@'{host}' IDENTIFIED BY '{PASSWORD}';\n\
                 GRANT ALL ON *.* TO {USER}@'{host}' WITH GRANT OPTION;\n"
            )
        };
        let accounts = ["127.0.0.1", "localhost"].map(account).concat();
        fs::write(server.accounts(), accounts).expect("the file of accounts");
        server.start();
        Ok(server)
    }

    /// The URL of a database over the socket file, where acknowledgements are not delayed.
    pub fn socket_url(&self, database: &str) -> String {
        let socket = self.dir.path().join("socket");
        format!("mysql://{USER}:{PASSWORD}@localhost/{database}?socket={}", socket.display())
    }

    fn data(&self) -> PathBuf {
        self.dir.path().join("data")
    }

    fn accounts(&self) -> PathBuf {
        self.dir.path().join("accounts.sql")
    }

    fn command(&self) -> Command {
        let mut command = Command::new(programs().expect("found when this was created"));
        command
            .arg("--no-defaults")
            .arg(format!("--datadir={}", self.data().display()))
            .arg(format!("--socket={}", self.dir.path().join("socket").display()))
            .arg(format!("--pid-file={}", self.dir.path().join("pid").display()))
            .arg(format!("--init-file={}", self.accounts().display()))
            .arg(format!("--port={}", self.port.number()))
            .arg("--bind-address=127.0.0.1")
            .args(root_user_option())
            .env(TMPDIR, self.dir.path());
        command
    }

    fn child(&self) -> MutexGuard<'_, Option<Child>> {
        self.child.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn running<T>(&self, act: impl FnOnce(&mut Child) -> T) -> T {
        act(self.child().as_mut().expect("MariaDB is started"))
    }
}

impl SqlServer for MariaDb {
    fn url(&self, database: &str) -> String {
        format!("mysql://{USER}:{PASSWORD}@{}/{database}", self.port.address())
    }

    fn sql(&self, database: &str, statements: &str) {
        block_on(async {
            let mut connection = MySqlConnection::connect(&self.url(database)).await.expect("a connection");
            sqlx::raw_sql(AssertSqlSafe(statements)).execute(&mut connection).await.expect(statements);
        });
    }

    fn default_database(&self) -> &'static str {
        "mysql"
    }

    fn start(&self) {
        *self.child() = Some(Child::spawn("mariadb", &self.command(), &self.dir.path().join("log")));
        wait::until_true("MariaDB replies", READY_TIMEOUT, || {
            let ended = self.running(|child| child.ended().map(|status| (status, child.log_tail())));
            assert!(ended.is_none(), "MariaDB ended: {ended:?}");
            block_on(async { MySqlConnection::connect(&self.url("mysql")).await.is_ok() })
        });
    }

    fn stop(&self) {
        self.running(|child| child.terminate(STOP_TIMEOUT));
        *self.child() = None;
    }

    fn kill(&self) {
        self.running(Child::kill);
        *self.child() = None;
    }

    fn freeze(&self) {
        self.running(Child::freeze);
    }

    fn thaw(&self) {
        self.running(Child::thaw);
    }
}

/// MariaDB refuses to run as root without this option.
fn root_user_option() -> Option<&'static str> {
    sql::is_root().then_some("--user=root")
}
