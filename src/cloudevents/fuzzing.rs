//! Fuzz target: events as documents, batches and headers.
#![allow(
    clippy::expect_used,
    reason = "a violated invariant must end the program, so that the fuzzer finds it"
)]

use bytes::Bytes;

use super::{
    Event, EventBuilder, EventError, MAX_EVENTS, batch, binary, from_headers, from_json, structured,
};
use crate::command::{Headers, is_json};
use crate::kinds::Rejection;

/// Separates the headers (one `name: value` per line) from the body.
const DIVIDER: &[u8] = b"\n\n";
/// Maximum number of attributes of a document. An implied `datacontenttype` counts.
const FEW: usize = 100;

/// Checks that any bytes are refused, or are an event that stays the same when it is read back from its Kafka record,
/// in both modes.
pub fn event(data: &[u8]) {
    let body = Bytes::copy_from_slice(data);
    if let Ok(event) = from_json(&body) {
        check(&event);
    }
    if let Ok(documents) = batch(&body) {
        assert!(documents.len() <= MAX_EVENTS);
        documents.iter().filter_map(|document| from_json(document).ok()).for_each(|event| check(&event));
    }
    let at = data.windows(DIVIDER.len()).position(|window| window == DIVIDER).unwrap_or(data.len());
    let lines = data[..at].split(|byte| *byte == b'\n').filter_map(|line| str::from_utf8(line).ok());
    let pairs: Vec<_> = lines.filter_map(|line| line.split_once(": ")).collect();
    let content_type = pairs.iter().find(|(name, _)| *name == "content-type").map(|(_, value)| *value);
    let headers = pairs.iter().map(|(name, value)| (*name, value.as_bytes()));
    let data = body.slice((at + DIVIDER.len()).min(body.len())..);
    if let Ok(event) = from_headers(headers, content_type).finish(Some(data), false) {
        check(&event);
    }
}

fn check(event: &Event) {
    let sent = binary(event);
    let mut draft = EventBuilder::default();
    for (name, value) in Headers::parse(&sent.headers).expect("just written").iter() {
        draft.add(name.strip_prefix("ce_").expect("an attribute"), value.to_owned());
    }
    if !sent.content_type.is_empty() {
        draft.add("datacontenttype", sent.content_type);
    }
    if event.attributes().count() < FEW {
        assert!(same(&draft.finish(sent.value, false).expect("an event"), event));
        let document = structured(event, None).value.expect("a document");
        match from_json(&document) {
            Ok(read) => assert!(same(&read, event), "{read:?} is not {event:?}"),
            // In a document, the data is nested one level deeper, which may exceed the limit.
            Err(error) => assert_eq!(error, EventError::Unreadable(Rejection::TooDeep)),
        }
    }
}

/// Compares two events. White space around JSON data is ignored.
fn same(one: &Event, other: &Event) -> bool {
    let sorted = |event: &Event| {
        let mut attributes: Vec<(String, String)> =
            event.attributes().map(|(name, value)| (name.to_owned(), value.to_owned())).collect();
        attributes.sort();
        attributes
    };
    let data = |event: &Event| {
        let is_json = event.get("datacontenttype").is_some_and(is_json);
        event.data().map(|data| if is_json { data.trim_ascii().to_vec() } else { data.to_vec() })
    };
    sorted(one) == sorted(other) && data(one) == data(other)
}
