//! Text, numbers and times as the page writes them.

use std::fmt;
use std::time::Duration;

use crate::problems::{number, span};
use crate::units::Timestamp;

/// Text that is no markup, whatever is in it; in attributes too.
pub struct Text<'a>(pub &'a str);

impl fmt::Display for Text<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for c in self.0.chars() {
            match c {
                '&' => f.write_str("&amp;")?,
                '<' => f.write_str("&lt;")?,
                '>' => f.write_str("&gt;")?,
                '"' => f.write_str("&quot;")?,
                '\'' => f.write_str("&#39;")?,
                c => fmt::Write::write_char(f, c)?,
            }
        }
        Ok(())
    }
}

/// A rate or a mean: below ten with a decimal, because there it matters.
pub fn rate(value: f64) -> String {
    match value {
        // Less than one in twenty seconds, and what is no number.
        value if value.is_nan() || value < 0.05 => "0".to_owned(),
        value if value < 9.95 => format!("{value:.1}").trim_end_matches(".0").to_owned(),
        value => number(value.round() as u64),
    }
}

/// With a capital at its beginning.
pub fn capital(text: &str) -> String {
    let mut chars = text.chars();
    let first: String = chars.next().map(|first| first.to_uppercase().collect()).unwrap_or_default();
    format!("{first}{}", chars.as_str())
}

/// A size in the largest unit that fits.
pub fn bytes(bytes: u64) -> String {
    let (mut size, mut unit) = (bytes as f64, "B");
    for larger in ["KiB", "MiB", "GiB", "TiB"] {
        if size < 1_024.0 {
            break;
        }
        (size, unit) = (size / 1_024.0, larger);
    }
    match unit {
        "B" => format!("{bytes} B"),
        unit => format!("{size:.1} {unit}"),
    }
}

/// A length of time: milliseconds where it is short, the largest unit that fits where it is not.
pub fn duration(duration: Duration) -> String {
    match duration.as_secs_f64() {
        0.0 => "0 s".to_owned(),
        seconds if seconds < 0.0995 => format!("{:.1} ms", seconds * 1e3),
        seconds if seconds < 0.9995 => format!("{:.0} ms", seconds * 1e3),
        seconds if seconds < 9.95 => format!("{} s", rate(seconds)),
        _ => span(duration),
    }
}

/// The time of day, to the second.
pub fn clock(at: Timestamp) -> String {
    at.to_string().get(11..19).unwrap_or_default().to_owned()
}

/// The time of day, to the minute.
pub fn minute(at: Timestamp) -> String {
    at.to_string().get(11..16).unwrap_or_default().to_owned()
}

/// An instant: the time of day for a person, all of it for programs and pointers.
pub fn time(at: Timestamp) -> String {
    format!("<time datetime=\"{at}\" title=\"{at}\">{} UTC</time>", clock(at))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_stays_text() {
        let said = Text("<script>\"'&").to_string();
        assert_eq!(said, "&lt;script&gt;&quot;&#39;&amp;");
    }

    #[test]
    fn numbers_are_short_and_say_their_unit() {
        let rates = [0.0, f64::NAN, 0.04, 2.0, 3.26, 9.96, 1_234.6].map(rate);
        assert_eq!(rates, ["0", "0", "0", "2", "3.3", "10", "1,235"]);
        assert_eq!([0, 1_023, 1_536, 5 << 30].map(bytes), ["0 B", "1023 B", "1.5 KiB", "5.0 GiB"]);
        let durations =
            [0.0, 0.000_42, 0.25, 1.26, 75.0].map(|seconds| duration(Duration::from_secs_f64(seconds)));
        assert_eq!(durations, ["0 s", "0.4 ms", "250 ms", "1.3 s", "1 min"]);
        assert_eq!((clock(Timestamp(0)), minute(Timestamp(3_660_000))), ("00:00:00".into(), "01:01".into()));
    }
}
