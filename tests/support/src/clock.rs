//! A wall clock that jumps, for the daemon only. Its monotonic clock and other processes are not affected.
//!
//! `clock.c`, preloaded, gives the daemon the true time plus an offset. (libfaketime does not cover C11's
//! `cnd_timedwait`, with which librdkafka waits: such a wait would last longer by as much as the clock is ahead.)

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::process::Command;

use super::process::Forebay;

/// The daemon's wall clock.
pub struct FakeClock {
    offset: File,
}

impl FakeClock {
    /// Gives `forebay` a fake clock; its files are put into `dir`.
    pub fn install(forebay: Forebay, dir: &Path) -> (Forebay, FakeClock) {
        let (library, path) = (dir.join("clock.so"), dir.join("clock"));
        let mut compiler = Command::new("cc");
        compiler.args(["-O2", "-shared", "-fPIC", "-Wall", "-Wextra", "-Werror", "-o"]).arg(&library);
        compiler.arg(concat!(env!("CARGO_MANIFEST_DIR"), "/src/clock.c")).arg("-ldl");
        assert!(compiler.status().expect("a C compiler").success(), "{compiler:?}");
        let offset = File::create(&path).expect("the clock's file");
        let clock = FakeClock { offset };
        clock.set(0);
        let forebay = forebay
            .env("LD_PRELOAD", &library.display().to_string())
            .env("FOREBAY_TEST_CLOCK", &path.display().to_string());
        (forebay, clock)
    }

    /// Sets the clock to the true time plus `seconds`, which may be negative. Takes effect at once.
    pub fn set(&self, seconds: i64) {
        // In place: the daemon has these bytes mapped.
        self.offset.write_all_at(&seconds.to_ne_bytes(), 0).expect("the clock's file");
    }
}
