//! Serves a [`VolatileDisk`] to QEMU: the part of the NBD protocol that QEMU's client uses, with the fixed newstyle
//! handshake and simple replies (github.com/NetworkBlockDevice/nbd, doc/proto.md).

use std::io::{Read, Write};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread::JoinHandle;
use std::{io, thread};

use crate::disk::VolatileDisk;

const MAGIC: &[u8; 16] = b"NBDMAGICIHAVEOPT";
const OPTION_REPLY: u64 = 0x0003_e889_0455_65a9;
const REQUEST: u32 = 0x2560_9513;
const REPLY: u32 = 0x6744_6698;

const FIXED_NEWSTYLE: u16 = 1;
/// Transmission flags: the flags are present, and the disk supports flushes.
const HAS_FLAGS_AND_FLUSH: u16 = 1 | 4;

const OPTION_ABORT: u32 = 2;
const OPTION_GO: u32 = 7;
const ACK: u32 = 1;
const INFO: u32 = 3;
const UNSUPPORTED: u32 = (1 << 31) + 1;

const READ: u16 = 0;
const WRITE: u16 = 1;
const DISCONNECT: u16 = 2;
const FLUSH: u16 = 3;
const INVALID: u32 = 22;

/// Maximum bytes of a request, by default of the protocol.
const MAX_REQUEST_BYTES: usize = 32 * 1024 * 1024;

/// A disk on a socket, for one client. It ends with the connection.
pub struct NbdServer {
    socket: PathBuf,
    thread: Option<JoinHandle<()>>,
}

impl NbdServer {
    /// Listens on `socket`, which must not exist.
    pub fn start(socket: &Path, disk: Arc<VolatileDisk>) -> Self {
        let listener = UnixListener::bind(socket).expect("the socket of the disk");
        let thread = thread::spawn(move || {
            let (stream, _) = listener.accept().expect("QEMU connects to its disk");
            // An error means that QEMU has ended, because these tests kill it.
            let _ = serve(stream, &disk);
        });
        Self { socket: socket.to_owned(), thread: Some(thread) }
    }
}

impl Drop for NbdServer {
    fn drop(&mut self) {
        // Ends the thread if no client ever connected.
        let _ = UnixStream::connect(&self.socket);
        if let Some(thread) = self.thread.take() {
            let ended = thread.join();
            assert!(ended.is_ok() || thread::panicking(), "the thread of the disk panicked");
        }
        let _ = std::fs::remove_file(&self.socket);
    }
}

fn serve(mut stream: UnixStream, disk: &VolatileDisk) -> io::Result<()> {
    stream.write_all(MAGIC)?;
    stream.write_all(&FIXED_NEWSTYLE.to_be_bytes())?;
    exactly::<4>(&mut stream)?; // the client's flags
    while !negotiate_option(&mut stream, disk)? {}
    while serve_request(&mut stream, disk)? {}
    Ok(())
}

/// Handles one option. Returns `true` if requests follow.
fn negotiate_option(stream: &mut UnixStream, disk: &VolatileDisk) -> io::Result<bool> {
    exactly::<8>(stream)?; // IHAVEOPT
    let option = u32::from_be_bytes(exactly(stream)?);
    let length = u32::from_be_bytes(exactly(stream)?) as usize;
    body(stream, length)?;
    let mut reply = |kind: u32, data: &[u8]| {
        let mut bytes = OPTION_REPLY.to_be_bytes().to_vec();
        bytes.extend(option.to_be_bytes());
        bytes.extend(kind.to_be_bytes());
        bytes.extend((data.len() as u32).to_be_bytes());
        bytes.extend(data);
        stream.write_all(&bytes)
    };
    match option {
        OPTION_GO => {
            let mut export = vec![0, 0]; // the information is of type 0: size and flags
            export.extend((disk.size() as u64).to_be_bytes());
            export.extend(HAS_FLAGS_AND_FLUSH.to_be_bytes());
            reply(INFO, &export)?;
            reply(ACK, &[])?;
            Ok(true)
        }
        OPTION_ABORT => Err(io::ErrorKind::UnexpectedEof.into()),
        _ => reply(UNSUPPORTED, &[]).map(|()| false),
    }
}

/// Handles one request. Returns `false` at the end.
fn serve_request(stream: &mut UnixStream, disk: &VolatileDisk) -> io::Result<bool> {
    let magic = u32::from_be_bytes(exactly(stream)?);
    let [_, _, high, low] = exactly(stream)?;
    let cookie: [u8; 8] = exactly(stream)?;
    let at = u64::from_be_bytes(exactly(stream)?) as usize;
    let length = u32::from_be_bytes(exactly(stream)?) as usize;
    if magic != REQUEST || length > MAX_REQUEST_BYTES {
        return Err(io::ErrorKind::InvalidData.into());
    }
    let mut data = Vec::new();
    let done = match u16::from_be_bytes([high, low]) {
        READ => {
            data.resize(length, 0);
            disk.read(at, &mut data)
        }
        WRITE => disk.write(at, body(stream, length)?),
        FLUSH => disk.flush(),
        DISCONNECT => return Ok(false),
        _ => return send_reply(stream, INVALID, cookie, &[]).map(|()| true),
    };
    match done {
        Some(()) => send_reply(stream, 0, cookie, &data).map(|()| true),
        // A disk without power sends nothing, not even an error, until the machine has ended too.
        None => io::copy(stream, &mut io::sink()).map(|_| false),
    }
}

fn send_reply(stream: &mut UnixStream, error: u32, cookie: [u8; 8], data: &[u8]) -> io::Result<()> {
    let mut bytes = REPLY.to_be_bytes().to_vec();
    bytes.extend(error.to_be_bytes());
    bytes.extend(cookie);
    bytes.extend(data);
    stream.write_all(&bytes)
}

fn exactly<const N: usize>(stream: &mut UnixStream) -> io::Result<[u8; N]> {
    let mut bytes = [0; N];
    stream.read_exact(&mut bytes)?;
    Ok(bytes)
}

fn body(stream: &mut UnixStream, length: usize) -> io::Result<Vec<u8>> {
    if length > MAX_REQUEST_BYTES {
        return Err(io::ErrorKind::InvalidData.into());
    }
    let mut bytes = vec![0; length];
    stream.read_exact(&mut bytes)?;
    Ok(bytes)
}
