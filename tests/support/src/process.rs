//! The daemon as a process: the real binary, with its own configuration, data directory and ports.
//!
//! ```ignore
//! let mut forebay = Forebay::new(env!("CARGO_BIN_EXE_forebay")).set("kafka.brokers", cluster.bootstrap());
//! forebay.start();
//! let response = forebay.http().post("/v1/commands/order.create", r#"{"id":"1","amount":1}"#);
//! forebay.kill();
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

/// Timeout for a start, which takes tens of milliseconds; the cores may also compile and run brokers.
const READY_TIMEOUT: Duration = Duration::from_secs(60);

/// Above the daemon's own `shutdown_grace` (30 s), so that the daemon's deadline ends first, not the test's.
const STOP_TIMEOUT: Duration = Duration::from_secs(60);

/// The default limits of a shell or systemd: 1,024 descriptors, and files that other users may read. The shell becomes
/// the daemon, so that the pid is the daemon's.
const DEFAULT_LIMITS: &str = r#"umask 022 && ulimit -S -n 1024 && exec "$@""#;

/// The daemon, running or not.
pub struct Forebay {
    // First, so that it has ended before its ports are released and its directory is removed.
    child: Option<Child>,
    binary: PathBuf,
    arguments: Vec<String>,
    settings: BTreeMap<String, Value>,
    toml: String,
    environment: BTreeMap<String, String>,
    public: Port,
    admin: Port,
    dir: TempDir,
    /// Other daemons that live as long as this one.
    companions: Vec<Forebay>,
}

impl Forebay {
    /// A daemon that is not started yet, with a directory of its own: `forebay serve`, the embedded broker, and ports
    /// that stay the same over restarts.
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

    /// Sets `section.key` of the configuration, replacing an earlier value.
    pub fn set(mut self, key: &str, value: impl Into<Value>) -> Forebay {
        self.configure(key, value);
        self
    }

    /// Appends TOML text, such as `[[kinds]]` tables.
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

    /// Keeps another daemon running as long as this one.
    pub fn with_companion(mut self, other: Forebay) -> Forebay {
        self.companions.push(other);
        self
    }

    /// Replaces the subcommand and its arguments; `--config FILE` is added.
    pub fn args(mut self, arguments: &[&str]) -> Forebay {
        self.arguments = arguments.iter().map(|argument| String::from(*argument)).collect();
        self
    }

    /// Starts the daemon through another program that becomes the daemon: `prlimit`, `setpriv`.
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

    /// Removes a setting.
    pub fn unset(&mut self, key: &str) {
        self.settings.remove(key);
    }

    /// Starts the daemon and returns when it is ready. Fails the test, with the daemon's output, if it does not become
    /// ready.
    pub fn start(&mut self) {
        self.launch();
        self.await_ready();
    }

    /// Starts the daemon without waiting, for a start that should fail or be observed.
    pub fn launch(&mut self) {
        let command = self.command();
        self.child = Some(Child::spawn("forebay", &command, &self.log_file()));
    }

    /// Like [`Forebay::launch`], with other targets for standard output and standard error.
    pub fn launch_to(&mut self, output: impl Into<Stdio>, errors: impl Into<Stdio>) {
        let command = self.command();
        let log = self.log_file();
        self.child = Some(Child::spawn_to("forebay", &command, &log, output.into(), errors.into()));
    }

    /// Writes the configuration file, which a start also does. Returns its path.
    pub fn write_config(&self) -> PathBuf {
        let config = self.dir.path().join("forebay.toml");
        fs::write(&config, self.config()).expect("the configuration");
        config
    }

    /// The command line and the environment of the next start. Writes the configuration.
    fn command(&self) -> Command {
        assert!(self.child.is_none(), "forebay is already started");
        let config = self.write_config();
        let mut command = Command::new("sh");
        command.args(["-c", DEFAULT_LIMITS, "sh"]).arg(&self.binary);
        command.args(&self.arguments).arg("--config").arg(&config).current_dir(self.dir.path());
        // The daemon gets only variables that the test sets, not those of the test run.
        for (key, _) in env::vars_os() {
            let foreign = key.to_str().is_some_and(is_configuration);
            if foreign {
                command.env_remove(key);
            }
        }
        command.envs(&self.environment);
        command
    }

    /// Returns when `GET /readyz` on the admin listener, which every role opens, returns 200.
    pub fn await_ready(&mut self) {
        self.try_await_ready().unwrap_or_else(|ended| panic!("{ended}"));
    }

    /// Does the same. Returns an error if the daemon ended before.
    pub fn try_await_ready(&mut self) -> Result<(), String> {
        wait::until("forebay is ready", READY_TIMEOUT, || {
            if let Some(status) = self.running().ended() {
                return Some(Err(format!("forebay ended ({status}):\n{}", self.running().log_tail())));
            }
            self.admin_http().get("/readyz").is_ok_and(|response| response.status == 200).then_some(Ok(()))
        })
    }

    /// Kills the daemon (SIGKILL).
    pub fn kill(&mut self) {
        self.running().kill();
        self.child = None;
    }

    /// Stops the daemon (SIGTERM) and returns its exit status.
    pub fn terminate(&mut self) -> ExitStatus {
        let status = self.running().terminate(STOP_TIMEOUT);
        self.child = None;
        status
    }

    /// Waits for the daemon to end by itself. Fails the test if it still runs after `within`.
    pub fn wait(&mut self, within: Duration) -> ExitStatus {
        let status = self.running().wait(within);
        let status = status.unwrap_or_else(|| panic!("forebay still runs after {within:?}"));
        self.child = None;
        status
    }

    /// The exit status, if the daemon was started and has ended by itself.
    pub fn ended(&mut self) -> Option<ExitStatus> {
        let status = self.child.as_mut()?.ended()?;
        self.child = None;
        Some(status)
    }

    /// Freezes the daemon (SIGSTOP).
    pub fn freeze(&mut self) {
        self.running().freeze();
    }

    /// Resumes the daemon after [`Forebay::freeze`].
    pub fn thaw(&mut self) {
        self.running().thaw();
    }

    /// Stops the daemon in an orderly way and starts it again with the same data and ports.
    pub fn restart(&mut self) {
        let status = self.terminate();
        assert!(status.success(), "forebay ended with {status}:\n{}", self.log());
        self.start();
    }

    /// Sends a signal, named without `SIG`.
    pub fn signal(&mut self, signal: &str) {
        self.running().signal(signal);
    }

    /// The process id. Fails the test if the daemon does not run.
    pub fn pid(&mut self) -> u32 {
        self.running().pid()
    }

    /// The id of the daemon's thread with this name. Waits for it, because workers start after READY.
    pub fn thread(&mut self, name: &str) -> u32 {
        let tasks = format!("/proc/{}/task", self.pid());
        let named =
            |path: &PathBuf| fs::read_to_string(path.join("comm")).is_ok_and(|comm| comm.trim_end() == name);
        wait::until(&format!("thread {name}"), READY_TIMEOUT, || {
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

    /// The address of the public listener.
    pub fn address(&self) -> String {
        self.public.address()
    }

    /// The address of the admin listener.
    pub fn admin_address(&self) -> String {
        self.admin.address()
    }

    /// The daemon's working directory; a test may put files there too.
    pub fn dir(&self) -> &Path {
        self.dir.path()
    }

    /// The directory of its log.
    pub fn wal_dir(&self) -> PathBuf {
        self.dir.path().join("wal")
    }

    /// The output to stdout and stderr of all its runs.
    pub fn log(&self) -> String {
        fs::read_to_string(self.log_file()).unwrap_or_default()
    }

    fn log_file(&self) -> PathBuf {
        self.dir.path().join("forebay.log")
    }

    /// The configuration as TOML. Strings, numbers, booleans and arrays have the same form as in JSON.
    fn config(&self) -> String {
        let line = |(key, value): (&String, &Value)| format!("{key} = {value}\n");
        let settings: String = self.settings.iter().map(line).collect();
        settings + "\n" + &self.toml
    }

    fn running(&mut self) -> &mut Child {
        self.child.as_mut().expect("forebay is started")
    }
}

/// Whether the variable belongs to the daemon's configuration or to systemd.
fn is_configuration(key: &str) -> bool {
    key.starts_with("FOREBAY_")
        || key.starts_with("LISTEN_")
        || matches!(key, "NOTIFY_SOCKET" | "WATCHDOG_USEC" | "WATCHDOG_PID" | "CREDENTIALS_DIRECTORY")
}
