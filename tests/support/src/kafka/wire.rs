//! Asking a broker by its own protocol who is in the cluster.
//!
//! A broker accepts connections before it takes part in the cluster, so an open port proves nothing; the metadata it
//! answers with name the brokers that are alive and not fenced. Two dozen lines save the tests a client library here.

use std::io;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::Duration;

/// An idle broker answers within milliseconds, a frozen one never.
const ANSWER_WITHIN: Duration = Duration::from_secs(5);

/// Far above what three brokers and no topics amount to; guards against an answer that is not Kafka's.
const MAX_ANSWER_BYTES: u32 = 64 * 1024;

/// Metadata, version 1, correlation id 1, no client id, an empty list of topics (which means none).
#[rustfmt::skip]
const REQUEST: [u8; 18] = [
    0, 0, 0, 14, // length of what follows
    0, 3,        // Metadata
    0, 1,        // version
    0, 0, 0, 1,  // correlation id
    0xff, 0xff,  // no client id
    0, 0, 0, 0,  // no topics
];

/// The node ids of the brokers that the broker at `address` knows to be alive.
pub fn members(address: &str) -> io::Result<Vec<i32>> {
    let mut stream = TcpStream::connect(address)?;
    stream.set_read_timeout(Some(ANSWER_WITHIN))?;
    stream.write_all(&REQUEST)?;
    let mut length = [0; 4];
    stream.read_exact(&mut length)?;
    let length = u32::from_be_bytes(length);
    if length > MAX_ANSWER_BYTES {
        return Err(io::Error::other("not an answer of Kafka's"));
    }
    let mut answer = vec![0; length as usize];
    stream.read_exact(&mut answer)?;
    node_ids(&answer)
}

/// The ids in an answer: correlation id, then for each broker its id, host, port and rack.
fn node_ids(mut rest: &[u8]) -> io::Result<Vec<i32>> {
    let _correlation_id = int32(&mut rest)?;
    let count = int32(&mut rest)?;
    let mut ids = Vec::new();
    for _ in 0..count {
        ids.push(int32(&mut rest)?);
        skip_string(&mut rest)?;
        let _port = int32(&mut rest)?;
        skip_string(&mut rest)?;
    }
    Ok(ids)
}

fn int32(rest: &mut &[u8]) -> io::Result<i32> {
    let mut bytes = [0; 4];
    rest.read_exact(&mut bytes)?;
    Ok(i32::from_be_bytes(bytes))
}

/// A string is its length in 16 bits and that many bytes; no string at all has the length −1.
fn skip_string(rest: &mut &[u8]) -> io::Result<()> {
    let mut bytes = [0; 2];
    rest.read_exact(&mut bytes)?;
    let length = usize::try_from(i16::from_be_bytes(bytes)).unwrap_or(0);
    *rest = rest.get(length..).ok_or(io::ErrorKind::UnexpectedEof)?;
    Ok(())
}
