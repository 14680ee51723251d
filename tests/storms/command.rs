//! A command of the storm. Its body is a function of its client and its number, so that the checker can generate it
//! again and compare every byte.

use std::fmt;
use std::fmt::Write as _;

use crate::rng::Rng;

/// Six bits per character.
const LETTERS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";

/// Kinds of commands. Each kind has its own topic.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Kind {
    /// With a key.
    Order,
    /// With a key, to a topic that accepts only small records.
    Small,
    /// Without a key.
    Note,
}

/// Name of a key: its client, its number, and a period in which its requests were sent one after the other.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Key {
    pub client: u32,
    pub slot: u32,
    /// Increased after a request without a response. That request may still be accepted, in any order relative to
    /// later ones.
    pub epoch: u32,
}

/// One command.
#[derive(Clone, Copy, Debug)]
pub struct Command {
    pub client: u32,
    /// Number of the command within its client.
    pub serial: u32,
    pub kind: Kind,
    pub key: Option<Key>,
    /// Number of filling characters.
    pub filling: u32,
}

impl Kind {
    pub const ALL: [Self; 3] = [Self::Order, Self::Small, Self::Note];
    /// `max.message.bytes` of the small topic.
    pub const SMALL_MAX: u32 = 4_000;
    /// Filling from which on no compression makes it fit there: each character has six random bits.
    pub const TOO_LARGE: u32 = 7_000;

    pub fn name(self) -> &'static str {
        match self {
            Self::Order => "order.create",
            Self::Small => "small.create",
            Self::Note => "note.create",
        }
    }

    pub fn topic(self) -> &'static str {
        match self {
            Self::Order => "storm.orders",
            Self::Small => "storm.small",
            Self::Note => "storm.notes",
        }
    }

    pub fn partitions(self) -> usize {
        match self {
            Self::Order => 6,
            Self::Small => 2,
            Self::Note => 3,
        }
    }

    pub fn has_key(self) -> bool {
        self != Self::Note
    }

    /// The kind's table in the daemon's configuration.
    pub fn toml(self) -> String {
        let key = if self.has_key() { "key = \"/key\"\n" } else { "" };
        format!("[[kinds]]\nname = \"{}\"\ntopic = \"{}\"\n{key}", self.name(), self.topic())
    }
}

impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "c{}-k{}-e{}", self.client, self.slot, self.epoch)
    }
}

impl fmt::Display for Command {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "command {}/{} ({}", self.client, self.serial, self.kind.name())?;
        match self.key {
            Some(key) => write!(f, ", key {key})"),
            None => write!(f, ")"),
        }
    }
}

impl Command {
    /// Whether it is too large for its topic and must become a dead letter.
    pub fn is_poison(&self) -> bool {
        self.kind == Kind::Small && self.filling >= Kind::TOO_LARGE
    }

    /// The body that a client sends.
    pub fn body(&self, seed: u64) -> String {
        let mut body = format!(r#"{{"client":{},"serial":{}"#, self.client, self.serial);
        if let Some(key) = self.key {
            let _ = write!(body, r#","key":"{key}""#);
        }
        body.push_str(r#","filling":""#);
        let mut rng = Rng::new(seed ^ (u64::from(self.client) << 32), u64::from(self.serial));
        let mut word = 0;
        for n in 0..self.filling {
            if n % 8 == 0 {
                word = rng.next();
            }
            body.push(char::from(LETTERS[(word & 63) as usize]));
            word >>= 6;
        }
        body.push_str("\"}");
        body
    }

    /// The client and the serial of a body, if it has the format of a storm's command.
    pub fn identify(body: &str) -> Option<(u32, u32)> {
        let rest = body.strip_prefix(r#"{"client":"#)?;
        let (client, rest) = rest.split_once(r#","serial":"#)?;
        let end = rest.find(',')?;
        Some((client.parse().ok()?, rest[..end].parse().ok()?))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_body_identifies_its_command_and_is_reproducible() {
        let key = Some(Key { client: 3, slot: 1, epoch: 2 });
        let command = Command { client: 3, serial: 17, kind: Kind::Order, key, filling: 100 };
        let body = command.body(7);
        assert_eq!(Command::identify(&body), Some((3, 17)));
        assert_eq!(body, command.body(7));
        assert_ne!(body, Command { serial: 18, ..command }.body(7));
        assert_ne!(body, command.body(8));
        let value: serde_json::Value = serde_json::from_str(&body).unwrap();
        assert_eq!(value["key"], "c3-k1-e2");
        assert_eq!(value["filling"].as_str().unwrap().len(), 100);
    }
}
