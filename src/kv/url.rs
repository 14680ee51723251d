//! Server addresses, which may contain passwords.

use std::fmt;

use serde::{Deserialize, Serialize, Serializer};

/// One URL, or several separated by commas. Displayed and serialised without its passwords.
#[derive(Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(transparent)]
pub struct ServerUrl(String);

impl ServerUrl {
    /// Whether no URL is set.
    pub fn is_empty(&self) -> bool {
        self.0.trim().is_empty()
    }

    /// The URLs, as written.
    pub(super) fn nodes(&self) -> impl Iterator<Item = &str> {
        self.0.split(',').map(str::trim).filter(|node| !node.is_empty())
    }

    /// Whether all URLs require TLS.
    pub(super) fn is_encrypted(&self) -> bool {
        self.nodes().all(|node| node.starts_with("rediss://") || node.starts_with("valkeys://"))
    }

    /// Whether one of them contains a password.
    pub(super) fn has_password(&self) -> bool {
        self.nodes().any(|node| password(node).is_some())
    }
}

impl From<&str> for ServerUrl {
    fn from(url: &str) -> Self {
        Self(url.to_owned())
    }
}

impl fmt::Display for ServerUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (number, node) in self.nodes().enumerate() {
            let comma = if number == 0 { "" } else { "," };
            match password(node) {
                Some((before, after)) => write!(f, "{comma}{before}:***@{after}")?,
                None => write!(f, "{comma}{node}")?,
            }
        }
        Ok(())
    }
}

impl fmt::Debug for ServerUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "\"{self}\"")
    }
}

impl Serialize for ServerUrl {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.collect_str(self)
    }
}

/// The parts before and after a URL's password. A password may contain any character, also an `@` or `/` that was not
/// escaped: it extends to the last `@`.
fn password(url: &str) -> Option<(&str, &str)> {
    let (login, after) = url.rsplit_once('@')?;
    let begins = login.find("://").map_or(0, |at| at + 3);
    let colon = begins + login[begins..].find(':')?;
    Some((&login[..colon], after))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_password_is_never_shown() {
        let url = ServerUrl::from("redis://a:1, rediss://user:hun/t@er2@b:2/3,redis://:hunter2@c");
        assert_eq!(url.to_string(), "redis://a:1,rediss://user:***@b:2/3,redis://:***@c");
        assert_eq!(format!("{url:?}"), format!("\"{url}\""));
        assert_eq!(serde_json::to_value(&url).unwrap(), url.to_string());
        assert!(url.has_password());
        assert!(!ServerUrl::from("redis://user@a:1").has_password());
    }
}
