//! The shipped units under a real systemd, which is process 1 of its own namespaces. Needs root, or sudo without a
//! password, and a kernel that allows it to mount. Otherwise the tests report that they checked nothing.

use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::atomic::{AtomicBool, Ordering};
use std::{fs, io, thread};

use serde_json::Value;

use support::child::Child;
use support::http::Client;
use support::ports::Port;
use support::{scratch, wait};
use tempfile::TempDir;

use crate::LONG;

/// Units that forebay's units name and that are empty here.
const TARGETS: [&str; 8] =
    ["sysinit", "basic", "sockets", "shutdown", "multi-user", "network-online", "local-fs", "test"];

const ORDER: &str = r#"{"id":"o-1","amount":1}"#;

/// Messages of systemd about the unit, and the daemon's own lines, go to one file.
const LOG_TO_FILE: &str = "[Service]\nStandardOutput=append:{log}\nStandardError=append:{log}\n";

#[test]
fn the_service_starts_reloads_and_stops() {
    let Some(system) = Systemd::boot("the_service_starts_reloads_and_stops") else { return };
    system.does(&["start", "forebay.service"]);
    assert_eq!(system.property("forebay.service", "ActiveState"), "active");
    assert_eq!(system.public().post("/v1/commands/order.create", ORDER).unwrap().status, 202);

    system.configure("[rate_limit]\nwrite_limit = 777\n");
    system.does(&["reload", "forebay.service"]);
    let limit =
        || system.admin().get("/admin/ratelimit/write").ok().map(|answer| answer.json()["limit"].clone());
    wait::until_true("the new limit applies", LONG, || limit().is_some_and(|limit| limit == 777));

    system.does(&["stop", "forebay.service"]);
    assert_eq!(system.property("forebay.service", "Result"), "success");
    assert_eq!(system.property("forebay.service", "NRestarts"), "0");
}

#[test]
fn a_daemon_that_hangs_is_restarted() {
    let Some(system) = Systemd::boot("a_daemon_that_hangs_is_restarted") else { return };
    system.drop_in("forebay.service", "[Service]\nWatchdogSec=2s\nRestartSec=100ms\n");
    system.does(&["start", "forebay.service"]);
    let hung = system.property("forebay.service", "MainPID");
    assert!(system.run("kill", &["-STOP", &hung]).status.success());
    wait::until_true("another daemon runs", LONG, || {
        system.property("forebay.service", "NRestarts") == "1"
            && system.property("forebay.service", "ActiveState") == "active"
    });
    assert_ne!(system.property("forebay.service", "MainPID"), hung);
    assert_eq!(system.public().post("/v1/commands/order.create", ORDER).unwrap().status, 202);
}

#[test]
fn the_socket_unit_refuses_no_connection_while_the_service_restarts() {
    let Some(system) = Systemd::boot("the_socket_unit_refuses_no_connection_while_the_service_restarts")
    else {
        return;
    };
    let addresses =
        [system.public.address(), system.admin.address()].map(|it| format!("ListenStream={it}\n"));
    // An empty assignment clears the addresses of the unit.
    system.drop_in("forebay.socket", &format!("[Socket]\nListenStream=\n{}", addresses.concat()));
    system.does(&["start", "forebay.socket"]);
    assert_eq!(system.property("forebay.service", "ActiveState"), "inactive");
    let over = AtomicBool::new(false);
    thread::scope(|scope| {
        let client = scope.spawn(|| {
            // The first connection starts the service.
            while !over.load(Ordering::Relaxed) {
                let answer = system.public().with_read_within(LONG).post("/v1/commands/order.create", ORDER);
                assert_eq!(answer.expect("refused while the service restarted").status, 202);
            }
        });
        for _ in 0..3 {
            wait::until_true("the service runs", LONG, || {
                client.is_finished() || system.property("forebay.service", "ActiveState") == "active"
            });
            system.does(&["restart", "forebay.service"]);
        }
        over.store(true, Ordering::Relaxed);
    });
}

#[test]
fn the_encryption_key_is_a_credential_readable_by_root_only() {
    let Some(system) = Systemd::boot("the_encryption_key_is_a_credential_readable_by_root_only") else {
        return;
    };
    let key = system.etc().join("wal.key");
    fs::write(&key, format!("{}\n", "5a".repeat(32))).unwrap();
    fs::set_permissions(&key, PermissionsExt::from_mode(0o600)).unwrap();
    as_root(&["chown", "root:root", key.to_str().unwrap()]).output().unwrap();
    // The lines that the unit contains as comments.
    let unit = include_str!("../../systemd/forebay.service");
    let lines = unit.lines().filter_map(|line| line.strip_prefix('#'));
    let lines: Vec<_> =
        lines.filter(|line| line.starts_with("LoadCredential=") || line.contains("=%d/")).collect();
    assert_eq!(lines.len(), 2, "{lines:?}");
    system.drop_in("forebay.service", &format!("[Service]\n{}\n", lines.join("\n")));
    system.does(&["start", "forebay.service"]);
    assert_eq!(system.public().post("/v1/commands/order.create", ORDER).unwrap().status, 202);
    assert!(system.log().contains("wal.encryption_on"), "{}", system.log());
    let read = system.run("setpriv", &["--reuid=forebay", "--clear-groups", "cat", "/etc/forebay/wal.key"]);
    assert!(!read.status.success(), "the service's user can read the key file");
}

#[test]
fn the_journal_has_the_priority_of_each_line() {
    let Some(system) = Systemd::boot("the_journal_has_the_priority_of_each_line") else { return };
    system.start_journal();
    system.drop_in("forebay.service", "[Service]\nStandardError=journal\n");
    system.does(&["start", "forebay.service"]);
    // A change that needs a restart is logged as a warning.
    system.configure("[wal]\nsegment_size = \"32MiB\"\n");
    system.does(&["reload", "forebay.service"]);
    wait::until_true("the warning is in the journal", LONG, || {
        system.journal("warning").iter().any(|line| line["event"] == "config.restart_needed")
    });
    let (all, warnings) = (system.journal("debug"), system.journal("warning"));
    let is_ready = |line: &Value| line["event"] == "daemon.ready";
    assert!(all.iter().any(is_ready) && !warnings.iter().any(is_ready), "{all:?}");
    assert!(warnings.iter().all(|line| line["level"] != "INFO"), "{warnings:?}");
    system.does(&["stop", "forebay.service"]);
}

#[test]
fn the_consumer_waits_for_its_dependencies() {
    let Some(system) = Systemd::boot("the_consumer_waits_for_its_dependencies") else { return };
    let nowhere = Port::free();
    let address = nowhere.address();
    system.configure(&format!(
        "[kafka]\nbrokers = \"{address}\"\n[database]\nurl = \"mysql://forebay@{address}/forebay\"\n"
    ));
    let admin = format!("[Service]\nEnvironment=FOREBAY__SERVER__ADMIN_LISTEN={}\n", system.admin.address());
    system.drop_in("forebay-consumer.service", &admin);
    system.does(&["start", "forebay-consumer.service"]);
    wait::until_true("the database is reported as unavailable", LONG, || {
        system.admin().get("/readyz").unwrap().json()["dependencies"]["database"] != "ok"
    });
    system.does(&["stop", "forebay-consumer.service"]);
    assert_eq!(system.property("forebay-consumer.service", "Result"), "success");
}

/// A systemd with forebay's units.
struct Systemd {
    namespaces: Child,
    /// Process 1, as numbered outside the namespace.
    manager: u32,
    share: TempDir,
    public: Port,
    admin: Port,
}

impl Systemd {
    /// Boots it. `None` if the machine does not allow it.
    fn boot(test: &str) -> Option<Systemd> {
        let (share, [public, admin]) = (scratch::dir("systemd"), [Port::free(), Port::free()]);
        fs::set_permissions(share.path(), PermissionsExt::from_mode(0o755)).unwrap();
        write_units(share.path());
        let tests = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests");
        let (own_cgroup, boot) = (tests.join("support/own-cgroup"), tests.join("systemd/boot"));
        let mut command =
            as_root(&[own_cgroup.to_str().unwrap(), "unshare", "--pid", "--fork", "--kill-child"]);
        command.args(["--mount", "--mount-proc", "--cgroup", "--ipc", "--uts"]).arg(boot).arg(share.path());
        command.args([env!("CARGO_MANIFEST_DIR"), env!("CARGO_BIN_EXE_forebay")]);
        let mut namespaces = Child::spawn("systemd", &command, &share.path().join("boot.log"));
        let manager = wait::until("systemd runs, or cannot", LONG, || match namespaces.ended() {
            Some(_) => Some(None),
            None => descendant(namespaces.pid()).map(Some),
        });
        let Some(manager) = manager else {
            // Not `eprintln!`: the test harness shows its output only for failed tests.
            let why = namespaces.log_tail();
            let note = format!("NOT CHECKED: {test}: systemd does not run in a namespace here: {why}\n");
            io::stderr().write_all(note.as_bytes()).unwrap();
            return None;
        };
        let system = Systemd { namespaces, manager, share, public, admin };
        system.configure("");
        wait::until_true("systemd answers", LONG, || system.systemctl(&["show"]).status.success());
        Some(system)
    }

    /// Runs a command inside, as root.
    fn run(&self, program: &str, arguments: &[&str]) -> Output {
        let manager = self.manager.to_string();
        let enter = ["nsenter", "-t", &manager, "--pid", "--mount", "--cgroup", "--ipc", "--uts", program];
        as_root(&enter).args(arguments).output().unwrap()
    }

    fn systemctl(&self, arguments: &[&str]) -> Output {
        self.run("systemctl", arguments)
    }

    /// Runs systemctl. If it fails, ends the test with the output of the services.
    fn does(&self, arguments: &[&str]) {
        let output = self.systemctl(arguments);
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "systemctl {arguments:?}: {said}\n{}", self.log());
    }

    fn property(&self, unit: &str, name: &str) -> String {
        let output = self.systemctl(&["show", unit, "--value", "--property", name]);
        String::from_utf8(output.stdout).unwrap().trim().to_owned()
    }

    /// Adds a drop-in to a unit.
    fn drop_in(&self, unit: &str, text: &str) {
        drop_in(self.share.path(), unit, "test", text);
        self.does(&["daemon-reload"]);
    }

    /// Writes the configuration: the ports of this test, and `more`.
    fn configure(&self, more: &str) {
        let (listen, admin) = (self.public.address(), self.admin.address());
        let text = format!("[server]\nlisten = \"{listen}\"\nadmin_listen = \"{admin}\"\n{more}");
        fs::write(self.etc().join("forebay.toml"), text).unwrap();
    }

    /// Starts a journald inside the namespace.
    fn start_journal(&self) {
        let units = self.share.path().join("units");
        for unit in ["journald.service", "journald.socket", "journald-dev-log.socket"] {
            let unit = format!("systemd-{unit}");
            fs::copy(Path::new("/lib/systemd/system").join(&unit), units.join(unit)).unwrap();
        }
        self.does(&["daemon-reload"]);
        self.does(&["start", "systemd-journald.service"]);
    }

    /// The daemon's lines of at least this priority.
    fn journal(&self, priority: &str) -> Vec<Value> {
        let output = self.run("journalctl", &["-u", "forebay", "-p", priority, "-o", "cat", "--no-pager"]);
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        // Lines of process 1 are not JSON objects.
        text.lines().filter_map(|line| serde_json::from_str(line).ok()).collect()
    }

    /// `/etc/forebay`.
    fn etc(&self) -> PathBuf {
        self.share.path().join("etc")
    }

    /// Output of the services. The file belongs to root.
    fn log(&self) -> String {
        let log = self.share.path().join("log");
        let output = as_root(&["cat", log.to_str().unwrap()]).output().unwrap();
        String::from_utf8_lossy(&output.stdout).into_owned()
    }

    fn public(&self) -> Client {
        Client::new(&self.public.address())
    }

    fn admin(&self) -> Client {
        Client::new(&self.admin.address())
    }
}

impl Drop for Systemd {
    fn drop(&mut self) {
        // The end of process 1 ends everything inside.
        let _ = as_root(&["kill", "-KILL", &self.manager.to_string()]).output();
        self.namespaces.wait(LONG);
    }
}

fn write_units(share: &Path) {
    let units = share.join("units");
    fs::create_dir_all(&units).unwrap();
    fs::create_dir_all(share.join("etc")).unwrap();
    for target in TARGETS {
        fs::write(units.join(format!("{target}.target")), "[Unit]\nDefaultDependencies=no\n").unwrap();
    }
    let ours = Path::new(env!("CARGO_MANIFEST_DIR")).join("systemd");
    for unit in ["forebay.service", "forebay.socket", "forebay-consumer.service"] {
        fs::copy(ours.join(unit), units.join(unit)).unwrap();
    }
    let log = LOG_TO_FILE.replace("{log}", share.join("log").to_str().unwrap());
    drop_in(share, "forebay.service", "log", &log);
    drop_in(share, "forebay-consumer.service", "log", &log);
}

fn drop_in(share: &Path, unit: &str, name: &str, text: &str) {
    let dir = share.join("units").join(format!("{unit}.d"));
    fs::create_dir_all(&dir).unwrap();
    fs::write(dir.join(format!("{name}.conf")), text).unwrap();
}

/// A command as root, directly or by sudo, which fails if it needs a password.
fn as_root(command: &[&str]) -> Command {
    let mut all = match rustix::process::geteuid().is_root() {
        true => Vec::new(),
        false => vec!["sudo", "-n"],
    };
    all.extend(command);
    let mut command = Command::new(all[0]);
    command.args(&all[1..]);
    command
}

/// The first descendant of this process that is a systemd.
fn descendant(pid: u32) -> Option<u32> {
    let children = fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")).ok()?;
    let child: u32 = children.split_whitespace().next()?.parse().ok()?;
    let name = fs::read_to_string(format!("/proc/{child}/comm")).ok()?;
    if name.trim() == "systemd" { Some(child) } else { descendant(child) }
}
