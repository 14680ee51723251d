//! Reservations of daemons that share Redis and a database. Kafka is unavailable in these tests, so accepted commands
//! stay pending.

use std::io::Write;
use std::net::TcpStream;
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use sqlx::{Connection, PgConnection};

use super::test_users::{expect, new_user, register, register_once};
use support::daemon::LONG;
use support::http::Response;
use support::ports::Port;
use support::process::Forebay;
use support::redis::Redis;
use support::{daemon, services, sql, wait};

/// Requests in progress: two, and the one that reads the metric.
const REQUESTS_IN_FLIGHT: f64 = 3.0;
/// Number of clients that disconnect.
const ABORTING_CLIENTS: usize = 200;

/// The servers that the daemons share.
struct SharedServers {
    redis: Redis,
    url: String,
    nobody: Port,
}

/// An exclusive lock on the table of users.
struct TableLock {
    release: Option<mpsc::Sender<()>>,
    thread: Option<thread::JoinHandle<()>>,
}

impl Drop for TableLock {
    fn drop(&mut self) {
        self.release = None;
        drop(self.thread.take().map(thread::JoinHandle::join));
    }
}

impl SharedServers {
    fn new(test: &str) -> Option<SharedServers> {
        let redis = services::redis(test)?.start();
        let url = services::postgres(test)?;
        daemon::migrated(&url, &[]);
        Some(SharedServers { redis, url, nobody: Port::free() })
    }

    fn daemon(&self) -> Forebay {
        let mut forebay =
            self.on_parts(daemon::forebay(&self.nobody.address())).set("users.password_cost", 4);
        forebay.start();
        forebay
    }

    fn on_parts(&self, forebay: Forebay) -> Forebay {
        forebay
            .set("redis.url", self.redis.url())
            .set("database.url", self.url.as_str())
            // These tests need no timeout, also on a machine that runs a build.
            .set("redis.timeout", "10s")
            .set("users.check_timeout", "10s")
            .set("database.statement_timeout", "1m")
    }

    /// The parts of a name's reservation: log, claim, digest, id.
    fn marker(&self, name: &str) -> Option<Vec<String>> {
        // Not GET, because a test may forbid it.
        let answer = self.redis.command(&["GETRANGE", &format!("user:pending:{name}"), "0", "-1"]).ok()?;
        let value = answer.lines().nth(1).filter(|value| !value.is_empty())?;
        Some(value.split(':').map(str::to_owned).collect())
    }

    /// Blocks all queries of users until the result is dropped.
    fn lock_users(&self) -> TableLock {
        let (url, (release, released), (locked, is_locked)) =
            (self.url.clone(), mpsc::channel(), mpsc::channel());
        let thread = thread::spawn(move || {
            sql::block_on(async move {
                let mut connection = PgConnection::connect(&url).await.expect("a connection");
                let lock = "BEGIN; LOCK TABLE users IN ACCESS EXCLUSIVE MODE";
                sqlx::raw_sql(lock).execute(&mut connection).await.expect(lock);
                locked.send(()).expect("the test waits");
                // On a thread with its own runtime, so that nothing else is blocked.
                let _: Result<(), _> = released.recv();
            });
        });
        is_locked.recv().expect("the table is locked");
        TableLock { release: Some(release), thread: Some(thread) }
    }

    fn sql(&self, statement: &'static str) {
        let url = self.url.clone();
        sql::block_on(async move {
            let mut connection = PgConnection::connect(&url).await.expect("a connection");
            sqlx::raw_sql(statement).execute(&mut connection).await.expect(statement);
        });
    }

    /// Allows or forbids a Redis command to the daemons.
    fn allow(&self, rule: &str) {
        let set = self.redis.command(&["ACL", "SETUSER", "default", rule]);
        assert_eq!(set.unwrap().trim(), "+OK");
    }

    fn set_marker(&self, key: &str, parts: &[&str]) {
        let set =
            self.redis.command(&["SET", &format!("user:pending:{key}"), &parts.join(":"), "PX", "600000"]);
        assert_eq!(set.unwrap().trim(), "+OK");
    }
}

fn id(document: &Value) -> String {
    document["id"].as_str().unwrap().to_owned()
}

#[test]
fn a_log_takes_over_its_own_orphaned_reservations() {
    let Some(servers) = SharedServers::new("a_log_takes_over_its_own_orphaned_reservations") else {
        return;
    };
    let mut forebay = servers.daemon();
    expect(&register(&mut forebay.http(), &new_user(1)), 202, "");
    let log = servers.marker("user-1").unwrap()[0].clone();
    // As after a crash between the reservation and the log.
    let nothing = "0123456789abcdef0123456789abcdef";
    for key in ["user-2", "email:user-2@example.org", "phone:+491700000002"] {
        servers.set_marker(key, &[&log, nothing, nothing, "-"]);
    }
    forebay.kill();
    forebay.start();
    let second = expect(&register(&mut forebay.http(), &new_user(2)), 202, "");
    let marker = servers.marker("user-2").unwrap();
    assert_eq!((marker[0].as_str(), marker[3].clone()), (log.as_str(), id(&second)));
    assert_ne!(marker[1], nothing);
}

#[test]
fn an_accepted_command_keeps_its_reservation_after_a_crash() {
    let Some(servers) = SharedServers::new("an_accepted_command_keeps_its_reservation_after_a_crash") else {
        return;
    };
    let mut forebay = servers.daemon();
    let first = expect(&register(&mut forebay.http(), &new_user(1)), 202, "");
    let parts = servers.marker("user-1").unwrap();
    // As after a crash before the id was written into the reservation: only the claim identifies the command.
    servers.set_marker("user-1", &[&parts[0], &parts[1], &parts[2], "-"]);
    forebay.kill();
    forebay.start();
    let again = register(&mut forebay.http(), &new_user(1));
    assert_eq!(id(&expect(&again, 202, "")), id(&first));
    assert_eq!(again.header("idempotency-replayed"), Some("true"));
    let mut other = new_user(1);
    other["password"] = json!("another horse");
    assert_eq!(expect(&register(&mut forebay.http(), &other), 409, "taken")["field"], "name");
}

#[test]
fn a_reservation_is_valid_while_its_daemon_runs() {
    let Some(servers) = SharedServers::new("a_reservation_is_valid_while_its_daemon_runs") else {
        return;
    };
    let (mut one, two) = (servers.daemon(), servers.daemon());
    let first = expect(&register(&mut one.http(), &new_user(1)), 202, "");
    let again = register(&mut two.http(), &new_user(1));
    assert_eq!(id(&expect(&again, 202, "")), id(&first), "the first one's id");
    for field in ["name", "email", "phone"] {
        let mut other = new_user(2);
        other[field] = new_user(1)[field].clone();
        assert_eq!(expect(&register(&mut two.http(), &other), 409, "taken")["field"], field);
    }
    one.kill();
    // Its heartbeat expires, and the database has no such user.
    let taken_over = wait::until("the reservation is taken over", LONG, || {
        let answer = register(&mut two.http(), &new_user(1));
        let document = expect(&answer, 202, "");
        (id(&document) != id(&first)).then_some(answer)
    });
    assert_eq!(taken_over.header("idempotency-replayed"), None);
}

#[test]
fn a_value_in_an_unfinished_request_is_not_taken() {
    let Some(servers) = SharedServers::new("a_value_in_an_unfinished_request_is_not_taken") else { return };
    let (one, two) = (servers.daemon(), servers.daemon());
    expect(&register(&mut one.http(), &new_user(1)), 202, "");
    let theirs = wait::until("the reservation has its id", LONG, || {
        servers.marker("user-1").filter(|parts| parts[3] != "-")
    });
    // As left by a request of a running daemon between reservation and flush: it may still be rejected.
    let claim = sibling(&theirs[1]);
    servers.set_marker("user-2", &[&theirs[0], &claim, &"cd".repeat(16), "-"]);
    let refusal = wait::until("the checks finish in time", LONG, || {
        let document = expect_status(&register_once(&mut two.http(), &new_user(2)), 503);
        (document["code"] == "under_way").then_some(document)
    });
    assert_eq!(refusal["retryable"], true);
    // The request was accepted.
    servers.set_marker("user-2", &[&theirs[0], &claim, &"cd".repeat(16), &theirs[3]]);
    expect_name_taken(&two, &new_user(2));
}

#[test]
fn a_rejected_retry_removes_reservations_left_by_a_crash() {
    let Some(servers) = SharedServers::new("a_rejected_retry_removes_reservations_left_by_a_crash") else {
        return;
    };
    let forebay = servers.daemon();
    expect(&register(&mut forebay.http(), &new_user(1)), 202, "");
    let own = servers.marker("user-1").unwrap();
    // A request for the first user's name with its own phone number; the daemon was killed between reservation and log.
    let phone = format!("phone:{}", new_user(2)["phone"].as_str().unwrap());
    servers.set_marker(&phone, &[&own[0], &"ab".repeat(16), &"cd".repeat(16), "-"]);
    let other = namesake();
    expect_name_taken(&forebay, &other);
    assert_eq!(servers.marker(&phone), None);
}

#[test]
fn an_in_flight_conflict_removes_reservations_left_by_a_crash() {
    let test = "an_in_flight_conflict_removes_reservations_left_by_a_crash";
    let Some(servers) = SharedServers::new(test) else { return };
    refuse_behind_another(&servers, "+get", |left| {
        assert_eq!(left.iter().find_map(|key| servers.marker(key)), None);
    });
}

#[test]
fn unreadable_reservations_left_by_a_crash_are_removed_later() {
    let Some(servers) = SharedServers::new("unreadable_reservations_left_by_a_crash_are_removed_later")
    else {
        return;
    };
    refuse_behind_another(&servers, "-get", |left| {
        servers.allow("+get");
        assert!(servers.marker(&left[0]).is_some(), "the reservation still exists");
        wait::until_true("both are gone", LONG, || left.iter().all(|key| servers.marker(key).is_none()));
    });
}

/// Registers a user with the address of a request in flight, after an earlier run had reserved name and phone number
/// for the same user and was killed before the command was logged. Redis then allows the commands in `rule`; `check`
/// gets the two keys after the rejection.
fn refuse_behind_another(servers: &SharedServers, rule: &str, check: impl Fn(&[String; 2])) {
    let daemon = servers.daemon();
    let mut other = new_user(2);
    other["email"] = new_user(1)["email"].clone();
    let left = ["user-2".to_owned(), format!("phone:{}", other["phone"].as_str().unwrap())];
    let locked = servers.lock_users();
    thread::scope(|scope| {
        let first = scope.spawn(|| register_once(&mut daemon.http(), &new_user(1)));
        let own = wait::until("the first request is in flight", LONG, || servers.marker("user-1"));
        for key in &left {
            servers.set_marker(key, &[&own[0], &"ab".repeat(16), &"cd".repeat(16), "-"]);
        }
        servers.allow(rule);
        let second = scope.spawn(|| register_once(&mut daemon.http(), &other));
        wait::until_true("both are", LONG, || {
            daemon::metric(&daemon, "http_in_flight") >= REQUESTS_IN_FLIGHT
        });
        drop(locked);
        expect(&first.join().unwrap(), 202, "");
        assert_eq!(expect(&second.join().unwrap(), 409, "taken")["field"], "email");
        check(&left);
    });
}

#[test]
fn a_restarted_daemon_releases_its_orphaned_reservations() {
    let Some(servers) = SharedServers::new("a_restarted_daemon_releases_its_orphaned_reservations") else {
        return;
    };
    let (mut one, two) = (servers.daemon(), servers.daemon());
    let first = expect(&register(&mut one.http(), &new_user(1)), 202, "");
    let parts = servers.marker("user-1").unwrap();
    // Two reservations of the same run: one command is logged, its id not yet written; the other was never logged.
    servers.set_marker("user-1", &[&parts[0], &parts[1], &parts[2], "-"]);
    let claim = sibling(&parts[1]);
    servers.set_marker("user-2", &[&parts[0], &claim, &"cd".repeat(16), "-"]);
    one.kill();
    one.start();
    wait::until_true("the name is free again", LONG, || {
        let answer = register_once(&mut two.http(), &new_user(2));
        assert!([202, 503].contains(&answer.status), "{}", answer.text());
        answer.status == 202
    });
    let again = register(&mut two.http(), &new_user(1));
    assert_eq!(id(&expect(&again, 202, "")), id(&first), "a logged command keeps its reservation");
}

#[test]
fn a_disconnect_before_the_log_leaves_no_reservation() {
    let Some(servers) = SharedServers::new("a_disconnect_before_the_log_leaves_no_reservation") else {
        return;
    };
    let daemon = servers.daemon();
    let locked = servers.lock_users();
    let mut client = TcpStream::connect(daemon.address()).unwrap();
    client.write_all(&raw_registration(1)).unwrap();
    wait::until_true("the request is in flight", LONG, || servers.marker("user-1").is_some());
    drop(client);
    wait::until_true("the reservation is gone", LONG, || servers.marker("user-1").is_none());
    drop(locked);
    let other = servers.daemon();
    assert_eq!(expect(&register(&mut other.http(), &new_user(1)), 202, "")["state"], "accepted");
}

#[test]
fn a_disconnect_near_the_flush_leaves_no_undecided_reservation() {
    let Some(servers) = SharedServers::new("a_disconnect_near_the_flush_leaves_no_undecided_reservation")
    else {
        return;
    };
    let forebay = servers.daemon();
    // Within this time a registration is answered, approximately: the clients disconnect at all stages of it.
    let began = Instant::now();
    expect(&register(&mut forebay.http(), &new_user(0)), 202, "");
    let answered_within = began.elapsed().min(Duration::from_millis(50));
    for number in 1..=ABORTING_CLIENTS {
        let mut client = TcpStream::connect(forebay.address()).unwrap();
        client.write_all(&raw_registration(number)).unwrap();
        thread::sleep(answered_within.mul_f64(number as f64 / ABORTING_CLIENTS as f64));
    }
    let undecided = || {
        let markers = (1..=ABORTING_CLIENTS).filter_map(|number| servers.marker(&format!("user-{number}")));
        markers.filter(|parts| parts[3] == "-").count()
    };
    wait::until_true("every reservation is gone or has its id", LONG, || undecided() == 0);
}

#[test]
fn unreleased_reservations_of_rejected_requests_are_released_later() {
    let Some(servers) = SharedServers::new("unreleased_reservations_of_rejected_requests_are_released_later")
    else {
        return;
    };
    let forebay = servers.daemon();
    expect(&register(&mut forebay.http(), &new_user(1)), 202, "");
    // Reservations can be stored and read, but not removed.
    servers.allow("-eval");
    let other = namesake();
    expect_name_taken(&forebay, &other);
    let phone = format!("phone:{}", other["phone"].as_str().unwrap());
    assert!(servers.marker(&phone).is_some(), "the reservation still exists");
    servers.allow("+eval");
    wait::until_true("the reservation is gone", LONG, || servers.marker(&phone).is_none());
}

/// A user with the first user's name, and its own address and phone.
fn namesake() -> Value {
    let mut other = new_user(2);
    other["name"] = new_user(1)["name"].clone();
    other
}

/// A registration as raw HTTP.
fn raw_registration(number: usize) -> Vec<u8> {
    let body = new_user(number).to_string();
    let head =
        "POST /v1/users HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\ncontent-length:";
    format!("{head} {}\r\n\r\n{body}", body.len()).into_bytes()
}

/// Another claim of the run that made this one.
fn sibling(claim: &str) -> String {
    format!("{}{}", &claim[..16], "ab".repeat(8))
}

fn expect_name_taken(forebay: &Forebay, user: &Value) {
    let refused = register(&mut forebay.http(), user);
    assert_eq!(expect(&refused, 409, "taken")["field"], "name");
}

/// The document of a rejection with any code.
fn expect_status(answer: &Response, status: u16) -> Value {
    assert_eq!(answer.status, status, "{}", answer.text());
    answer.json()
}

#[test]
fn a_redis_without_data_gets_all_reservations_again() {
    let Some(servers) = SharedServers::new("a_redis_without_data_gets_all_reservations_again") else {
        return;
    };
    let (one, two) = (servers.daemon(), servers.daemon());
    let first = expect(&register(&mut one.http(), &new_user(1)), 202, "");
    servers.redis.kill();
    expect(&register_once(&mut one.http(), &new_user(2)), 503, "markers_unavailable");
    servers.redis.restart();
    wait::until_true("the reservation is there again", LONG, || servers.marker("user-1").is_some());
    let again = register(&mut two.http(), &new_user(1));
    assert_eq!(id(&expect(&again, 202, "")), id(&first), "a repetition is still recognised");
}

#[test]
fn settings_decide_without_reservation_store_or_database() {
    let Some(servers) = SharedServers::new("settings_decide_without_reservation_store_or_database") else {
        return;
    };
    let strict = servers.daemon();
    let lenient = |forebay: Forebay| {
        let mut forebay = forebay
            .set("users.on_marker_failure", "degrade")
            .set("users.on_database_failure", "accept")
            .set("users.password_cost", 4);
        forebay.start();
        forebay
    };
    let without_redis = lenient(servers.on_parts(daemon::forebay(&servers.nobody.address())));
    servers.redis.kill();
    let refused = register_once(&mut strict.http(), &new_user(1));
    expect(&refused, 503, "markers_unavailable");
    assert!(refused.header("retry-after").is_some());
    assert_eq!(daemon::backlog_value(&strict, "backlog"), 0, "no command may be logged");
    expect(&register(&mut without_redis.http(), &new_user(1)), 202, "");
    servers.redis.restart();

    let gone = format!("postgres://nobody@{}/nothing", servers.nobody.address());
    let without_database =
        servers.on_parts(daemon::forebay(&servers.nobody.address())).set("database.url", gone);
    let without_database = lenient(without_database);
    expect(&register(&mut without_database.http(), &new_user(3)), 202, "");
}

#[test]
fn missing_redis_permissions_are_logged_as_an_error() {
    let test = "missing_redis_permissions_are_logged_as_an_error";
    let Some(servers) = SharedServers::new(test) else { return };
    let daemon = servers.daemon();
    servers.allow("resetchannels");
    for event in ["kv.subscription_failed", "kv.denied"] {
        let (event, level) = (format!(r#""event":"{event}""#), r#""level":"ERROR""#);
        wait::until_true(&event, LONG, || {
            daemon.log().lines().any(|line| line.contains(&event) && line.contains(level))
        });
    }
}

#[test]
fn a_read_only_database_is_not_healthy() {
    let Some(servers) = SharedServers::new("a_read_only_database_is_not_healthy") else { return };
    let daemon = servers.daemon();
    let is_well = || daemon.admin_http().get("/readyz").unwrap().json()["dependencies"]["database"] == "ok";
    wait::until_true("the database is healthy", LONG, is_well);
    // Simulates a server that became read-only, or whose disk is full.
    servers.sql("ALTER TABLE login_sessions ADD CONSTRAINT nothing CHECK (false) NOT VALID");
    wait::until_true("the database is reported as failing", LONG, || !is_well());
    servers.sql("ALTER TABLE login_sessions DROP CONSTRAINT nothing");
    wait::until_true("the database is healthy again", LONG, is_well);
}
