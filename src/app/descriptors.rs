//! Limit of file descriptors. The process raises it as far as allowed, and limits its connections so that the log,
//! Kafka and the databases have enough: without a free descriptor the log cannot open its next file.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use crate::config::Config;

/// Descriptors of the log, its index, the embedded stores, the runtime and the listeners, with a margin. About 60 were
/// measured.
const BASE_DESCRIPTORS: u64 = 128;
/// Sockets and pipes of a Kafka client with three brokers: two per broker thread, including bootstrap connections.
const PER_KAFKA_CLIENT: u64 = 16;
/// The producer of a worker, and a second one while it isolates a record that Kafka rejects.
const CLIENTS_PER_WORKER: u64 = 2;
/// The consumer with its producers, and the client that queries the topics.
const OTHER_CLIENTS: u64 = 4;
/// An SQLite connection has three open files; a connection to a server has one socket.
const PER_DATABASE_CONNECTION: u64 = 3;
/// Maximum number of admin connections: scrapes, probes, and a few operators. A lower `max_connections` applies.
pub(super) const ADMIN_CONNECTIONS: usize = 64;

/// Raises the limit as far as the system allows. Returns the configuration with as many connections as fit.
pub(super) fn limit_connections(config: &Config) -> Config {
    let mut config = config.clone();
    let Some(limit) = raise_limit() else { return config };
    let reserved = reserve(&config);
    let fitting = max_public_connections(limit, reserved);
    let configured = config.server.max_connections;
    if configured > fitting {
        tracing::warn!(
            event = "descriptors.limit_low",
            descriptors.limit = limit,
            descriptors.reserved = reserved,
            connections.configured = configured,
            connections.effective = fitting,
            "max_connections exceeds what the process's limit of open files allows: raise the limit (LimitNOFILE=, \
             ulimit -n) or lower max_connections"
        );
        config.server.max_connections = fitting;
    }
    config
}

/// Raises the soft limit to the hard limit. Returns the resulting limit, or `None` if it is unlimited.
pub(super) fn raise_limit() -> Option<u64> {
    let Rlimit { current, maximum } = getrlimit(Resource::Nofile);
    if current == maximum {
        return current;
    }
    match setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum }) {
        Ok(()) => maximum,
        Err(error) => {
            tracing::warn!(event = "descriptors.raise_failed", %error, "limit of open files not raised");
            current
        }
    }
}

/// Descriptors reserved for everything other than connections.
fn reserve(config: &Config) -> u64 {
    let workers = config.drain.worker_count() as u64;
    let kafka = (workers * CLIENTS_PER_WORKER + OTHER_CLIENTS) * PER_KAFKA_CLIENT;
    let database = u64::from(config.database().max_connections) * PER_DATABASE_CONNECTION;
    BASE_DESCRIPTORS + kafka + database + config.redis.pool_size as u64
}

/// Public connections that fit in addition to the reserve, the admin connections, and those being refused. If the
/// limit is too low for all of them, connections get a quarter of it, and the log may have to wait for a descriptor.
fn max_public_connections(limit: u64, reserved: u64) -> usize {
    let rest = limit.saturating_sub(reserved + ADMIN_CONNECTIONS as u64).max(limit / 4);
    // One in nine: `HttpServer` refuses up to one connection per eight it serves.
    usize::try_from(rest - rest / 9).unwrap_or(usize::MAX).max(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn connections_leave_the_reserve() {
        for limit in [1024, 4096, 65_536] {
            let public = max_public_connections(limit, 400) as u64;
            assert!(public + public / 8 + 64 + 400 <= limit, "{limit}: {public}");
            assert!(public > limit / 3, "{limit}: {public}");
        }
        assert_eq!(max_public_connections(u64::MAX, 400), (u64::MAX - 464 - (u64::MAX - 464) / 9) as usize);
    }

    #[test]
    fn a_limit_below_the_reserve_still_leaves_some_connections() {
        assert_eq!(max_public_connections(64, 400), 15);
        assert_eq!(max_public_connections(1, 400), 1);
    }
}
