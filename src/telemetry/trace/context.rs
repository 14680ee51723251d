//! Position of a span in a sampled trace, and its form as a `traceparent`.

use std::fmt;

use opentelemetry::trace::{SpanId, TraceId};

/// The "sampled" bit of the flags.
const SAMPLED: u8 = 1;

/// A span of a sampled trace.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TraceContext {
    pub(super) trace: TraceId,
    pub(super) span: SpanId,
}

impl TraceContext {
    /// Parses a W3C `traceparent`. `None` if it is invalid or the trace is not sampled.
    pub fn sampled(traceparent: &str) -> Option<Self> {
        let mut fields = traceparent.split('-');
        let version = hex(fields.next()?, 2)?;
        let (trace, span) = (hex(fields.next()?, 32)?, hex(fields.next()?, 16)?);
        let flags = u8::try_from(hex(fields.next()?, 2)?).ok()?;
        // Only a later version may have more fields.
        let is_known = version != 0xff && (version > 0 || fields.next().is_none());
        let is_valid = is_known && trace != 0 && span != 0 && flags & SAMPLED != 0;
        let span = u64::try_from(span).ok()?;
        is_valid.then(|| Self { trace: TraceId::from(trace), span: SpanId::from(span) })
    }
}

/// Parses exactly `digits` lower-case hexadecimal digits.
fn hex(text: &str, digits: usize) -> Option<u128> {
    let is_hex = text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
    (text.len() == digits && is_hex).then(|| u128::from_str_radix(text, 16).ok())?
}

/// Formats it as a `traceparent`.
impl fmt::Display for TraceContext {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "00-{}-{}-{SAMPLED:02x}", self.trace, self.span)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const VALID: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

    #[test]
    fn a_sampled_traceparent_reads_back_as_it_was_written() {
        assert_eq!(TraceContext::sampled(VALID).unwrap().to_string(), VALID);
        let small = "00-0000000000000000000000000000000a-000000000000000b-01";
        assert_eq!(TraceContext::sampled(small).unwrap().to_string(), small);
        let later = "cc-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-03-more";
        assert_eq!(TraceContext::sampled(later).unwrap().to_string(), VALID);
    }

    #[test]
    fn an_unsampled_or_invalid_traceparent_continues_nothing() {
        for ignored in [
            "",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-00",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-02",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01-more",
            "ff-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
            "00-00000000000000000000000000000000-00f067aa0ba902b7-01",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-0000000000000000-01",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7",
            "00-+bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
            &VALID.to_uppercase(),
            &VALID[1..],
        ] {
            assert_eq!(TraceContext::sampled(ignored), None, "{ignored}");
        }
    }
}
