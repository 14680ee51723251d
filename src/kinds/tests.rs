use bytes::Bytes;

use super::*;

fn config(key: Option<&str>, schema: Option<&str>) -> Config {
    Config {
        name: "thing.create".to_owned(),
        topic: "things".to_owned(),
        key: key.map(str::to_owned),
        schema_file: schema.map(str::to_owned),
        ..defaults().remove(0)
    }
}

fn admit(config: Config, body: impl Into<Bytes>) -> Result<Admitted, Rejection> {
    let name = config.name.clone();
    let kinds = Kinds::build(&[config]).unwrap();
    kinds.get(&name).unwrap().admit(&body.into())
}

fn key(pointer: &str, body: impl Into<Bytes>) -> Result<Bytes, Rejection> {
    admit(config(Some(pointer), None), body).map(|admitted| admitted.key.unwrap())
}

fn order(body: impl Into<Bytes>) -> Result<Admitted, Rejection> {
    admit(defaults().remove(0), body)
}

#[test]
fn all_configuration_errors_are_reported_at_once() {
    let entry = |name: &str, topic: &str, key: &str, schema: &str| Config {
        name: name.to_owned(),
        topic: topic.to_owned(),
        key: Some(key.to_owned()),
        schema_file: Some(schema.to_owned()),
        ..defaults().remove(0)
    };
    let dir = tempfile::tempdir().unwrap();
    let file = |name: &str, text: &str| {
        let path = dir.path().join(name);
        std::fs::write(&path, text).unwrap();
        path.to_str().unwrap().to_owned()
    };
    let not_json = file("not.json", "{");
    let not_a_schema = file("bad.json", r#"{"type":"wrong"}"#);
    let remote = file("remote.json", r#"{"$ref":"https://example.com/schema.json"}"#);
    let fine = "builtin:order.create";
    let errors = Kinds::build(&[
        entry("user.create", "a b", "id", "/nowhere/schema.json"),
        entry("forebay.x", ".", "/a~2", &not_json),
        entry("", "t", "", &not_a_schema),
        entry("twice", "t", "/a", fine),
        entry("twice", "t", "/a", &remote),
    ])
    .err()
    .unwrap();
    let found: Vec<_> = errors.iter().map(|m| (m.section.as_str(), m.key.as_str())).collect();
    assert_eq!(
        found,
        [
            ("kinds[0]", "name"),
            ("kinds[0]", "topic"),
            ("kinds[0]", "key"),
            ("kinds[0]", "schema_file"),
            ("kinds[1]", "name"),
            ("kinds[1]", "topic"),
            ("kinds[1]", "key"),
            ("kinds[1]", "schema_file"),
            ("kinds[2]", "name"),
            ("kinds[2]", "key"),
            ("kinds[2]", "schema_file"),
            ("kinds[4]", "schema_file"),
            ("kinds[4]", "name"),
        ]
    );
    assert!(errors.iter().all(|m| !m.allowed.is_empty() && m.actual.starts_with('`')));
}

#[test]
fn internal_topics_are_refused() {
    let refused = |topic: &str| {
        let config = Config { topic: topic.to_owned(), ..config(None, None) };
        let errors = Kinds::build(&[config]).err().unwrap_or_default();
        errors.iter().map(|error| error.key.clone()).collect::<Vec<_>>()
    };
    for topic in [
        "__consumer_offsets",
        "__transaction_state",
        "__x",
        "forebay.checkpoints",
        "user.commands.v1",
        "user.retry.v1",
        "user.dead.v1",
        "user_commands.v1",
    ] {
        assert_eq!(refused(topic), ["topic"], "{topic}");
    }
    for topic in ["_schemas", "user.commands.v2", "forebay.orders", "orders__v1"] {
        assert_eq!(refused(topic), [""; 0], "{topic}");
    }
}

#[test]
fn contradictory_settings_of_a_kind_are_refused() {
    let refused = |change: fn(&mut Config)| {
        let mut config = config(None, None);
        change(&mut config);
        let errors = Kinds::build(&[config]).err().unwrap_or_default();
        errors.iter().map(|error| error.key.clone()).collect::<Vec<_>>()
    };
    for (change, keys) in [
        ((|c| c.content_types = vec!["application/avro".to_owned()]) as fn(&mut Config), &[][..]),
        (
            |c| {
                c.content_types = vec!["application/json".to_owned(), "application/avro".to_owned()];
                c.key = Some("/id".to_owned());
                c.schema_file = Some("builtin:order.create".to_owned());
            },
            &["content_types", "content_types"],
        ),
        (
            |c| {
                c.content_types = vec!["application/vnd.a+json".to_owned()];
                c.key = Some("/id".to_owned());
                c.schema_file = Some("builtin:order.create".to_owned());
            },
            &[],
        ),
        (|c| c.content_types = Vec::new(), &["content_types"]),
        (|c| c.content_types = vec!["avro".to_owned()], &["content_types"]),
        (|c| c.key_header = Some("Forebay-Key".to_owned()), &[]),
        (
            |c| {
                c.key_header = Some("Forebay-Key".to_owned());
                c.key = Some("/id".to_owned());
            },
            &["key_header"],
        ),
        (
            |c| {
                c.key_header = Some("Forebay-Key".to_owned());
                c.cloudevents = CloudEvents::Binary;
            },
            &["key_header"],
        ),
        (|c| c.key_header = Some("Authorization".to_owned()), &["key_header"]),
        (|c| c.key_header = Some("ce-id".to_owned()), &["key_header"]),
        (|c| c.key_header = Some("no header".to_owned()), &["key_header"]),
        (|c| c.key_header = Some(String::new()), &["key_header"]),
    ] {
        assert_eq!(refused(change), keys);
    }
}

#[test]
fn event_data_is_any_json_unless_restricted() {
    let plain = Kinds::build(&[config(None, None)]).unwrap();
    let plain = plain.get("thing.create").unwrap();
    for data in ["{}", "[1]", "null", "\"text\"", " 5 "] {
        assert_eq!(plain.admit_data(Some(&Bytes::from(data))), Ok(Admitted { key: None }), "{data}");
    }
    assert!(matches!(plain.admit_data(Some(&Bytes::from("{"))), Err(Rejection::NotJson { .. })));
    assert_eq!(plain.admit_data(Some(&Bytes::from("[".repeat(65)))), Err(Rejection::TooDeep));
    assert_eq!(plain.admit_data(None), Ok(Admitted { key: None }));
    let keyed = Kinds::build(&[config(Some("/id"), None)]).unwrap();
    let keyed = keyed.get("thing.create").unwrap();
    assert_eq!(keyed.admit_data(Some(&Bytes::from("{\"id\":5}"))).unwrap().key.unwrap(), "5");
    assert_eq!(keyed.admit_data(Some(&Bytes::from("[5]"))), Err(Rejection::NotAnObject));
    assert_eq!(keyed.admit_data(None), Err(Rejection::NoData));
    let checked = Kinds::build(&[config(None, Some("builtin:order.create"))]).unwrap();
    assert_eq!(checked.get("thing.create").unwrap().admit_data(None), Err(Rejection::NoData));
}

#[test]
fn builtin_kind_accepts_an_order() {
    let admitted = order(r#"{"id":"o-1","amount":12,"more":[1]}"#).unwrap();
    assert_eq!(admitted.key.unwrap(), "o-1");
}

#[test]
fn string_keys_are_decoded_and_number_keys_unchanged() {
    assert_eq!(key("/id", r#"{"x":[1,{"id":5}],"id":"o-1"}"#).unwrap(), "o-1");
    assert_eq!(key("/id", r#"{"id":"a\u00e9\"b"}"#).unwrap(), "aé\"b");
    assert_eq!(key("/id", r#"{"id":""}"#).unwrap(), "");
    for number in ["1.0", "-0", "1e5", "123456789012345678901234567890", "1E400"] {
        assert_eq!(key("/id", format!("{{\"id\": {number} }}")).unwrap(), number);
    }
}

#[test]
fn number_keys_are_unchanged_with_a_schema_too() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("schema.json");
    std::fs::write(&path, r#"{"type":"object"}"#).unwrap();
    let admitted = admit(config(Some("/id"), path.to_str()), r#"{"id":1.0}"#).unwrap();
    assert_eq!(admitted.key.unwrap(), "1.0");
}

#[test]
fn pointers_follow_objects_arrays_and_escapes() {
    assert_eq!(key("/a/b/1/c", r#"{"a":{"b":[0,{"c":"deep"},2]}}"#).unwrap(), "deep");
    assert_eq!(key("/a~1b/~0", r#"{"a/b":{"~":"x"}}"#).unwrap(), "x");
    assert_eq!(key("/", r#"{"":"empty name"}"#).unwrap(), "empty name");
    assert!(key("/a/01", r#"{"a":["x","y"]}"#).is_err(), "not an index in RFC 6901");
}

#[test]
fn keys_must_be_strings_or_numbers() {
    for body in ["{}", r#"{"id":null}"#, r#"{"id":true}"#, r#"{"id":{}}"#, r#"{"id":[1]}"#] {
        assert_eq!(key("/id", body), Err(Rejection::NoKey { pointer: "/id".to_owned() }), "{body}");
    }
    for body in
        [r#"{"a":5}"#, r#"{"a":"x"}"#, r#"{"a":null}"#, r#"{"a":-1}"#, r#"{"a":1.5}"#, r#"{"a":true}"#]
    {
        assert!(matches!(key("/a/id", body), Err(Rejection::NoKey { .. })), "{body}");
    }
}

#[test]
fn keys_over_1_kib_or_with_nul_are_refused() {
    let body = |n: usize| format!("{{\"id\":\"{}\"}}", "k".repeat(n));
    assert!(key("/id", body(1024)).is_ok());
    assert!(matches!(key("/id", body(1025)), Err(Rejection::LongKey { .. })));
    let digits = format!("{{\"id\":{}}}", "1".repeat(1025));
    assert!(matches!(key("/id", digits), Err(Rejection::LongKey { .. })));
    assert!(matches!(key("/id", r#"{"id":"a\u0000b"}"#), Err(Rejection::BadKey { .. })));
    assert!(matches!(key("/id", r#"{"id":"\ud800"}"#), Err(Rejection::BadKey { .. })));
}

#[test]
fn duplicate_members_on_the_path_to_the_key_are_refused() {
    let twice = |name: &str| Err(Rejection::Duplicate { name: name.to_owned() });
    assert_eq!(key("/id", r#"{"id":"a","id":"b"}"#), twice("id"));
    assert_eq!(key("/id", r#"{"id":"a","\u0069d":"b"}"#), twice("id"));
    assert_eq!(key("/a/id", r#"{"a":{"id":1},"a":{"id":2}}"#), twice("a"));
    assert!(key("/id", r#"{"id":"a","x":1,"x":2}"#).is_ok(), "not on the path");
}

#[test]
fn schema_checks_refuse_duplicate_members_at_any_depth() {
    let body = r#"{"id":"o","amount":1,"x":[{"y":1,"y":1}]}"#;
    assert_eq!(order(body), Err(Rejection::Duplicate { name: "y".to_owned() }));
}

#[test]
fn bodies_that_are_not_one_json_object_are_malformed() {
    let plain = || config(None, None);
    let bodies: &[&[u8]] = &[
        b"",
        b"   ",
        b"null",
        b"[1]",
        b"\"x\"",
        b"12",
        b"{",
        b"{} {}",
        b"{}x",
        b"{'a':1}",
        b"{\"a\":01}",
        b"{\"a\":1,}",
        b"{\"a\":nul}",
        b"{\"a\":\"\n\"}",
        b"{\"a\":\"\\q\"}",
        b"\xef\xbb\xbf{}",
        b"{\"a\":\"\xff\"}",
        b"{\"a\":\"\xed\xa0\x80\"}",
        b"{\"a\":\"\0\"}",
        b"{}\0",
        b"{\"a\":NaN}",
    ];
    for body in bodies {
        for config in [plain(), config(Some("/a"), None), defaults().remove(0)] {
            let refused = admit(config, Bytes::from_static(body)).unwrap_err();
            assert!(refused.is_malformed(), "{:?} gave {refused:?}", String::from_utf8_lossy(body));
        }
    }
    assert!(admit(plain(), " {} \r\n").is_ok());
}

#[test]
fn byte_order_mark_and_huge_numbers_have_specific_errors() {
    let marked = Bytes::from_static(b"\xef\xbb\xbf{\"id\":\"o\",\"amount\":1}");
    assert_eq!(order(marked), Err(Rejection::ByteOrderMark));
    let huge = order("{\"id\":\"o\",\n\"amount\":1e400}").unwrap_err();
    assert_eq!(huge, Rejection::NumberOutOfRange { line: 2, column: 14 });
    assert!(huge.is_malformed() && !huge.to_string().contains("400"), "{huge}");
    assert!(admit(config(None, None), r#"{"amount":1e400}"#).is_ok(), "its value is not needed");
}

#[test]
fn deeper_nesting_than_64_levels_is_refused() {
    let nested = |levels: usize| format!("{{\"a\":{}{}}}", "[".repeat(levels), "]".repeat(levels));
    assert!(admit(config(None, None), nested(63)).is_ok());
    assert_eq!(admit(config(None, None), nested(64)), Err(Rejection::TooDeep));
    assert_eq!(admit(config(None, None), nested(400_000)), Err(Rejection::TooDeep));
}

#[test]
fn schema_violations_have_pointers_but_no_values() {
    let Err(Rejection::Schema(violations)) = order(r#"{"id":"o","amount":"secret-5"}"#) else { panic!() };
    assert_eq!(violations.len(), 1);
    assert_eq!(violations[0].pointer, "/amount");
    assert!(!violations[0].detail.contains("secret"), "{violations:?}");
    let Err(Rejection::Schema(violations)) = order(r#"{"amount":-1}"#) else { panic!() };
    let pointers: Vec<_> = violations.iter().map(|v| v.pointer.as_str()).collect();
    assert_eq!(violations.len(), 2, "{violations:?}");
    assert!(pointers.contains(&"/amount") && pointers.contains(&""), "{violations:?}");
}

#[test]
fn schema_violations_are_limited_and_masked() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("schema.json");
    let schema = r#"{"additionalProperties":{"type":"string"},"propertyNames":{"maxLength":5}}"#;
    std::fs::write(&path, schema).unwrap();
    let members: Vec<_> = (0..100).map(|n| format!("\"private-{n}{}\":{n}", "x".repeat(1_000))).collect();
    let body = format!("{{{}}}", members.join(","));
    let Err(Rejection::Schema(violations)) = admit(config(None, path.to_str()), body) else { panic!() };
    assert_eq!(violations.len(), 20);
    for violation in violations {
        assert!(violation.pointer.len() < 400 && violation.detail.len() < 400);
        assert!(!violation.detail.contains("private"), "{violation:?}");
    }
}

/// The example of a kind with this schema and the key `/id`.
fn example(schema: &str) -> Option<serde_json::Value> {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("schema.json");
    std::fs::write(&file, schema).unwrap();
    let kinds = Kinds::build(&[config(Some("/id"), file.to_str())]).unwrap();
    kinds.get("thing.create").unwrap().example()
}

#[test]
fn first_valid_example_of_the_schema_is_used() {
    let schema = r#"{"required":["id"],"examples":[{"id":[]},{"id":"o-7","more":1},{"id":"o-8"}]}"#;
    assert_eq!(example(schema), Some(serde_json::json!({"id": "o-7", "more": 1})));
}

#[test]
fn generated_example_is_valid() {
    let schema = r##"{
        "type": "object",
        "required": ["at", "price", "lines", "currency", "size", "state", "label", "node"],
        "properties": {
            "at": {"type": "string", "format": "date-time"},
            "price": {"type": "number", "exclusiveMinimum": 0, "multipleOf": 0.25},
            "lines": {"type": "array", "minItems": 2, "items": {"$ref": "#/$defs/line"}},
            "currency": {"pattern": "^[A-Z]{3}$"},
            "size": {"type": "integer", "minimum": 3, "maximum": 4},
            "state": {"anyOf": [{"enum": ["new", "old"]}, {"type": "null"}]},
            "label": {"type": "string", "minLength": 9},
            "node": {"allOf": [{"required": ["a"]}, {"properties": {"a": {"const": [1]}}}]}
        },
        "$defs": {"line": {"type": "object", "required": ["sku"], "properties": {"sku": {"type": "string", "maxLength": 2}}}}
    }"##;
    let expected = serde_json::json!({
        "at": "2026-11-20T12:00:00Z", "currency": "AAA", "id": "string", "label": "stringstr",
        "lines": [{"sku": "st"}, {"sku": "st"}], "node": {"a": [1]}, "price": 0.25, "size": 3, "state": "new",
    });
    assert_eq!(example(schema), Some(expected));
}

#[test]
fn no_example_is_given_if_none_is_valid() {
    for schema in [
        r#"{"properties":{"id":{"type":"boolean"}}}"#,
        r#"{"required":["x"],"properties":{"x":{"pattern":"(?=y)."}}}"#,
        r##"{"required":["x"],"properties":{"x":{"$ref":"#"}}}"##,
        r##"{"required":["x","y"],"properties":{"x":{"$ref":"#"},"y":{"$ref":"#"}}}"##,
        r#"{"not":{}}"#,
    ] {
        assert_eq!(example(schema), None, "{schema}");
    }
}

#[test]
fn example_without_a_schema_has_the_key() {
    let kinds = Kinds::build(&[config(Some("/a~1b/c"), None)]).unwrap();
    let example = kinds.get("thing.create").unwrap().example();
    assert_eq!(example, Some(serde_json::json!({"a/b": {"c": "string"}})));
}
