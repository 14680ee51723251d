//! The command line.

mod options;
mod scenario;
mod value;

pub use options::TargetOptions;
pub use scenario::{Command, ScenarioPlan};

use clap::Parser;

/// Notes at the end of the help and of the manual page.
const NOTES: &str = "\
Requests are due at times that are fixed before the run. Latency counts from the due time, so a target that stalls cannot \
hide it. A request waits while no connection is free. After --send-within it is reported as not sent.
Placeholders in --body, --body-file, --header and the path of --url: {{seq}} the number of the request, {{run}} a name of this \
run, {{uuid}}, {{random:N}} a whole number below N, {{fill:N}} N letters, {{now}} the time.
Exit codes: 0 service levels met, or none given; 1 missed; 2 the run failed or was interrupted, also wrong usage.";

/// Open-loop load scenarios for forebay and other HTTP services.
#[derive(Parser)]
#[command(name = "forebay-load", version, arg_required_else_help = true, after_long_help = NOTES)]
pub struct Cli {
    #[command(subcommand)]
    pub command: Command,
}
