//! The statuses that count as success.

use std::fmt;
use std::ops::RangeInclusive;
use std::str::FromStr;

/// A set of statuses such as `200-299,409`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StatusSet(Vec<RangeInclusive<u16>>);

impl StatusSet {
    /// A set of this status only.
    pub fn single(status: u16) -> Self {
        Self(vec![status..=status])
    }

    /// Whether the set contains a status.
    pub fn contains(&self, status: u16) -> bool {
        self.0.iter().any(|range| range.contains(&status))
    }
}

impl Default for StatusSet {
    fn default() -> Self {
        Self(vec![200..=299])
    }
}

impl FromStr for StatusSet {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let status = |text: &str| text.trim().parse().ok().filter(|status| (100..600).contains(status));
        let range = |part: &str| {
            let (from, to) = part.split_once('-').unwrap_or((part, part));
            let range = status(from).zip(status(to)).filter(|(from, to)| from <= to);
            range
                .map(|(from, to)| from..=to)
                .ok_or_else(|| format!("{part:?} is not a status or a range such as 200-299"))
        };
        text.split(',').map(range).collect::<Result<_, _>>().map(Self)
    }
}

impl fmt::Display for StatusSet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let range = |range: &RangeInclusive<u16>| match range.start() == range.end() {
            true => range.start().to_string(),
            false => format!("{}-{}", range.start(), range.end()),
        };
        f.write_str(&self.0.iter().map(range).collect::<Vec<_>>().join(","))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn single_statuses_and_ranges_are_parsed() {
        let set: StatusSet = "200-204, 409".parse().unwrap();
        let all = [199, 200, 204, 205, 409].map(|status| set.contains(status));
        assert_eq!((all, set.to_string().as_str()), ([false, true, true, false, true], "200-204,409"));
        for wrong in ["", "2xx", "204-200", "99", "200-", "600"] {
            assert!(wrong.parse::<StatusSet>().is_err(), "{wrong}");
        }
    }
}
