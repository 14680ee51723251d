//! One broker of a cluster: start, stop, kill, freeze, and restart with the same ports and data.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use std::{fs, process};

use super::certificates::Certificates;
use super::options::Node;
use super::secure::{Listener, scram_users};
use super::{ClusterOptions, Jars, READY_TIMEOUT, wire};
use crate::child::Child;
use crate::ports::Port;
use crate::wait;

/// Timeout of an orderly stop, which takes under a second. A broker without reachable controllers waits for them in
/// vain.
const STOP_TIMEOUT: Duration = Duration::from_secs(60);

/// A broker, running or not. Methods take `&self`, so that a test can stop it while other threads produce.
pub struct Broker {
    // First, so that it has ended before its ports are released.
    child: Mutex<Option<Child>>,
    id: i32,
    dir: PathBuf,
    jars: Jars,
    cluster_id: String,
    heap: &'static str,
    client_port: Port,
    /// Port of a listener that only some clusters have: for clients with a password, or between brokers.
    internal_port: Port,
    controller_port: Port,
    /// Ports of further listeners.
    secure: Option<[(Listener, Port); 4]>,
}

impl Broker {
    /// The brokers of a cluster, with ports, directories and properties, neither formatted nor started.
    pub(super) fn prepare_all(
        jars: &Jars,
        options: &ClusterOptions,
        certificates: Option<&Certificates>,
        dir: &Path,
    ) -> Vec<Broker> {
        let controllers: Vec<Port> = (0..options.brokers()).map(|_| Port::free()).collect();
        let voters: Vec<String> =
            controllers.iter().zip(1..).map(|(port, id)| format!("{id}@{}", port.address())).collect();
        let voters = voters.join(",");
        let cluster_id = new_cluster_id();
        let broker = |(controller, id): (Port, i32)| {
            let broker = Broker {
                child: Mutex::new(None),
                id,
                dir: dir.join(format!("broker-{id}")),
                jars: jars.clone(),
                cluster_id: cluster_id.clone(),
                heap: options.heap_option(),
                client_port: Port::free(),
                internal_port: Port::free(),
                controller_port: controller,
                secure: options.is_secure().then(|| Listener::ALL.map(|listener| (listener, Port::free()))),
            };
            broker.write_properties(options, certificates, &voters);
            broker
        };
        controllers.into_iter().zip(1..).map(broker).collect()
    }

    /// The node id.
    pub fn id(&self) -> i32 {
        self.id
    }

    /// `host:port` for clients without authentication.
    pub fn address(&self) -> String {
        self.client_port.address()
    }

    /// Starts the broker. Returns when it replies and takes part in the cluster, which needs a majority of controllers.
    pub fn start(&self) {
        self.launch();
        self.await_ready();
    }

    /// Starts the broker without waiting, for a test that restarts several at once.
    pub fn launch(&self) {
        let mut child = self.child();
        assert!(child.is_none(), "broker {} is already started", self.id);
        // Libraries that it unpacks are not deleted when it is killed.
        let temporary = format!("-Djava.io.tmpdir={}", self.dir.display());
        let mut java = self.jars.java(&[self.heap, "-Dorg.apache.logging.log4j.level=WARN", &temporary]);
        java.arg("kafka.Kafka").arg(self.properties_file());
        *child = Some(Child::spawn(&format!("broker {}", self.id), &java, &self.dir.join("broker.log")));
    }

    /// Returns when the broker replies and lists itself among the cluster's brokers.
    pub fn await_ready(&self) {
        wait::until_true(&format!("broker {} is ready", self.id), READY_TIMEOUT, || {
            self.assert_running();
            self.members().is_some_and(|members| members.contains(&self.id))
        });
    }

    /// Stops the broker in an orderly way (SIGTERM): it hands over its partitions and closes its logs.
    pub fn stop(&self) {
        self.running(|child| child.terminate(STOP_TIMEOUT));
        *self.child() = None;
    }

    /// Kills the broker (SIGKILL).
    pub fn kill(&self) {
        self.running(Child::kill);
        *self.child() = None;
    }

    /// Freezes the broker (SIGSTOP): connections stay open, and no request gets a reply.
    pub fn freeze(&self) {
        self.running(Child::freeze);
    }

    /// Resumes the broker after [`Broker::freeze`].
    pub fn thaw(&self) {
        self.running(Child::thaw);
    }

    /// The log of all its runs: warnings and worse.
    pub fn log(&self) -> String {
        fs::read_to_string(self.dir.join("broker.log")).unwrap_or_default()
    }

    pub(super) fn second_address(&self) -> String {
        self.internal_port.address()
    }

    /// `host:port` of a listener with TLS.
    pub(super) fn secure_address(&self, listener: Listener) -> Option<String> {
        let (_, port) = self.secure.iter().flatten().find(|(own, _)| *own == listener)?;
        Some(port.address())
    }

    /// Formats its empty data directory.
    pub(super) fn format(&self) {
        let id = ["-t", &self.cluster_id, "-c"];
        self.jars.run("kafka.tools.StorageTool", &self.dir, |java| {
            java.arg("format").args(id).arg(self.properties_file());
            if self.secure.is_some() {
                java.args(scram_users());
            }
        });
    }

    /// The members of the cluster that this broker knows, if it replies.
    pub(super) fn members(&self) -> Option<Vec<i32>> {
        wire::members(&self.address()).ok()
    }

    /// Fails the test if the broker has ended.
    pub(super) fn assert_running(&self) {
        let end = self.running(|child| child.ended().map(|status| (status, child.log_tail())));
        if let Some((status, log)) = end {
            panic!("broker {} ended ({status}):\n{log}", self.id);
        }
    }

    fn write_properties(&self, options: &ClusterOptions, certificates: Option<&Certificates>, voters: &str) {
        fs::create_dir_all(&self.dir).expect("the directory of a broker");
        let node = Node {
            id: self.id,
            data: &self.dir.join("data"),
            client_port: self.client_port.number(),
            second_port: self.internal_port.number(),
            controller_port: self.controller_port.number(),
            voters,
            secure: certificates.zip(
                self.secure
                    .as_ref()
                    .map(|all| all.each_ref().map(|(listener, port)| (*listener, port.number()))),
            ),
        };
        fs::write(self.properties_file(), options.properties(&node)).expect("the properties of a broker");
    }

    fn properties_file(&self) -> PathBuf {
        self.dir.join("server.properties")
    }

    fn child(&self) -> MutexGuard<'_, Option<Child>> {
        // A test that panicked with the lock held leaves a child that can still be killed.
        self.child.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Calls `act` with the process, which must have been started.
    fn running<T>(&self, act: impl FnOnce(&mut Child) -> T) -> T {
        let mut child = self.child();
        act(child.as_mut().unwrap_or_else(|| panic!("broker {} is not started", self.id)))
    }
}

/// Kafka's form of 16 bytes: 22 characters of base64, to which hexadecimal digits belong; the last character has only
/// two bits. It differs per cluster, so a broker that reaches another cluster's port is refused.
fn new_cluster_id() -> String {
    static COUNT: AtomicU32 = AtomicU32::new(0);
    let count = COUNT.fetch_add(1, Ordering::Relaxed);
    format!("forebay{:08x}{count:06x}A", process::id())
}
