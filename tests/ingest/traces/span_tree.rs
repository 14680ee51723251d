//! The spans of one trace, by name.

use std::collections::BTreeMap;

use data_encoding::HEXLOWER;
use opentelemetry_proto::tonic::trace::v1::Span;

use super::collector::text;

/// Hexadecimal form, as in a `traceparent`.
pub fn hex(bytes: &[u8]) -> String {
    HEXLOWER.encode(bytes)
}

/// One trace.
pub struct SpanTree(BTreeMap<String, Span>);

impl SpanTree {
    /// Asserts that each of these names occurs once, and no others.
    pub fn new(spans: Vec<Span>, names: &[&str]) -> Self {
        let mut by_name = BTreeMap::new();
        for span in spans {
            assert!(span.start_time_unix_nano <= span.end_time_unix_nano, "{span:?}");
            assert!(span.status.as_ref().is_none_or(|status| status.code == 0), "{span:?}");
            let twice = by_name.insert(span.name.clone(), span);
            assert!(twice.is_none(), "twice: {twice:?}");
        }
        let mut expected = names.to_vec();
        expected.sort_unstable();
        assert_eq!(by_name.keys().collect::<Vec<_>>(), expected);
        Self(by_name)
    }

    fn span(&self, name: &str) -> &Span {
        &self.0[name]
    }

    pub fn id_of(&self, name: &str) -> String {
        hex(&self.span(name).span_id)
    }

    pub fn parent_of(&self, name: &str) -> String {
        hex(&self.span(name).parent_span_id)
    }

    pub fn start_of(&self, name: &str) -> u64 {
        self.span(name).start_time_unix_nano
    }

    pub fn end_of(&self, name: &str) -> u64 {
        self.span(name).end_time_unix_nano
    }

    pub fn attribute(&self, name: &str, key: &str) -> Option<String> {
        text(&self.span(name).attributes, key)
    }

    pub fn assert_child(&self, name: &str, parent: &str) {
        assert_eq!(self.parent_of(name), self.id_of(parent), "{name} is no child of {parent}");
    }

    pub fn assert_starts_before(&self, earlier: &str, later: &str) {
        assert!(self.start_of(earlier) <= self.start_of(later), "{later} starts before {earlier}");
    }

    pub fn assert_within(&self, inner: &str, outer: &str) {
        let is_within =
            self.start_of(outer) <= self.start_of(inner) && self.end_of(inner) <= self.end_of(outer);
        assert!(is_within, "{inner} is not within {outer}");
    }

    /// All spans as text.
    pub fn dump(&self) -> String {
        format!("{:?}", self.0)
    }
}
