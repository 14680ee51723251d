//! What must hold between sections, and between the configuration and the unit file.

use crate::auth::Mode;
use crate::drain::Guarantee;
use crate::kafka::Acks;
use crate::mistake::Mistake;
use crate::units::Span;
use crate::users::PasswordHashing;

use super::Config;

/// With the other phases of a stop this stays below the `TimeoutStopSec` of `systemd/forebay.service`.
pub const LONGEST_GRACE: Span = Span::secs(60);

pub(super) fn validate(config: &Config) -> Vec<Mistake> {
    let mut mistakes = Vec::new();
    let grace = config.server.shutdown_grace;
    if grace > LONGEST_GRACE {
        mistakes.push(Mistake::new("server", "shutdown_grace", grace, "at most 60s"));
    }
    if config.embedded() && config.auth.mode != Mode::Open {
        let allowed = "host:port, or a list, with this [auth] mode: an embedded broker asks nobody, so every process of \
                       this machine could write users' commands";
        mistakes.push(Mistake::new("kafka", "brokers", "embedded", allowed));
    }
    if config.drain.delivery == Guarantee::ExactlyOnce {
        let mut refuse = |allowed| mistakes.push(Mistake::new("drain", "delivery", "exactly-once", allowed));
        if config.embedded() {
            refuse("\"at-least-once\" with brokers = \"embedded\": its topics die with the process");
        }
        if config.kafka.acks != Acks::All {
            refuse("\"at-least-once\" with this [kafka] acks: transactions need \"all\"");
        }
    }
    if config.users.password_hashing == PasswordHashing::Deferred && config.wal.encryption_key_file.is_none()
    {
        let allowed =
            "\"before-ack\" without [wal] encryption_key_file: passwords would lie in the log as they are";
        mistakes.push(Mistake::new("users", "password_hashing", "deferred", allowed));
    }
    mistakes
}
