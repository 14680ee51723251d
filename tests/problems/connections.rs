//! `forebay check-config --connect`: reports the state of each dependency and changes nothing.

use std::fs;

use serde_json::Value;
use support::admin::Admin;
use support::consume::read_all;
use support::daemon::{LONG, forebay, kind, migrated};
use support::kafka::{CLIENT_PASSWORD, CLIENT_USER, ClusterOptions, Resource};
use support::process::Forebay;
use support::proxy::Proxy;
use support::sql::SqlServer as _;
use support::{daemon, services, wait};

/// An address without a listener.
const NO_KAFKA: &str = "127.0.0.1:9";

/// Runs the check. Returns the exit code and the report.
pub fn run_check(forebay: Forebay) -> (Option<i32>, Value) {
    let mut forebay =
        forebay.args(&["check-config", "--connect", "--json"]).set("telemetry.log_level", "error");
    forebay.launch();
    let code = forebay.wait(LONG).code();
    let said = forebay.log();
    let end = said.rfind("\n}").unwrap_or_else(|| panic!("no report in {said}"));
    let begin = said.find('{').unwrap();
    (code, serde_json::from_str(&said[begin..end + 2]).unwrap_or_else(|error| panic!("{error} in {said}")))
}

/// One check of the report.
fn check<'a>(report: &'a Value, dependency: &str, name: &str) -> &'a Value {
    let checks = report["checks"].as_array().unwrap();
    let found = checks.iter().find(|check| check["dependency"] == dependency && check["name"] == name);
    found.unwrap_or_else(|| panic!("no {dependency} {name} in {report:#}"))
}

/// Asserts that a check has this verdict and that its texts contain these parts.
pub fn assert_check(report: &Value, dependency: &str, name: &str, verdict: &str, parts: &[&str]) {
    let check = check(report, dependency, name);
    let said =
        format!("{}\n{}", check["detail"].as_str().unwrap(), check["advice"].as_str().unwrap_or_default());
    assert_eq!(check["verdict"], verdict, "{check:#}");
    assert!(parts.iter().all(|part| said.contains(part)), "{parts:?} in {check:#}");
}

#[test]
fn all_dependencies_are_checked_and_no_secret_is_shown() {
    let forebay = forebay(NO_KAFKA)
        .set("kafka.brokers", "127.0.0.1:9,no-such-host.invalid:9092")
        .set("database.url", "mysql://forebay:hunter2@127.0.0.1:9/forebay")
        .set("redis.url", "redis://:hunter2@127.0.0.1:9");
    let (code, report) = run_check(forebay);
    assert_eq!((code, &report["ok"]), (Some(1), &Value::Bool(false)));
    assert_check(&report, "broker", NO_KAFKA, "failed", &["Connection refused", "nothing listens there"]);
    assert_check(&report, "broker", "no-such-host.invalid:9092", "failed", &["resolve", "no such host name"]);
    assert_check(&report, "topic", "all", "not-asked", &["no broker answers"]);
    let database = "mysql://forebay:***@127.0.0.1:9/forebay";
    assert_check(&report, "database", database, "failed", &["Connection refused", "[database] url"]);
    assert_check(&report, "redis", "redis://:***@127.0.0.1:9", "failed", &["refused", "[redis] url"]);
    assert!(!report.to_string().contains("hunter2"), "{report:#}");
}

#[test]
fn an_embedded_daemon_checks_nothing_and_creates_nothing() {
    let forebay = daemon::under_test();
    let dir = forebay.dir().to_owned();
    let (code, report) = run_check(forebay);
    assert_eq!((code, &report["ok"]), (Some(0), &Value::Bool(true)), "{report:#}");
    let checks = report["checks"].as_array().unwrap();
    assert!(checks.iter().all(|check| check["verdict"] == "not-asked"), "{report:#}");
    assert!(!dir.join("forebay.sqlite").exists() && !dir.join("wal").exists());
}

#[test]
fn topics_limits_and_permissions_are_checked_without_writes() {
    let Some(kafka) = services::kafka("topics_limits_and_permissions_are_checked_without_writes") else {
        return;
    };
    let options = ClusterOptions::single().acls().set("auto.create.topics.enable", "true");
    let cluster = kafka.start(options);
    let admin = Admin::new(&cluster.bootstrap());
    admin.create_topic("orders.v1", 3, 1, &[]);
    admin.create_topic("small.v1", 1, 1, &[("max.message.bytes", "1000")]);
    admin.create_topic("denied.v1", 1, 1, &[]);
    admin.create_topic("hidden.v1", 1, 1, &[]);
    admin.create_topic("table.v1", 1, 1, &[("cleanup.policy", "compact")]);
    admin.create_topic("user.commands.v1", 1, 1, &[]);
    cluster.deny("Write", Resource::Topic("denied.v1"));
    cluster.deny("Describe", Resource::Topic("hidden.v1"));
    cluster.deny("Read", Resource::Topic("user.commands.v1"));
    let base = || {
        let kinds = ["orders.v1", "small.v1", "denied.v1", "hidden.v1", "absent.v1"];
        let kinds: String = kinds.iter().map(|topic| kind(topic, topic)).collect();
        let keyless = "[[kinds]]\nname = \"table\"\ntopic = \"table.v1\"\n";
        let forebay = forebay(&cluster.bootstrap()).toml(&(kinds + keyless));
        forebay.set("users.enabled", true).set("consumer.enabled", true).set("drain.delivery", "exactly-once")
    };
    // Brokers learn of the denials within milliseconds.
    let (code, report) = wait::until("the denials are known", LONG, || {
        let (code, report) = run_check(base());
        let denied = ["denied.v1", "hidden.v1", "user.commands.v1"];
        denied
            .iter()
            .all(|topic| check(&report, "topic", topic)["verdict"] == "failed")
            .then_some((code, report))
    });
    assert_eq!(code, Some(1));
    assert_check(&report, "broker", &cluster.bootstrap(), "ok", &["answers"]);
    assert_check(
        &report,
        "topic",
        "orders.v1",
        "ok",
        &["3 partitions", "max.message.bytes 1048588", "may be written"],
    );
    assert_check(
        &report,
        "topic",
        "small.v1",
        "failed",
        &["max.message.bytes is 1000", "[kafka] message_max"],
    );
    assert_check(
        &report,
        "topic",
        "denied.v1",
        "failed",
        &["Topic authorization failed", "Write on topic denied.v1"],
    );
    assert_check(
        &report,
        "topic",
        "hidden.v1",
        "failed",
        &["Topic authorization failed", "Describe on topic hidden.v1"],
    );
    assert_check(&report, "topic", "absent.v1", "failed", &["Unknown topic or partition", "create it"]);
    assert_check(&report, "topic", "table.v1", "failed", &["compacted", "`key_header` in [[kinds]]"]);
    assert_check(
        &report,
        "topic",
        "user.commands.v1",
        "failed",
        &["cannot be read", "Read on topic user.commands.v1"],
    );
    assert_check(&report, "topic", "user.dead.v1", "not-asked", &["does not exist yet"]);
    assert_check(&report, "topic", "forebay.checkpoints", "not-asked", &["does not exist yet"]);
    assert_check(&report, "group", "forebay", "ok", &["may be used"]);
    assert_check(&report, "transactional-id", "forebay-check-config", "ok", &["may be used"]);

    cluster.deny("Describe", Resource::Group("forebay"));
    cluster.deny("Write", Resource::TransactionalId("forebay-check-config"));
    let report = wait::until("these denials are known", LONG, || {
        let (_, report) = run_check(base());
        let group = check(&report, "group", "forebay")["verdict"] == "failed";
        let id = check(&report, "transactional-id", "forebay-check-config")["verdict"] == "failed";
        (group && id).then_some(report)
    });
    assert_check(
        &report,
        "group",
        "forebay",
        "failed",
        &["Group authorization failed", "Read on group forebay"],
    );
    let denied = ["Transactional Id authorization failed", "transactional ids"];
    assert_check(&report, "transactional-id", "forebay-check-config", "failed", &denied);
    assert_check(
        &report,
        "topic",
        "user.commands.v1",
        "failed",
        &["Group authorization failed", "[consumer] group"],
    );

    // No topic was created and no record was written.
    let topics = admin.topics();
    for absent in ["absent.v1", "user.dead.v1", "user.retry.v1", "forebay.checkpoints"] {
        assert!(!topics.iter().any(|topic| topic == absent), "{absent} was created: {topics:?}");
    }
    for topic in ["orders.v1", "small.v1", "table.v1"] {
        assert_eq!(read_all(&cluster.bootstrap(), topic).len(), 0, "{topic}");
    }
}

#[test]
fn a_wrong_password_differs_from_a_wrong_advertised_address() {
    let Some(kafka) = services::kafka("a_wrong_password_differs_from_a_wrong_advertised_address") else {
        return;
    };
    let cluster = kafka.start(ClusterOptions::single().acls());
    let sasl = |password: &str| {
        let forebay = forebay(&cluster.sasl_bootstrap());
        let file = forebay.dir().join("password");
        fs::write(&file, password).unwrap();
        forebay
            .set("kafka.security_protocol", "sasl_plaintext")
            .set("kafka.sasl_mechanism", "PLAIN")
            .set("kafka.sasl_username", CLIENT_USER)
            .set("kafka.sasl_password_file", file.display().to_string())
    };
    let (code, report) = run_check(sasl("hunter2"));
    assert_eq!(code, Some(1));
    let broker = cluster.sasl_bootstrap();
    assert_check(&report, "broker", &broker, "failed", &["Authentication failed", "sasl_password_file"]);
    assert!(!report.to_string().contains("hunter2"), "{report:#}");
    let (_, report) = run_check(sasl(CLIENT_PASSWORD));
    assert_check(&report, "broker", &broker, "ok", &["answers"]);
    // A listener that requires a password, without one.
    let (_, report) = run_check(forebay(&broker));
    assert_check(&report, "broker", &broker, "failed", &["transport failure", "[kafka] security_protocol"]);
    drop(cluster);

    let proxy = Proxy::start();
    let cluster = kafka.start(ClusterOptions::single().advertise(vec![proxy.address().to_owned()]));
    proxy.refuse();
    let (code, report) = run_check(forebay(&cluster.bootstrap()));
    assert_eq!(code, Some(1));
    assert_check(&report, "broker", &cluster.bootstrap(), "ok", &["answers"]);
    assert_check(
        &report,
        "broker",
        proxy.address(),
        "failed",
        &["Connection refused", "advertises this address"],
    );
}

#[test]
fn the_state_of_migrations_is_reported_and_not_changed() {
    let Some(server) = services::own_postgres("the_state_of_migrations_is_reported_and_not_changed") else {
        return;
    };
    let url = server.create_database();
    let ask = || run_check(daemon::under_test().set("database.url", url.as_str()));
    let database = |report: &Value| {
        let checks = report["checks"].as_array().unwrap();
        checks.iter().find(|check| check["dependency"] == "database").unwrap().clone()
    };
    for _ in 0..2 {
        let (code, report) = ask();
        let found = database(&report);
        assert_eq!((code, &found["verdict"]), (Some(1), &Value::from("failed")), "{found:#}");
        assert!(found["advice"].as_str().unwrap().contains("run `forebay migrate`"), "{found:#}");
    }
    migrated(&url, &[]);
    let (code, report) = ask();
    assert_eq!((code, &database(&report)["verdict"]), (Some(0), &Value::from("ok")), "{report:#}");
    server.kill();
    let (code, report) = ask();
    let found = database(&report);
    assert_eq!((code, &found["verdict"]), (Some(1), &Value::from("failed")), "{found:#}");
}

#[test]
fn a_read_only_redis_replica_fails_the_check() {
    let Some(place) = services::redis("a_read_only_redis_replica_fails_the_check") else { return };
    let redis = place.start();
    let ask = || run_check(daemon::under_test().set("redis.url", redis.url()));
    let (code, report) = ask();
    assert_eq!(code, Some(0), "{report:#}");
    assert_check(&report, "redis", &redis.url(), "ok", &["can be written"]);
    redis.command(&["REPLICAOF", "127.0.0.1", "9"]).unwrap();
    let (code, report) = ask();
    assert_eq!(code, Some(1), "{report:#}");
    assert_check(&report, "redis", &redis.url(), "failed", &["[redis]"]);
}
