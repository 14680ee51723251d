//! Address of the limited client, determined through trusted proxies.

use std::fmt;
use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::str::FromStr;

use ipnet::IpNet;
use serde::{Deserialize, Serialize, de};

/// The network part of an IPv6 address. A client usually controls all addresses of its /64.
const NETWORK_BITS: u32 = 64;

/// Proxies whose `X-Forwarded-For` is trusted: addresses and networks, such as `10.0.0.1` and `10.0.0.0/8`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct TrustedProxies(Vec<Network>);

impl TrustedProxies {
    /// The client's address: the peer, or the address that a trusted proxy reports. `forwarded` contains the values of
    /// `X-Forwarded-For` in order. Each proxy appends the address of its peer, so the last address that is not a
    /// trusted proxy is the client. Addresses before it can be forged by any client.
    pub fn client<'a>(
        &self,
        peer: IpAddr,
        forwarded: impl DoubleEndedIterator<Item = Option<&'a str>>,
    ) -> IpAddr {
        let mut client = peer.to_canonical();
        let values = forwarded.rev().flat_map(|value| value.unwrap_or_default().rsplit(','));
        for entry in values {
            if !self.trusts(client) {
                break;
            }
            // An entry that is not an address is no help: the last valid address is used.
            let Some(named) = address(entry.trim()) else { break };
            client = named;
        }
        client
    }

    /// Whether no proxy is trusted.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    fn trusts(&self, address: IpAddr) -> bool {
        self.0.iter().any(|network| network.0.contains(&address))
    }
}

impl fmt::Display for TrustedProxies {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, network) in self.0.iter().enumerate() {
            let comma = if index == 0 { "" } else { ", " };
            write!(f, "{comma}{network}")?;
        }
        Ok(())
    }
}

/// A trusted address or network.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Network(IpNet);

/// Shows a network of one address as that address.
impl fmt::Display for Network {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0.prefix_len() == self.0.max_prefix_len() {
            true => self.0.addr().fmt(f),
            false => self.0.fmt(f),
        }
    }
}

impl FromStr for Network {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || format!("`{text}` is neither an address nor a network such as \"10.0.0.0/8\"");
        match text.parse::<IpAddr>() {
            Ok(address) => Ok(Self(address.to_canonical().into())),
            Err(_) => text.parse().map(Self).map_err(|_| wrong()),
        }
    }
}

impl Serialize for Network {
    fn serialize<S: serde::Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Network {
    fn deserialize<D: serde::Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        String::deserialize(from)?.parse().map_err(de::Error::custom)
    }
}

/// Parses an entry; some proxies add the port.
fn address(entry: &str) -> Option<IpAddr> {
    let bare = entry.strip_prefix('[').and_then(|entry| entry.strip_suffix(']')).unwrap_or(entry);
    let address = bare.parse().ok().or_else(|| Some(entry.parse::<SocketAddr>().ok()?.ip()));
    address.map(|address: IpAddr| address.to_canonical())
}

/// The part of an address that counts as one client: an IPv4 address, or the /64 of an IPv6 address.
pub fn client_network(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(v6) => IpAddr::V6(Ipv6Addr::from(u128::from(v6) >> NETWORK_BITS << NETWORK_BITS)),
        v4 => v4,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ip(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    fn proxies(list: &[&str]) -> TrustedProxies {
        TrustedProxies(list.iter().map(|entry| entry.parse().unwrap()).collect())
    }

    /// The client behind a peer that sent these header lines.
    fn client(peer: &str, lines: &[&str]) -> IpAddr {
        let trusted = proxies(&["10.0.0.0/8", "192.0.2.1", "fd00::/8"]);
        trusted.client(ip(peer), lines.iter().map(|line| Some(*line)))
    }

    #[test]
    fn the_header_of_an_untrusted_peer_is_ignored() {
        assert_eq!(client("203.0.113.9", &["198.51.100.7"]), ip("203.0.113.9"));
        assert_eq!(client("192.0.2.2", &["198.51.100.7"]), ip("192.0.2.2"));
        let nobody = TrustedProxies::default();
        assert_eq!(nobody.client(ip("127.0.0.1"), [Some("198.51.100.7")].into_iter()), ip("127.0.0.1"));
    }

    #[test]
    fn the_last_untrusted_address_is_the_client() {
        assert_eq!(client("10.1.2.3", &["198.51.100.7"]), ip("198.51.100.7"));
        assert_eq!(client("10.1.2.3", &["198.51.100.7, 192.0.2.1, 10.9.9.9"]), ip("198.51.100.7"));
        assert_eq!(client("fd00::1", &["2001:db8::7"]), ip("2001:db8::7"));
        assert_eq!(client("::ffff:10.1.2.3", &["::ffff:198.51.100.7"]), ip("198.51.100.7"));
    }

    #[test]
    fn entries_written_by_the_client_are_ignored() {
        assert_eq!(client("10.1.2.3", &["127.0.0.1, 10.0.0.1, 198.51.100.7"]), ip("198.51.100.7"));
        assert_eq!(client("10.1.2.3", &["1.1.1.1", "2.2.2.2, 198.51.100.7"]), ip("198.51.100.7"));
        assert_eq!(
            client("10.1.2.3", &["198.51.100.7", "10.0.0.1"]),
            ip("198.51.100.7"),
            "several lines are read as one"
        );
    }

    #[test]
    fn an_invalid_entry_ends_the_search_for_the_client() {
        for bad in
            ["", "unknown", "198.51.100.7, ", "198.51.100.7, _hidden", "1.2.3", "198.51.100.7;10.0.0.2"]
        {
            assert_eq!(client("10.1.2.3", &[bad]), ip("10.1.2.3"), "{bad}");
        }
        assert_eq!(client("10.1.2.3", &["198.51.100.7, unknown, 10.0.0.1"]), ip("10.0.0.1"));
        let trusted = proxies(&["10.0.0.0/8"]);
        let not_text = [Some("198.51.100.7"), None].into_iter();
        assert_eq!(trusted.client(ip("10.1.2.3"), not_text), ip("10.1.2.3"));
        assert_eq!(client("10.1.2.3", &["10.0.0.5, 10.0.0.6"]), ip("10.0.0.5"), "every address is trusted");
    }

    #[test]
    fn an_entry_may_contain_a_port() {
        assert_eq!(client("10.1.2.3", &["198.51.100.7:4711"]), ip("198.51.100.7"));
        assert_eq!(client("10.1.2.3", &["[2001:db8::7]:4711"]), ip("2001:db8::7"));
        assert_eq!(client("10.1.2.3", &["[2001:db8::7]"]), ip("2001:db8::7"));
    }

    #[test]
    fn all_addresses_of_one_ipv6_network_are_one_client() {
        assert_eq!(client_network(ip("2001:db8:1:2:3:4:5:6")), client_network(ip("2001:db8:1:2::1")));
        assert_ne!(client_network(ip("2001:db8:1:2::1")), client_network(ip("2001:db8:1:3::1")));
        assert_eq!(client_network(ip("::ffff:198.51.100.7")), ip("198.51.100.7"));
        assert_ne!(client_network(ip("198.51.100.7")), client_network(ip("198.51.100.8")));
    }

    #[test]
    fn addresses_and_networks_survive_a_round_trip() {
        let text = r#"["10.0.0.1","10.0.0.0/8","fd00::/8"]"#;
        let read: TrustedProxies = serde_json::from_str(text).unwrap();
        assert_eq!(serde_json::to_string(&read).unwrap(), text);
        assert!(serde_json::from_str::<TrustedProxies>(r#"["10.0.0.0/33"]"#).is_err());
    }
}
