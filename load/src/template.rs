//! Text with placeholders that are filled for each request.

use std::str::FromStr;
use std::time::SystemTime;

/// The values of one request. The same run, seed and number give the same values, except for the time.
pub struct Values<'a> {
    run: &'a str,
    number: u64,
    random: fastrand::Rng,
}

impl<'a> Values<'a> {
    /// Values for the request with this number.
    pub fn new(run: &'a str, seed: u64, number: u64) -> Self {
        // An odd factor: consecutive numbers give unrelated seeds.
        let random = fastrand::Rng::with_seed(seed ^ number.wrapping_mul(0x9e37_79b9_7f4a_7c15));
        Self { run, number, random }
    }
}

/// Text with placeholders.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Template(Vec<TemplatePart>);

#[derive(Clone, Debug, PartialEq, Eq)]
enum TemplatePart {
    Text(String),
    Seq,
    Run,
    Uuid,
    Random(u64),
    Fill(usize),
    Now,
}

/// Maximum length of `{{fill:N}}`, in bytes.
const MAX_FILL_BYTES: usize = 64 << 20;

const PLACEHOLDERS: &str = "{{seq}}, {{run}}, {{uuid}}, {{random:N}}, {{fill:N}} and {{now}}";

impl Template {
    /// The text for one request.
    pub fn fill(&self, values: &mut Values<'_>) -> String {
        let mut text = String::new();
        for piece in &self.0 {
            piece.write(values, &mut text);
        }
        text
    }

    /// The text if it has no placeholders.
    pub fn constant(&self) -> Option<&str> {
        match &*self.0 {
            [] => Some(""),
            [TemplatePart::Text(text)] => Some(text),
            _ => None,
        }
    }
}

impl TemplatePart {
    fn write(&self, values: &mut Values<'_>, text: &mut String) {
        match self {
            Self::Text(piece) => text.push_str(piece),
            Self::Seq => text.push_str(&values.number.to_string()),
            Self::Run => text.push_str(values.run),
            Self::Uuid => text.push_str(&uuid(values.random.u128(..))),
            Self::Random(end) => text.push_str(&values.random.u64(..end).to_string()),
            Self::Fill(bytes) => text.extend((0..*bytes).map(|_| values.random.lowercase())),
            Self::Now => text.push_str(&humantime::format_rfc3339_millis(SystemTime::now()).to_string()),
        }
    }
}

/// A random UUID (version 4) with these bits.
fn uuid(bits: u128) -> String {
    let bits = bits & !(0xf << 76) & !(0x3 << 62) | 0x4 << 76 | 0x2 << 62;
    let hex = format!("{bits:032x}");
    [&hex[..8], &hex[8..12], &hex[12..16], &hex[16..20], &hex[20..]].join("-")
}

impl FromStr for Template {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let mut pieces = Vec::new();
        let mut rest = text;
        while let Some(open) = rest.find("{{") {
            let line = 1 + text[..text.len() - rest.len() + open].matches('\n').count();
            let at = |what: String| format!("line {line}: {what}");
            let (before, inner) = (&rest[..open], &rest[open + 2..]);
            let close = inner.find("}}").ok_or_else(|| at("a placeholder is not closed by }}".to_owned()))?;
            if !before.is_empty() {
                pieces.push(TemplatePart::Text(before.to_owned()));
            }
            pieces.push(piece(&inner[..close]).map_err(at)?);
            rest = &inner[close + 2..];
        }
        if !rest.is_empty() {
            pieces.push(TemplatePart::Text(rest.to_owned()));
        }
        Ok(Self(pieces))
    }
}

fn piece(placeholder: &str) -> Result<TemplatePart, String> {
    let (name, number) = match placeholder.split_once(':') {
        Some((name, number)) => (name.trim(), Some(number.trim())),
        None => (placeholder.trim(), None),
    };
    let count = |text: &str| {
        let number: Option<u64> = text.parse().ok().filter(|number| *number > 0);
        number.ok_or_else(|| format!("{{{{{placeholder}}}}} needs a whole number above 0"))
    };
    match (name, number) {
        ("seq", None) => Ok(TemplatePart::Seq),
        ("run", None) => Ok(TemplatePart::Run),
        ("uuid", None) => Ok(TemplatePart::Uuid),
        ("now", None) => Ok(TemplatePart::Now),
        ("random", Some(end)) => Ok(TemplatePart::Random(count(end)?)),
        ("fill", Some(bytes)) => match usize::try_from(count(bytes)?) {
            Ok(bytes) if bytes <= MAX_FILL_BYTES => Ok(TemplatePart::Fill(bytes)),
            _ => Err(format!("{{{{{placeholder}}}}} is longer than {MAX_FILL_BYTES} bytes")),
        },
        _ => Err(format!("{{{{{placeholder}}}}} is not a placeholder; valid placeholders: {PLACEHOLDERS}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn filled(text: &str, number: u64) -> String {
        text.parse::<Template>().unwrap().fill(&mut Values::new("r1", 7, number))
    }

    #[test]
    fn each_request_has_its_own_repeatable_values() {
        assert_eq!(filled(r#"{"id":"{{run}}-{{seq}}"}"#, 12), r#"{"id":"r1-12"}"#);
        for text in ["{{uuid}}", "{{random:1000000000}}", "{{fill:20}}"] {
            assert_eq!(filled(text, 1), filled(text, 1), "{text}");
            assert_ne!(filled(text, 1), filled(text, 2), "{text}");
        }
        assert!((0..100).all(|number| filled("{{random:3}}", number).parse::<u64>().unwrap() < 3));
        assert_eq!(filled("{{ fill: 20 }}", 1).len(), 20);
    }

    #[test]
    fn a_uuid_has_the_version_and_variant_of_random_uuids() {
        for bits in [0, u128::MAX, 0x0123_4567_89ab_cdef_0123_4567_89ab_cdef] {
            let uuid = uuid(bits);
            let lengths: Vec<_> = uuid.split('-').map(str::len).collect();
            assert_eq!(lengths, [8, 4, 4, 4, 12]);
            assert!(uuid.as_bytes()[14] == b'4' && b"89ab".contains(&uuid.as_bytes()[19]), "{uuid}");
        }
    }

    #[test]
    fn an_error_names_its_line() {
        for (text, expected) in [
            ("\n{{sequence}}", "line 2: {{sequence}} is not a placeholder"),
            ("{{seq", "line 1: a placeholder is not closed"),
            ("a\nb {{random}}", "line 2: {{random}}"),
            ("{{random:0}}", "needs a whole number above 0"),
            ("{{fill:99999999999}}", "longer than"),
        ] {
            let error = text.parse::<Template>().unwrap_err();
            assert!(error.contains(expected), "{error}");
        }
    }
}
