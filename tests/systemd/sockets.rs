//! Socket activation without systemd: the test is the service manager, as sd_listen_fds(3) describes it.

use std::net::TcpListener;
use std::os::fd::AsRawFd;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use rustix::io::{FdFlags, fcntl_setfd};

use crate::LONG;
use support::process::Forebay;

/// Moves two descriptors to where the daemon looks for them, and becomes the daemon. Through a place above both, because
/// one of them may be where the other has to go.
const PASS: &str = r#"
exec 40<&"$1" 41<&"$2" 3<&40 4<&41 40<&- 41<&-
shift 2
export LISTEN_FDS=2 LISTEN_PID=$$
exec "$@"
"#;

/// Listeners that stay open whatever becomes of the daemon.
struct SocketManager(TcpListener, TcpListener);

impl SocketManager {
    fn new() -> SocketManager {
        let bind = || {
            let listener = TcpListener::bind("127.0.0.1:0").unwrap();
            fcntl_setfd(&listener, FdFlags::empty()).unwrap();
            listener
        };
        SocketManager(bind(), bind())
    }

    /// A daemon that gets both. In the configuration are its own ports, until the test names these.
    fn daemon(&self) -> Forebay {
        let [public, admin] = [&self.0, &self.1].map(|listener| listener.as_raw_fd().to_string());
        // The operators' first: the order says nothing.
        Forebay::new(env!("CARGO_BIN_EXE_forebay")).through("bash", &["-c", PASS, "bash", &admin, &public])
    }

    fn public(&self) -> String {
        self.0.local_addr().unwrap().to_string()
    }

    fn admin(&self) -> String {
        self.1.local_addr().unwrap().to_string()
    }
}

#[test]
fn restarts_refuse_nobody_while_the_manager_keeps_the_sockets() {
    let manager = SocketManager::new();
    let mut forebay =
        manager.daemon().set("server.listen", manager.public()).set("server.admin_listen", manager.admin());
    let admin = manager.admin();
    let ready = || support::http::Client::new(&admin).get("/readyz").unwrap().status;
    forebay.launch();
    assert_eq!(ready(), 200, "the first request waits for the start");
    let over = AtomicBool::new(false);
    let accepted = thread::scope(|scope| {
        let client = scope.spawn(|| {
            let mut accepted = 0;
            while !over.load(Ordering::Relaxed) {
                // A connection for each: none may be refused, none cut.
                let mut http = support::http::Client::new(&manager.public()).with_read_within(LONG);
                let answer = http.post("/v1/commands/order.create", r#"{"id":"o-1","amount":1}"#);
                assert_eq!(answer.expect("refused while the daemon restarted").status, 202);
                accepted += 1;
            }
            accepted
        });
        for _ in 0..3 {
            assert!(forebay.terminate().success());
            forebay.launch();
            assert_eq!(ready(), 200);
        }
        over.store(true, Ordering::Relaxed);
        client.join().unwrap()
    });
    assert!(accepted > 0);
    assert!(forebay.terminate().success());
}

#[test]
fn a_socket_that_is_no_listener_of_the_configuration_is_a_mistake() {
    let manager = SocketManager::new();
    // One that another listener would have to share its port with, too.
    let wildcard = manager.admin().replace("127.0.0.1", "0.0.0.0");
    for admin in [None, Some(wildcard)] {
        let mut forebay = manager.daemon().set("server.listen", manager.public());
        if let Some(address) = admin {
            forebay = forebay.set("server.admin_listen", address).set("server.allow_open_admin", true);
        }
        forebay.launch();
        assert_eq!(forebay.wait(LONG).code(), Some(64), "{}", forebay.log());
        assert!(forebay.log().contains(&manager.admin()), "{}", forebay.log());
        assert!(!forebay.wal_dir().exists(), "the log's directory was made");
    }
}
