//! A process that a test starts: a broker, a database, the daemon itself.
//!
//! It ends with the test. Dropping kills it by its own pid, also while a panic unwinds; and should the test process
//! itself be killed, the kernel kills the child (`setpriv --pdeathsig`, which sets that and then becomes the program,
//! so that the pid is the program's own).

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus, Stdio};
use std::sync::{OnceLock, mpsc};
use std::time::Duration;
use std::{fs, io, process, thread};

use super::wait;

/// Stopping all threads of a process takes well under a millisecond, unless it waits for a disk.
const FREEZE_WITHIN: Duration = Duration::from_secs(10);

/// Enough of a log to see why a process ended, little enough to be read.
const LOG_TAIL_LINES: usize = 60;

/// A running or ended process whose output goes to a file.
pub struct Child {
    name: String,
    process: process::Child,
    log: PathBuf,
}

impl Child {
    /// Starts `command` without input, its output appended to the file `log`.
    pub fn spawn(name: &str, command: &Command, log: &Path) -> Child {
        Child::spawn_to(name, command, log, open_log(log).into(), open_log(log).into())
    }

    /// Like [`Child::spawn`], with its output and its errors to these; `log` shows nothing of what goes elsewhere.
    pub fn spawn_to(name: &str, command: &Command, log: &Path, output: Stdio, errors: Stdio) -> Child {
        let mut tied = tied_to_this_process(command);
        tied.stdin(Stdio::null()).stdout(output).stderr(errors);
        let process = spawn_from_lasting_thread(tied)
            .unwrap_or_else(|error| panic!("{name} does not start ({command:?}): {error}"));
        Child { name: name.to_owned(), process, log: log.to_owned() }
    }

    /// Like [`Child::spawn`], but its standard output comes here.
    pub fn spawn_piped(name: &str, command: &Command, log: &Path) -> (Child, process::ChildStdout) {
        let mut child = Child::spawn_to(name, command, log, Stdio::piped(), open_log(log).into());
        let output = child.process.stdout.take().expect("a pipe was asked for");
        (child, output)
    }

    /// Its process id.
    pub fn pid(&self) -> u32 {
        self.process.id()
    }

    /// How it ended, if it has.
    pub fn ended(&mut self) -> Option<ExitStatus> {
        self.process.try_wait().expect("asking for a child's status")
    }

    /// How it ended, waiting for that up to `within`.
    pub fn wait(&mut self, within: Duration) -> Option<ExitStatus> {
        wait::poll(within, || self.ended())
    }

    /// Asks it to end (SIGTERM) and waits; ends the test when it is still there after `within`.
    pub fn terminate(&mut self, within: Duration) -> ExitStatus {
        if self.ended().is_none() {
            self.signal("TERM");
        }
        self.wait(within).unwrap_or_else(|| panic!("{} goes on {within:?} after SIGTERM", self.name))
    }

    /// Kills it (SIGKILL) and waits until it is gone.
    pub fn kill(&mut self) -> ExitStatus {
        // Fails only for a process that has ended and is already waited for.
        let _ = self.process.kill();
        self.process.wait().expect("waiting for a killed child")
    }

    /// Stops it where it is (SIGSTOP); returns when none of its threads runs any more.
    pub fn freeze(&mut self) {
        self.signal("STOP");
        let tasks = PathBuf::from(format!("/proc/{}/task", self.pid()));
        wait::until_true(&format!("{} is frozen", self.name), FREEZE_WITHIN, || all_stopped(&tasks));
    }

    /// Lets it go on (SIGCONT) after [`Child::freeze`].
    pub fn thaw(&mut self) {
        self.signal("CONT");
    }

    /// Sends a signal by its name without `SIG`; ends the test when the process is gone.
    pub fn signal(&mut self, signal: &str) {
        // Until it is waited for the pid cannot become another process'; `ended` is what waits for it.
        if let Some(status) = self.ended() {
            panic!("{} has ended ({status}) before SIG{signal}:\n{}", self.name, self.log_tail());
        }
        let sent = Command::new("sh")
            .args(["-c", r#"kill -s "$1" "$2""#, "sh", signal, &self.pid().to_string()])
            .status()
            .expect("sh runs");
        assert!(sent.success(), "SIG{signal} to {}", self.name);
    }

    /// All it has written so far.
    pub fn log(&self) -> String {
        let bytes = fs::read(&self.log).unwrap_or_default();
        String::from_utf8_lossy(&bytes).into_owned()
    }

    /// The last lines it has written.
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
    // Each handle appends, so that two of them do not overwrite each other.
    File::options().create(true).append(true).open(log).expect("the log file of a child opens")
}

/// True when every thread under a `/proc/PID/task` is stopped.
fn all_stopped(tasks: &Path) -> bool {
    let Ok(entries) = fs::read_dir(tasks) else { return false };
    entries.flatten().all(|task| {
        let stat = fs::read_to_string(task.path().join("stat")).unwrap_or_default();
        // "pid (name) state …", where the name may hold anything. A thread that just ended has no line.
        stat.rsplit_once(')').is_none_or(|(_, rest)| rest.trim_start().starts_with('T'))
    })
}

/// The same command, killed by the kernel when its parent dies.
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

/// Starts a process from a thread that lives as long as this process. To the kernel the "parent" whose death kills the
/// child is the *thread* that started it, and the thread of a test ends before a service that tests share may.
fn spawn_from_lasting_thread(command: Command) -> io::Result<process::Child> {
    type Request = (Command, mpsc::Sender<io::Result<process::Child>>);
    static SPAWNER: OnceLock<mpsc::Sender<Request>> = OnceLock::new();
    let spawner = SPAWNER.get_or_init(|| {
        let (sender, requests) = mpsc::channel::<Request>();
        thread::spawn(move || {
            for (mut command, answer) in requests {
                // Nobody waits any more only if the asking thread is gone.
                let _ = answer.send(command.spawn());
            }
        });
        sender
    });
    let (answer, process) = mpsc::channel();
    spawner.send((command, answer)).expect("the spawning thread lives");
    process.recv().expect("the spawning thread answers")
}
