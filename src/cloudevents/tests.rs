use bytes::Bytes;
use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;
use crate::command::Headers;
use crate::kinds::Rejection;

const LEAST: &str = r#"{"specversion":"1.0","id":"1","source":"/s","type":"t""#;

/// An event with the required members and these.
fn with(members: &str) -> Result<Event, EventError> {
    from_json(&Bytes::from(format!("{LEAST}{members}}}")))
}

fn invalid_attributes(result: Result<Event, EventError>) -> Vec<String> {
    match result {
        Err(EventError::Invalid(errors)) => errors.iter().map(|error| error.attribute.clone()).collect(),
        other => panic!("{other:?}"),
    }
}

fn headers(
    pairs: &[(&str, &[u8])],
    content_type: Option<&str>,
    data: &'static str,
) -> Result<Event, EventError> {
    let least: [(&str, &[u8]); 4] =
        [("ce-specversion", b"1.0"), ("ce-id", b"1"), ("ce-source", b"/s"), ("ce-type", b"t")];
    let all = least.into_iter().chain(pairs.iter().copied());
    from_headers(all, content_type).finish(Some(Bytes::from_static(data.as_bytes())), false)
}

#[test]
fn json_attributes_are_converted_to_canonical_strings() {
    let event =
        with(r#","a":"x\u00e9","b":true,"c":-2147483648,"d":null,"time":"2018-04-05T17:31:00Z""#).unwrap();
    let attributes: Vec<_> = event.attributes().collect();
    assert_eq!(
        attributes[4..],
        [("a", "xé"), ("b", "true"), ("c", "-2147483648"), ("time", "2018-04-05T17:31:00Z")],
        "null means absent"
    );
    assert_eq!(event.data(), None);
}

#[test]
fn all_invalid_attributes_are_reported_without_their_values() {
    let document =
        r#"{"id":5,"source":"","My-Name":"secret","time":"secret","a":1.5,"b":{},"c":2147483648,"d":[]}"#;
    let read = from_json(&Bytes::from_static(document.as_bytes()));
    assert!(!format!("{read:?}").contains("secret"));
    let found = invalid_attributes(read);
    assert_eq!(found, ["id", "source", "My-Name", "time", "a", "b", "c", "d", "specversion", "type"]);
    let many: String = (0..150).map(|n| format!(",\"a{n}\":\"\"")).collect();
    assert_eq!(invalid_attributes(with(&many)).len(), crate::bounded_errors::MAX_ERRORS_PER_BODY, "limited");
    let more: String = (0..300).map(|n| format!(",\"A{n}\":\"\"")).collect();
    assert_eq!(invalid_attributes(with(&more))[0], "A196", "members above the limit are not read");
}

#[test]
fn data_is_read_as_its_content_type() {
    let json = |members: &str| with(members).unwrap();
    let data = |event: &Event| event.data().map(|data| data.to_vec());
    let spaced = json(r#","data" : { "a" : 1.0e0,  "b":"\u00e9" } "#);
    assert_eq!(data(&spaced).unwrap(), br#"{ "a" : 1.0e0,  "b":"\u00e9" }"#, "byte for byte");
    assert_eq!(spaced.get("datacontenttype"), Some("application/json"), "the implied type is explicit");
    let text = json(r#","datacontenttype":"text/xml","data":"<a b=\"\u00e9\"/>""#);
    assert_eq!(data(&text).unwrap(), "<a b=\"é\"/>".as_bytes());
    let bytes = json(r#","datacontenttype":"application/avro","data_base64":"AP/+""#);
    assert_eq!(data(&bytes).unwrap(), [0, 0xff, 0xfe]);
    let string = json(r#","data":"text""#);
    assert_eq!(data(&string).unwrap(), b"\"text\"", "a JSON string stays one");
    assert_eq!(data(&json(r#","data":null"#)).unwrap(), b"null");
    assert_eq!(data(&json(r#","datacontenttype":"text/xml","data":null"#)), None);
    assert_eq!(data(&json(r#","data_base64":null"#)), None);
    assert_eq!(data(&json(r#","data_base64":"""#)).unwrap(), b"", "empty is not absent");
    assert_eq!(json(r#","data_base64":"AA==""#).get("datacontenttype"), None);
    for (wrong, attribute) in [
        (r#","data":1,"data_base64":"AA==""#, "data"),
        (r#","data_base64":"AA""#, "data_base64"),
        (r#","data_base64":"A?==""#, "data_base64"),
        (r#","data_base64":5"#, "data_base64"),
        (r#","datacontenttype":"text/xml","data":{}"#, "data"),
    ] {
        assert_eq!(invalid_attributes(with(wrong)), [attribute], "{wrong}");
    }
}

#[test]
fn invalid_documents_are_unreadable() {
    let read = |text: &[u8]| from_json(&Bytes::copy_from_slice(text)).unwrap_err();
    assert_eq!(read(b"[]"), Rejection::NotAnObject.into());
    assert_eq!(read(b"{\"id\":\"\xff\"}"), Rejection::NotUtf8.into());
    assert_eq!(read(b"{\"id\":\"1\",\"id\":\"2\"}"), Rejection::Duplicate { name: "id".to_owned() }.into());
    assert!(matches!(read(b"{\"id\":"), EventError::Unreadable(Rejection::NotJson { .. })));
    assert!(matches!(read(b"{} x"), EventError::Unreadable(Rejection::TrailingText { .. })));
    let deep = format!("{LEAST},\"data\":{}{}}}", "[".repeat(64), "]".repeat(64));
    assert_eq!(read(deep.as_bytes()), Rejection::TooDeep.into());
    assert_eq!(invalid_attributes(with(r#","a":"\ud800""#)), ["a"], "a lone surrogate");
}

#[test]
fn batch_returns_documents_unchanged() {
    let split = |text: &str| batch(&Bytes::copy_from_slice(text.as_bytes()));
    let documents = split(" [ {\"a\" : 1} ,\n{\"b\":[]}]\n").unwrap();
    assert_eq!(documents, [&b"{\"a\" : 1}"[..], b"{\"b\":[]}"]);
    assert_eq!(split("[]").unwrap(), [&b""[..]; 0]);
    assert_eq!(split("{}"), Err(Rejection::NotAnArray.into()));
    assert!(matches!(split("[1,"), Err(EventError::Unreadable(Rejection::NotJson { .. }))));
    assert!(matches!(split("[1] 2"), Err(EventError::Unreadable(Rejection::TrailingText { .. }))));
    let many = |count: usize| format!("[{}1]", "1,".repeat(count - 1));
    assert_eq!(split(&many(MAX_EVENTS)).unwrap().len(), MAX_EVENTS);
    assert_eq!(split(&many(MAX_EVENTS + 1)), Err(EventError::TooMany));
}

#[test]
fn header_values_are_unquoted_and_percent_decoded_once() {
    for (value, read) in [
        (&b"Euro%20%E2%82%AC%20%F0%9F%98%80"[..], "Euro € 😀"),
        (b"plain,;=()", "plain,;=()"),
        (b"%e2%82%ac", "€"),
        (b"%2520", "%20"),
        (b"\"a \\\"b\\\\ %41\"", "a \"b\\ A"),
        (b"a \"b\"", "a \"b\""),
        ("größe".as_bytes(), "größe"),
        (b"%41%62", "Ab"),
    ] {
        let event = headers(&[("ce-subject", value)], None, "").unwrap();
        assert_eq!(event.get("subject"), Some(read), "{value:?}");
    }
    for bad in [&b"%C0%A0"[..], b"%ff", b"100%", b"%zz", b"%4", b"\"open", b"\"a\"b", b"%0A", b"\xff", b""] {
        assert_eq!(invalid_attributes(headers(&[("ce-subject", bad)], None, "")), ["subject"], "{bad:?}");
    }
}

#[test]
fn only_ce_headers_are_attributes() {
    let event =
        headers(&[("x-ce-a", b"1"), ("ce-a", b"2"), ("cea", b"3")], Some("text/plain; x=y"), "d").unwrap();
    let attributes: Vec<_> = event.attributes().skip(4).collect();
    assert_eq!(attributes, [("a", "2"), ("datacontenttype", "text/plain; x=y")]);
    for name in ["ce-datacontenttype", "ce-data", "ce-my-name", "ce-", "ce-id"] {
        assert_eq!(invalid_attributes(headers(&[(name, b"1")], None, "")), [&name[3..]], "{name}");
    }
    let none = from_headers([("ce-subject", &b"s"[..])], None).finish(None, false);
    assert_eq!(invalid_attributes(none), ["specversion", "id", "source", "type"]);
}

#[test]
fn events_are_rendered_in_both_kafka_modes() {
    let event = headers(&[("ce-subject", "größe".as_bytes())], Some("application/avro"), "bytes").unwrap();
    let sent = binary(&event);
    assert_eq!((&*sent.content_type, sent.value.as_deref()), ("application/avro", Some(&b"bytes"[..])));
    let named: Vec<_> = Headers::parse(&sent.headers).unwrap().iter().collect();
    let expected = [
        ("ce_specversion", "1.0"),
        ("ce_id", "1"),
        ("ce_source", "/s"),
        ("ce_type", "t"),
        ("ce_subject", "größe"),
    ];
    assert_eq!(named, expected);

    let sent = structured(&event, None);
    assert_eq!((&*sent.content_type, sent.headers.len()), (STRUCTURED, 0));
    let document: Value = serde_json::from_slice(&sent.value.unwrap()).unwrap();
    assert_eq!((&document["subject"], &document["data_base64"]), (&json!("größe"), &json!("Ynl0ZXM=")));
    let exact = headers(&[], Some("application/json"), "{\"a\": 1.0e0}").unwrap();
    let sent = structured(&exact, None).value.unwrap();
    assert!(sent.ends_with(b",\"data\":{\"a\": 1.0e0}}"), "{sent:?}");
    let document = Bytes::from_static(b"{ }");
    assert_eq!(structured(&exact, Some(document.clone())).value, Some(document), "unchanged");

    let nothing = with("").unwrap();
    assert_eq!((binary(&nothing).value, &*binary(&nothing).content_type), (None, ""));
    let document: Value = serde_json::from_slice(&structured(&nothing, None).value.unwrap()).unwrap();
    assert_eq!(document, json!({"specversion": "1.0", "id": "1", "source": "/s", "type": "t"}));
}

#[test]
fn source_and_id_are_the_key_and_content_the_digest() {
    let identity = |members: &[&str]| {
        let mut identity = IdempotencyDigest::default();
        members.iter().for_each(|members| identity.add(&with(members).unwrap()));
        identity.finish()
    };
    let (key, content) = identity(&[r#","a":"1","b":"2""#]);
    assert_eq!(key.len(), KEY_LEN);
    assert_eq!(identity(&[r#","b":"2","a":"1""#]), (key.clone(), content.clone()), "the order is irrelevant");
    for other in [r#","a":"12""#, r#","a":"1","b":"2","data":1"#, r#","a":"1","b":"2","data_base64":"""#] {
        let (same, another) = identity(&[other]);
        assert_eq!(same, key);
        assert_ne!(another, content, "{other}");
    }
    assert_ne!(identity(&["", ""]).0, identity(&[""]).0);
    let named = |source: &str, id: &str| {
        let text = format!(r#"{{"specversion":"1.0","id":"{id}","source":"{source}","type":"t"}}"#);
        let mut identity = IdempotencyDigest::default();
        identity.add(&from_json(&Bytes::from(text)).unwrap());
        identity.finish().0
    };
    assert_ne!(named("a", "bc"), named("ab", "c"));
}

/// A valid value of an attribute.
fn value() -> impl Strategy<Value = String> {
    "\\PC{1,40}".prop_filter("allowed", |text| attribute::check_value("subject", text).is_ok())
}

/// Encodes a value as the HTTP protocol binding requires.
fn encoded(value: &str) -> String {
    let plain = |byte: &u8| (0x21..0x7f).contains(byte) && !b"\"%".contains(byte);
    value
        .bytes()
        .map(|byte| if plain(&byte) { char::from(byte).to_string() } else { format!("%{byte:02X}") })
        .collect()
}

proptest! {
    /// An event from headers stays the same when it is read back from both Kafka modes.
    #[test]
    fn events_survive_a_round_trip_through_both_modes(
        attributes in proptest::collection::btree_map("x[a-z0-9]{1,20}", value(), 0..8),
        id in value(),
        data in proptest::collection::vec(any::<u8>(), 0..200),
    ) {
        let mut pairs = vec![("ce-specversion".to_owned(), "1.0".to_owned()), ("ce-id".to_owned(), encoded(&id))];
        pairs.extend([("ce-source".to_owned(), "/s".to_owned()), ("ce-type".to_owned(), "t".to_owned())]);
        pairs.extend(attributes.iter().map(|(name, value)| (format!("ce-{name}"), encoded(value))));
        let draft = from_headers(pairs.iter().map(|(name, value)| (&**name, value.as_bytes())), Some("a/b"));
        let event = draft.finish(Some(Bytes::from(data)), false).unwrap();
        prop_assert_eq!(event.get("id"), Some(&*id));
        for (name, value) in &attributes {
            prop_assert_eq!(event.get(name), Some(&**value));
        }
        let document = structured(&event, None).value.unwrap();
        prop_assert_eq!(&from_json(&document).unwrap(), &event);
        let sent = binary(&event);
        let read = Headers::parse(&sent.headers).unwrap();
        let mut draft = EventBuilder::default();
        read.iter().for_each(|(name, value)| draft.add(name.strip_prefix("ce_").unwrap(), value.to_owned()));
        draft.add("datacontenttype", sent.content_type);
        prop_assert_eq!(draft.finish(sent.value, false).unwrap(), event);
    }

    /// No input makes the parsers panic.
    #[test]
    fn any_text_is_an_event_or_is_refused(text in "\\PC*", name in "[a-z-]{0,8}", value in any::<Vec<u8>>()) {
        let body = Bytes::from(text);
        let _ = (from_json(&body), batch(&body));
        let _ = from_headers([(&*format!("ce-{name}"), &*value)], Some("a/b")).finish(None, true);
    }
}
