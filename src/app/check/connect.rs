//! `forebay check-config --connect`: checks that the configured dependencies support what the daemon needs. Nothing is
//! created or changed.

use crate::app::process::Process;
use crate::app::{Failure, output};
use crate::config::Config;

use super::report::{Report, json};
use super::{kafka, stores};

/// Checks brokers, database and Redis in parallel, each within some seconds, and prints the results.
pub fn check_connections(config: &Config, as_json: bool) -> Result<(), Failure> {
    super::check_files(config)?;
    let Process { runtime, registry, .. } = Process::begin(config, || {})?;
    let asked = runtime.block_on(async {
        let of_kafka = {
            let config = config.clone();
            tokio::task::spawn_blocking(move || kafka::checks(&config))
        };
        let of_stores =
            async { tokio::join!(stores::database(config, &registry), stores::redis(config, &registry)) };
        tokio::join!(of_kafka, of_stores)
    });
    runtime.shutdown_background();
    let (of_kafka, (database, redis)) = asked;
    let of_kafka = of_kafka.map_err(std::io::Error::other).map_err(Failure::system("checks of Kafka"))?;
    let report = Report::new(of_kafka.into_iter().chain([database?, redis?]).collect());
    output::print(match as_json {
        true => json(&report).map_err(Failure::system("the report"))?,
        false => report.to_text(),
    })?;
    match report.failed() {
        (0, _) => Ok(()),
        (failed, all) => Err(Failure::DatabaseUnfit(format!("{failed} of {all} checks failed"))),
    }
}
