//! A PostgreSQL of one test: start, stop, kill, freeze, and restart with the same port and data. Settings other than
//! locations are PostgreSQL's defaults.

use std::fs;
use std::fs::Permissions;
use std::os::unix::fs::{PermissionsExt, chown};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use sqlx::{AssertSqlSafe, Connection, PgConnection};
use tempfile::TempDir;

use super::child::Child;
use super::ports::Port;
use super::sql::{PASSWORD, SqlServer, USER, block_on};
use super::{scratch, sql, wait};

const READY_TIMEOUT: Duration = Duration::from_secs(60);
const STOP_TIMEOUT: Duration = Duration::from_secs(60);

/// The server, running or not.
pub struct Postgres {
    // First, so that it has ended before its port and directory are released.
    child: Mutex<Option<Child>>,
    programs: PathBuf,
    port: Port,
    dir: TempDir,
}

/// The directory of the server's programs, or the name of the missing package. Debian has one per version, outside of
/// PATH.
pub fn programs() -> Result<PathBuf, String> {
    let mut places: Vec<PathBuf> = fs::read_dir("/usr/lib/postgresql")
        .into_iter()
        .flatten()
        .flatten()
        .map(|version| version.path().join("bin"))
        .collect();
    places.sort();
    places.extend(["/usr/bin".into(), "/usr/local/bin".into()]);
    let found =
        places.into_iter().rev().find(|dir| dir.join("postgres").is_file() && dir.join("initdb").is_file());
    found.ok_or_else(|| "no PostgreSQL server (package postgresql)".to_owned())
}

impl Postgres {
    /// Starts a new server with empty data.
    pub fn new() -> Result<Postgres, String> {
        let programs = programs()?;
        let dir = scratch::dir("postgres");
        give_to_service_user(dir.path())?;
        let server = Postgres { child: Mutex::new(None), programs, port: Port::free(), dir };
        let password = server.dir.path().join("password");
        fs::write(&password, PASSWORD).expect("the password file");
        fs::set_permissions(&password, Permissions::from_mode(0o644)).expect("a readable password file");
        let mut initdb = server.command("initdb");
        // Not flushed: a power failure between here and the start does not matter.
        initdb.args([
            "--username",
            USER,
            "--auth=scram-sha-256",
            "--encoding=UTF8",
            "--locale=C.UTF-8",
            "--no-sync",
        ]);
        initdb.arg("--pgdata").arg(server.data()).arg("--pwfile").arg(&password);
        let made = initdb.output().map_err(|error| format!("initdb: {error}"))?;
        assert!(made.status.success(), "initdb: {}", String::from_utf8_lossy(&made.stderr));
        server.start();
        Ok(server)
    }

    /// The whole log.
    pub fn log(&self) -> String {
        self.running(|child| child.log())
    }

    fn data(&self) -> PathBuf {
        self.dir.path().join("data")
    }

    /// The command of one of its programs.
    fn command(&self, program: &str) -> Command {
        as_service_user(&self.programs.join(program))
    }

    fn child(&self) -> MutexGuard<'_, Option<Child>> {
        self.child.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn running<T>(&self, act: impl FnOnce(&mut Child) -> T) -> T {
        act(self.child().as_mut().expect("PostgreSQL is started"))
    }
}

impl SqlServer for Postgres {
    fn url(&self, database: &str) -> String {
        format!("postgres://{USER}:{PASSWORD}@{}/{database}", self.port.address())
    }

    fn sql(&self, database: &str, statements: &str) {
        block_on(async {
            let mut connection = PgConnection::connect(&self.url(database)).await.expect("a connection");
            sqlx::raw_sql(AssertSqlSafe(statements)).execute(&mut connection).await.expect(statements);
        });
    }

    fn default_database(&self) -> &'static str {
        "postgres"
    }

    fn start(&self) {
        let mut command = self.command("postgres");
        command.arg("-D").arg(self.data()).arg("-p").arg(self.port.number().to_string());
        for setting in ["listen_addresses=127.0.0.1", "unix_socket_directories="] {
            command.arg("-c").arg(setting);
        }
        *self.child() = Some(Child::spawn("postgres", &command, &self.dir.path().join("log")));
        wait::until_true("PostgreSQL replies", READY_TIMEOUT, || {
            let ended = self.running(|child| child.ended().map(|status| (status, child.log_tail())));
            assert!(ended.is_none(), "PostgreSQL ended: {ended:?}");
            block_on(async { PgConnection::connect(&self.url("postgres")).await.is_ok() })
        });
    }

    fn stop(&self) {
        // "Fast": the default waits until every client has disconnected.
        self.running(|child| {
            child.signal("INT");
            child.wait(STOP_TIMEOUT).expect("PostgreSQL stops");
        });
        *self.child() = None;
    }

    fn kill(&self) {
        // Its processes notice each other's end only at the next request.
        let sessions = self.running(|child| sessions(child.pid()));
        self.running(Child::kill);
        signal("KILL", &sessions);
        wait::until_true("PostgreSQL's sessions have ended", STOP_TIMEOUT, || {
            !sessions.iter().any(|pid| Path::new("/proc").join(pid.to_string()).exists())
        });
        *self.child() = None;
    }

    fn freeze(&self) {
        // First the process that starts the others.
        self.running(Child::freeze);
        signal("STOP", &self.running(|child| sessions(child.pid())));
    }

    fn thaw(&self) {
        signal("CONT", &self.running(|child| sessions(child.pid())));
        self.running(Child::thaw);
    }
}

/// A command that runs as a user that PostgreSQL accepts, and that the kernel ends together with the test process:
/// changing the user cancels `Child`'s setting for that.
pub fn as_service_user(program: &Path) -> Command {
    if !sql::is_root() {
        return Command::new(program);
    }
    let mut command = Command::new("setpriv");
    command.args(["--reuid=postgres", "--regid=postgres", "--clear-groups", "--pdeathsig", "KILL", "--"]);
    command.arg(program).current_dir("/");
    command
}

/// Makes the directory accessible to the `postgres` user if the test runs as root: PostgreSQL refuses to run as root.
pub fn give_to_service_user(dir: &Path) -> Result<(), String> {
    if !sql::is_root() {
        return Ok(());
    }
    let accounts = fs::read_to_string("/etc/passwd").unwrap_or_default();
    let account = accounts.lines().find_map(|line| line.strip_prefix("postgres:"));
    let mut ids = account.ok_or("no user `postgres`")?.split(':').skip(1).map(str::parse::<u32>);
    let mut id = || ids.next().and_then(Result::ok);
    chown(dir, id(), id()).expect("root may give away a directory");
    let root = dir.parent().expect("a scratch directory has a parent");
    fs::set_permissions(root, Permissions::from_mode(0o711)).expect("the tests' own directory");
    Ok(())
}

/// The child processes of a process.
fn sessions(parent: u32) -> Vec<u32> {
    let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
    let pids = entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok());
    pids.filter(|pid: &u32| {
        let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
        // "pid (name) state ppid …", where the name may contain any character.
        let rest = stat.rsplit_once(')').map(|(_, rest)| rest).unwrap_or_default();
        rest.split_whitespace().nth(1) == Some(&parent.to_string())
    })
    .collect()
}

/// Sends a signal. Processes that have ended meanwhile are ignored.
fn signal(name: &str, pids: &[u32]) {
    let mut kill = Command::new("sh");
    kill.args([
        "-c",
        r#"name=$1; shift; for pid; do kill -s "$name" "$pid" 2>/dev/null; done; true"#,
        "sh",
        name,
    ]);
    kill.args(pids.iter().map(u32::to_string));
    assert!(kill.status().expect("sh runs").success());
}
