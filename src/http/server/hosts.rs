//! The host names that a listener accepts.

use std::fs;
use std::net::IpAddr;
use std::str::FromStr;

use serde::{Deserialize, Serialize, de};

/// Maximum length of a DNS name.
const MAX_NAME: usize = 253;
/// Maximum length of one label of a DNS name.
const MAX_LABEL: usize = 63;
/// Loopback names of `/etc/hosts`, in addition to `localhost` and its subdomains (RFC 6761). DNS has none of them.
const LOOPBACK_NAMES: [&str; 3] = ["localhost.localdomain", "ip6-localhost", "ip6-loopback"];
/// File with the machine's host name.
const MACHINE_NAME: &str = "/proc/sys/kernel/hostname";

/// Whether only processes of this machine can reach the address.
pub fn is_loopback(address: IpAddr) -> bool {
    address.to_canonical().is_loopback()
}

/// `[server] allowed_hosts`: additional host names, such as `forebay.example.org`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct AllowedHosts(Vec<HostName>);

/// A host name in lower case.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
struct HostName(String);

impl FromStr for HostName {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let name = text.strip_suffix('.').unwrap_or(text);
        let is_label = |label: &str| {
            (1..=MAX_LABEL).contains(&label.len())
                && label.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_'))
        };
        match name.len() <= MAX_NAME && name.split('.').all(is_label) {
            true => Ok(Self(name.to_ascii_lowercase())),
            false => {
                Err(format!("`{text}` is not a host name without a port, such as \"forebay.example.org\""))
            }
        }
    }
}

impl<'de> Deserialize<'de> for HostName {
    fn deserialize<D: de::Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        String::deserialize(from)?.parse().map_err(de::Error::custom)
    }
}

/// The names that a listener accepts if it does not accept all names.
pub struct HostNames(Vec<String>);

impl HostNames {
    /// Loopback names, the machine's own name and `allowed`.
    pub fn new(allowed: &AllowedHosts) -> Self {
        let machine = fs::read_to_string(MACHINE_NAME).unwrap_or_default();
        Self::of(machine.trim(), allowed)
    }

    /// Adds the first label of the machine's name as a name of its own: `db1` for `db1.example.net`.
    fn of(machine: &str, allowed: &AllowedHosts) -> Self {
        let short = machine.split('.').next().unwrap_or_default();
        let own = [machine, short].map(str::to_owned);
        let allowed = allowed.0.iter().map(|name| name.0.clone());
        Self(own.into_iter().filter(|name| !name.is_empty()).chain(allowed).collect())
    }

    /// Whether `name` is accepted. `name` must not end with a dot.
    pub fn contain(&self, name: &str) -> bool {
        is_loopback_name(name) || self.0.iter().any(|known| known.eq_ignore_ascii_case(name))
    }
}

/// Whether the name is a loopback name. Browsers and resolvers send no DNS query for these names.
fn is_loopback_name(name: &str) -> bool {
    let top = name.rsplit('.').next().unwrap_or_default();
    top.eq_ignore_ascii_case("localhost")
        || LOOPBACK_NAMES.iter().any(|known| known.eq_ignore_ascii_case(name))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_loopback_machine_and_allowed_names_are_accepted() {
        let allowed: AllowedHosts = serde_json::from_str(r#"["Forebay.Example.org.", "queue"]"#).unwrap();
        let names = HostNames::of("db1.example.net", &allowed);
        for name in [
            "localhost",
            "LOCALHOST",
            "a.localhost",
            "ip6-localhost",
            "localhost.localdomain",
            "db1.example.net",
            "DB1",
            "forebay.example.org",
            "queue",
        ] {
            assert!(names.contain(name), "{name}");
        }
        for name in [
            "localhost.example.org",
            "notlocalhost",
            "localhost.evil",
            "db1.example.org",
            "example.net",
            "sub.forebay.example.org",
            "queue.example.org",
            "127.1",
            "",
        ] {
            assert!(!names.contain(name), "{name}");
        }
        assert!(!HostNames::of("", &AllowedHosts::default()).contain(""), "a machine without a name");
    }

    #[test]
    fn allowed_hosts_must_be_plain_names() {
        let shown = |text: &str| serde_json::to_string(&serde_json::from_str::<AllowedHosts>(text).unwrap());
        assert_eq!(shown(r#"["A.example."]"#).unwrap(), r#"["a.example"]"#);
        for wrong in
            ["", ".", "*", "*.example.org", "a:80", "http://a", "a b", "a..b", "[::1]", "é", &"a".repeat(64)]
        {
            let error = serde_json::from_str::<AllowedHosts>(&format!("[{wrong:?}]")).unwrap_err();
            assert!(error.to_string().contains("is not a host name without a port"), "{error}");
        }
    }

    #[test]
    fn a_mapped_loopback_address_is_loopback() {
        for (text, loopback) in [
            ("127.0.0.9", true),
            ("::1", true),
            ("::ffff:127.0.0.1", true),
            ("::", false),
            ("10.0.0.1", false),
        ] {
            assert_eq!(is_loopback(text.parse().unwrap()), loopback, "{text}");
        }
    }
}
