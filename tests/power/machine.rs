//! A virtual machine on a [`VolatileDisk`], until its power is cut.
//!
//! QEMU translates every instruction (TCG): slower than hardware, but it works wherever the tests do, also inside
//! another virtual machine, and boots in three seconds.

use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

use crate::disk::{VolatileDisk, WriteJournal};
use crate::guest_image::ENDED_MESSAGE;
use crate::nbd::NbdServer;
use support::child::Child;
use support::ports::Port;
use support::wait;

/// A boot takes three seconds on an idle machine; this is for one that also compiles.
const READY_TIMEOUT: Duration = Duration::from_secs(180);

/// A busy host can starve a machine so long that its kernel loses its timer and stands still. It mounts the disk after
/// two seconds, or never.
const MOUNT_TIMEOUT: Duration = Duration::from_secs(90);

/// What the daemon says when it is ready.
const READY_MESSAGE: &str = "accepting commands";

/// A machine that has power. Dropping it kills it.
pub struct VirtualMachine {
    // First: the disk's thread ends when QEMU is gone.
    qemu: Child,
    _export: NbdServer,
    disk: Arc<VolatileDisk>,
    public: Port,
    admin: Port,
    /// What the console showed when it was given power: its file holds all its lives.
    before: usize,
}

impl VirtualMachine {
    /// Gives power to a machine with this kernel, initramfs and disk. Its files go to `dir`.
    pub fn boot(kernel: &Path, initramfs: &Path, content: Vec<u8>, dir: &Path) -> Self {
        let disk = Arc::new(VolatileDisk::new(content));
        let socket = dir.join("disk.socket");
        let export = NbdServer::start(&socket, Arc::clone(&disk));
        let (public, admin) = (Port::free(), Port::free());
        let mut command = Command::new("qemu-system-x86_64");
        command.args(["-accel", "tcg", "-cpu", "qemu64,+rdrand", "-m", "384", "-no-reboot"]);
        command.args(["-nodefaults", "-display", "none", "-serial", "stdio"]);
        command.arg("-kernel").arg(kernel).arg("-initrd").arg(initramfs);
        // A host that is busy lets the machine wait; its kernel would take that for a broken timer.
        command.args(["-append", "console=ttyS0 quiet panic=-1 no_timer_check"]);
        // The cache of this disk is its own: what the machine writes is passed on as it is, and so are flushes.
        let drive = format!(
            "driver=nbd,node-name=disk,server.type=unix,server.path={},cache.direct=on,cache.no-flush=off",
            socket.display()
        );
        command.args(["-blockdev", &drive, "-device", "virtio-blk-pci,drive=disk,write-cache=on"]);
        let forward = |port: &Port, inside| format!("hostfwd=tcp:{}-10.0.2.15:{inside}", port.address());
        let net = format!("user,id=net,{},{}", forward(&public, 8088), forward(&admin, 9088));
        command.args(["-netdev", &net, "-device", "virtio-net-pci,netdev=net,romfile="]);
        let console = dir.join("console.log");
        let before = std::fs::metadata(&console).map_or(0, |metadata| metadata.len() as usize);
        let qemu = Child::spawn("the machine", &command, &console);
        Self { qemu, _export: export, disk, public, admin, before }
    }

    /// Its disk.
    pub fn disk(&self) -> Arc<VolatileDisk> {
        Arc::clone(&self.disk)
    }

    /// Where the daemon listens, seen from here.
    pub fn address(&self) -> String {
        self.public.address()
    }

    /// The same for its administrators.
    pub fn admin_address(&self) -> String {
        self.admin.address()
    }

    /// Waits until its kernel has mounted the disk, which writes to it. False when it stands still before that.
    pub fn await_mount(&self) -> bool {
        wait::poll(MOUNT_TIMEOUT, || (self.disk.instant() > 0).then_some(())).is_some()
    }

    /// Returns when the daemon in it accepts commands; what the console says when it never will.
    pub fn await_ready(&mut self) -> Result<(), String> {
        wait::until("the machine's daemon accepts commands", READY_TIMEOUT, || self.ready())
    }

    /// Returns when this many writes and flushes reached the disk, or the daemon accepts commands before that.
    pub fn await_instant(&mut self, instant: usize) -> Result<(), String> {
        wait::until("the machine writes", READY_TIMEOUT, || {
            (self.disk.instant() >= instant).then_some(Ok(())).or_else(|| self.ready())
        })
    }

    /// Cuts its power. What happened to its disk until then, and what the console showed in this life.
    pub fn cut(mut self) -> (WriteJournal, String) {
        // The disk first: what a dying machine would still do to it never happens.
        let tape = self.disk.cut();
        self.qemu.kill();
        (tape, self.console())
    }

    fn ready(&mut self) -> Option<Result<(), String>> {
        let ended = self.qemu.ended();
        let console = self.console();
        if console.contains(ENDED_MESSAGE) {
            return Some(Err(format!("the daemon does not start in the machine:\n{console}")));
        }
        // Not the daemon's doing.
        assert!(
            ended.is_none() && !console.contains("Kernel panic"),
            "the machine does not boot:\n{console}"
        );
        console.contains(READY_MESSAGE).then_some(Ok(()))
    }

    fn console(&self) -> String {
        let log = self.qemu.log();
        log.get(self.before..).unwrap_or(&log).to_owned()
    }
}
