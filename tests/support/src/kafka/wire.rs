//! Requests to a broker in its own protocol, where that is quicker than a library or a tool.
//!
//! - Members of the cluster: a broker accepts connections before it takes part in the cluster, so an open port proves
//!   nothing. Its metadata reply lists the brokers that are alive and not fenced.
//! - Permissions: Kafka's tool takes a second per change, and librdkafka's Rust binding has no such call.

use std::io;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::Duration;

/// An idle broker replies within milliseconds, a frozen one never.
const REPLY_TIMEOUT: Duration = Duration::from_secs(5);

/// Far above the size for three brokers without topics; guards against a reply that is not Kafka's.
const MAX_REPLY_BYTES: u32 = 64 * 1024;

/// A metadata request, version 1, correlation id 1, no client id, an empty list of topics (which means none).
#[rustfmt::skip]
const REQUEST: [u8; 18] = [
    0, 0, 0, 14, // length of what follows
    0, 3,        // Metadata
    0, 1,        // version
    0, 0, 0, 1,  // correlation id
    0xff, 0xff,  // no client id
    0, 0, 0, 0,  // no topics
];

/// The node ids of the brokers that are alive according to the broker at `address`.
pub fn members(address: &str) -> io::Result<Vec<i32>> {
    node_ids(&ask(address, &REQUEST)?)
}

/// The reply to a request, without its length.
fn ask(address: &str, request: &[u8]) -> io::Result<Vec<u8>> {
    let mut stream = TcpStream::connect(address)?;
    stream.set_read_timeout(Some(REPLY_TIMEOUT))?;
    stream.write_all(request)?;
    let mut length = [0; 4];
    stream.read_exact(&mut length)?;
    let length = u32::from_be_bytes(length);
    if length > MAX_REPLY_BYTES {
        return Err(io::Error::other("not a reply of Kafka"));
    }
    let mut answer = vec![0; length as usize];
    stream.read_exact(&mut answer)?;
    Ok(answer)
}

/// A permission or a denial, by the protocol's numbers.
pub struct Acl<'a> {
    /// 2 topic, 3 group, 4 cluster, 5 transactional id.
    pub resource: i8,
    pub name: &'a str,
    /// `User:` and the name.
    pub principal: &'a str,
    /// 2 all, 3 read, 4 write, 12 idempotent write, …
    pub operation: i8,
    /// 2 deny, 3 allow.
    pub permission: i8,
}

const CREATE_ACLS: i16 = 30;
const DELETE_ACLS: i16 = 31;
/// Pattern type: the name is the resource's own, or `*`.
const LITERAL: i8 = 3;
const EVERY_HOST: &str = "*";

impl Acl<'_> {
    fn encode(&self) -> Vec<u8> {
        let mut bytes = vec![self.resource as u8];
        push_string(&mut bytes, self.name);
        bytes.push(LITERAL as u8);
        push_string(&mut bytes, self.principal);
        push_string(&mut bytes, EVERY_HOST);
        bytes.extend([self.operation as u8, self.permission as u8]);
        bytes
    }
}

/// Adds a permission, as an anonymous client that is allowed to.
pub fn create_acl(address: &str, acl: &Acl<'_>) -> io::Result<()> {
    change_acl(address, CREATE_ACLS, acl)
}

/// Removes a permission.
pub fn delete_acl(address: &str, acl: &Acl<'_>) -> io::Result<()> {
    change_acl(address, DELETE_ACLS, acl)
}

/// Both requests have the same form in version 1: a list of permissions, or of filters. Their replies begin the same:
/// correlation id, throttle time, and an error for each.
fn change_acl(address: &str, api: i16, acl: &Acl<'_>) -> io::Result<()> {
    let mut body = api.to_be_bytes().to_vec();
    body.extend(1_i16.to_be_bytes()); // version
    body.extend(1_i32.to_be_bytes()); // correlation id
    body.extend((-1_i16).to_be_bytes()); // no client id
    body.extend(1_i32.to_be_bytes()); // list length 1
    body.extend(acl.encode());
    let mut request = (body.len() as u32).to_be_bytes().to_vec();
    request.extend(body);
    let answer = ask(address, &request)?;
    let mut rest = &answer[..];
    let (_correlation_id, _throttle, _count) = (int32(&mut rest)?, int32(&mut rest)?, int32(&mut rest)?);
    match rest {
        [0, 0, ..] => Ok(()),
        [high, low, ..] => Err(io::Error::other(format!("error {}", i16::from_be_bytes([*high, *low])))),
        _ => Err(io::ErrorKind::UnexpectedEof.into()),
    }
}

fn push_string(bytes: &mut Vec<u8>, text: &str) {
    bytes.extend((text.len() as u16).to_be_bytes());
    bytes.extend(text.as_bytes());
}

/// The ids in a reply: correlation id, then for each broker its id, host, port and rack.
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

/// A string is its length in 16 bits and that many bytes; the length −1 means no string.
fn skip_string(rest: &mut &[u8]) -> io::Result<()> {
    let mut bytes = [0; 2];
    rest.read_exact(&mut bytes)?;
    let length = usize::try_from(i16::from_be_bytes(bytes)).unwrap_or(0);
    *rest = rest.get(length..).ok_or(io::ErrorKind::UnexpectedEof)?;
    Ok(())
}
