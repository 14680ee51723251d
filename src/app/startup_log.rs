//! First log line of a daemon: its version and configuration.

use crate::auth::Mode;
use crate::bounded_errors::truncated;
use crate::config::{Config, Source};
use crate::drain::DeliveryGuarantee;
use crate::kafka::Brokers;

use super::process::COMMIT;

/// Maximum length of the list of kinds in bytes. `forebay check-config` prints all kinds.
const MAX_KINDS: usize = 1024;

/// Writes the line. `command` is the subcommand. The addresses are those in the configuration.
pub(super) fn log(command: &str, config: &Config, source: &Source) {
    let accepts = command == "serve";
    let kinds: Vec<_> = config.kinds.iter().map(|kind| kind.name.as_str()).collect();
    tracing::info!(
        event = "daemon.started",
        command,
        version = env!("CARGO_PKG_VERSION"),
        commit = COMMIT,
        config.file = source.file.as_ref().map(|file| tracing::field::display(file.display())),
        listen = accepts.then(|| tracing::field::display(config.server.listen)),
        admin_listen = %config.server.admin_listen,
        tls = config.server.tls_cert_file.is_some(),
        kafka.brokers = brokers(config),
        drain.delivery = delivery(config.drain.delivery),
        auth.mode = mode(config.auth.mode),
        wal.encrypted = config.wal.encryption_key_file.is_some(),
        kinds = truncated(&kinds.join(", "), MAX_KINDS),
        "starting"
    );
}

/// The configured brokers.
pub(super) fn brokers(config: &Config) -> &str {
    match &config.kafka.brokers {
        Brokers::Embedded => "embedded",
        Brokers::List(list) => list,
    }
}

fn delivery(guarantee: DeliveryGuarantee) -> &'static str {
    match guarantee {
        DeliveryGuarantee::AtLeastOnce => "at-least-once",
        DeliveryGuarantee::ExactlyOnce => "exactly-once",
    }
}

fn mode(mode: Mode) -> &'static str {
    match mode {
        Mode::Open => "open",
        Mode::Token => "token",
        Mode::Jwt => "jwt",
    }
}
