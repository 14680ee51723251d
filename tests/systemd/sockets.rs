//! Socket activation without systemd: the test acts as the service manager, as described in sd_listen_fds(3).

use std::net::TcpListener;
use std::os::fd::AsRawFd;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use rustix::io::{FdFlags, fcntl_setfd};

use crate::LONG;
use support::process::Forebay;

/// Moves two descriptors to the numbers that the daemon expects, then becomes the daemon. Uses numbers above both,
/// because either may have the number that the other needs.
const PASS: &str = r#"
exec 40<&"$1" 41<&"$2" 3<&40 4<&41 40<&- 41<&-
shift 2
export LISTEN_FDS=2 LISTEN_PID=$$
exec "$@"
"#;

/// Listeners that stay open while the daemon restarts.
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

    /// A daemon that gets both. The configuration has other ports, unless the test sets these.
    fn daemon(&self) -> Forebay {
        let [public, admin] = [&self.0, &self.1].map(|listener| listener.as_raw_fd().to_string());
        // The admin listener first, because the order has no meaning.
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
fn restarts_refuse_no_connection_with_socket_activation() {
    let manager = SocketManager::new();
    let mut forebay =
        manager.daemon().set("server.listen", manager.public()).set("server.admin_listen", manager.admin());
    let admin = manager.admin();
    let ready = || support::http::Client::new(&admin).get("/readyz").unwrap().status;
    forebay.launch();
    assert_eq!(ready(), 200, "the first request is served after the start");
    let over = AtomicBool::new(false);
    let accepted = thread::scope(|scope| {
        let client = scope.spawn(|| {
            let mut accepted = 0;
            while !over.load(Ordering::Relaxed) {
                // One connection per request: none may be refused or cut.
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
fn a_passed_socket_without_a_configured_listener_is_an_error() {
    let manager = SocketManager::new();
    // An additional address that shares the port of another listener.
    let wildcard = manager.admin().replace("127.0.0.1", "0.0.0.0");
    for admin in [None, Some(wildcard)] {
        let mut forebay = manager.daemon().set("server.listen", manager.public());
        if let Some(address) = admin {
            forebay = forebay.set("server.admin_listen", address).set("server.allow_open_admin", true);
        }
        forebay.launch();
        assert_eq!(forebay.wait(LONG).code(), Some(64), "{}", forebay.log());
        assert!(forebay.log().contains(&manager.admin()), "{}", forebay.log());
        assert!(!forebay.wal_dir().exists(), "the log's directory was created");
    }
}
