//! The software in the machine: a Debian kernel, busybox, and the daemon with its shared libraries. The first process
//! only mounts the disk and starts the daemon.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use crate::image;
use crate::initramfs::Initramfs;

/// The daemon's configuration in the machine. Segments are small and intervals short, so that rotations, checkpoints
/// and the expiry of delivered segments are frequent.
const CONFIG: &str = r#"
[server]
listen = "0.0.0.0:8088"
admin_listen = "0.0.0.0:9088"
allow_open = true
allow_open_admin = true
[wal]
dir = "/disk/wal"
segment_size = "1MiB"
reserve_space = "1MiB"
[drain]
checkpoint_interval = "100ms"
workers = 2
[telemetry]
log_format = "text"
"#;

/// The last message of the first process, after the daemon has ended unexpectedly.
pub const ENDED_MESSAGE: &str = "the daemon ended with";

/// The downloaded files for a boot.
#[derive(Clone, Debug)]
pub struct BootFiles {
    dir: PathBuf,
}

impl BootFiles {
    /// Finds the files and programs. The error names the missing one.
    pub fn find() -> Result<Self, String> {
        for (program, package) in
            [("qemu-system-x86_64", "qemu-system-x86"), ("mkfs.ext4", "e2fsprogs"), ("debugfs", "e2fsprogs")]
        {
            let found = image::command(program).arg("-V").stdin(Stdio::null()).output();
            if found.is_err() {
                return Err(format!("{program} is not installed (Debian: {package})"));
            }
        }
        let fetch = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/power/fetch");
        let found = Command::new("bash").args([fetch, "--where"]).stdin(Stdio::null()).output();
        let found = found.map_err(|error| format!("bash: {error}"))?;
        if !found.status.success() {
            return Err(String::from_utf8_lossy(&found.stderr).trim_end().to_owned());
        }
        let dir = String::from_utf8(found.stdout).map_err(|error| error.to_string())?;
        Ok(Self { dir: PathBuf::from(dir.trim_end()) })
    }

    /// The kernel.
    pub fn kernel(&self) -> PathBuf {
        self.dir.join("vmlinuz")
    }

    /// Writes the first file system to `to`, with the daemon, its configuration and its environment.
    pub fn write_initramfs(&self, to: &Path, guest: &GuestConfig) {
        let mut files = BTreeMap::from([
            ("init".to_owned(), init(&guest.environment).into_bytes()),
            ("bin/busybox".to_owned(), read(&self.dir.join("busybox"))),
            ("bin/forebay".to_owned(), stripped(&guest.binary, to)),
            ("etc/forebay.toml".to_owned(), format!("{CONFIG}{}", guest.config).into_bytes()),
            // `localhost` is the host here, so that a broker on the host with this name is reachable from both sides.
            // The machine does not use the name of its own loopback.
            ("etc/hosts".to_owned(), b"10.0.2.2 localhost\n".to_vec()),
        ]);
        for library in libraries(&guest.binary) {
            files.insert(library.trim_start_matches('/').to_owned(), read(Path::new(&library)));
        }
        for module in fs::read_dir(self.dir.join("modules")).expect("the modules").flatten() {
            let name = module.file_name().into_string().expect("a plain name");
            files.insert(format!("modules/{name}"), read(&module.path()));
        }
        let mut archive = Initramfs::default();
        for directory in directories(files.keys()) {
            archive.directory(&directory);
        }
        for (path, content) in &files {
            archive.file(path, content);
        }
        fs::write(to, archive.finish()).expect("the initramfs");
    }
}

/// The daemon in a machine.
#[derive(Clone, Debug)]
pub struct GuestConfig {
    pub binary: PathBuf,
    /// Sections of its configuration in addition to [`CONFIG`].
    pub config: String,
    pub environment: Vec<(String, String)>,
}

fn init(environment: &[(String, String)]) -> String {
    let exports: String = environment.iter().map(|(key, value)| format!("export {key}={value}\n")).collect();
    format!(
        "#!/bin/busybox sh
/bin/busybox --install -s /bin
mount -t proc proc /proc
mount -t devtmpfs dev /dev
for module in /modules/*; do insmod $module; done
ifconfig lo 127.0.0.1 up
ifconfig eth0 10.0.2.15 netmask 255.255.255.0 up
mount -t ext4 /dev/vda /disk || poweroff -f
cd /disk
{exports}forebay serve --config /etc/forebay.toml
echo {ENDED_MESSAGE} $?
poweroff -f
"
    )
}

/// The paths of a program's shared libraries, including its loader.
fn libraries(program: &Path) -> Vec<String> {
    let output = Command::new("ldd").arg(program).output().expect("ldd runs");
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    text.split_whitespace().filter(|word| word.starts_with('/')).map(str::to_owned).collect()
}

/// All directories of these files, parents first, and the mount points of the first process.
fn directories<'a>(files: impl Iterator<Item = &'a String>) -> Vec<String> {
    let mut found: Vec<String> = ["proc", "dev", "disk", "tmp"].map(str::to_owned).into();
    for file in files {
        let parents = Path::new(file).ancestors().skip(1).filter(|path| !path.as_os_str().is_empty());
        found.extend(parents.map(|path| path.display().to_string()));
    }
    found.sort();
    found.dedup();
    found
}

/// A program without debug information, which is most of its file. The initramfs is in the machine's memory. `strip`
/// exists wherever the program was linked.
fn stripped(program: &Path, beside: &Path) -> Vec<u8> {
    let to = beside.with_extension("stripped");
    let status = Command::new("strip").arg("--strip-debug").arg("-o").arg(&to).arg(program).status();
    assert!(status.is_ok_and(|status| status.success()), "strip {}", program.display());
    read(&to)
}

fn read(path: &Path) -> Vec<u8> {
    fs::read(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}
