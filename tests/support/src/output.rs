//! Targets for the output of a process: a terminal, and targets that accept no output.

use std::fs::File;
use std::io;
use std::io::{PipeReader, PipeWriter, Write};
use std::os::fd::AsRawFd;
use std::os::unix::fs::OpenOptionsExt;
use std::process::Stdio;

use rustix::fs::OFlags;
use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};

/// A pipe whose reader is closed.
pub fn closed_pipe() -> Stdio {
    io::pipe().unwrap().1.into()
}

/// A file whose every write fails with ENOSPC.
pub fn full_disk() -> Stdio {
    File::options().write(true).open("/dev/full").unwrap().into()
}

/// A pipe filled with dots to its capacity.
pub fn full_pipe() -> (PipeReader, PipeWriter) {
    let (reader, writer) = io::pipe().unwrap();
    // Through a non-blocking description of its end; writers of the other description block.
    let path = format!("/proc/self/fd/{}", writer.as_raw_fd());
    let nonblocking = OFlags::NONBLOCK.bits() as i32;
    let mut end = File::options().write(true).custom_flags(nonblocking).open(path).unwrap();
    // The last bytes one by one: a write that does not fit may write nothing.
    for size in [4096, 1] {
        while end.write(&vec![b'.'; size]).is_ok() {}
    }
    (reader, writer)
}

/// Opens a terminal: the user's end and the program's end.
pub fn terminal() -> (File, File) {
    // No child inherits the user's end, so dropping it closes the terminal.
    let person = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC).unwrap();
    grantpt(&person).unwrap();
    unlockpt(&person).unwrap();
    let path = ptsname(&person, Vec::new()).unwrap().into_string().unwrap();
    let no_control = OFlags::NOCTTY.bits() as i32;
    let program = File::options().read(true).write(true).custom_flags(no_control).open(path).unwrap();
    (person.into(), program)
}
