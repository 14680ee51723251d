//! `forebay check-config`: the configuration by itself, a body against it, and the dependencies that it names.

mod advice;
mod connect;
mod kafka;
mod report;
mod stores;

use std::fs::File;
use std::io;
use std::io::Read;
use std::path::Path;

use bytes::Bytes;

use crate::config::{Config, ConfigErrors};
use crate::http;
use crate::http::{DryRun, Tls};
use crate::kinds::Kinds;
use crate::wal::{OpenError, layout};

use super::{Failure, output};

use report::json;

pub use connect::check_connections;

/// Prints the effective configuration, secrets masked. Reads the files of keys and certificates, and looks at the log's
/// directory, as `serve` would. The directory's owner is not compared: this command is often run by another user.
pub fn check(config: &Config, as_json: bool) -> Result<(), Failure> {
    check_files(config)?;
    // A directory that this user may not read is no mistake.
    if let Err(error @ OpenError::Unsuitable { .. }) = layout::check_file_types(&config.wal.dir) {
        return Err(Failure::Directory(error.to_string()));
    }
    let failed = || Failure::system("configuration");
    let shown = match as_json {
        true => config.effective().map_err(io::Error::other).and_then(|effective| json(&effective)),
        false => config.to_toml().map_err(io::Error::other),
    };
    output::print(shown.map_err(failed())?)
}

fn check_files(config: &Config) -> Result<(), Failure> {
    let mut mistakes = config.wal.key_mistakes();
    mistakes.extend(Tls::validate(&config.server));
    if mistakes.is_empty() { Ok(()) } else { Err(Failure::Configuration(mistakes.into())) }
}

/// Says what `POST /v1/commands/{kind}` would do with the body in a file, or in standard input (`-`).
pub fn check_body(config: &Config, kind: &str, file: &Path, as_json: bool) -> Result<(), Failure> {
    let body = body(config, file)?;
    let kinds = Kinds::build(&config.kinds).map_err(ConfigErrors::from)?;
    match http::dry_run(&config.server, config.kafka.message_max, &kinds, kind, body) {
        Ok(trial) if as_json => output::print(json(&trial).map_err(Failure::system("the result"))?),
        Ok(trial) => output::print(to_text(&trial)),
        Err(problem) => {
            output::print(format_args!("{}\n", String::from_utf8_lossy(&problem)))?;
            Err(Failure::Refused)
        }
    }
}

/// At most one byte more than a body may have: enough to be refused as a longer one is.
fn body(config: &Config, file: &Path) -> Result<Bytes, Failure> {
    let most = config.server.max_body.0.saturating_add(1);
    let mut bytes = Vec::new();
    let read = match file.as_os_str() == "-" {
        true => io::stdin().take(most).read_to_end(&mut bytes),
        false => File::open(file).and_then(|file| file.take(most).read_to_end(&mut bytes)),
    };
    match read {
        Ok(_) => Ok(Bytes::from(bytes)),
        Err(error) => Err(Failure::Usage(format!("cannot read the body {}: {error}", file.display()))),
    }
}

fn to_text(trial: &DryRun) -> String {
    let DryRun { kind, topic, key, key_from, body_bytes, record_bytes, message_max } = trial;
    let key = match (key, key_from) {
        (Some(key), _) => format!("{key:?}"),
        (None, Some(place)) => place.clone(),
        (None, None) => "none: its kind has no key".to_owned(),
    };
    format!(
        "accepted as {kind}\n  topic   {topic}\n  key     {key}\n  body    {body_bytes} bytes\n  record  at most \
         {record_bytes} bytes of {message_max} ([kafka] message_max), without what a request adds: key header, trace, \
         idempotency key, attributes\n"
    )
}
