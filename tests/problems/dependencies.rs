//! Kafka, the database and Redis become unavailable, and available again.

use support::admin::Admin;
use support::daemon::{LONG, forebay, kind, migrated};
use support::kafka::{CLIENT_USER, ClusterOptions};
use support::proxy::Proxy;
use support::sql::SqlServer as _;
use support::{daemon, services, wait};

use super::list::{assert_on_all_surfaces, await_end, await_problem, entries, is_up, lines, text};

#[test]
fn a_stopped_broker_is_unreachable_until_it_is_back() {
    let Some(kafka) = services::kafka("a_stopped_broker_is_unreachable_until_it_is_back") else { return };
    let cluster = kafka.start(ClusterOptions::single());
    Admin::new(&cluster.bootstrap()).create_topic("orders.v1", 2, 1, &[]);
    let mut forebay = forebay(&cluster.bootstrap()).toml(&kind("order.create", "orders.v1"));
    forebay.start();
    daemon::await_drained(&forebay);
    assert!(is_up(&forebay, "kafka") && entries(&forebay, "kafka_unreachable").is_empty());
    // No record waits for delivery, so only the daemon's own probe can find the outage.
    cluster.broker(1).kill();
    let refused = wait::until("the error of the client library is reported", LONG, || {
        let entry = entries(&forebay, "kafka_unreachable").into_iter().next()?;
        entry["last_error"]
            .as_str()
            .is_some_and(|error| error.contains("Connection refused"))
            .then_some(entry)
    });
    assert!(text(&refused, "last_error").contains(&cluster.bootstrap()), "{refused}");
    assert_on_all_surfaces(&forebay, &refused);
    assert!(!is_up(&forebay, "kafka"));
    let ready = forebay.admin_http().get("/readyz").unwrap();
    assert_eq!(ready.status, 200, "the daemon accepts commands without Kafka");
    assert!(ready.json()["dependencies"]["kafka"].as_str().unwrap().contains("Connection refused"));
    let public = forebay.http().get("/readyz").unwrap();
    assert_eq!(public.json()["dependencies"]["kafka"], "degraded");
    assert!(
        !public.text().contains(&cluster.bootstrap()),
        "unauthenticated clients see a broker: {}",
        public.text()
    );
    cluster.broker(1).start();
    await_end(&forebay, "kafka_unreachable");
    assert!(is_up(&forebay, "kafka"));
    assert_eq!(forebay.http().get("/readyz").unwrap().json()["dependencies"]["kafka"], "ok");
}

/// Brokers answer at the configured address, but advertise an address that refuses connections.
#[test]
fn an_unreachable_advertised_address_is_named_and_delivery_stalls() {
    let test = "an_unreachable_advertised_address_is_named_and_delivery_stalls";
    let Some(kafka) = services::kafka(test) else { return };
    let proxy = Proxy::start();
    let cluster = kafka.start(ClusterOptions::single().advertise(vec![proxy.address().to_owned()]));
    Admin::new(&cluster.internal_bootstrap()).create_topic("orders.v1", 2, 1, &[]);
    proxy.forward_to(&cluster.bootstrap());
    proxy.refuse();
    let mut forebay = forebay(&cluster.bootstrap()).toml(&kind("order.create", "orders.v1"));
    forebay.start();
    let answer = forebay.http().post("/v1/commands/order.create", r#"{"key":"a"}"#).unwrap();
    assert_eq!(answer.status, 202);
    let stalled = wait::until("delivery stalls", LONG, || {
        let stalled = entries(&forebay, "drain_stalled").into_iter();
        stalled.chain(entries(&forebay, "records_parked")).next()
    });
    assert_on_all_surfaces(&forebay, &stalled);
    let named = await_problem(&forebay, "kafka_unreachable");
    assert!(text(&named, "detail").contains(proxy.address()), "{named}");
    assert!(text(&named, "last_error").contains("Connection refused"), "{named}");
    assert!(is_up(&forebay, "kafka"), "the cluster answers");
    proxy.heal();
    await_end(&forebay, text(&stalled, "code"));
    daemon::await_drained(&forebay);
}

#[test]
fn a_wrong_password_is_an_authentication_failure() {
    let Some(kafka) = services::kafka("a_wrong_password_is_an_authentication_failure") else { return };
    let cluster = kafka.start(ClusterOptions::single().acls());
    let forebay = forebay(&cluster.sasl_bootstrap());
    let password = forebay.dir().join("password");
    std::fs::write(&password, "wrong").unwrap();
    let mut forebay = forebay
        .set("kafka.security_protocol", "sasl_plaintext")
        .set("kafka.sasl_mechanism", "PLAIN")
        .set("kafka.sasl_username", CLIENT_USER)
        .set("kafka.sasl_password_file", password.display().to_string());
    forebay.start();
    let entry = await_problem(&forebay, "kafka_authentication_failed");
    assert!(text(&entry, "last_error").contains("Authentication failed"), "{entry}");
    assert_on_all_surfaces(&forebay, &entry);
    assert!(!is_up(&forebay, "kafka"));
    assert!(!forebay.log().contains("wrong\""), "the password is not shown");
}

#[test]
fn a_stopped_redis_is_unavailable_until_it_is_back() {
    let Some(place) = services::redis("a_stopped_redis_is_unavailable_until_it_is_back") else { return };
    let redis = place.start();
    let mut forebay = daemon::under_test().set("redis.url", redis.url());
    forebay.start();
    wait::until_true("the dependency was checked", LONG, || {
        forebay.http().get("/readyz").unwrap().json()["dependencies"]["markers"] == "ok"
    });
    redis.kill();
    let entry = await_problem(&forebay, "redis_unavailable");
    assert!(text(&entry, "last_error").contains("connection"), "{entry}");
    assert_on_all_surfaces(&forebay, &entry);
    assert!(!is_up(&forebay, "redis") && is_up(&forebay, "database"));
    redis.restart();
    await_end(&forebay, "redis_unavailable");
    assert!(is_up(&forebay, "redis"));
}

#[test]
fn a_killed_database_is_unavailable_until_it_is_back() {
    let Some(server) = services::own_postgres("a_killed_database_is_unavailable_until_it_is_back") else {
        return;
    };
    let url = server.create_database();
    migrated(&url, &[]);
    let mut forebay =
        daemon::under_test().set("database.url", url).set("users.on_database_failure", "accept");
    forebay.start();
    wait::until_true("the dependency was checked", LONG, || {
        forebay.http().get("/readyz").unwrap().json()["dependencies"]["database"] == "ok"
    });
    server.kill();
    let entry = await_problem(&forebay, "database_unavailable");
    assert_on_all_surfaces(&forebay, &entry);
    assert!(!is_up(&forebay, "database") && is_up(&forebay, "redis"));
    // No command waits to be applied, so the consumer has no problem yet.
    assert!(entries(&forebay, "consumer_stalled").is_empty());
    let user = r#"{"name":"ada","email":"ada@example.org","phone":"+4930123456","password":"correct horse battery"}"#;
    let accepted = forebay.http().post("/v1/users", user).unwrap();
    assert_eq!(accepted.status, 202, "{}", accepted.text());
    let stalled = await_problem(&forebay, "consumer_stalled");
    assert!(text(&stalled, "detail").contains("while the database cannot be written"), "{stalled}");
    assert_on_all_surfaces(&forebay, &stalled);
    assert!(forebay.admin_http().get("/readyz").unwrap().json()["dependencies"]["consumer"] != "ok");
    server.start();
    await_end(&forebay, "database_unavailable");
    await_end(&forebay, "consumer_stalled");
    let status = accepted.header("location").unwrap().to_owned();
    let state = || forebay.http().get(&status).unwrap().json()["state"].clone();
    wait::until_true("the command is applied", LONG, || state() == "applied");
    assert_eq!(lines(&forebay, "problem.started", "database_unavailable").len(), 1);
}
