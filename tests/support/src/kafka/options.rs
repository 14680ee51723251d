//! Options of a cluster, and the broker properties that result from them.

use std::collections::BTreeMap;
use std::path::Path;

use super::certificates::Certificates;
use super::secure::{Listener, listeners};

/// The user with all permissions, which brokers also use among each other.
pub const ADMIN_USER: &str = "admin";
/// The password of [`ADMIN_USER`]. It need not be secret: the listener is on loopback and closes after seconds.
pub const ADMIN_PASSWORD: &str = "admin-secret";
/// The user of clients that connect to `Kafka::sasl_bootstrap`.
pub const CLIENT_USER: &str = "forebay";
/// The password of [`CLIENT_USER`].
pub const CLIENT_PASSWORD: &str = "forebay-secret";

/// Number of brokers, and their properties. Properties that a test does not set have Kafka's defaults, so that the
/// daemon meets brokers as most users run them. The exceptions are in `ClusterOptions::needed`.
#[derive(Clone, Debug)]
pub struct ClusterOptions {
    brokers: usize,
    acls: bool,
    secure: bool,
    host: &'static str,
    heap: &'static str,
    advertised: Vec<String>,
    properties: BTreeMap<String, String>,
    broker_properties: Vec<(i32, String, String)>,
}

/// Heap of one broker. It works in half of that; the rest is for the tests' records and indexes.
const HEAP: &str = "-Xmx256m";

impl ClusterOptions {
    /// One broker: no replication, the quickest to start.
    pub fn single() -> ClusterOptions {
        ClusterOptions::of(1)
    }

    /// Three brokers, for replication tests: topics have three replicas, two of which must confirm, unless set
    /// otherwise.
    pub fn three() -> ClusterOptions {
        ClusterOptions::of(3).set("default.replication.factor", "3").set("min.insync.replicas", "2")
    }

    /// Sets a property of every broker.
    pub fn set(mut self, key: &str, value: &str) -> ClusterOptions {
        self.properties.insert(key.to_owned(), value.to_owned());
        self
    }

    /// Sets a property of a single broker.
    pub fn set_on(mut self, broker: i32, key: &str, value: &str) -> ClusterOptions {
        self.broker_properties.push((broker, key.to_owned(), value.to_owned()));
        self
    }

    /// The host name that brokers advertise instead of 127.0.0.1, for clients on another host. For brokers without
    /// [`ClusterOptions::acls`].
    pub fn host(mut self, host: &'static str) -> ClusterOptions {
        self.host = host;
        self
    }

    /// Turns on authorization. All operations are allowed until `Kafka::deny`, and a second listener requires
    /// SASL/PLAIN (`Kafka::sasl_bootstrap`).
    pub fn acls(mut self) -> ClusterOptions {
        self.acls = true;
        self
    }

    /// Like [`ClusterOptions::acls`], with further listeners: TLS with client certificates, TLS with SASL of every
    /// mechanism, and two with a certificate that no client accepts (`Kafka::secure_address`). For one broker.
    pub fn secure(mut self) -> ClusterOptions {
        assert!(self.brokers == 1, "each of the listeners has only one port");
        self.secure = true;
        self.acls().set("super.users", &format!("User:{ADMIN_USER};User:ANONYMOUS"))
    }

    /// Advertises these addresses, one per broker, instead of the brokers' own, so that clients connect through a
    /// proxy. Brokers connect to each other directly, and so do clients of `Kafka::internal_bootstrap`. Cannot be
    /// combined with ACLs.
    pub fn advertise(mut self, addresses: Vec<String>) -> ClusterOptions {
        assert!(addresses.len() == self.brokers && !self.acls, "one address per broker, and no ACLs");
        self.advertised = addresses;
        self
    }

    /// Sets the heap of each broker, as a Java option (`-Xmx384m`).
    pub fn heap(mut self, option: &'static str) -> ClusterOptions {
        self.heap = option;
        self
    }

    pub(super) fn heap_option(&self) -> &'static str {
        self.heap
    }

    pub(super) fn has_inner(&self) -> bool {
        !self.advertised.is_empty()
    }

    pub(super) fn is_secure(&self) -> bool {
        self.secure
    }

    pub(super) fn brokers(&self) -> usize {
        self.brokers
    }

    pub(super) fn has_acls(&self) -> bool {
        self.acls
    }

    /// The properties file of one broker.
    pub(super) fn properties(&self, node: &Node) -> String {
        let mut all = node.identity();
        all.extend(self.needed());
        all.extend(match self.advertised.get(usize::try_from(node.id - 1).unwrap_or(0)) {
            Some(advertised) => node.behind(advertised),
            None if self.acls => node.secured(),
            None => node.open(self.host),
        });
        if let Some((certificates, ports)) = &node.secure {
            listeners(&mut all, certificates, ports);
        }
        all.extend(self.properties.clone());
        let own = self.broker_properties.iter().filter(|(id, _, _)| *id == node.id);
        all.extend(own.map(|(_, key, value)| (key.clone(), value.clone())));
        all.iter().map(|(key, value)| format!("{key}={value}\n")).collect()
    }

    fn of(brokers: usize) -> ClusterOptions {
        let (properties, broker_properties) = (BTreeMap::new(), Vec::new());
        let (host, heap, advertised) = ("127.0.0.1", HEAP, Vec::new());
        ClusterOptions {
            brokers,
            acls: false,
            secure: false,
            host,
            heap,
            advertised,
            properties,
            broker_properties,
        }
    }

    /// Properties that tests need and that differ from Kafka's defaults.
    fn needed(&self) -> Properties {
        let replicas = self.brokers.to_string();
        let in_sync = if self.brokers > 1 { "2" } else { "1" };
        properties(&[
            // Not Kafka's default of 1: production clusters have several, and tests must detect a client that relies on
            // one.
            ("num.partitions", "6"),
            // Kafka's own topics have three replicas by default, which one broker cannot store.
            ("offsets.topic.replication.factor", &replicas),
            ("transaction.state.log.replication.factor", &replicas),
            ("transaction.state.log.min.isr", in_sync),
            // The default is 50 each: their files delay every cluster by a second before its first commit.
            ("offsets.topic.num.partitions", "4"),
            ("transaction.state.log.num.partitions", "4"),
            // No wait: no other member is about to join a test's consumer group.
            ("group.initial.rebalance.delay.ms", "0"),
            // Shorter waits: a dead broker is detected, and a killed one may return, after 3 s instead of 9. A broker
            // that is only slow has missed six heartbeats by then.
            ("broker.session.timeout.ms", "3000"),
            ("broker.heartbeat.interval.ms", "500"),
            // The default of 128 MiB is half of these brokers' heap.
            ("log.cleaner.dedupe.buffer.size", "16777216"),
        ])
    }
}

/// The addresses of a broker, and of the controllers.
pub(super) struct Node<'a> {
    pub id: i32,
    pub data: &'a Path,
    pub client_port: u16,
    pub second_port: u16,
    pub controller_port: u16,
    /// `id@host:port` of every controller.
    pub voters: &'a str,
    /// Certificates and ports of the further listeners.
    pub secure: Option<(&'a Certificates, [(Listener, u16); 4])>,
}

impl Node<'_> {
    fn identity(&self) -> Properties {
        let id = self.id.to_string();
        let data = self.data.display().to_string();
        properties(&[
            ("process.roles", "broker,controller"),
            ("node.id", &id),
            ("controller.quorum.voters", self.voters),
            ("controller.listener.names", "CONTROLLER"),
            ("log.dirs", &data),
        ])
    }

    /// Listeners without authentication.
    fn open(&self, host: &str) -> Properties {
        let client = format!("CLIENT://127.0.0.1:{}", self.client_port);
        let advertised = format!("CLIENT://{host}:{}", self.client_port);
        let controller = format!("CONTROLLER://127.0.0.1:{}", self.controller_port);
        properties(&[
            ("listeners", &format!("{client},{controller}")),
            ("advertised.listeners", &advertised),
            ("inter.broker.listener.name", "CLIENT"),
            ("listener.security.protocol.map", "CLIENT:PLAINTEXT,CONTROLLER:PLAINTEXT"),
        ])
    }

    /// Listeners without authentication: one for clients, with another advertised address, and one for brokers.
    fn behind(&self, advertised: &str) -> Properties {
        let client = format!("CLIENT://127.0.0.1:{}", self.client_port);
        let inner = format!("INNER://127.0.0.1:{}", self.second_port);
        let controller = format!("CONTROLLER://127.0.0.1:{}", self.controller_port);
        properties(&[
            ("listeners", &format!("{client},{inner},{controller}")),
            ("advertised.listeners", &format!("CLIENT://{advertised},{inner}")),
            ("inter.broker.listener.name", "INNER"),
            ("listener.security.protocol.map", "CLIENT:PLAINTEXT,INNER:PLAINTEXT,CONTROLLER:PLAINTEXT"),
        ])
    }

    /// Listeners with authorization. Clients without authentication are `User:ANONYMOUS` and not super users. So
    /// brokers must not be anonymous to each other: their listeners require a password.
    fn secured(&self) -> Properties {
        let client = format!("CLIENT://127.0.0.1:{}", self.client_port);
        let sasl = format!("SASL://127.0.0.1:{}", self.second_port);
        let controller = format!("CONTROLLER://127.0.0.1:{}", self.controller_port);
        let users = format!(
            "org.apache.kafka.common.security.plain.PlainLoginModule required \
             username=\"{ADMIN_USER}\" password=\"{ADMIN_PASSWORD}\" \
             user_{ADMIN_USER}=\"{ADMIN_PASSWORD}\" user_{CLIENT_USER}=\"{CLIENT_PASSWORD}\";"
        );
        properties(&[
            ("listeners", &format!("{client},{sasl},{controller}")),
            ("advertised.listeners", &format!("{client},{sasl}")),
            ("inter.broker.listener.name", "SASL"),
            (
                "listener.security.protocol.map",
                "CLIENT:PLAINTEXT,SASL:SASL_PLAINTEXT,CONTROLLER:SASL_PLAINTEXT",
            ),
            ("sasl.enabled.mechanisms", "PLAIN"),
            ("sasl.mechanism.inter.broker.protocol", "PLAIN"),
            ("sasl.mechanism.controller.protocol", "PLAIN"),
            ("listener.name.sasl.plain.sasl.jaas.config", &users),
            ("listener.name.controller.plain.sasl.jaas.config", &users),
            ("authorizer.class.name", "org.apache.kafka.metadata.authorizer.StandardAuthorizer"),
            ("super.users", &format!("User:{ADMIN_USER}")),
        ])
    }
}

pub(super) type Properties = BTreeMap<String, String>;

fn properties(pairs: &[(&str, &str)]) -> Properties {
    pairs.iter().map(|(key, value)| (String::from(*key), String::from(*value))).collect()
}
