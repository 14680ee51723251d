//! Temporary directories that are removed with the test, however it ends.
//!
//! A `TempDir` removes itself when dropped. That is not sufficient here: statics are not dropped (the shared broker is
//! one), and a test process may be killed. So all directories are in one root per test process. A shell at the other
//! end of a pipe removes that root when the pipe closes, which the kernel does in every case.
//!
//! `FOREBAY_TEST_KEEP=1` keeps everything, to examine a failed test's files.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::OnceLock;
use std::{env, fs, io};

use tempfile::{Builder, TempDir};

/// The directory of this test process, and the shell that removes it.
struct Root {
    path: PathBuf,
    /// Holds this process's end of the pipe open.
    _janitor: Option<Child>,
}

/// Reads until the pipe closes, then removes the directory. It must survive an interrupt from the terminal, which
/// reaches the whole process group. Children of the test process end at the same moment. If one of them still wrote a
/// file into a directory being removed, a second attempt is necessary.
const JANITOR: &str =
    r#"trap "" INT TERM HUP; cat >/dev/null; rm -rf -- "$1" || { sleep 1; rm -rf -- "$1"; }"#;

/// A new, empty directory, private to this user.
pub fn dir(name: &str) -> TempDir {
    static ROOT: OnceLock<Root> = OnceLock::new();
    let root = ROOT.get_or_init(make_root);
    Builder::new()
        .prefix(&format!("{name}-"))
        .disable_cleanup(keep())
        .tempdir_in(&root.path)
        .expect("a temporary directory")
}

/// Copies a directory and its content, except locks and sockets. Another process may be writing there.
pub fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap().map(Result::unwrap) {
        let (path, target) = (entry.path(), to.join(entry.file_name()));
        let kind = entry.file_type().unwrap();
        if kind.is_dir() {
            copy(&path, &target);
        } else if kind.is_file() && entry.file_name() != "LOCK" {
            match fs::copy(&path, &target) {
                // A running daemon replaces its checkpoint now and then.
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                copied => drop(copied.unwrap()),
            }
        }
    }
}

fn keep() -> bool {
    env::var_os("FOREBAY_TEST_KEEP").is_some()
}

fn make_root() -> Root {
    let path = Builder::new()
        .prefix("forebay-tests-")
        .disable_cleanup(true)
        .tempdir()
        .expect("the temporary directory of this test process")
        .keep();
    if keep() {
        eprintln!("kept: {}", path.display());
        return Root { path, _janitor: None };
    }
    let janitor = start_janitor(&path);
    Root { path, _janitor: Some(janitor) }
}

fn start_janitor(root: &Path) -> Child {
    // Its output is discarded: an inherited pipe would keep a reader of the tests' output waiting.
    Command::new("sh")
        .args(["-c", JANITOR, "sh"])
        .arg(root)
        .current_dir("/")
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .expect("sh starts")
}
