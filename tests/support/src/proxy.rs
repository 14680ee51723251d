//! A TCP proxy that a test can break: in front of a broker, and of any other service that speaks TCP.
//!
//! ```ignore
//! let proxy = Proxy::start();
//! proxy.forward_to(&cluster.broker(1).address());
//! proxy.set(Link::CUT);    // nothing gets through, nobody is told
//! proxy.set(Link::DEAF);   // requests arrive, answers do not
//! proxy.refuse();          // nobody listens any more
//! proxy.heal();
//! ```
//!
//! What is held back is not lost: when the link is open again it goes on, as TCP does after a cut. Threads and
//! connections are bounded, and all of them end with the proxy.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;
use std::{io, thread};

use super::ports::Port;

/// How long a thread may sit in a read, a write or a wait before it looks at what the test wants now.
const POLL_INTERVAL: Duration = Duration::from_millis(20);
/// A local service takes a connection at once, a frozen one too: the kernel does it.
const CONNECT_WITHIN: Duration = Duration::from_secs(5);
/// Two threads each. Far above what clients of a test open.
const MAX_CONNECTIONS: usize = 256;
/// What is taken at a time, and what a slow link delays as one.
const CHUNK: usize = 16 << 10;

/// What happens to the bytes of one direction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Flow {
    /// They pass.
    Open,
    /// Each chunk (16 KiB or less) waits this long, and no more pass in a second.
    Slow { delay: Duration, bytes_per_second: usize },
    /// They wait until this changes.
    Blocked,
}

/// Both directions, for old and new connections.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LinkState {
    pub to_server: Flow,
    pub to_client: Flow,
}

impl LinkState {
    pub const OPEN: Self = Self { to_server: Flow::Open, to_client: Flow::Open };
    /// A cut cable: connections stay open, new ones are never answered.
    pub const CUT: Self = Self { to_server: Flow::Blocked, to_client: Flow::Blocked };
    /// Requests arrive, answers do not: whoever asked cannot know what was done.
    pub const NO_RESPONSES: Self = Self { to_server: Flow::Open, to_client: Flow::Blocked };

    /// Both directions slow.
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
    /// Listens. Connections wait until it knows where to.
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

    /// Where clients connect.
    pub fn address(&self) -> &str {
        &self.address
    }

    /// Where connections go.
    pub fn forward_to(&self, target: &str) {
        self.change(|state| state.target = Some(target.to_owned()));
    }

    /// Breaks or mends the link, for old connections and new ones.
    pub fn set(&self, link: LinkState) {
        self.change(|state| state.link = link);
    }

    /// Closes the port: new connections are refused, old ones reset.
    pub fn refuse(&self) {
        self.change(|state| state.refusing = true);
        self.reset();
    }

    /// Everything passes again.
    pub fn heal(&self) {
        self.change(|state| (state.link, state.refusing) = (LinkState::OPEN, false));
    }

    /// Resets the connections there are. What was on its way is lost.
    pub fn reset(&self) {
        for pair in &self.shared.lock().open {
            pair.broken.store(true, Ordering::Relaxed);
        }
    }

    /// Tells clients that nothing more will come, on the connections there are, while they may go on sending.
    pub fn half_close(&self) {
        for pair in &self.shared.lock().open {
            // Fails for one that is closed already.
            let _ = pair.client.shutdown(Shutdown::Write);
        }
    }

    /// Open connections.
    pub fn connections(&self) -> usize {
        self.shared.lock().open.len()
    }

    /// How often clients have connected or said something: what they say at once counts once.
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
                // Nobody waits for the second time.
                let _ = ready.send(());
            }
            threads.retain(|thread| !thread.is_finished());
            match listener.as_ref().map(TcpListener::accept) {
                Some(Ok((client, _))) if threads.len() < MAX_CONNECTIONS => {
                    self.requests.fetch_add(1, Ordering::Relaxed);
                    let shared = Arc::clone(self);
                    threads.push(thread::spawn(move || shared.serve(client)));
                }
                // More than there should be: closed.
                Some(Ok(_)) => {}
                // Nobody came, or nobody may.
                Some(Err(_)) | None => thread::sleep(POLL_INTERVAL / 4),
            }
        }
        for thread in threads {
            let ended = thread.join();
            assert!(ended.is_ok(), "a connection's thread panicked");
        }
    }

    /// One connection from its beginning to its end.
    fn serve(&self, client: TcpStream) {
        let Some(target) = self.await_target() else { return };
        // The server is away: so is the client's connection.
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

    /// The target, once connections may get through to it.
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

    /// Carries one direction until an end closes, or the connection is to break.
    fn pump(&self, pair: &Pair, mut from: &TcpStream, mut to: &TcpStream, side: impl Fn(&LinkState) -> Flow) {
        let mut chunk = vec![0; CHUNK];
        while self.await_open(pair, &side) {
            match from.read(&mut chunk) {
                Ok(0) => {
                    // The other direction may have more to say.
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
        // Whatever ended this direction ends the other one too.
        pair.broken.store(true, Ordering::Relaxed);
    }

    /// Passes a chunk on when it may; false when the connection is to break instead.
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

    /// Waits while this direction is held; false when the connection is to break.
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

    /// A delay that ends early when the connection is to break or the link is mended.
    fn sleep(&self, delay: Duration, pair: &Pair) {
        let state = self.lock();
        let waits = |state: &mut State| {
            !state.stopped && !pair.broken.load(Ordering::Relaxed) && state.link != LinkState::OPEN
        };
        drop(self.changed.wait_timeout_while(state, delay, waits));
    }
}

impl Pair {
    /// Reads and writes come back often enough to see what the test wants.
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
    let listener = TcpListener::bind(port.address()).expect("the proxy's port, which is ours");
    listener.set_nonblocking(true).expect("a listener that can be asked");
    listener
}

fn connect(target: &str) -> io::Result<TcpStream> {
    let target = target.parse().map_err(io::Error::other)?;
    TcpStream::connect_timeout(&target, CONNECT_WITHIN)
}

/// A reset instead of an orderly end, when the last handle closes.
fn reset_on_close(stream: &TcpStream) {
    // Fails for one that is closed already.
    let _ = rustix::net::sockopt::set_socket_linger(stream, Some(Duration::ZERO));
}

fn is_only_late(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut | io::ErrorKind::Interrupted)
}
