//! Finds the key in a body with a JSON pointer (RFC 6901), without building a document.

use std::cell::Cell;
use std::fmt;

use serde::Deserialize;
use serde::de::{DeserializeSeed, Deserializer, Error, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde_json::value::RawValue;

/// A JSON pointer to a member.
pub(super) struct Pointer {
    text: String,
    tokens: Vec<String>,
}

/// Result of a search.
pub(super) enum PointerMatch<'a> {
    /// The member's JSON text. `None` if the member does not exist.
    Text(Option<&'a RawValue>),
    /// A member on the path occurs twice.
    Duplicate(&'a str),
}

impl Pointer {
    /// Parses a pointer. The error is the violated rule.
    pub fn parse(text: &str) -> Result<Self, &'static str> {
        let Some(path) = text.strip_prefix('/') else {
            return Err("a JSON pointer to a member, such as `/id`");
        };
        let unescape = |token: &str| {
            let rest = token.replace("~0", "").replace("~1", "");
            (!rest.contains('~')).then(|| token.replace("~1", "/").replace("~0", "~"))
        };
        let tokens: Option<Vec<String>> = path.split('/').map(unescape).collect();
        let tokens = tokens.ok_or("a JSON pointer, in which `~` occurs only in `~0` and `~1`")?;
        Ok(Self { text: text.to_owned(), tokens })
    }

    /// The pointer as configured.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// The names on the path, unescaped.
    pub fn tokens(&self) -> &[String] {
        &self.tokens
    }

    /// Parses all of `json` and returns the text of the value at the pointer.
    pub fn find<'a>(&'a self, json: &'a str) -> Result<PointerMatch<'a>, serde_json::Error> {
        let duplicate = Cell::new(None);
        let mut parser = serde_json::Deserializer::from_str(json);
        let found = PointerWalk { tokens: &self.tokens, duplicate: &duplicate }.deserialize(&mut parser);
        if let Some(name) = duplicate.take() {
            return Ok(PointerMatch::Duplicate(name));
        }
        let found = found?;
        parser.end()?;
        Ok(PointerMatch::Text(found))
    }
}

/// Follows `tokens` from the current value of the parser.
struct PointerWalk<'p, 'c> {
    tokens: &'p [String],
    duplicate: &'c Cell<Option<&'p str>>,
}

impl<'p> PointerWalk<'p, '_> {
    fn below(&self, tokens: &'p [String]) -> Self {
        Self { tokens, duplicate: self.duplicate }
    }
}

impl<'de> DeserializeSeed<'de> for PointerWalk<'_, '_> {
    type Value = Option<&'de RawValue>;

    fn deserialize<D: Deserializer<'de>>(self, from: D) -> Result<Self::Value, D::Error> {
        if self.tokens.is_empty() {
            return <&RawValue>::deserialize(from).map(Some);
        }
        from.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for PointerWalk<'_, '_> {
    type Value = Option<&'de RawValue>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON value")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let Some((wanted, rest)) = self.tokens.split_first() else { return Ok(None) };
        let (mut seen, mut found) = (false, None);
        while let Some(matches) = map.next_key_seed(NameMatcher(wanted))? {
            if !matches {
                map.next_value::<IgnoredAny>()?;
                continue;
            }
            if seen {
                self.duplicate.set(Some(wanted));
                return Err(A::Error::custom("duplicate member"));
            }
            seen = true;
            found = map.next_value_seed(self.below(rest))?;
        }
        Ok(found)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Self::Value, A::Error> {
        let Some((wanted, rest)) = self.tokens.split_first() else { return Ok(None) };
        let canonical = |index: &usize| index.to_string() == *wanted;
        let wanted: Option<usize> = wanted.parse().ok().filter(canonical);
        let mut found = None;
        for index in 0.. {
            if Some(index) == wanted {
                match items.next_element_seed(self.below(rest))? {
                    Some(at) => found = at,
                    None => break,
                }
            } else if items.next_element::<IgnoredAny>()?.is_none() {
                break;
            }
        }
        Ok(found)
    }

    fn visit_bool<E>(self, _: bool) -> Result<Self::Value, E> {
        Ok(None)
    }

    fn visit_i64<E>(self, _: i64) -> Result<Self::Value, E> {
        Ok(None)
    }

    fn visit_u64<E>(self, _: u64) -> Result<Self::Value, E> {
        Ok(None)
    }

    fn visit_f64<E>(self, _: f64) -> Result<Self::Value, E> {
        Ok(None)
    }

    fn visit_str<E>(self, _: &str) -> Result<Self::Value, E> {
        Ok(None)
    }

    fn visit_unit<E>(self) -> Result<Self::Value, E> {
        Ok(None)
    }
}

/// Compares a member's name without storing it.
struct NameMatcher<'a>(&'a str);

impl<'de> DeserializeSeed<'de> for NameMatcher<'_> {
    type Value = bool;

    fn deserialize<D: Deserializer<'de>>(self, from: D) -> Result<bool, D::Error> {
        from.deserialize_str(self)
    }
}

impl Visitor<'_> for NameMatcher<'_> {
    type Value = bool;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a member name")
    }

    fn visit_str<E>(self, name: &str) -> Result<bool, E> {
        Ok(name == self.0)
    }
}
