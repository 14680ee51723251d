//! Parser of `host[:port]`, as used in `Host`, `Origin` and absolute request targets (RFC 3986, section 3.2).

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// A host and an optional port.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Authority<'a> {
    pub host: Host<'a>,
    pub port: Option<u16>,
}

/// A host: an IP address or a name.
#[derive(Clone, Copy, Debug)]
pub enum Host<'a> {
    /// An IP address. IPv4-mapped IPv6 addresses are converted to IPv4.
    Address(IpAddr),
    /// A name, without the final dot of an absolute name.
    Name(&'a str),
}

impl<'a> Authority<'a> {
    /// `None` if the text is not valid, or the host is empty.
    pub fn parse(text: &'a str) -> Option<Self> {
        let end = match text.strip_prefix('[') {
            Some(rest) => rest.find(']')? + "[]".len(),
            None => text.find(':').unwrap_or(text.len()),
        };
        let (host, rest) = text.split_at(end);
        let port = match rest.strip_prefix(':') {
            None if rest.is_empty() => None,
            None => return None,
            // RFC 3986 allows the colon without a port.
            Some("") => None,
            Some(digits) => Some(port(digits)?),
        };
        Some(Self { host: Host::parse(host)?, port })
    }
}

impl<'a> Host<'a> {
    fn parse(text: &'a str) -> Option<Self> {
        if let Some(literal) = text.strip_prefix('[') {
            let address: Ipv6Addr = literal.strip_suffix(']')?.parse().ok()?;
            return Some(Self::Address(IpAddr::V6(address).to_canonical()));
        }
        if let Ok(address) = text.parse::<Ipv4Addr>() {
            return Some(Self::Address(address.into()));
        }
        let name = text.strip_suffix('.').unwrap_or(text);
        (!name.is_empty() && is_registered_name(name)).then_some(Self::Name(name))
    }
}

/// Names are compared without regard to case, as in DNS.
impl PartialEq for Host<'_> {
    fn eq(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Address(one), Self::Address(other)) => one == other,
            (Self::Name(one), Self::Name(other)) => one.eq_ignore_ascii_case(other),
            _ => false,
        }
    }
}

impl Eq for Host<'_> {}

fn port(digits: &str) -> Option<u16> {
    // `parse` alone would accept a sign.
    digits.bytes().all(|byte| byte.is_ascii_digit()).then(|| digits.parse().ok())?
}

/// Whether the text is a `reg-name` of RFC 3986.
fn is_registered_name(name: &str) -> bool {
    let mut bytes = name.bytes();
    while let Some(byte) = bytes.next() {
        let is_valid = match byte {
            b'%' => (0..2).all(|_| bytes.next().is_some_and(|digit| digit.is_ascii_hexdigit())),
            _ => byte.is_ascii_alphanumeric() || b"-._~!$&'()*+,;=".contains(&byte),
        };
        if !is_valid {
            return false;
        }
    }
    true
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_addresses_are_read_with_and_without_port() {
        for (text, host, port) in [
            ("localhost", Host::Name("localhost"), None),
            ("localhost:", Host::Name("localhost"), None),
            ("LocalHost.:8088", Host::Name("localhost"), Some(8088)),
            ("a_b.example", Host::Name("a_b.example"), None),
            ("127.0.0.1:0080", Host::Address([127, 0, 0, 1].into()), Some(80)),
            ("[::1]:1", Host::Address(Ipv6Addr::LOCALHOST.into()), Some(1)),
            ("[::ffff:10.0.0.1]", Host::Address([10, 0, 0, 1].into()), None),
            // Browsers convert these to addresses before they send them. Here they are names that no host has.
            ("127.1", Host::Name("127.1"), None),
            ("0x7f000001", Host::Name("0x7f000001"), None),
            ("a%2eb", Host::Name("a%2eb"), None),
        ] {
            assert_eq!(Authority::parse(text), Some(Authority { host, port }), "{text}");
        }
    }

    #[test]
    fn invalid_authorities_are_refused() {
        for text in [
            "",
            ".",
            ":80",
            "a b",
            "a/b",
            "a?b",
            "a#b",
            "user@a",
            "a:b",
            "a:+1",
            "a:65536",
            "a:1:2",
            "::1",
            "[::1",
            "[::1]1",
            "[127.0.0.1]",
            "[fe80::1%25eth0]",
            "[]",
            "a%2",
            "a%zz",
            "é",
            "a\\b",
            "<a>",
        ] {
            assert_eq!(Authority::parse(text), None, "{text}");
        }
    }
}
