//! Running the tool.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use serde_json::Value;

/// The exit code and output of a run.
#[derive(Debug)]
pub struct ToolRun {
    pub code: Option<i32>,
    pub out: String,
    pub err: String,
}

impl ToolRun {
    #[track_caller]
    pub fn assert_exit(self, code: i32) -> Self {
        assert_eq!(self.code, Some(code), "{self:?}");
        self
    }

    /// The report that `--json` printed.
    #[track_caller]
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.out).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }
}

/// The tool with these arguments, without a terminal.
pub fn command(args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_forebay-load"));
    command.args(args).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

/// Runs the tool to its end.
pub fn run(args: &[&str]) -> ToolRun {
    finish(&mut command(args))
}

/// Runs a command to its end.
pub fn finish(command: &mut Command) -> ToolRun {
    let output = command.spawn().unwrap().wait_with_output().unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    ToolRun { code: output.status.code(), out: text(output.stdout), err: text(output.stderr) }
}

/// A short run with one phase, whose report is printed as JSON. It has no warm-up unless `args` contains one.
pub fn steady(url: &str, rate: u32, duration: &str, connections: u32, args: &[&str]) -> ToolRun {
    let (rate, connections) = (rate.to_string(), connections.to_string());
    let mut all = vec!["concurrent-baseline", "--url", url, "--rate", &rate, "--duration", duration];
    all.extend(["--connections", &connections, "--json"]);
    if !args.contains(&"--warm-up") {
        all.extend(["--warm-up", "0s"]);
    }
    all.extend(args);
    run(&all)
}

/// A number in a report.
#[track_caller]
pub fn number(report: &Value, pointer: &str) -> f64 {
    report
        .pointer(pointer)
        .and_then(Value::as_f64)
        .unwrap_or_else(|| panic!("no number {pointer} in {report:#}"))
}

/// Creates a file.
pub fn file(dir: &Path, name: &str, text: &str) -> PathBuf {
    let path = dir.join(name);
    std::fs::write(&path, text).unwrap();
    path
}
