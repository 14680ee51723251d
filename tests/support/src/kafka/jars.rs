//! The jars that `tests/services/fetch` put into the cache, and the Java command that runs them.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use super::{ClusterOptions, Kafka};
use crate::child::Child;

/// Timeout of a console tool. The tools time out after a minute without a reply; this is for a hanging Java.
const TOOL_TIMEOUT: Duration = Duration::from_secs(120);

/// The fetched Kafka, with a Java to run it.
#[derive(Clone, Debug)]
pub struct Jars {
    dir: PathBuf,
}

impl Jars {
    /// Finds the jars and Java. The error names what is missing.
    pub fn find() -> Result<Jars, String> {
        let fetch = concat!(env!("CARGO_MANIFEST_DIR"), "/../services/fetch");
        let found = Command::new("bash")
            .args([fetch, "--where"])
            .stdin(Stdio::null())
            .output()
            .map_err(|error| format!("bash: {error}"))?;
        if !found.status.success() {
            return Err("Apache Kafka is not fetched (tests/services/fetch does it)".to_owned());
        }
        let has_java = Command::new("java").arg("-version").stdin(Stdio::null()).output();
        if !has_java.is_ok_and(|output| output.status.success()) {
            return Err("java is missing (Debian: openjdk-17-jre-headless)".to_owned());
        }
        let dir = String::from_utf8(found.stdout).map_err(|error| error.to_string())?;
        Ok(Jars { dir: PathBuf::from(dir.trim_end()) })
    }

    /// Starts a cluster.
    pub fn start(&self, options: ClusterOptions) -> Kafka {
        Kafka::start(self, options)
    }

    /// A Java command with everything on its class path; the class to run is still missing.
    pub fn java(&self, flags: &[&str]) -> Command {
        let mut java = Command::new("java");
        // Flags for a short run on few cores. `fetch` created the class archive with the same flags. Without the file,
        // or if it does not fit this Java, the start only takes longer.
        java.args(["-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1", "-Xshare:auto", "-Xlog:cds=off"]);
        java.arg(format!("-XX:SharedArchiveFile={}", self.dir.join("kafka.jsa").display()));
        java.args(flags);
        java.arg("-cp").arg(self.dir.join("libs/*"));
        // The shell's options for other Java programs would affect this one too.
        java.env_remove("JAVA_TOOL_OPTIONS").env_remove("_JAVA_OPTIONS").env_remove("CLASSPATH");
        java
    }

    /// Runs a console tool with the arguments that `configure` adds, and returns its output. Takes about a second.
    /// Fails the test if the tool fails.
    pub(super) fn run(&self, class: &str, dir: &Path, configure: impl FnOnce(&mut Command)) -> String {
        let mut java = self.java(&["-Dorg.apache.logging.log4j.level=WARN"]);
        java.arg(class);
        configure(&mut java);
        let log = tempfile::Builder::new().prefix("tool-").tempfile_in(dir).expect("a log of a tool");
        let mut child = Child::spawn(class, &java, log.path());
        let status = child.wait(TOOL_TIMEOUT);
        let output = child.log();
        assert!(status.is_some_and(|status| status.success()), "{class}: {status:?}\n{output}");
        output
    }
}
