//! Ports of the loopback address that stay reserved, even while the process behind one is down.
//!
//! Tests restart a broker on its port. A port assigned by the kernel (bind to 0) could meanwhile be taken by any
//! outgoing connection, so ports are below that range. A file lock per port keeps other test processes on the machine
//! away from it. The kernel releases the lock when this process ends, however it ends.

use std::fs::File;
use std::net::TcpListener;
use std::sync::atomic::{AtomicU16, Ordering};
use std::{env, fs, process};

/// Above the usual ports of services, and below 32,768, where Linux begins to number outgoing connections.
const FIRST: u16 = 15_000;
/// Number of ports: up to 31,999.
const COUNT: u16 = 17_000;

/// A port of 127.0.0.1, reserved until this is dropped.
#[derive(Debug)]
pub struct Port {
    number: u16,
    /// The locked file. The operating system unlocks it when it is closed.
    _lock: File,
}

impl Port {
    /// Reserves a port without a listener.
    pub fn free() -> Port {
        static NEXT: AtomicU16 = AtomicU16::new(0);
        // Processes begin at distant ports, so that they rarely find reserved ones.
        let start = u16::try_from(process::id() % u32::from(COUNT)).unwrap();
        (0..COUNT)
            .map(|_| NEXT.fetch_add(1, Ordering::Relaxed) % COUNT)
            .find_map(|step| Port::take(FIRST + (start + step) % COUNT))
            .expect("a free port")
    }

    /// Its number.
    pub fn number(&self) -> u16 {
        self.number
    }

    /// As `host:port`.
    pub fn address(&self) -> String {
        format!("127.0.0.1:{}", self.number)
    }

    fn take(number: u16) -> Option<Port> {
        let locks = env::temp_dir().join("forebay-tests-ports");
        fs::create_dir_all(&locks).expect("the directory of port locks");
        let lock = File::create(locks.join(number.to_string())).ok()?;
        lock.try_lock().ok()?;
        TcpListener::bind(("127.0.0.1", number)).ok()?;
        Some(Port { number, _lock: lock })
    }
}
