//! A process that a test starts: a broker, a database, the daemon.
//!
//! It ends with the test. Dropping the handle kills the process by its pid, also while a panic unwinds. If the test
//! process itself is killed, the kernel kills the child (`setpriv --pdeathsig`, which sets this and then becomes the
//! program, so that the pid is the program's own).

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus, Stdio};
use std::sync::{OnceLock, mpsc};
use std::time::Duration;
use std::{fs, io, process, thread};

use super::wait;

/// Timeout for freezing. Stopping all threads of a process takes well under a millisecond, unless it waits for a disk.
const FREEZE_TIMEOUT: Duration = Duration::from_secs(10);

/// Number of log lines shown on failure: enough to see why a process ended, few enough to read.
const LOG_TAIL_LINES: usize = 60;

/// A running or ended process whose output goes to a file.
pub struct Child {
    name: String,
    process: process::Child,
    log: PathBuf,
}

impl Child {
    /// Starts `command` without input. Its output is appended to the file `log`.
    pub fn spawn(name: &str, command: &Command, log: &Path) -> Child {
        Child::spawn_to(name, command, log, open_log(log).into(), open_log(log).into())
    }

    /// Like [`Child::spawn`], with other targets for standard output and standard error; `log` lacks output that goes
    /// there.
    pub fn spawn_to(name: &str, command: &Command, log: &Path, output: Stdio, errors: Stdio) -> Child {
        let mut tied = tied_to_this_process(command);
        tied.stdin(Stdio::null()).stdout(output).stderr(errors);
        let process = spawn_from_lasting_thread(tied)
            .unwrap_or_else(|error| panic!("{name} does not start ({command:?}): {error}"));
        Child { name: name.to_owned(), process, log: log.to_owned() }
    }

    /// Like [`Child::spawn`], but returns a pipe with its standard output.
    pub fn spawn_piped(name: &str, command: &Command, log: &Path) -> (Child, process::ChildStdout) {
        let mut child = Child::spawn_to(name, command, log, Stdio::piped(), open_log(log).into());
        let output = child.process.stdout.take().expect("the output is a pipe");
        (child, output)
    }

    /// Its process id.
    pub fn pid(&self) -> u32 {
        self.process.id()
    }

    /// The exit status, if the process has ended.
    pub fn ended(&mut self) -> Option<ExitStatus> {
        self.process.try_wait().expect("the child's status")
    }

    /// Waits up to `within` for the process to end, and returns its exit status.
    pub fn wait(&mut self, within: Duration) -> Option<ExitStatus> {
        wait::poll(within, || self.ended())
    }

    /// Asks the process to end (SIGTERM), and waits. Fails the test if it still runs after `within`.
    pub fn terminate(&mut self, within: Duration) -> ExitStatus {
        if self.ended().is_none() {
            self.signal("TERM");
        }
        self.wait(within).unwrap_or_else(|| panic!("{} still runs {within:?} after SIGTERM", self.name))
    }

    /// Kills the process (SIGKILL), and waits until it has ended.
    pub fn kill(&mut self) -> ExitStatus {
        // Fails only for a process that has ended and is already waited for.
        let _ = self.process.kill();
        self.process.wait().expect("waiting for a killed child")
    }

    /// Freezes the process (SIGSTOP). Returns when none of its threads runs any more.
    pub fn freeze(&mut self) {
        self.signal("STOP");
        let tasks = PathBuf::from(format!("/proc/{}/task", self.pid()));
        wait::until_true(&format!("{} is frozen", self.name), FREEZE_TIMEOUT, || all_stopped(&tasks));
    }

    /// Resumes the process (SIGCONT) after [`Child::freeze`].
    pub fn thaw(&mut self) {
        self.signal("CONT");
    }

    /// Sends a signal, named without `SIG`. Fails the test if the process has ended.
    pub fn signal(&mut self, signal: &str) {
        // The pid cannot be reused until the process is waited for, which only `ended` does.
        if let Some(status) = self.ended() {
            panic!("{} has ended ({status}) before SIG{signal}:\n{}", self.name, self.log_tail());
        }
        let sent = Command::new("sh")
            .args(["-c", r#"kill -s "$1" "$2""#, "sh", signal, &self.pid().to_string()])
            .status()
            .expect("sh runs");
        assert!(sent.success(), "SIG{signal} to {}", self.name);
    }

    /// The whole output so far.
    pub fn log(&self) -> String {
        let bytes = fs::read(&self.log).unwrap_or_default();
        String::from_utf8_lossy(&bytes).into_owned()
    }

    /// The last lines of the output.
    pub fn log_tail(&self) -> String {
        let log = self.log();
        let lines: Vec<&str> = log.lines().collect();
        lines[lines.len().saturating_sub(LOG_TAIL_LINES)..].join("\n")
    }
}

impl Drop for Child {
    fn drop(&mut self) {
        let status = self.kill();
        if thread::panicking() {
            eprintln!("--- {} ({status}), its last lines:\n{}\n---", self.name, self.log_tail());
        }
    }
}

fn open_log(log: &Path) -> File {
    // Each handle appends, so that two handles do not overwrite each other's output.
    File::options().create(true).append(true).open(log).expect("the log file of a child opens")
}

/// Whether every thread under a `/proc/PID/task` is stopped.
fn all_stopped(tasks: &Path) -> bool {
    let Ok(entries) = fs::read_dir(tasks) else { return false };
    entries.flatten().all(|task| {
        let stat = fs::read_to_string(task.path().join("stat")).unwrap_or_default();
        // "pid (name) state …", where the name may contain any character. A thread that just ended has no line.
        stat.rsplit_once(')').is_none_or(|(_, rest)| rest.trim_start().starts_with('T'))
    })
}

/// The same command, which the kernel kills when its parent ends.
fn tied_to_this_process(command: &Command) -> Command {
    let mut tied = Command::new("setpriv");
    tied.args(["--pdeathsig", "KILL", "--"]).arg(command.get_program()).args(command.get_args());
    for (key, value) in command.get_envs() {
        match value {
            Some(value) => tied.env(key, value),
            None => tied.env_remove(key),
        };
    }
    if let Some(dir) = command.get_current_dir() {
        tied.current_dir(dir);
    }
    tied
}

/// Starts a process from a thread that lives as long as this process. For the kernel, the "parent" whose end kills the
/// child is the *thread* that started it, and a test's thread ends before a service that tests share.
fn spawn_from_lasting_thread(command: Command) -> io::Result<process::Child> {
    type Request = (Command, mpsc::Sender<io::Result<process::Child>>);
    static SPAWNER: OnceLock<mpsc::Sender<Request>> = OnceLock::new();
    let spawner = SPAWNER.get_or_init(|| {
        let (sender, requests) = mpsc::channel::<Request>();
        thread::spawn(move || {
            for (mut command, answer) in requests {
                // Fails only if the requesting thread has ended.
                let _ = answer.send(command.spawn());
            }
        });
        sender
    });
    let (answer, process) = mpsc::channel();
    spawner.send((command, answer)).expect("the spawning thread runs");
    process.recv().expect("the spawning thread replies")
}
