//! Parsers of option values.

use std::time::Duration;

/// The maximum rate: ten times what one machine sends.
const MAX_RATE: f64 = 1e6;
/// The maximum length of a part of a run.
const MAX_DURATION: Duration = Duration::from_secs(30 * 24 * 3600);

/// The maximum wait of one request; the memory of histograms depends on it.
const MAX_WAIT: Duration = Duration::from_secs(10 * 60);

/// Requests per second.
pub fn rate(text: &str) -> Result<f64, String> {
    let rate = text.parse().ok().filter(|rate: &f64| *rate > 0.0 && *rate <= MAX_RATE);
    rate.ok_or_else(|| format!("expected requests per second, above 0 and at most {MAX_RATE}"))
}

/// A duration that may be zero.
pub fn span(text: &str) -> Result<Duration, String> {
    let span = humantime::parse_duration(text).map_err(|_| "expected a duration such as 30s, 5m or 250ms")?;
    if span > MAX_DURATION { Err("longer than 30 days".to_owned()) } else { Ok(span) }
}

/// A duration above zero.
pub fn length(text: &str) -> Result<Duration, String> {
    span(text).and_then(|span| if span.is_zero() { Err("must be above 0".to_owned()) } else { Ok(span) })
}

/// The maximum wait of one request.
pub fn wait(text: &str) -> Result<Duration, String> {
    length(text).and_then(|wait| if wait > MAX_WAIT { Err("longer than 10m".to_owned()) } else { Ok(wait) })
}

/// The name of a kind, as used in a path.
pub fn kind(text: &str) -> Result<String, String> {
    let allowed = |c: char| c.is_ascii_alphanumeric() || ".-_".contains(c);
    let valid = !text.is_empty() && text.chars().all(allowed);
    if valid { Ok(text.to_owned()) } else { Err("expected a kind such as order.create".to_owned()) }
}
