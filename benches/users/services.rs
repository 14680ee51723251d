//! The real parts of a user service beside it: Kafka, Redis, MariaDB.

use std::fs::Permissions;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::time::Duration;

use support::admin::Admin;
use support::kafka::{ClusterOptions, Kafka};
use support::mariadb::MariaDb;
use support::process::Forebay;
use support::redis::Redis;
use support::services;
use support::services::KafkaPermit;
use support::sql::SqlServer;

const MIGRATED_WITHIN: Duration = Duration::from_secs(60);

/// Servers of the measurement's own.
pub struct Services {
    kafka: Kafka,
    redis: Redis,
    database: String,
    _sql: MariaDb,
    _place: KafkaPermit,
}

impl Services {
    /// Running, topics and tables made. None: one of them is not installed; that has been said.
    pub fn start(test: &str) -> Option<Services> {
        let (place, redis, sql) =
            (services::kafka(test)?, services::redis(test)?, services::own_mariadb(test)?);
        let (kafka, redis) = (place.start(ClusterOptions::single()), redis.start());
        let admin = Admin::new(&kafka.bootstrap());
        for topic in ["user.commands.v1", "user.retry.v1", "user.dead.v1"] {
            admin.create_topic(topic, 4, 1, &[]);
        }
        let parts = Services { database: sql.create_database(), kafka, redis, _sql: sql, _place: place };
        let mut migrate = parts.under(Forebay::new(env!("CARGO_BIN_EXE_forebay")).args(&["migrate"]));
        migrate.launch();
        assert!(migrate.wait(MIGRATED_WITHIN).success(), "{}", migrate.log());
        Some(parts)
    }

    /// A daemon on them that applies what it accepts.
    pub fn daemon(&self) -> Forebay {
        self.under(Forebay::new(env!("CARGO_BIN_EXE_forebay"))).set("consumer.enabled", true)
    }

    fn under(&self, forebay: Forebay) -> Forebay {
        forebay
            .set("kafka.brokers", self.kafka.bootstrap())
            .set("redis.url", self.redis.url())
            .set("database.url", self.database.as_str())
            .set("users.password_cost", 10)
    }
}

/// A key file beside the daemon's own, readable by its owner alone.
pub fn key_file(forebay: &Forebay, name: &str, key: &str) -> PathBuf {
    let path = forebay.dir().join(name);
    std::fs::write(&path, key).expect("a key file");
    std::fs::set_permissions(&path, Permissions::from_mode(0o600)).expect("a private key file");
    path
}
