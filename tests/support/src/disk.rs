//! A small file system in memory, so that a test can fill a disk.
//!
//! A static is not dropped, and a test process may be killed. As for directories, a shell at the other end of a pipe
//! unmounts when the pipe closes, whatever the reason.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::{fs, io};

/// A small file system in memory.
pub struct SmallDisk {
    at: PathBuf,
    /// Holds this process's end of the pipe open.
    janitor: Child,
}

/// Reads until the pipe closes, then runs its arguments. It must survive an interrupt from the terminal.
const JANITOR: &str = r#"trap "" INT TERM HUP; cat >/dev/null; exec "$@""#;

impl SmallDisk {
    /// Mounts the file system at an empty directory, as root or with sudo.
    pub fn mount(at: &Path, mebibytes: u32) -> Self {
        let size = format!("size={mebibytes}m,mode=777");
        let mut mount = as_root("mount");
        mount.args(["-t", "tmpfs", "-o", &size, "tmpfs"]).arg(at);
        assert!(mount.status().expect("mount runs").success(), "{mount:?}");
        let umount = as_root("umount");
        let mut janitor = Command::new("sh");
        janitor.args(["-c", JANITOR, "sh"]).arg(umount.get_program()).args(umount.get_args());
        // Lazily: processes killed together with this one may still be ending.
        janitor.arg("--lazy").arg(at).current_dir("/");
        janitor.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::null());
        Self { at: at.to_owned(), janitor: janitor.spawn().expect("sh starts") }
    }

    /// Free bytes.
    pub fn free(&self) -> u64 {
        let figures = rustix::fs::statvfs(&self.at).expect("the statistics of the file system");
        figures.f_bavail * figures.f_frsize
    }

    /// Fills the disk except for this many bytes. More stays free if another process frees space meanwhile.
    pub fn fill_but(&self, bytes: u64) -> io::Result<()> {
        let len = self.free().saturating_sub(bytes);
        let ballast = fs::File::create(self.ballast())?;
        match rustix::fs::fallocate(&ballast, rustix::fs::FallocateFlags::empty(), 0, len.max(1)) {
            // Another process filled the disk first, which is fine.
            Ok(()) | Err(rustix::io::Errno::NOSPC) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }

    /// Frees the space that [`SmallDisk::fill_but`] took.
    pub fn clear(&self) -> io::Result<()> {
        match fs::remove_file(self.ballast()) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            other => other,
        }
    }

    fn ballast(&self) -> PathBuf {
        self.at.join("ballast")
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        drop(self.janitor.stdin.take());
        // The directory cannot be removed earlier.
        let _ = self.janitor.wait();
    }
}

fn as_root(program: &str) -> Command {
    let id = Command::new("id").arg("-u").output().expect("id runs").stdout;
    if id == b"0\n" {
        return Command::new(program);
    }
    let mut command = Command::new("sudo");
    command.args(["-n", program]);
    command
}
