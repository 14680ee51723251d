//! Apache Kafka for tests: a cluster of one or three brokers, each also a controller (KRaft), on loopback ports, with
//! its data in a temporary directory.
//!
//! ```ignore
//! let Some(kafka) = services::kafka("name_of_the_test") else { return };
//! let cluster = kafka.start(ClusterOptions::three().set("min.insync.replicas", "2"));
//! cluster.broker(2).kill();
//! ```

mod acl;
mod broker;
mod certificates;
mod jars;
mod options;
mod secure;
mod wire;

use std::thread;
use std::time::Duration;

use tempfile::TempDir;

pub use acl::{Operation, Resource};
pub use broker::Broker;
pub use certificates::Certificates;
pub use jars::Jars;
pub use options::{CLIENT_PASSWORD, CLIENT_USER, ClusterOptions};
pub use secure::Listener;

use super::{scratch, wait};

/// Timeout for a start. A cluster replies after 1 s on an idle machine; the two cores may also compile.
const READY_TIMEOUT: Duration = Duration::from_secs(120);

/// A running cluster. Dropping it kills its brokers and removes their data.
pub struct Kafka {
    brokers: Vec<Broker>,
    jars: Jars,
    options: ClusterOptions,
    certificates: Option<Certificates>,
    // After the brokers: fields are dropped in this order, and brokers write until they have ended.
    dir: TempDir,
}

impl Kafka {
    /// Formats the storage, starts the brokers and returns when each of them knows all of them.
    pub fn start(jars: &Jars, options: ClusterOptions) -> Kafka {
        let dir = scratch::dir("kafka");
        let certificates = options.is_secure().then(|| Certificates::make(dir.path()));
        let brokers = Broker::prepare_all(jars, &options, certificates.as_ref(), dir.path());
        let cluster = Kafka { brokers, jars: jars.clone(), options, certificates, dir };
        thread::scope(|scope| {
            for broker in &cluster.brokers {
                scope.spawn(|| broker.format());
            }
        });
        for broker in &cluster.brokers {
            broker.launch();
        }
        cluster.await_members();
        if cluster.options.is_secure() {
            cluster.allow_all_users();
        } else if cluster.options.has_acls() {
            cluster.allow_everything();
        }
        cluster
    }

    /// Addresses for clients without authentication: `host:port,host:port,…`.
    pub fn bootstrap(&self) -> String {
        addresses(&self.brokers, Broker::address)
    }

    /// Addresses for clients with SASL/PLAIN over plain TCP, as [`CLIENT_USER`]; only in a cluster with ACLs.
    pub fn sasl_bootstrap(&self) -> String {
        assert!(self.options.has_acls(), "a cluster without ClusterOptions::acls has no SASL listener");
        addresses(&self.brokers, Broker::second_address)
    }

    /// Address for clients with TLS; only in a cluster with [`ClusterOptions::secure`].
    pub fn secure_address(&self, listener: Listener) -> String {
        let address = self.brokers.first().and_then(|broker| broker.secure_address(listener));
        address.expect("a cluster without ClusterOptions::secure has no TLS")
    }

    /// The certificate files; only in a cluster with [`ClusterOptions::secure`].
    pub fn certificates(&self) -> &Certificates {
        self.certificates.as_ref().expect("a cluster without ClusterOptions::secure has no certificates")
    }

    /// Addresses that brokers use among each other, without the proxy in front of them; only in a cluster that
    /// advertises other addresses.
    pub fn internal_bootstrap(&self) -> String {
        assert!(
            self.options.has_inner(),
            "a cluster without ClusterOptions::advertise has no internal listener"
        );
        addresses(&self.brokers, Broker::second_address)
    }

    /// The jars, to run another of Kafka's programs.
    pub fn jars(&self) -> &Jars {
        &self.jars
    }

    /// The broker with this node id, beginning with 1. Partition leaders are identified by the same number.
    pub fn broker(&self, id: i32) -> &Broker {
        self.brokers.iter().find(|broker| broker.id() == id).unwrap_or_else(|| panic!("no broker {id}"))
    }

    /// All brokers, in ascending order of their ids.
    pub fn brokers(&self) -> &[Broker] {
        &self.brokers
    }

    /// Returns when each broker knows all of them.
    fn await_members(&self) {
        for broker in &self.brokers {
            wait::until_true(&format!("broker {} sees the cluster", broker.id()), READY_TIMEOUT, || {
                broker.assert_running();
                broker.members().is_some_and(|members| members.len() == self.brokers.len())
            });
        }
    }
}

fn addresses(brokers: &[Broker], address: impl Fn(&Broker) -> String) -> String {
    brokers.iter().map(address).collect::<Vec<_>>().join(",")
}
