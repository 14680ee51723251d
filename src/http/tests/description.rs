use std::collections::BTreeSet;

use serde_json::Value;

use super::fixture::{Fake, serve};
use crate::http::Api;
use crate::http::server::service::Service;

#[tokio::test]
async fn every_route_is_described_and_nothing_else() {
    let server = serve().await;
    let described = server.connect().await.get("/openapi.json", "").await.json();
    let methods = |(path, operations): (&String, &serde_json::Value)| {
        let path = path.clone();
        operations.as_object().unwrap().keys().map(|m| (m.clone(), path.clone())).collect::<Vec<_>>()
    };
    let described: BTreeSet<_> = described["paths"].as_object().unwrap().iter().flat_map(methods).collect();
    let routes = <Api<Fake> as Service>::ROUTES.iter();
    assert_eq!(described, routes.map(|r| (r.method.to_lowercase(), r.path.to_owned())).collect());
}

#[tokio::test]
async fn every_schema_that_is_named_is_there_and_the_others_are_not() {
    let server = serve().await;
    let described = server.connect().await.get("/openapi.json", "").await.json();
    let named = references(&described);
    assert!(named.iter().all(|reference| described.pointer(&reference[1..]).is_some()), "{named:?}");
    let schemas = described["components"]["schemas"].as_object().unwrap().keys();
    let unused: Vec<_> =
        schemas.filter(|name| !named.contains(&format!("#/components/schemas/{name}"))).collect();
    assert!(unused.is_empty(), "{unused:?}");
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
