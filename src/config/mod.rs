//! Configuration: reads it from its sources, validates it, and prints the effective result.
//!
//! Later sources take precedence: the built-in `config/forebay.toml`, the given file, the environment
//! (`FOREBAY__SECTION__KEY`), flags. The struct of each section belongs to the module that it configures. This module
//! reads the sections, collects all errors, and checks the sections against each other.

mod closest;
mod fields;
#[cfg(any(test, feature = "fuzzing"))]
pub(crate) mod fuzzing;
mod key_lines;
mod key_locations;
mod reader;
mod sources;
mod toml_errors;

use std::collections::BTreeSet;
use std::fmt;
use std::path::{Path, PathBuf};

use serde::Serialize;
use toml::{Table, Value};

use crate::config_error::{ConfigError, ConfigLocation};
use crate::kinds::Kinds;
use crate::units::Span;
use crate::{
    alerts, auth, consumer, db, drain, http, ingest, kafka, kinds, kv, login, ratelimit, telemetry, users,
};

pub use sources::{Override, environment};

use key_locations::KeyLocations;
use reader::Reader;

/// The default configuration: every key with its unit, default and reason. `forebay config default` prints it.
pub const DEFAULTS: &str = include_str!("../../config/forebay.toml");

/// Maximum of `shutdown_grace`. Including the other phases of a stop, it stays below the `TimeoutStopSec` of
/// `systemd/forebay.service`.
pub const MAX_SHUTDOWN_GRACE: Span = Span::secs(60);

/// The effective, valid configuration.
#[derive(Clone, Debug, Serialize)]
pub struct Config {
    /// Listeners and their limits.
    pub server: http::Config,
    /// Authentication.
    pub auth: auth::Config,
    /// The log.
    pub wal: ingest::Config,
    /// The drain's workers.
    pub drain: drain::Config,
    /// The Kafka cluster.
    pub kafka: kafka::Config,
    /// The reservation store and the shared cache.
    pub redis: kv::Config,
    /// Rate limits.
    pub rate_limit: ratelimit::Config,
    /// The user service.
    pub users: users::Config,
    /// Logins with name and password.
    pub login: login::Config,
    /// The kinds of commands that are accepted.
    pub kinds: Vec<kinds::Config>,
    /// The database of users.
    pub database: db::Config,
    /// The consumer of user commands.
    pub consumer: consumer::Config,
    /// Thresholds for problems.
    pub alerts: alerts::Config,
    /// Log lines and traces.
    pub telemetry: telemetry::Config,
}

/// Sources of this process's configuration. They can be read again.
#[derive(Clone, Debug)]
pub struct Source {
    /// The configuration file, if any.
    pub file: Option<PathBuf>,
    /// Overrides from the environment and flags; later ones take precedence.
    pub overrides: Vec<Override>,
}

impl Source {
    /// Reads the configuration from its sources.
    pub fn load(&self) -> Result<Config, ConfigErrors> {
        Config::load(self.file.as_deref(), self.overrides.clone())
    }
}

impl Config {
    /// Reads the file, if any, and applies `overrides`; later ones take precedence.
    pub fn load(file: Option<&Path>, overrides: Vec<Override>) -> Result<Self, ConfigErrors> {
        let mut mistakes = Vec::new();
        let text = file.map(|path| sources::read_file(path, &mut mistakes)).unwrap_or_default();
        Self::read(&text, overrides, mistakes)
    }

    fn read(text: &str, overrides: Vec<Override>, mistakes: Vec<ConfigError>) -> Result<Self, ConfigErrors> {
        let (config, mut mistakes, places) = Self::parse(text, overrides, mistakes);
        // A key that could not be read has its default here, so that all other keys are still checked.
        mistakes.extend(config.validate().into_iter().map(|mistake| places.with_file_index(mistake)));
        if mistakes.is_empty() {
            return Ok(config);
        }
        let mut mistakes: Vec<_> = mistakes.into_iter().map(|mistake| places.locate(mistake)).collect();
        // In the order of the file, followed by errors without a line.
        mistakes.sort_by_key(|mistake| match mistake.location.as_deref() {
            Some(ConfigLocation::Line(line)) => *line,
            _ => usize::MAX,
        });
        Err(ConfigErrors(mistakes))
    }

    fn parse(
        text: &str,
        overrides: Vec<Override>,
        mut mistakes: Vec<ConfigError>,
    ) -> (Self, Vec<ConfigError>, KeyLocations) {
        let text = sources::without_invalid_lines(text, &mut mistakes);
        let places = KeyLocations::new(&text, &overrides);
        // Both parse: the defaults are built in, and invalid lines were removed from the text.
        let (defaults, given) = (DEFAULTS.parse().unwrap_or_default(), text.parse().unwrap_or_default());
        let mut reader = Reader::new(sources::merged(defaults, given), overrides, mistakes, places);
        let config = Self {
            server: reader.section("server"),
            auth: reader.section("auth"),
            wal: reader.section("wal"),
            drain: reader.section("drain"),
            kafka: reader.section("kafka"),
            redis: reader.section("redis"),
            rate_limit: reader.section("rate_limit"),
            users: reader.section("users"),
            login: reader.section("login"),
            kinds: reader.list("kinds"),
            database: reader.section("database"),
            consumer: reader.section("consumer"),
            alerts: reader.section("alerts"),
            telemetry: reader.section("telemetry"),
        };
        let (mistakes, places) = reader.finish();
        (config, mistakes, places)
    }

    fn validate(&self) -> Vec<ConfigError> {
        let mut mistakes = self.server.validate(self.auth.mode != auth::Mode::Open);
        mistakes.extend(self.auth.validate());
        mistakes.extend(self.wal.validate());
        mistakes.extend(self.drain.validate());
        mistakes.extend(self.kafka.validate());
        mistakes.extend(self.redis.validate());
        mistakes.extend(self.rate_limit.validate());
        mistakes.extend(self.users.validate());
        mistakes.extend(self.login.validate());
        mistakes.extend(Kinds::build(&self.kinds).err().unwrap_or_default());
        mistakes.extend(self.database.validate());
        mistakes.extend(self.consumer.validate());
        mistakes.extend(self.alerts.validate());
        mistakes.extend(self.telemetry.validate());
        mistakes.extend(self.cross_checks());
        mistakes
    }

    /// Checks that concern several sections, or the configuration and the unit file.
    fn cross_checks(&self) -> Vec<ConfigError> {
        let mut mistakes = Vec::new();
        let grace = self.server.shutdown_grace;
        if grace > MAX_SHUTDOWN_GRACE {
            mistakes.push(ConfigError::new("server", "shutdown_grace", grace, "at most 60s"));
        }
        if self.embedded() && self.auth.mode != auth::Mode::Open {
            let allowed = "host:port, or a list, with this [auth] mode; an embedded broker has no authentication, so \
                           any process on this machine could write user commands";
            mistakes.push(ConfigError::new("kafka", "brokers", "embedded", allowed));
        }
        if self.drain.delivery == drain::DeliveryGuarantee::ExactlyOnce {
            let mut refuse =
                |allowed| mistakes.push(ConfigError::new("drain", "delivery", "exactly-once", allowed));
            if self.embedded() {
                refuse(
                    "\"at-least-once\" with brokers = \"embedded\", whose topics are lost when the process ends",
                );
            }
            if self.kafka.has_token() {
                refuse(
                    "\"at-least-once\" with this [kafka] sasl_mechanism, because the admin client, which checks the \
                     topic of the positions, cannot use a token",
                );
            }
            if self.kafka.acks != kafka::Acks::All {
                refuse("\"at-least-once\" with this [kafka] acks, because transactions need \"all\"");
            }
        }
        if self.consumer.enabled == Some(true) && !self.serves_users() {
            let allowed = "false without the user service; set [database] url, or [users] enabled = true";
            mistakes.push(ConfigError::new("consumer", "enabled", true, allowed));
        }
        if self.users.password_hashing == users::PasswordHashing::Deferred
            && self.wal.encryption_key_file.is_none()
        {
            let allowed = "\"before-ack\" without [wal] encryption_key_file, because the log would hold \
                           passwords in plain text";
            mistakes.push(ConfigError::new("users", "password_hashing", "deferred", allowed));
        }
        mistakes
    }

    /// `[database]`. If no URL is set, the URL of an SQLite file next to the log.
    pub fn database(&self) -> db::Config {
        let mut config = self.database.clone();
        if config.url == db::DatabaseUrl::embedded() {
            let beside = self.wal.dir.parent().unwrap_or(Path::new(""));
            config.url = db::DatabaseUrl::sqlite(&beside.join("forebay.sqlite"));
        }
        config
    }

    /// Whether the daemon runs the user service with its paths, stores and consumer.
    pub fn serves_users(&self) -> bool {
        let has_database = || self.database.url != db::DatabaseUrl::embedded();
        self.users.enabled.unwrap_or_else(|| self.embedded() || has_database())
    }

    /// Whether this process applies user commands.
    pub fn consumes(&self) -> bool {
        self.serves_users() && self.consumer.enabled.unwrap_or(self.embedded())
    }

    /// Whether everything runs in this process, including the broker.
    pub fn embedded(&self) -> bool {
        self.kafka.brokers == kafka::Brokers::Embedded
    }

    /// Keys that differ from `other`, such as `wal.dir`. All kinds count as one key, `kinds`.
    pub fn changes(&self, other: &Self) -> Result<Vec<String>, toml::ser::Error> {
        let (ours, theirs) = (Table::try_from(self)?, Table::try_from(other)?);
        let mut changed = BTreeSet::new();
        for section in ours.keys().chain(theirs.keys()) {
            match (ours.get(section), theirs.get(section)) {
                (Some(Value::Table(ours)), Some(Value::Table(theirs))) => {
                    let differs = |key: &&String| ours.get(*key) != theirs.get(*key);
                    let keys = ours.keys().chain(theirs.keys()).filter(differs);
                    changed.extend(keys.map(|key| format!("{section}.{key}")));
                }
                (ours, theirs) if ours == theirs => {}
                _ => {
                    changed.insert(section.clone());
                }
            }
        }
        Ok(changed.into_iter().collect())
    }

    /// The effective configuration, with secrets masked and derived values filled in.
    pub fn effective(&self) -> Result<Table, toml::ser::Error> {
        let mut effective = self.clone();
        effective.users.enabled = Some(self.serves_users());
        effective.consumer.enabled = Some(self.consumes());
        let mut table = Table::try_from(effective)?;
        toml_errors::mask(&mut table);
        Ok(table)
    }

    /// The effective configuration as TOML.
    pub fn to_toml(&self) -> Result<String, toml::ser::Error> {
        toml::to_string(&self.effective()?)
    }
}

/// All errors in a configuration.
#[derive(Debug)]
pub struct ConfigErrors(Vec<ConfigError>);

impl ConfigErrors {
    /// Iterates over the errors.
    pub fn iter(&self) -> impl Iterator<Item = &ConfigError> {
        self.0.iter()
    }
}

impl From<Vec<ConfigError>> for ConfigErrors {
    fn from(mistakes: Vec<ConfigError>) -> Self {
        Self(mistakes)
    }
}

impl std::error::Error for ConfigErrors {}

impl fmt::Display for ConfigErrors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let plural = if self.0.len() == 1 { "" } else { "s" };
        write!(f, "{} error{plural} in the configuration", self.0.len())?;
        self.0.iter().try_for_each(|mistake| write!(f, "\n  {mistake}"))
    }
}

#[cfg(test)]
mod tests;
