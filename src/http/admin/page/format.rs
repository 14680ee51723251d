//! Formats text, numbers and times for the page.

use std::fmt;
use std::time::Duration;

use crate::problems::{number, span};
use crate::units::Timestamp;

/// Text with escaped markup, for elements and attributes.
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

/// Formats a rate or a mean. Values below 10 get one decimal.
pub fn rate(value: f64) -> String {
    match value {
        // Less than one in twenty seconds, or not a number.
        value if value.is_nan() || value < 0.05 => "0".to_owned(),
        value if value < 9.95 => format!("{value:.1}").trim_end_matches(".0").to_owned(),
        value => number(value.round() as u64),
    }
}

/// Converts the first letter to upper case.
pub fn capital(text: &str) -> String {
    let mut chars = text.chars();
    let first: String = chars.next().map(|first| first.to_uppercase().collect()).unwrap_or_default();
    format!("{first}{}", chars.as_str())
}

/// Formats a size in the largest unit that fits.
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

/// Formats a duration: in milliseconds below 1 s, else in the largest unit that fits.
pub fn duration(duration: Duration) -> String {
    match duration.as_secs_f64() {
        0.0 => "0 s".to_owned(),
        seconds if seconds < 0.0995 => format!("{:.1} ms", seconds * 1e3),
        seconds if seconds < 0.9995 => format!("{:.0} ms", seconds * 1e3),
        seconds if seconds < 9.95 => format!("{} s", rate(seconds)),
        _ => span(duration),
    }
}

/// The time of day with seconds.
pub fn clock(at: Timestamp) -> String {
    at.to_string().get(11..19).unwrap_or_default().to_owned()
}

/// The time of day with minutes.
pub fn minute(at: Timestamp) -> String {
    at.to_string().get(11..16).unwrap_or_default().to_owned()
}

/// An instant as HTML. It shows the time of day; the attributes have the full timestamp.
pub fn time(at: Timestamp) -> String {
    format!("<time datetime=\"{at}\" title=\"{at}\">{} UTC</time>", clock(at))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn markup_in_text_is_escaped() {
        let escaped = Text("<script>\"'&").to_string();
        assert_eq!(escaped, "&lt;script&gt;&quot;&#39;&amp;");
    }

    #[test]
    fn numbers_are_short_and_have_a_unit() {
        let rates = [0.0, f64::NAN, 0.04, 2.0, 3.26, 9.96, 1_234.6].map(rate);
        assert_eq!(rates, ["0", "0", "0", "2", "3.3", "10", "1,235"]);
        assert_eq!([0, 1_023, 1_536, 5 << 30].map(bytes), ["0 B", "1023 B", "1.5 KiB", "5.0 GiB"]);
        let durations =
            [0.0, 0.000_42, 0.25, 1.26, 75.0].map(|seconds| duration(Duration::from_secs_f64(seconds)));
        assert_eq!(durations, ["0 s", "0.4 ms", "250 ms", "1.3 s", "1 min"]);
        assert_eq!((clock(Timestamp(0)), minute(Timestamp(3_660_000))), ("00:00:00".into(), "01:01".into()));
    }
}
