//! The services that a user service needs: Kafka, Redis, MariaDB.

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

/// Servers that only the measurement uses.
pub struct Services {
    kafka: Kafka,
    redis: Redis,
    database: String,
    _sql: MariaDb,
    _place: KafkaPermit,
}

impl Services {
    /// Starts the servers, and creates topics and tables. Returns `None` if one of them is not installed, which is
    /// already reported.
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

    /// A daemon that uses these servers and applies its commands.
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

/// Creates a key file in the daemon's directory, readable only by its owner.
pub fn key_file(forebay: &Forebay, name: &str, key: &str) -> PathBuf {
    let path = forebay.dir().join(name);
    std::fs::write(&path, key).expect("a key file");
    std::fs::set_permissions(&path, Permissions::from_mode(0o600)).expect("a private key file");
    path
}
