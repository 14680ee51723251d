//! The daemon as a process: the real binary, a configuration of its own, its own data directory and ports.
//!
//! ```ignore
//! let mut forebay = Forebay::new(env!("CARGO_BIN_EXE_forebay")).set("kafka.brokers", cluster.bootstrap());
//! forebay.start();
//! let answer = forebay.http().post("/v1/commands/order.create", r#"{"id":"1","amount":1}"#);
//! forebay.kill9();
//! forebay.start(); // same data, same ports
//! ```

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus, Stdio};
use std::time::Duration;
use std::{env, fs};

use serde_json::Value;
use tempfile::TempDir;

use super::child::Child;
use super::http::Client;
use super::ports::Port;
use super::{scratch, wait};

/// Ready takes tens of milliseconds; this is for a machine whose cores also compile and run brokers.
const READY_WITHIN: Duration = Duration::from_secs(60);

/// Above the daemon's own `shutdown_grace` (30 s), so that it is the daemon that keeps the deadline, not the test.
const STOP_WITHIN: Duration = Duration::from_secs(60);

/// What a shell or systemd gives a process where nobody set anything: 1,024 descriptors, files that others may read.
/// The shell becomes the daemon, so that the pid is the daemon's.
const DEFAULT_LIMITS: &str = r#"umask 022 && ulimit -S -n 1024 && exec "$@""#;

/// The daemon, running or not.
pub struct Forebay {
    // First, so that it is gone before its ports are anybody's again and its directory is removed.
    child: Option<Child>,
    binary: PathBuf,
    arguments: Vec<String>,
    settings: BTreeMap<String, Value>,
    toml: String,
    environment: BTreeMap<String, String>,
    public: Port,
    admin: Port,
    dir: TempDir,
    /// Daemons that this one needs.
    companions: Vec<Forebay>,
}

impl Forebay {
    /// A daemon not yet started, with its log and everything else in a directory of its own: `forebay serve`, the
    /// embedded broker, ports that stay the same over restarts.
    pub fn new(binary: impl AsRef<Path>) -> Forebay {
        let forebay = Forebay {
            child: None,
            binary: binary.as_ref().to_owned(),
            arguments: vec!["serve".to_owned()],
            settings: BTreeMap::new(),
            toml: String::new(),
            environment: BTreeMap::new(),
            public: Port::free(),
            admin: Port::free(),
            dir: scratch::dir("forebay"),
            companions: Vec::new(),
        };
        let (listen, admin_listen) = (forebay.public.address(), forebay.admin.address());
        let wal = forebay.wal_dir().display().to_string();
        forebay.set("server.listen", listen).set("server.admin_listen", admin_listen).set("wal.dir", wal)
    }

    /// Sets `section.key` of the configuration, instead of a former value.
    pub fn set(mut self, key: &str, value: impl Into<Value>) -> Forebay {
        self.configure(key, value);
        self
    }

    /// Appends TOML as it is, such as `[[kinds]]` tables.
    pub fn toml(mut self, text: &str) -> Forebay {
        self.toml.push_str(text);
        self.toml.push('\n');
        self
    }

    /// Sets an environment variable, such as `FOREBAY__DRAIN__WORKERS`.
    pub fn env(mut self, key: &str, value: &str) -> Forebay {
        self.environment.insert(key.to_owned(), value.to_owned());
        self
    }

    /// Lets another daemon live as long as this one.
    pub fn with_companion(mut self, other: Forebay) -> Forebay {
        self.companions.push(other);
        self
    }

    /// Replaces the subcommand and what follows it; `--config FILE` is added.
    pub fn args(mut self, arguments: &[&str]) -> Forebay {
        self.arguments = arguments.iter().map(|argument| String::from(*argument)).collect();
        self
    }

    /// Starts it through another program, which becomes the daemon: `prlimit`, `setpriv`.
    pub fn through(mut self, program: &str, arguments: &[&str]) -> Forebay {
        let binary = std::mem::replace(&mut self.binary, program.into());
        let before =
            arguments.iter().map(|argument| String::from(*argument)).chain([binary.display().to_string()]);
        self.arguments = before.chain(std::mem::take(&mut self.arguments)).collect();
        self
    }

    /// Like [`Forebay::set`], between two starts.
    pub fn configure(&mut self, key: &str, value: impl Into<Value>) {
        self.settings.insert(key.to_owned(), value.into());
    }

    /// Takes a setting away again.
    pub fn unset(&mut self, key: &str) {
        self.settings.remove(key);
    }

    /// Starts it and returns when it is ready; ends the test, showing what it said, when it does not become ready.
    pub fn start(&mut self) {
        self.launch();
        self.await_ready();
    }

    /// Starts it without waiting: for a start that is meant to fail, or to be looked at.
    pub fn launch(&mut self) {
        let command = self.command();
        self.child = Some(Child::spawn("forebay", &command, &self.log_file()));
    }

    /// Like [`Forebay::launch`], with its standard output and standard error to these.
    pub fn launch_to(&mut self, output: impl Into<Stdio>, errors: impl Into<Stdio>) {
        let command = self.command();
        let log = self.log_file();
        self.child = Some(Child::spawn_to("forebay", &command, &log, output.into(), errors.into()));
    }

    /// Writes the configuration file, which a start does by itself. Its path.
    pub fn write_config(&self) -> PathBuf {
        let config = self.dir.path().join("forebay.toml");
        fs::write(&config, self.config()).expect("the configuration");
        config
    }

    /// The command line and the environment of the next start; writes the configuration.
    fn command(&self) -> Command {
        assert!(self.child.is_none(), "forebay is already started");
        let config = self.write_config();
        let mut command = Command::new("sh");
        command.args(["-c", DEFAULT_LIMITS, "sh"]).arg(&self.binary);
        command.args(&self.arguments).arg("--config").arg(&config).current_dir(self.dir.path());
        // The environment of the test run is not the daemon's: only what the test sets.
        for (key, _) in env::vars_os() {
            let foreign = key.to_str().is_some_and(is_configuration);
            if foreign {
                command.env_remove(key);
            }
        }
        command.envs(&self.environment);
        command
    }

    /// Returns when `GET /readyz` on the admin listener, which every role opens, answers 200.
    pub fn await_ready(&mut self) {
        self.try_await_ready().unwrap_or_else(|ended| panic!("{ended}"));
    }

    /// The same; an error when it ended before that.
    pub fn try_await_ready(&mut self) -> Result<(), String> {
        wait::until("forebay is ready", READY_WITHIN, || {
            if let Some(status) = self.running().ended() {
                return Some(Err(format!("forebay ended ({status}):\n{}", self.running().log_tail())));
            }
            self.admin_http().get("/readyz").is_ok_and(|response| response.status == 200).then_some(Ok(()))
        })
    }

    /// Kills it (SIGKILL).
    pub fn kill(&mut self) {
        self.running().kill();
        self.child = None;
    }

    /// Asks it to stop (SIGTERM) and returns how it ended.
    pub fn terminate(&mut self) -> ExitStatus {
        let status = self.running().terminate(STOP_WITHIN);
        self.child = None;
        status
    }

    /// Waits for it to end by itself; ends the test when it is still there after `within`.
    pub fn wait(&mut self, within: Duration) -> ExitStatus {
        let status = self.running().wait(within);
        let status = status.unwrap_or_else(|| panic!("forebay still runs after {within:?}"));
        self.child = None;
        status
    }

    /// How it ended, if it was started and has ended by itself.
    pub fn ended(&mut self) -> Option<ExitStatus> {
        let status = self.child.as_mut()?.ended()?;
        self.child = None;
        Some(status)
    }

    /// Stops it where it is (SIGSTOP).
    pub fn freeze(&mut self) {
        self.running().freeze();
    }

    /// Lets it go on after [`Forebay::freeze`].
    pub fn thaw(&mut self) {
        self.running().thaw();
    }

    /// Stops it in an orderly way and starts it again with the same data and ports.
    pub fn restart(&mut self) {
        let status = self.terminate();
        assert!(status.success(), "forebay ended with {status}:\n{}", self.log());
        self.start();
    }

    /// Sends it a signal by its name without `SIG`.
    pub fn signal(&mut self, signal: &str) {
        self.running().signal(signal);
    }

    /// Its process id; ends the test when it does not run.
    pub fn pid(&mut self) -> u32 {
        self.running().pid()
    }

    /// The number of its thread of this name, as soon as there is one: workers begin after READY.
    pub fn thread(&mut self, name: &str) -> u32 {
        let tasks = format!("/proc/{}/task", self.pid());
        let named =
            |path: &PathBuf| fs::read_to_string(path.join("comm")).is_ok_and(|comm| comm.trim_end() == name);
        wait::until(&format!("thread {name}"), READY_WITHIN, || {
            let path = fs::read_dir(&tasks).ok()?.flatten().map(|task| task.path()).find(named)?;
            path.file_name()?.to_str()?.parse().ok()
        })
    }

    /// A client of the public listener.
    pub fn http(&self) -> Client {
        Client::new(&self.address())
    }

    /// A client of the admin listener.
    pub fn admin_http(&self) -> Client {
        Client::new(&self.admin_address())
    }

    /// The public listener.
    pub fn address(&self) -> String {
        self.public.address()
    }

    /// The admin listener.
    pub fn admin_address(&self) -> String {
        self.admin.address()
    }

    /// Where it runs; files of a test's own may lie there too.
    pub fn dir(&self) -> &Path {
        self.dir.path()
    }

    /// The directory of its log.
    pub fn wal_dir(&self) -> PathBuf {
        self.dir.path().join("wal")
    }

    /// What it wrote to stdout and stderr, over all its lives.
    pub fn log(&self) -> String {
        fs::read_to_string(self.log_file()).unwrap_or_default()
    }

    fn log_file(&self) -> PathBuf {
        self.dir.path().join("forebay.log")
    }

    /// TOML. Strings, numbers, booleans and arrays are written in it as in JSON.
    fn config(&self) -> String {
        let line = |(key, value): (&String, &Value)| format!("{key} = {value}\n");
        let settings: String = self.settings.iter().map(line).collect();
        settings + "\n" + &self.toml
    }

    fn running(&mut self) -> &mut Child {
        self.child.as_mut().expect("forebay is started")
    }
}

/// Variables the daemon takes for its configuration, or for systemd's.
fn is_configuration(key: &str) -> bool {
    key.starts_with("FOREBAY_")
        || key.starts_with("LISTEN_")
        || matches!(key, "NOTIFY_SOCKET" | "WATCHDOG_USEC" | "WATCHDOG_PID" | "CREDENTIALS_DIRECTORY")
}
