use std::collections::BTreeSet;

use serde_json::{Value, json};

use super::fixture::{FakeLog, config, serve, serve_kinds};
use crate::http::Api;
use crate::http::server::service::Service;
use crate::kinds::{Config, Kinds, defaults};

/// The description of a server with three kinds: the built-in one, one with this schema, and one without a schema.
async fn described(schema: &Value) -> Value {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("schema.json");
    std::fs::write(&file, schema.to_string()).unwrap();
    let kind = |name: &str, schema_file: Option<&str>| Config {
        name: name.to_owned(),
        topic: "things".to_owned(),
        key: Some("/id".to_owned()),
        schema_file: schema_file.map(str::to_owned),
        ..defaults().remove(0)
    };
    let kinds = [defaults(), vec![kind("thing.make", file.to_str()), kind("note", None)]].concat();
    let server = serve_kinds(config(), Kinds::build(&kinds).unwrap()).await;
    server.connect().await.get("/openapi.json", "").await.json()
}

fn thing() -> Value {
    json!({"required": ["id", "part"], "properties": {"id": {"type": "integer"}, "part": {"$ref": "#/$defs/part"}},
           "$defs": {"part": {"enum": ["wheel"]}, "unused": {}}})
}

#[tokio::test]
async fn description_has_exactly_the_routes() {
    let server = serve().await;
    let described = server.connect().await.get("/openapi.json", "").await.json();
    let methods = |(path, operations): (&String, &serde_json::Value)| {
        let path = path.clone();
        operations.as_object().unwrap().keys().map(|m| (m.clone(), path.clone())).collect::<Vec<_>>()
    };
    let described: BTreeSet<_> = described["paths"].as_object().unwrap().iter().flat_map(methods).collect();
    let routes = <Api<FakeLog> as Service>::ROUTES.iter();
    let path = |path: &str| path.replace("{kind}", "order.create");
    assert_eq!(described, routes.map(|r| (r.method.to_lowercase(), path(r.path))).collect());
}

#[tokio::test]
async fn operations_have_stable_unique_names_and_security() {
    let described = described(&thing()).await;
    let mut names = Vec::new();
    for operation in
        described["paths"].as_object().unwrap().values().flat_map(|path| path.as_object().unwrap().values())
    {
        names.push(operation["operationId"].as_str().unwrap());
        assert!(operation["security"].is_array() && operation["tags"].is_array(), "{operation}");
        let responses = operation["responses"].as_object().unwrap();
        assert!(responses.keys().any(|status| status.starts_with('4')), "{operation}");
    }
    names.sort_unstable();
    // Generated clients use these names. Changing a name breaks them.
    assert_eq!(
        names,
        [
            "change_password",
            "delete_user",
            "explain_error",
            "get_command_status",
            "get_description",
            "get_health",
            "get_readiness",
            "get_user",
            "list_users",
            "log_in",
            "log_out",
            "refresh_tokens",
            "register_user",
            "submit_note",
            "submit_order_create",
            "submit_thing_make",
            "update_user",
        ]
    );
}

#[tokio::test]
async fn each_kind_has_its_schema_and_an_example() {
    let described = described(&thing()).await;
    let body = |kind: &str| {
        let operation = &described["paths"][format!("/v1/commands/{kind}")]["post"];
        let json = &operation["requestBody"]["content"]["application/json"];
        let schema = described.pointer(&json["schema"]["$ref"].as_str().unwrap()[1..]).unwrap();
        (schema.clone(), json["example"].clone())
    };
    let (schema, example) = body("order.create");
    assert_eq!(schema["properties"]["amount"], json!({"type": "number", "minimum": 0}));
    assert_eq!(example, json!({"id": "string", "amount": 0}));
    let (schema, example) = body("thing.make");
    assert_eq!(schema["properties"]["part"], json!({"$ref": "#/components/schemas/command_thing_make.part"}));
    assert_eq!(example, json!({"id": 0, "part": "wheel"}));
    let (schema, example) = body("note");
    assert_eq!(schema["required"], json!(["id"]));
    assert_eq!(example, json!({"id": "string"}));
}

#[tokio::test]
async fn kind_with_untranslatable_schema_is_described_as_object() {
    let schema =
        json!({"$id": "https://example.org/a.json", "properties": {"a": {"$id": "b.json", "type": "null"}}});
    let described = described(&schema).await;
    let shown = &described["components"]["schemas"]["command_thing_make"];
    assert_eq!((&shown["type"], &shown["properties"]), (&json!("object"), &Value::Null));
}

#[tokio::test]
async fn description_has_exactly_the_referenced_components() {
    let without_kinds = serve_kinds(config(), Kinds::build(&[]).unwrap()).await;
    let without_kinds = without_kinds.connect().await.get("/openapi.json", "").await.json();
    for described in [described(&thing()).await, without_kinds] {
        let named = references(&described);
        assert!(named.iter().all(|reference| described.pointer(&reference[1..]).is_some()), "{named:?}");
        for section in ["schemas", "responses"] {
            let components = described["components"][section].as_object().unwrap().keys();
            let unused: Vec<_> = components
                .filter(|name| !named.contains(&format!("#/components/{section}/{name}")))
                .collect();
            assert!(unused.is_empty(), "{unused:?}");
        }
    }
}

fn references(value: &Value) -> BTreeSet<String> {
    match value {
        Value::Array(items) => items.iter().flat_map(references).collect(),
        Value::Object(members) => {
            let own = members.get("$ref").and_then(Value::as_str).map(str::to_owned);
            members.values().flat_map(references).chain(own).collect()
        }
        _ => BTreeSet::new(),
    }
}
