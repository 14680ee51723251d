//! Options that all scenarios have in common.

use std::path::PathBuf;
use std::time::Duration;

use clap::{ArgGroup, Args};
use hyper::Method;

use super::value;
use crate::arrivals::Spacing;
use crate::http::Endpoint;
use crate::requests::{EnvHeader, Mix, PlainHeader, StatusSet};

/// Options that all scenarios have in common.
#[derive(Args)]
pub struct CommonOptions {
    #[command(flatten)]
    pub target: TargetOptions,
    #[command(flatten)]
    pub course: RunOptions,
    #[command(flatten)]
    pub report: ReportOptions,
}

/// The target, and its requests.
#[derive(Args)]
#[command(next_help_heading = "Target", group = ArgGroup::new("what").multiple(false))]
pub struct TargetOptions {
    /// The daemon's public listener, for --kind and --users
    #[arg(long, value_name = "URL", default_value = "http://127.0.0.1:8088", conflicts_with = "url")]
    pub base: Endpoint,
    /// Send commands of this kind [default: order.create, the example of a daemon without configuration]
    #[arg(long, value_name = "NAME", group = "what", value_parser = value::kind)]
    pub kind: Option<String>,
    /// Send requests of users that register, log in and read
    #[arg(long, group = "what")]
    pub users: bool,
    /// Call any HTTP endpoint, with placeholders in its path
    #[arg(long, value_name = "URL", group = "what")]
    pub url: Option<Endpoint>,
    /// Method [default: POST with a body, else GET]
    #[arg(long, conflicts_with = "users")]
    pub method: Option<Method>,
    /// A header, with placeholders in its value; not for secrets
    #[arg(long = "header", value_name = "NAME: VALUE")]
    pub headers: Vec<PlainHeader>,
    /// File with headers that may be secrets, one `Name: value` per line
    #[arg(long, value_name = "FILE")]
    pub header_file: Option<PathBuf>,
    /// A header whose value is in an environment variable
    #[arg(long = "header-env", value_name = "NAME=VARIABLE")]
    pub header_envs: Vec<EnvHeader>,
    /// Body, with placeholders
    #[arg(long, value_name = "TEXT", conflicts_with_all = ["body_file", "users"])]
    pub body: Option<String>,
    /// File with the body, with placeholders
    #[arg(long, value_name = "FILE", conflicts_with = "users")]
    pub body_file: Option<PathBuf>,
    /// Statuses that count as success, such as 200-299,409 [default: 200-299]
    #[arg(long, value_name = "STATUSES", conflicts_with = "users")]
    pub expect: Option<StatusSet>,
    /// File with a bearer token; it is read again when the target returns 401
    #[arg(long, value_name = "FILE", conflicts_with = "login")]
    pub token_file: Option<PathBuf>,
    /// Log in with this name at POST /login, and again before the token expires or when the target returns 401
    #[arg(long, value_name = "NAME", requires = "password_file")]
    pub login: Option<String>,
    /// File with the password of --login
    #[arg(long, value_name = "FILE", requires = "login")]
    pub password_file: Option<PathBuf>,
    /// File with certificates (PEM) of the target's authorities [default: the public authorities]
    #[arg(long, value_name = "FILE")]
    pub ca_file: Option<PathBuf>,
    /// Weights of users' operations: register, login, read (oneself), lookup (an unknown name) and list [default:
    /// register=1,login=2,read=7; of database-pool: register=2,login=2,read=2,lookup=10,list=4]
    ///
    /// No cache of the daemon serves lookup and list. Outside of mode `open` they need an administrator: --token-file
    /// or --login.
    #[arg(long, value_name = "NAME=WEIGHT,...")]
    pub mix: Option<Mix>,
    /// Number of users that are registered before the run, to log in and read
    #[arg(long, value_name = "N", default_value_t = 20, value_parser = clap::value_parser!(u32).range(1..=100_000))]
    pub population: u32,
}

/// The course of a run.
#[derive(Args)]
#[command(next_help_heading = "Course")]
pub struct RunOptions {
    /// Length of the warm-up before the measurement, with its first rate; no statistic includes it
    #[arg(long, value_name = "DURATION", default_value = "5s", value_parser = value::span)]
    pub warm_up: Duration,
    /// Maximum number of requests in progress, each over its own connection [default: depends on the scenario]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=65_536))]
    pub connections: Option<u32>,
    /// A request that waits longer than this for a connection, from its due time on, is not sent
    #[arg(long, value_name = "DURATION", default_value = "10s", value_parser = value::wait)]
    pub send_within: Duration,
    /// A request without a response within this time after it was sent times out
    #[arg(long, value_name = "DURATION", default_value = "10s", value_parser = value::wait)]
    pub timeout: Duration,
    /// Intervals between requests
    #[arg(long, value_enum, default_value_t)]
    pub spacing: Spacing,
    /// Seed of intervals, operations and random values, to repeat a run [default: random]
    #[arg(long, value_name = "N")]
    pub seed: Option<u64>,
}

/// The content of the report, and where it is written.
#[derive(Args)]
#[command(next_help_heading = "Report")]
pub struct ReportOptions {
    /// Print the report as JSON instead of a summary
    #[arg(long)]
    pub json: bool,
    /// Also write the report as JSON to this file
    #[arg(long, value_name = "FILE")]
    pub report: Option<PathBuf>,
    /// Write the report as an HTML page with plots to this file
    #[arg(long, value_name = "FILE")]
    pub html: Option<PathBuf>,
    /// Service levels (TOML): the exit code is 1 if one is missed
    #[arg(long, value_name = "FILE")]
    pub levels: Option<PathBuf>,
    /// The daemon's admin listener: report how much had reached Kafka when the run ended
    #[arg(long, value_name = "URL")]
    pub admin: Option<Endpoint>,
    /// Wait up to this long after the run for an empty backlog, and report the time
    #[arg(long, value_name = "DURATION", requires = "admin", value_parser = value::length)]
    pub await_drained: Option<Duration>,
}

impl RunOptions {
    /// The maximum time from a request's due time until its response or its timeout.
    pub fn max_latency(&self) -> Duration {
        self.send_within + self.timeout
    }
}
