//! Creates disk images, and reads them after a power cut as the next boot would see them. It uses e2fsprogs, and needs
//! neither a boot nor root.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::{fs, io};

/// Size of the disk in bytes: enough for about ten runs under load. Memory holds it three times.
const DISK_BYTES: usize = 64 * 1024 * 1024;

/// Bytes per write of an image. Blocks of zeros are not written.
const BLOCK: usize = 64 * 1024;

/// An empty ext4 file system with the defaults of the distribution.
pub fn blank(dir: &Path) -> Vec<u8> {
    let path = dir.join("blank.img");
    write_sparse(&path, &vec![0; DISK_BYTES]).expect("an image");
    // Otherwise the kernel initialises tables in the background, which would disturb the test.
    run("mkfs.ext4", &["-q", "-F", "-E", "lazy_itable_init=0,lazy_journal_init=0"], &path, &[0]);
    fs::read(path).expect("the image")
}

/// The log's directory in `image`, copied to `dir` after the file system's journal was replayed.
pub fn extract_log(image: &[u8], dir: &Path) -> Result<PathBuf, String> {
    let path = dir.join("cut.img");
    write_sparse(&path, image).map_err(|error| error.to_string())?;
    // Exit code 1: the file system was modified, as intended.
    run("e2fsck", &["-p", "-E", "journal_only"], &path, &[0, 1]);
    let dump = format!("rdump /wal {}", dir.display());
    run("debugfs", &["-R", &dump], &path, &[0]);
    let log = dir.join("wal");
    // The directory is missing if it was not durable before the cut.
    fs::create_dir_all(&log).map_err(|error| error.to_string())?;
    fs::remove_file(path).map_err(|error| error.to_string())?;
    Ok(log)
}

fn run(program: &str, arguments: &[&str], image: &Path, good: &[i32]) {
    let mut command = command(program);
    command.args(arguments).arg(image).stdin(Stdio::null());
    let output = command.output().unwrap_or_else(|error| panic!("{program}: {error}"));
    let good = output.status.code().is_some_and(|code| good.contains(&code));
    let said = [output.stdout, output.stderr].concat();
    assert!(good, "{program}: {}\n{}", output.status, String::from_utf8_lossy(&said));
}

fn write_sparse(path: &Path, image: &[u8]) -> io::Result<()> {
    let file = File::create(path)?;
    file.set_len(image.len() as u64)?;
    for (number, block) in image.chunks(BLOCK).enumerate() {
        if block.iter().any(|byte| *byte != 0) {
            file.write_all_at(block, (number * BLOCK) as u64)?;
        }
    }
    Ok(())
}

/// A program for administrators, which may not be in the `PATH` of a user.
pub fn command(program: &str) -> Command {
    let mut command = Command::new(program);
    let path = std::env::var("PATH").unwrap_or_default();
    command.env("PATH", format!("{path}:/usr/sbin:/sbin"));
    command
}
