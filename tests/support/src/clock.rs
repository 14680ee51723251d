//! A wall clock that jumps, for the daemon alone. Its monotonic clock goes on, and nobody else's clock is touched.
//!
//! `clock.c`, preloaded, tells the daemon the true time and an offset. (libfaketime knows nothing of C11's
//! `cnd_timedwait`, which librdkafka waits with: such a wait would last as much longer as the clock is ahead.)

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
    /// Gives `forebay` a clock of its own; its files are put into `dir`.
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

    /// Sets it so many seconds before or after the true time, at once.
    pub fn set(&self, seconds: i64) {
        // In place: the daemon has these bytes mapped.
        self.offset.write_all_at(&seconds.to_ne_bytes(), 0).expect("the clock's file");
    }
}
