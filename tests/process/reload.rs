//! SIGHUP: changes in a running daemon, and the effect of a configuration error.

use std::fs;

use crate::LONG;
use support::process::Forebay;
use support::wait;

/// Configuration of a kind with this schema.
fn kind(name: &str, schema: &str) -> String {
    format!("[[kinds]]\nname = \"{name}\"\ntopic = \"t\"\nschema_file = \"{schema}\"\n")
}

/// Writes a schema with this minimum for amounts.
fn write_schema(forebay: &Forebay, minimum: u32) {
    let text = format!(r#"{{"properties":{{"amount":{{"minimum":{minimum}}}}}}}"#);
    fs::write(forebay.dir().join("schema.json"), text).unwrap();
}

/// Sends SIGHUP and returns the log lines up to its end.
fn hang_up(forebay: &mut Forebay) -> String {
    let seen = forebay.log().len();
    forebay.signal("HUP");
    wait::until("the reload has finished", LONG, || {
        let said = forebay.log().split_off(seen);
        let over = said.lines().any(|line| line.contains("\"event\":\"config.reload"));
        (over && said.ends_with('\n')).then_some(said)
    })
}

fn post(forebay: &Forebay, kind: &str, amount: u32) -> u16 {
    let body = format!(r#"{{"amount":{amount}}}"#);
    forebay.http().post(&format!("/v1/commands/{kind}"), &body).unwrap().status
}

fn write_limit(forebay: &Forebay) -> serde_json::Value {
    forebay.admin_http().get("/admin/ratelimit/write").unwrap().json()["limit"].clone()
}

#[test]
fn a_reload_names_applied_keys_and_keys_needing_a_restart() {
    let mut forebay = Forebay::new(env!("CARGO_BIN_EXE_forebay"));
    write_schema(&forebay, 5);
    forebay = forebay.toml(&kind("old", "schema.json"));
    forebay.start();
    assert_eq!((post(&forebay, "old", 5), post(&forebay, "old", 4)), (202, 422));

    write_schema(&forebay, 3);
    forebay = forebay
        .toml(&kind("new", "schema.json"))
        .set("rate_limit.write_limit", 777)
        .set("telemetry.log_level", "debug")
        .set("wal.segment_size", "32MiB")
        .set("alerts.interval", "7s");
    forebay.write_config();
    let said = hang_up(&mut forebay);
    assert!(said.contains("config.reloaded") && said.contains("config.restart_needed"), "{said}");
    let keys = |keys: &str| format!("\"config.keys\":\"{keys}\"");
    assert!(said.contains(&keys("kinds, rate_limit.write_limit, telemetry.log_level")), "{said}");
    assert!(said.contains(&keys("alerts.interval, wal.segment_size")), "{said}");
    assert_eq!(
        (post(&forebay, "old", 4), post(&forebay, "old", 2), post(&forebay, "new", 3)),
        (202, 422, 202)
    );
    assert_eq!(write_limit(&forebay), 777);
    let description = forebay.http().get("/openapi.json").unwrap().text();
    assert!(description.contains("\"/v1/commands/new\""), "{description}");

    let said = hang_up(&mut forebay);
    assert!(said.contains(&keys("")), "nothing changed since: {said}");
    assert!(said.contains(&keys("alerts.interval, wal.segment_size")), "they still need a restart: {said}");
    assert!(forebay.terminate().success());
}

#[test]
fn a_reload_with_an_error_changes_nothing() {
    let mut forebay = Forebay::new(env!("CARGO_BIN_EXE_forebay"));
    write_schema(&forebay, 5);
    forebay = forebay.toml(&kind("old", "schema.json"));
    forebay.start();
    let before = write_limit(&forebay);

    forebay.configure("rate_limit.write_limit", 777);
    forebay.configure("wal.segment_size", "1 apple");
    forebay.write_config();
    let said = hang_up(&mut forebay);
    assert!(said.contains("config.reload_failed") && said.contains("[wal] segment_size"), "{said}");

    forebay.unset("wal.segment_size");
    forebay.write_config();
    fs::write(forebay.dir().join("schema.json"), "{").unwrap();
    let said = hang_up(&mut forebay);
    assert!(said.contains("config.reload_failed") && said.contains("schema_file"), "{said}");
    assert_eq!((post(&forebay, "old", 5), post(&forebay, "old", 4)), (202, 422));
    assert_eq!(write_limit(&forebay), before);
    assert!(forebay.terminate().success());
}
