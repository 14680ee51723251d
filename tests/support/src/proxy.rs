//! A TCP proxy that a test can break, in front of a broker or another TCP service.
//!
//! ```ignore
//! let proxy = Proxy::start();
//! proxy.forward_to(&cluster.broker(1).address());
//! proxy.set(LinkState::CUT);          // no byte passes, and no error is reported
//! proxy.set(LinkState::NO_RESPONSES); // requests arrive, responses do not
//! proxy.refuse();                     // the port is closed
//! proxy.heal();
//! ```
//!
//! Held bytes are not lost: they pass when the link is open again, as with TCP after a cut. The numbers of threads and
//! connections are bounded, and all of them end with the proxy.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;
use std::{io, thread};

use super::ports::Port;

/// Time that a thread may block in a read, a write or a wait before it checks the test's settings again.
const POLL_INTERVAL: Duration = Duration::from_millis(20);
/// Timeout for connecting to the target. The kernel accepts a local connection at once, even for a frozen service.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// Maximum number of connections, with two threads each. Far above the number that a test's clients open.
const MAX_CONNECTIONS: usize = 256;
/// Bytes read at a time, which a slow link delays together.
const CHUNK: usize = 16 << 10;

/// Treatment of the bytes of one direction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Flow {
    /// Bytes pass.
    Open,
    /// Each chunk (16 KiB or less) is delayed, and the rate is limited.
    Slow { delay: Duration, bytes_per_second: usize },
    /// Bytes wait until the flow changes.
    Blocked,
}

/// State of both directions, for existing and new connections.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LinkState {
    pub to_server: Flow,
    pub to_client: Flow,
}

impl LinkState {
    pub const OPEN: Self = Self { to_server: Flow::Open, to_client: Flow::Open };
    /// A cut cable: connections stay open, new ones get no response.
    pub const CUT: Self = Self { to_server: Flow::Blocked, to_client: Flow::Blocked };
    /// Requests arrive, responses do not: the client cannot know what was done.
    pub const NO_RESPONSES: Self = Self { to_server: Flow::Open, to_client: Flow::Blocked };

    /// Both directions are slow.
    pub fn slow(delay: Duration, bytes_per_second: usize) -> Self {
        let flow = Flow::Slow { delay, bytes_per_second };
        Self { to_server: flow, to_client: flow }
    }
}

/// A proxy on a port of its own. Dropping it ends its connections.
pub struct Proxy {
    shared: Arc<Shared>,
    address: String,
    acceptor: Option<JoinHandle<()>>,
}

struct Shared {
    state: Mutex<State>,
    changed: Condvar,
    requests: AtomicUsize,
}

struct State {
    target: Option<String>,
    link: LinkState,
    refusing: bool,
    stopped: bool,
    open: Vec<Arc<Pair>>,
}

/// Both ends of one connection.
struct Pair {
    client: TcpStream,
    server: TcpStream,
    broken: AtomicBool,
}

impl Proxy {
    /// Starts to listen. Connections wait until a target is set.
    pub fn start() -> Proxy {
        let port = Port::free();
        let address = port.address();
        let state =
            State { target: None, link: LinkState::OPEN, refusing: false, stopped: false, open: Vec::new() };
        let shared = Arc::new(Shared {
            state: Mutex::new(state),
            changed: Condvar::new(),
            requests: AtomicUsize::new(0),
        });
        let (ready, is_ready) = std::sync::mpsc::channel();
        let acceptor = {
            let shared = Arc::clone(&shared);
            thread::spawn(move || shared.accept(&port, &ready))
        };
        is_ready.recv().expect("the proxy listens");
        Proxy { shared, address, acceptor: Some(acceptor) }
    }

    /// The address for clients.
    pub fn address(&self) -> &str {
        &self.address
    }

    /// Sets the target of connections.
    pub fn forward_to(&self, target: &str) {
        self.change(|state| state.target = Some(target.to_owned()));
    }

    /// Breaks or restores the link, for existing and new connections.
    pub fn set(&self, link: LinkState) {
        self.change(|state| state.link = link);
    }

    /// Closes the port: new connections are refused, existing ones reset.
    pub fn refuse(&self) {
        self.change(|state| state.refusing = true);
        self.reset();
    }

    /// Restores everything.
    pub fn heal(&self) {
        self.change(|state| (state.link, state.refusing) = (LinkState::OPEN, false));
    }

    /// Resets the existing connections. Bytes in transit are lost.
    pub fn reset(&self) {
        for pair in &self.shared.lock().open {
            pair.broken.store(true, Ordering::Relaxed);
        }
    }

    /// Closes the direction to the clients on the existing connections; clients may continue to send.
    pub fn half_close(&self) {
        for pair in &self.shared.lock().open {
            // Fails for a connection that is already closed.
            let _ = pair.client.shutdown(Shutdown::Write);
        }
    }

    /// Number of open connections.
    pub fn connections(&self) -> usize {
        self.shared.lock().open.len()
    }

    /// Number of client connects and requests; data sent at once counts once.
    pub fn requests(&self) -> usize {
        self.shared.requests.load(Ordering::Relaxed)
    }

    fn change(&self, change: impl FnOnce(&mut State)) {
        change(&mut self.shared.lock());
        self.shared.changed.notify_all();
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.change(|state| state.stopped = true);
        if let Some(acceptor) = self.acceptor.take() {
            let ended = acceptor.join();
            assert!(thread::panicking() || ended.is_ok(), "a thread of the proxy panicked");
        }
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Listens while connections are wanted, and owns the threads of all of them.
    fn accept(self: &Arc<Self>, port: &Port, ready: &std::sync::mpsc::Sender<()>) {
        let mut listener = None;
        let mut threads: Vec<JoinHandle<()>> = Vec::new();
        loop {
            let (stopped, refusing) = {
                let state = self.lock();
                (state.stopped, state.refusing)
            };
            if stopped {
                break;
            }
            if refusing {
                listener = None;
            } else if listener.is_none() {
                listener = Some(listen(port));
                // No receiver exists the second time.
                let _ = ready.send(());
            }
            threads.retain(|thread| !thread.is_finished());
            match listener.as_ref().map(TcpListener::accept) {
                Some(Ok((client, _))) if threads.len() < MAX_CONNECTIONS => {
                    self.requests.fetch_add(1, Ordering::Relaxed);
                    let shared = Arc::clone(self);
                    threads.push(thread::spawn(move || shared.serve(client)));
                }
                // Above the maximum number: closed.
                Some(Ok(_)) => {}
                // No client connected, or the port is closed.
                Some(Err(_)) | None => thread::sleep(POLL_INTERVAL / 4),
            }
        }
        for thread in threads {
            let ended = thread.join();
            assert!(ended.is_ok(), "a connection's thread panicked");
        }
    }

    /// Serves one connection from its beginning to its end.
    fn serve(&self, client: TcpStream) {
        let Some(target) = self.await_target() else { return };
        // The server is unavailable: reset the client's connection.
        let Ok(server) = connect(&target) else { return reset_on_close(&client) };
        let pair = Arc::new(Pair { client, server, broken: AtomicBool::new(false) });
        if pair.prepare().is_err() {
            return;
        }
        self.lock().open.push(Arc::clone(&pair));
        thread::scope(|scope| {
            scope.spawn(|| self.pump(&pair, &pair.client, &pair.server, |link| link.to_server));
            self.pump(&pair, &pair.server, &pair.client, |link| link.to_client);
        });
        if pair.broken.load(Ordering::Relaxed) {
            reset_on_close(&pair.client);
            reset_on_close(&pair.server);
        }
        self.lock().open.retain(|other| !Arc::ptr_eq(other, &pair));
    }

    /// The target, once the link lets connections pass.
    fn await_target(&self) -> Option<String> {
        let state = self.lock();
        let waits = |state: &mut State| {
            !state.stopped
                && !state.refusing
                && (state.target.is_none() || state.link.to_server == Flow::Blocked)
        };
        let state = self.changed.wait_while(state, waits).unwrap_or_else(PoisonError::into_inner);
        state.target.clone().filter(|_| !state.stopped && !state.refusing)
    }

    /// Forwards one direction until an end closes, or the connection must break.
    fn pump(&self, pair: &Pair, mut from: &TcpStream, mut to: &TcpStream, side: impl Fn(&LinkState) -> Flow) {
        let mut chunk = vec![0; CHUNK];
        while self.await_open(pair, &side) {
            match from.read(&mut chunk) {
                Ok(0) => {
                    // The other direction may continue.
                    let _ = to.shutdown(Shutdown::Write);
                    return;
                }
                Ok(len) => {
                    if std::ptr::eq(from, &pair.client) {
                        self.requests.fetch_add(1, Ordering::Relaxed);
                    }
                    if !self.forward_chunk(pair, &chunk[..len], &mut to, &side) {
                        break;
                    }
                }
                Err(error) if is_only_late(&error) => {}
                Err(_) => break,
            }
        }
        // The end of this direction also ends the other one.
        pair.broken.store(true, Ordering::Relaxed);
    }

    /// Forwards a chunk when the link allows it; `false` if the connection must break instead.
    fn forward_chunk(
        &self,
        pair: &Pair,
        mut chunk: &[u8],
        to: &mut &TcpStream,
        side: &impl Fn(&LinkState) -> Flow,
    ) -> bool {
        // Before the branch, which would hold the lock to its end.
        let flow = side(&self.lock().link);
        if let Flow::Slow { delay, bytes_per_second } = flow {
            let paced = Duration::from_secs_f64(chunk.len() as f64 / bytes_per_second.max(1) as f64);
            self.sleep(delay + paced, pair);
        }
        while !chunk.is_empty() {
            if !self.await_open(pair, side) {
                return false;
            }
            match to.write(chunk) {
                Ok(len) => chunk = &chunk[len..],
                Err(error) if is_only_late(&error) => {}
                Err(_) => return false,
            }
        }
        true
    }

    /// Waits while this direction is blocked; `false` if the connection must break.
    fn await_open(&self, pair: &Pair, side: &impl Fn(&LinkState) -> Flow) -> bool {
        let mut state = self.lock();
        loop {
            if state.stopped || pair.broken.load(Ordering::Relaxed) {
                return false;
            }
            if side(&state.link) != Flow::Blocked {
                return true;
            }
            state = self.changed.wait_timeout(state, POLL_INTERVAL).unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    /// A delay that ends early if the connection must break or the link is restored.
    fn sleep(&self, delay: Duration, pair: &Pair) {
        let state = self.lock();
        let waits = |state: &mut State| {
            !state.stopped && !pair.broken.load(Ordering::Relaxed) && state.link != LinkState::OPEN
        };
        drop(self.changed.wait_timeout_while(state, delay, waits));
    }
}

impl Pair {
    /// Sets short timeouts, so that reads and writes return often enough to check the test's settings.
    fn prepare(&self) -> io::Result<()> {
        for stream in [&self.client, &self.server] {
            stream.set_nonblocking(false)?;
            stream.set_nodelay(true)?;
            stream.set_read_timeout(Some(POLL_INTERVAL))?;
            stream.set_write_timeout(Some(POLL_INTERVAL))?;
        }
        Ok(())
    }
}

fn listen(port: &Port) -> TcpListener {
    let listener = TcpListener::bind(port.address()).expect("the proxy's reserved port");
    listener.set_nonblocking(true).expect("a non-blocking listener");
    listener
}

fn connect(target: &str) -> io::Result<TcpStream> {
    let target = target.parse().map_err(io::Error::other)?;
    TcpStream::connect_timeout(&target, CONNECT_TIMEOUT)
}

/// Makes the last close of the socket send a reset instead of an orderly end.
fn reset_on_close(stream: &TcpStream) {
    // Fails for a connection that is already closed.
    let _ = rustix::net::sockopt::set_socket_linger(stream, Some(Duration::ZERO));
}

fn is_only_late(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut | io::ErrorKind::Interrupted)
}
