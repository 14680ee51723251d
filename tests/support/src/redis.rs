//! Redis servers: a single one, or three that form a cluster. Each has its own ports and directory; other settings are
//! Redis' defaults.

use std::io;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::PathBuf;
use std::process::Command;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tempfile::TempDir;

use super::child::Child;
use super::ports::Port;
use super::{scratch, wait};

/// Timeout for a start, which takes a few milliseconds, for a cluster about a second; the machine may be busy.
const READY_TIMEOUT: Duration = Duration::from_secs(30);
const STOP_TIMEOUT: Duration = Duration::from_secs(30);
/// Timeout of a healthy server's reply.
const REPLY_TIMEOUT: Duration = Duration::from_secs(5);
const SLOTS: usize = 16_384;
/// Slots of each of three nodes; the last one has fewer.
const SLOTS_PER_NODE: usize = SLOTS.div_ceil(3);

/// A server, running or not. Methods take `&self`, so that a test can stop it while other threads use it.
pub struct Redis {
    // First, so that it has ended before its ports are released.
    child: Mutex<Option<Child>>,
    dir: TempDir,
    port: Port,
    /// Port for the messages among the nodes of a cluster.
    bus: Option<Port>,
    options: Vec<String>,
}

impl Redis {
    /// Starts a server and waits for its replies.
    pub fn start() -> Redis {
        Redis::start_with(&[])
    }

    /// Starts a server with further options, such as `["--requirepass", "secret"]`.
    pub fn start_with(options: &[&str]) -> Redis {
        let redis = Redis::prepare(None, options);
        redis.restart();
        redis
    }

    fn prepare(bus: Option<Port>, options: &[&str]) -> Redis {
        let options = options.iter().map(|&option| option.to_owned()).collect();
        Redis { child: Mutex::new(None), dir: scratch::dir("redis"), port: Port::free(), bus, options }
    }

    /// Starts the server again on its port, with its saved data. After an orderly stop this is all data. After a kill
    /// it is none, unless 10,000 changes within a minute triggered a save (the defaults of `save`).
    pub fn restart(&self) {
        let mut child = self.child();
        assert!(child.is_none(), "redis {} is already started", self.address());
        let mut server = Command::new("redis-server");
        server.current_dir(self.dir.path()).args(["--bind", "127.0.0.1"]);
        server.args(["--port", &self.port.number().to_string()]);
        if let Some(bus) = &self.bus {
            server.args(["--cluster-enabled", "yes", "--cluster-port", &bus.number().to_string()]);
        }
        server.args(&self.options);
        let mut started = Child::spawn("redis", &server, &self.log_file());
        wait::until_true("redis replies", READY_TIMEOUT, || {
            assert!(started.ended().is_none(), "redis ended:\n{}", started.log_tail());
            self.command(&["PING"]).is_ok()
        });
        *child = Some(started);
    }

    /// `host:port`.
    pub fn address(&self) -> String {
        self.port.address()
    }

    /// The URL for clients.
    pub fn url(&self) -> String {
        format!("redis://{}", self.address())
    }

    /// Stops the server in an orderly way (SIGTERM).
    pub fn stop(&self) {
        self.running(|child| child.terminate(STOP_TIMEOUT));
        *self.child() = None;
    }

    /// Kills the server (SIGKILL).
    pub fn kill(&self) {
        self.running(Child::kill);
        *self.child() = None;
    }

    /// Freezes the server (SIGSTOP): connections stay open, and no request gets a reply.
    pub fn freeze(&self) {
        self.running(Child::freeze);
    }

    /// Resumes the server after [`Redis::freeze`].
    pub fn thaw(&self) {
        self.running(Child::thaw);
    }

    /// Sends one command over a new connection and returns the reply in its wire format.
    pub fn command(&self, command: &[&str]) -> io::Result<String> {
        let mut stream = TcpStream::connect(self.address())?;
        stream.set_read_timeout(Some(REPLY_TIMEOUT))?;
        let mut request = format!("*{}\r\n", command.len());
        for word in command {
            request.push_str(&format!("${}\r\n{word}\r\n", word.len()));
        }
        stream.write_all(request.as_bytes())?;
        let mut answer = vec![0; 64 << 10];
        let mut len = 0;
        // No command has a long reply: the first bytes and what arrives with them suffice, up to a whole bulk string.
        while len < answer.len() {
            len += match stream.read(&mut answer[len..])? {
                0 => return Err(io::ErrorKind::UnexpectedEof.into()),
                more => more,
            };
            if is_whole(&answer[..len]) {
                break;
            }
        }
        Ok(String::from_utf8_lossy(&answer[..len]).into_owned())
    }

    fn log_file(&self) -> PathBuf {
        self.dir.path().join("redis.log")
    }

    fn child(&self) -> MutexGuard<'_, Option<Child>> {
        // A test that panicked with the lock held leaves a child that can still be killed.
        self.child.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn running<T>(&self, act: impl FnOnce(&mut Child) -> T) -> T {
        let mut child = self.child();
        act(child.as_mut().unwrap_or_else(|| panic!("redis {} is not started", self.address())))
    }
}

/// Whether a reply is complete: a line, or a string with its length before it.
fn is_whole(answer: &[u8]) -> bool {
    let text = String::from_utf8_lossy(answer);
    let Some((head, rest)) = text.split_once("\r\n") else { return false };
    match head.strip_prefix('$').map(str::parse::<usize>) {
        Some(Ok(len)) => rest.len() >= len + 2,
        _ => true,
    }
}

/// The first and the last slot of a node.
fn slots(number: usize) -> (String, String) {
    ((number * SLOTS_PER_NODE).to_string(), (((number + 1) * SLOTS_PER_NODE).min(SLOTS) - 1).to_string())
}

/// Three primaries that share the slots.
pub struct RedisCluster {
    nodes: Vec<Redis>,
}

impl RedisCluster {
    /// Starts a cluster and waits until it serves.
    pub fn start() -> RedisCluster {
        RedisCluster::start_with(&[])
    }

    /// Starts a cluster with further options of its nodes.
    pub fn start_with(options: &[&str]) -> RedisCluster {
        let nodes: Vec<Redis> = (0..3).map(|_| Redis::prepare(Some(Port::free()), options)).collect();
        nodes.iter().for_each(Redis::restart);
        for (number, node) in nodes.iter().enumerate() {
            let (first, last) = slots(number);
            let slots = ["CLUSTER", "ADDSLOTSRANGE", &first, &last];
            assert_eq!(node.command(&slots).unwrap(), "+OK\r\n");
            let epoch = ["CLUSTER", "SET-CONFIG-EPOCH", &(number + 1).to_string()];
            assert_eq!(node.command(&epoch).unwrap(), "+OK\r\n");
        }
        for node in &nodes[1..] {
            let (port, bus) =
                (node.port.number().to_string(), node.bus.as_ref().unwrap().number().to_string());
            assert_eq!(nodes[0].command(&["CLUSTER", "MEET", "127.0.0.1", &port, &bus]).unwrap(), "+OK\r\n");
        }
        let cluster = RedisCluster { nodes };
        cluster.await_ready();
        cluster
    }

    /// Returns when every node knows all slots and all nodes.
    pub fn await_ready(&self) {
        for node in &self.nodes {
            wait::until_true("the cluster serves", READY_TIMEOUT, || {
                let info = node.command(&["CLUSTER", "INFO"]).unwrap_or_default();
                info.contains("cluster_state:ok") && info.contains("cluster_known_nodes:3")
            });
        }
    }

    /// One of its nodes, 0 to 2.
    pub fn node(&self, number: usize) -> &Redis {
        &self.nodes[number]
    }

    /// The number of the node that has a key, according to node 0.
    pub fn node_of(&self, key: &str) -> usize {
        let answer = self.nodes[0].command(&["CLUSTER", "KEYSLOT", key]).expect("node 0 runs");
        answer.trim().trim_start_matches(':').parse::<usize>().expect("a slot") / SLOTS_PER_NODE
    }

    /// Moves the slots of one node to another, as a failover does. The first node may be unavailable.
    pub fn take_over(&self, from: usize, to: usize) {
        let (first, last) = slots(from);
        let ask = |command: &[&str]| self.nodes[to].command(command).expect("the node runs");
        wait::until_true("the slots are taken over", READY_TIMEOUT, || {
            // The slots may already have no owner.
            ask(&["CLUSTER", "DELSLOTSRANGE", &first, &last]);
            ask(&["CLUSTER", "ADDSLOTSRANGE", &first, &last]) == "+OK\r\n"
        });
        // With an epoch newer than that of the previous owner, the other nodes accept the change.
        let newer = ask(&["CLUSTER", "BUMPEPOCH"]);
        assert!(newer.starts_with("+BUMPED"), "{newer}");
    }

    /// The URL for clients, with all nodes.
    pub fn url(&self) -> String {
        self.nodes.iter().map(Redis::url).collect::<Vec<_>>().join(",")
    }
}

/// Whether redis-server is installed.
pub fn find() -> Result<(), String> {
    let found = Command::new("redis-server").arg("--version").output();
    found.map(drop).map_err(|error| format!("no redis-server (Debian's package of that name): {error}"))
}
