//! What is fuzzed: a function a target, which takes any bytes and panics where a promise about them is broken.
//!
//! `fuzz/` calls them with what libFuzzer makes up; the test below with what is kept in `fuzz/corpus` and with every
//! input that ever found something, in `fuzz/found`, on every machine and without a nightly compiler.

/// The name of a target, as its directories have it, and its function.
pub type Target = (&'static str, fn(&[u8]));

/// All there are in this build.
pub const TARGETS: &[Target] = &[
    ("frame", crate::wal::fuzzing::frame),
    ("files", crate::wal::fuzzing::files),
    ("segment", crate::wal::fuzzing::segment),
    ("command", crate::command::fuzzing::command),
    #[cfg(feature = "server")]
    ("http", crate::http::fuzzing::http),
    #[cfg(feature = "server")]
    ("batch", crate::http::fuzzing::batch),
    #[cfg(feature = "server")]
    ("config", crate::config::fuzzing::config),
];

/// Runs the target of this name.
pub fn run(target: &str, data: &[u8]) {
    let found = TARGETS.iter().find(|(name, _)| *name == target);
    let Some((_, function)) = found else { panic!("no target {target} in this build") };
    function(data);
}

#[cfg(all(test, not(feature = "shuttle")))]
mod tests {
    use super::*;
    use std::path::Path;

    #[test]
    fn whatever_fuzzing_kept_and_found_breaks_no_promise() {
        let fuzz = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz");
        for (target, function) in TARGETS {
            let mut replayed = 0;
            for kind in ["corpus", "found"] {
                let Ok(inputs) = std::fs::read_dir(fuzz.join(kind).join(target)) else { continue };
                for input in inputs {
                    let path = input.unwrap().path();
                    // The name of the one that fails is the last one shown.
                    println!("{}", path.display());
                    function(&std::fs::read(&path).unwrap());
                    replayed += 1;
                }
            }
            assert!(replayed > 0, "{target} has no corpus");
        }
    }
}
