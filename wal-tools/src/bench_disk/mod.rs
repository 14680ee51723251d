//! `bench-disk`: flush latency and commit rate of a directory, and the resulting rate of acknowledgements.

mod measure;
mod test_file;

use std::io;
use std::io::Write;
use std::path::Path;
use std::time::Duration;

use anyhow::bail;
use cli_support::Interrupt;
use serde::Serialize;

use crate::output::{ExitOutcome, note};
use crate::{cli, log_context, text_format};

use measure::Measured;
use test_file::TestFile;

/// Records per flush, one measurement each. A group of n records stands for n clients that wait for one flush.
const GROUPS: [usize; 4] = [1, 16, 64, 256];
/// Minimum plausible latency of a durable flush in µs. The bus alone takes this long.
const PLAUSIBLE_MICROS: f64 = 20.0;

#[derive(Serialize)]
struct Document<'a> {
    directory: &'a Path,
    file_system: &'a str,
    file_bytes: u64,
    record_bytes: usize,
    groups: &'a [Measured],
    sequential_bytes_per_second: f64,
    #[serde(skip_serializing_if = "Option::is_none")]
    warning: Option<&'a str>,
}

pub fn run(dir: Option<&Path>, json: bool, args: &cli::BenchDisk) -> anyhow::Result<ExitOutcome> {
    let dir = log_context::directory(dir)?;
    let interrupt = Interrupt::listen()?;
    let file = TestFile::create(&dir, &interrupt)?;
    let part = Duration::from_secs(args.seconds.into()) / (GROUPS.len() as u32 + 1);
    let mut groups = Vec::new();
    for group in GROUPS {
        groups.push(measure::flushes(&file, group, part, &interrupt)?);
    }
    let sequential = measure::sequential(&file, part, &interrupt)?;
    let (file_system, file_bytes) = (test_file::file_system(&dir)?, file.size());
    drop(file);
    if interrupt.was_received() {
        bail!("interrupted");
    }
    let warning = warning(&groups, &file_system);
    let document = Document {
        directory: &dir,
        file_system: &file_system,
        file_bytes,
        record_bytes: measure::RECORD_BYTES,
        groups: &groups,
        sequential_bytes_per_second: sequential,
        warning: warning.as_deref(),
    };
    match json {
        true => text_format::print_json(&document)?,
        false => print(&document)?,
    }
    if let Some(warning) = &warning {
        note!("warning: {warning}");
    }
    Ok(ExitOutcome::Fine)
}

/// Returns a warning if the flushes are too fast to be durable.
fn warning(groups: &[Measured], file_system: &str) -> Option<String> {
    let alone = groups.first()?.p50_micros;
    (alone < PLAUSIBLE_MICROS).then(|| {
        format!(
            "a flush takes {alone:.1} µs, which is too fast for durable storage. This is {file_system}: memory \
             (tmpfs), a layer that does not flush (overlay), or a cache without power-loss protection. An \
             acknowledged command in this directory survives a crash of the process, but not a power failure"
        )
    })
}

fn print(document: &Document<'_>) -> anyhow::Result<()> {
    let mut out = io::stdout().lock();
    let Document { directory, file_system, file_bytes, record_bytes, groups, .. } = document;
    writeln!(out, "{} ({file_system}), {} of zeros", directory.display(), text_format::size(*file_bytes))?;
    drop(out);
    let mut shown =
        text_format::table(&["#RECORDS/FLUSH", "#FLUSHES", "#P50 µs", "#P99 µs", "#MAX µs", "#RECORDS/s"]);
    for group in *groups {
        shown.add_row([
            group.records.to_string(),
            group.flushes.to_string(),
            format!("{:.0}", group.p50_micros),
            format!("{:.0}", group.p99_micros),
            format!("{:.0}", group.max_micros),
            format!("{:.0}", group.records_per_second),
        ]);
    }
    text_format::print(&shown)?;
    let mut out = io::stdout().lock();
    let sequential = text_format::size(document.sequential_bytes_per_second as u64);
    writeln!(out, "one flush per mebibyte: {sequential}/s")?;
    writeln!(
        out,
        "\nacknowledgements of records of {record_bytes} bytes, without the cost of HTTP and Kafka:"
    )?;
    for group in *groups {
        let who = match group.records {
            1 => "a single client".to_owned(),
            clients => format!("{clients} waiting clients"),
        };
        let (rate, p99) = (group.records_per_second, group.p99_micros / 1000.0);
        writeln!(out, "  {who}: about {rate:.0} acks/s, 99 % within {p99:.2} ms")?;
    }
    Ok(())
}
