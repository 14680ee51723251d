//! Checks of a configuration and a body without a running daemon: `forebay config` and `forebay check-config`.

use std::fs;
use std::io;
use std::io::Read;
use std::path::Path;

use serde_json::{Value, json};

use crate::LONG;
use support::process::Forebay;

fn forebay() -> Forebay {
    Forebay::new(env!("CARGO_BIN_EXE_forebay"))
}

/// Removes the settings that tests add.
fn unset() -> Forebay {
    let mut forebay = forebay();
    for key in ["server.listen", "server.admin_listen", "wal.dir"] {
        forebay.unset(key);
    }
    forebay
}

/// Runs a command. Returns its exit code, standard output and standard error.
fn run(mut forebay: Forebay, arguments: &[&str]) -> (Option<i32>, String, String) {
    forebay = forebay.args(arguments);
    let ((mut output, to_output), (mut errors, to_errors)) = (io::pipe().unwrap(), io::pipe().unwrap());
    forebay.launch_to(to_output, to_errors);
    let (mut said, mut complained) = (String::new(), String::new());
    output.read_to_string(&mut said).unwrap();
    errors.read_to_string(&mut complained).unwrap();
    (forebay.wait(LONG).code(), said, complained)
}

/// The schema of the built-in example requires an id and an amount.
const GOOD: &str = r#"{"id":"o-1","amount":12}"#;

fn with_body(body: &str) -> (Forebay, String) {
    let forebay = forebay();
    let file = forebay.dir().join("body.json");
    fs::write(&file, body).unwrap();
    (forebay, file.display().to_string())
}

#[test]
fn the_default_is_printed_with_any_configuration() {
    let (code, said, _) = run(forebay().set("wal.dri", "x"), &["config", "default"]);
    assert_eq!(code, Some(0));
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("config/forebay.toml");
    assert_eq!(said, fs::read_to_string(file).unwrap());
    // Used as a configuration file, it changes nothing.
    let (code, shown, _) = run(unset(), &["check-config"]);
    assert_eq!(code, Some(0));
    let (code, again, complained) = run(unset().toml(&said), &["check-config"]);
    assert_eq!(code, Some(0), "{complained}");
    assert_eq!(again, shown);
}

#[test]
fn all_errors_name_their_line_and_the_closest_key() {
    let wrong = unset().env("FOREBAY_KAFKA_BROKERS", "a:1");
    let text = "[wal]\nsgement_size = \"1MiB\"\n[kafak]\nacks = 1\n[drain]\nworkers = \"many\"\nretry_backoff_min = 5\n";
    let (code, said, complained) = run(wrong.toml(text), &["check-config"]);
    assert_eq!((code, said.as_str()), (Some(64), ""));
    // The harness writes an empty line first.
    for mistake in [
        "5 errors in the configuration",
        "line 3: [wal] sgement_size: found an unknown key, did you mean `segment_size`?",
        "line 4: [kafak]: found an unknown section, did you mean [kafka]?",
        "line 7: [drain] workers: found \"many\"",
        "line 8: [drain] retry_backoff_min: found 5",
        "[environment] FOREBAY_KAFKA_BROKERS: found an unknown variable, did you mean FOREBAY__KAFKA__BROKERS?",
    ] {
        assert!(complained.contains(mistake), "{mistake} is missing in\n{complained}");
    }
}

#[test]
fn a_body_is_checked_without_a_daemon() {
    let (forebay, file) = with_body(GOOD);
    let (code, said, complained) =
        run(forebay, &["check-config", "--kind", "order.create", "--body", &file, "--json"]);
    assert_eq!(code, Some(0), "{complained}");
    let tried: Value = serde_json::from_str(&said).unwrap();
    for (member, expected) in [
        ("kind", json!("order.create")),
        ("topic", json!("orders.v1")),
        ("key", json!("o-1")),
        ("body_bytes", json!(GOOD.len())),
        ("message_max", json!(1_048_576)),
    ] {
        assert_eq!(tried[member], expected, "{said}");
    }
    assert!(tried["record_bytes"].as_u64().unwrap() > GOOD.len() as u64, "{said}");

    let (forebay, file) = with_body(GOOD);
    let (code, said, _) = run(forebay, &["check-config", "--kind", "order.create", "--body", &file]);
    assert_eq!(code, Some(0));
    assert!(said.starts_with("accepted as order.create\n") && said.contains("key     \"o-1\""), "{said}");
}

#[test]
fn a_body_can_come_from_standard_input() {
    let forebay = forebay().through("sh", &[]);
    let script = r#"printf '{"id":"7","amount":1}' | "$0" "$@""#;
    let check = ["check-config", "--kind", "order.create", "--body", "-", "--json"];
    let arguments = [&["-c", script, env!("CARGO_BIN_EXE_forebay")][..], &check].concat();
    let (code, said, complained) = run(forebay, &arguments);
    assert_eq!(code, Some(0), "{complained}");
    assert_eq!(serde_json::from_str::<Value>(&said).unwrap()["key"], "7");
}

/// The same problem documents as over HTTP, except for the id of the request.
#[test]
fn a_rejected_body_gets_the_problem_document_of_the_daemon() {
    let mut daemon = forebay().set("server.max_body", 200);
    daemon.start();
    let long = format!(r#"{{"id":"{}","amount":1}}"#, "x".repeat(300));
    let bodies = [
        ("order.create", r#"{"id":"o-1","amount":-1}"#),
        ("order.create", r#"{"id":"o-1""#),
        ("order.create", r#"{"id":"o-1","id":"o-2","amount":1}"#),
        ("order.create", "[]"),
        ("order.cancel", GOOD),
    ];
    for (kind, body) in bodies {
        let answer = daemon.http().post(&format!("/v1/commands/{kind}"), body).unwrap();
        let (forebay, file) = with_body(body);
        let (code, said, complained) = run(forebay, &["check-config", "--kind", kind, "--body", &file]);
        assert_eq!(code, Some(64), "{body}");
        assert!(complained.contains("the body would be rejected"), "{complained}");
        let (mut here, mut there): (Value, Value) = (serde_json::from_str(&said).unwrap(), answer.json());
        for document in [&mut here, &mut there] {
            document.as_object_mut().unwrap().remove("trace_id").expect("a trace id");
        }
        assert_eq!(here, there, "{body}");
    }
    let (forebay, file) = with_body(&long);
    let forebay = forebay.set("server.max_body", 200);
    let (code, said, _) = run(forebay, &["check-config", "--kind", "order.create", "--body", &file]);
    assert_eq!((code, said.contains("body_too_large")), (Some(64), true), "{said}");
}

#[test]
fn without_users_no_user_paths_and_no_consumer_exist() {
    let mut orders = forebay().set("kafka.brokers", "127.0.0.1:1");
    orders.start();
    let mut http = orders.http();
    for (method, path) in [
        ("POST", "/v1/users"),
        ("GET", "/v1/users"),
        ("POST", "/login"),
        ("POST", "/refresh"),
        ("DELETE", "/v1/users/a"),
    ] {
        let answer = http.request(method, path, &[], b"{}").unwrap();
        assert_eq!(
            (answer.status, answer.json()["code"].as_str()),
            (404, Some("not_found")),
            "{method} {path}"
        );
    }
    let description = http.get("/openapi.json").unwrap().json();
    let paths: Vec<_> = description["paths"].as_object().unwrap().keys().cloned().collect();
    assert!(paths.iter().all(|path| !path.starts_with("/v1/users") && path != "/login"), "{paths:?}");
    assert!(paths.iter().any(|path| path == "/v1/commands/order.create"), "{paths:?}");
    assert_eq!(http.post("/v1/commands/order.create", GOOD).unwrap().status, 202);
    let ready = orders.admin_http().get("/readyz").unwrap().json();
    let dependencies: Vec<_> = ready["dependencies"].as_object().unwrap().keys().cloned().collect();
    assert_eq!(dependencies, ["kafka"], "{ready}");
    assert!(!orders.dir().join("forebay.sqlite").exists(), "a database was created");
    assert!(orders.terminate().success());

    let enabled = |forebay: Forebay| {
        let (code, said, complained) = run(forebay, &["check-config", "--json"]);
        assert_eq!(code, Some(0), "{complained}");
        let effective: Value = serde_json::from_str(&said).unwrap();
        (effective["users"]["enabled"].clone(), effective["consumer"]["enabled"].clone())
    };
    let real = || forebay().set("kafka.brokers", "127.0.0.1:1");
    assert_eq!(enabled(forebay()), (json!(true), json!(true)), "embedded");
    assert_eq!(enabled(forebay().set("users.enabled", false)), (json!(false), json!(false)));
    assert_eq!(enabled(real()), (json!(false), json!(false)));
    assert_eq!(enabled(real().set("users.enabled", true)), (json!(true), json!(false)));
    let with_database = real().set("database.url", "mysql://forebay@localhost/forebay");
    assert_eq!(enabled(with_database), (json!(true), json!(false)));
    let (code, _, complained) = run(real().set("consumer.enabled", true), &["check-config"]);
    assert_eq!(code, Some(64));
    assert!(complained.contains("[consumer] enabled: found true"), "{complained}");
    let (code, _, complained) = run(real(), &["consume"]);
    assert_eq!(code, Some(64));
    assert!(complained.contains("[users] enabled: found false"), "{complained}");
}
