//! `forebay check-config`: checks the configuration, a body against it, and the configured dependencies.

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

/// Prints the effective configuration with secrets masked. Reads the files of keys and certificates and checks the
/// log's directory, as `serve` does. The owner of the directory is not checked, because another user often runs this
/// command.
pub fn check(config: &Config, as_json: bool) -> Result<(), Failure> {
    check_files(config)?;
    // A directory that this user may not read is no configuration error.
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

/// Shows how `POST /v1/commands/{kind}` would handle the body from a file or from standard input (`-`).
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

/// Reads at most one byte more than a body may have, which is enough to refuse a longer one.
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
