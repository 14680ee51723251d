//! A virtual machine on a [`VolatileDisk`], until its power is cut.
//!
//! QEMU translates every instruction (TCG). This is slower than hardware, but works everywhere, also inside another
//! virtual machine, and boots in three seconds.

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

/// Timeout of a boot. It takes three seconds on an idle host, and longer on one that also compiles.
const READY_TIMEOUT: Duration = Duration::from_secs(180);

/// Timeout until the disk is mounted. This takes two seconds, unless a busy host has delayed the machine so long that
/// its kernel lost its timer and stopped.
const MOUNT_TIMEOUT: Duration = Duration::from_secs(90);

/// The daemon's log message when it is ready.
const READY_MESSAGE: &str = "accepting commands";

/// A running machine. It is killed on drop.
pub struct VirtualMachine {
    // First field, so that QEMU ends first: the thread of the disk ends after QEMU.
    qemu: Child,
    _export: NbdServer,
    disk: Arc<VolatileDisk>,
    public: Port,
    admin: Port,
    /// Length of the console log at the boot. Its file contains all runs.
    before: usize,
}

impl VirtualMachine {
    /// Boots a machine with this kernel, initramfs and disk. Its files are in `dir`.
    pub fn boot(kernel: &Path, initramfs: &Path, content: Vec<u8>, dir: &Path) -> Self {
        let disk = Arc::new(VolatileDisk::new(content));
        let socket = dir.join("disk.socket");
        let export = NbdServer::start(&socket, Arc::clone(&disk));
        let (public, admin) = (Port::free(), Port::free());
        let mut command = Command::new("qemu-system-x86_64");
        command.args(["-accel", "tcg", "-cpu", "qemu64,+rdrand", "-m", "384", "-no-reboot"]);
        command.args(["-nodefaults", "-display", "none", "-serial", "stdio"]);
        command.arg("-kernel").arg(kernel).arg("-initrd").arg(initramfs);
        // A busy host delays the machine. Without `no_timer_check` its kernel would report a broken timer.
        command.args(["-append", "console=ttyS0 quiet panic=-1 no_timer_check"]);
        // The disk has its own cache, so QEMU passes writes and flushes on unchanged.
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

    /// The machine's disk.
    pub fn disk(&self) -> Arc<VolatileDisk> {
        Arc::clone(&self.disk)
    }

    /// Address of the daemon, from the host.
    pub fn address(&self) -> String {
        self.public.address()
    }

    /// Address of the daemon's admin listener, from the host.
    pub fn admin_address(&self) -> String {
        self.admin.address()
    }

    /// Waits until the kernel has mounted the disk, which writes to it. Returns `false` if the kernel stops before
    /// that.
    pub fn await_mount(&self) -> bool {
        wait::poll(MOUNT_TIMEOUT, || (self.disk.instant() > 0).then_some(())).is_some()
    }

    /// Waits until the daemon accepts commands. If the daemon has ended, the error contains the console output.
    pub fn await_ready(&mut self) -> Result<(), String> {
        wait::until("the machine's daemon accepts commands", READY_TIMEOUT, || self.ready())
    }

    /// Waits until the disk has received this many writes and flushes, or the daemon accepts commands.
    pub fn await_instant(&mut self, instant: usize) -> Result<(), String> {
        wait::until("the machine writes", READY_TIMEOUT, || {
            (self.disk.instant() >= instant).then_some(Ok(())).or_else(|| self.ready())
        })
    }

    /// Cuts the power. Returns the journal of the disk, and the console output of this run.
    pub fn cut(mut self) -> (WriteJournal, String) {
        // The disk first, so that no later write of the machine reaches it.
        let journal = self.disk.cut();
        self.qemu.kill();
        (journal, self.console())
    }

    fn ready(&mut self) -> Option<Result<(), String>> {
        let ended = self.qemu.ended();
        let console = self.console();
        if console.contains(ENDED_MESSAGE) {
            return Some(Err(format!("the daemon does not start in the machine:\n{console}")));
        }
        // The daemon is not the cause.
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
