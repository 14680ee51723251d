//! Problems of the log itself: damage, a failed flush, a full disk, an older copy.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::PathBuf;

use forebay::control;
use forebay::control::{ControlResponse, Request};
use support::daemon::{LONG, await_drained, backlog_value, forebay, kind, metric};
use support::disk::SmallDisk;
use support::process::Forebay;
use support::scratch::copy;
use support::{daemon, scratch, services, wait};

use super::list::{assert_on_all_surfaces, await_end, await_problem, entries, lines, text};

/// An address without a listener.
const NO_KAFKA: &str = "127.0.0.1:9";

fn post(forebay: &Forebay, mark: &str) -> u16 {
    let body = format!(r#"{{"key":"a","mark":"{mark}"}}"#);
    forebay.http().post("/v1/commands/order.create", &body).unwrap().status
}

fn segment(forebay: &Forebay) -> PathBuf {
    let pending = fs::read_dir(forebay.wal_dir().join("pending")).unwrap();
    let mut segments: Vec<_> = pending.map(|entry| entry.unwrap().path()).collect();
    segments.sort();
    segments.remove(0)
}

/// Changes one byte of the record with this mark.
fn damage(forebay: &Forebay, mark: &str) {
    let path = segment(forebay);
    let mut bytes = fs::read(&path).unwrap();
    let at = bytes.windows(mark.len()).position(|window| window == mark.as_bytes()).expect("the record");
    bytes[at] ^= 0xff;
    fs::write(path, bytes).unwrap();
}

#[test]
fn a_damaged_record_is_reported_across_restarts_until_dropped() {
    let mut forebay =
        forebay(NO_KAFKA).toml(&kind("order.create", "orders.v1")).set("alerts.interval", "200ms");
    forebay.start();
    (1..=5).for_each(|n| assert_eq!(post(&forebay, &format!("mark-{n}")), 202));
    assert!(entries(&forebay, "log_damaged").is_empty());
    forebay.kill();
    damage(&forebay, "mark-3");
    forebay.start();
    let damaged = wait::until("the damage is reported with its location", LONG, || {
        entries(&forebay, "log_damaged").into_iter().find(|entry| !entry["last_error"].is_null())
    });
    assert!(text(&damaged, "last_error").contains(".wal"), "{damaged}");
    assert_on_all_surfaces(&forebay, &damaged);
    assert_eq!(backlog_value(&forebay, "backlog"), 4, "the other records wait for Kafka");
    // The problem is about one record, after a start that read only the list of dead letters.
    forebay.restart();
    let again = wait::until("the damage is reported again", LONG, || {
        entries(&forebay, "log_damaged").into_iter().find(|entry| !entry["last_error"].is_null())
    });
    assert!(text(&again, "last_error").contains(".wal"), "{again}");
    let drop = Request::Drop { lsns: vec![forebay::wal::Lsn(3)] };
    assert!(matches!(control::send_request(&forebay.wal_dir(), &drop), Ok(ControlResponse::Done(_))));
    wait::until_true("the problem ends", LONG, || entries(&forebay, "log_damaged").is_empty());
    wait::until_true("its end is logged", LONG, || {
        lines(&forebay, "problem.ended", "log_damaged").len() == 1
    });
}

#[test]
fn a_full_disk_is_reported_until_space_is_free() {
    let home = scratch::dir("small-disk");
    let disk = SmallDisk::mount(home.path(), 16);
    let log = home.path().join("wal").display().to_string();
    let mut forebay = forebay(NO_KAFKA).toml(&kind("order.create", "orders.v1")).set("wal.dir", log);
    forebay.start();
    assert!(entries(&forebay, "disk_reserve_reached").is_empty());
    // The preallocated space still holds some records.
    disk.fill_but(1 << 20).unwrap();
    let filling = "x".repeat(200_000);
    wait::until_true("the disk is full", LONG, || post(&forebay, &filling) == 507);
    let full = await_problem(&forebay, "disk_reserve_reached");
    assert!(text(&full, "detail").contains("no room for another segment"), "{full}");
    let asked = forebay.admin_http().get("/readyz").unwrap();
    assert_eq!((asked.status, asked.json()["reason"].as_str()), (503, Some("disk_full")), "{}", asked.text());
    assert_on_http_surfaces(&forebay, "disk_reserve_reached");
    disk.clear().unwrap();
    await_end(&forebay, "disk_reserve_reached");
    wait::until_true("the daemon accepts commands again", LONG, || post(&forebay, "small") == 202);
}

/// Like `assert_on_all_surfaces`, which would look for the control socket in another directory.
fn assert_on_http_surfaces(forebay: &Forebay, code: &str) {
    assert_eq!(metric(forebay, &format!("forebay_problem{{code=\"{code}\"}}")), 1.0);
    assert_eq!(daemon::backlog(forebay)["problems"][0]["code"], code);
    wait::until_true("its start is logged", LONG, || lines(forebay, "problem.started", code).len() == 1);
}

/// A script that starts the daemon, under `strace` with failing flushes while a flag file exists.
fn failing_flush_script(home: &std::path::Path) -> PathBuf {
    let (script, flag) = (home.join("forebay"), home.join("flag"));
    // The count is per thread: the thread that prepares segments stays below it, the commit thread does not.
    let strace = "strace -D -f -o /dev/null -e trace=fdatasync -e inject=fdatasync:error=EIO:when=60+";
    let text = format!(
        "#!/bin/sh\nif [ -e {flag} ]; then exec {strace} {binary} \"$@\"; fi\nexec {binary} \"$@\"\n",
        flag = flag.display(),
        binary = daemon::binary().display(),
    );
    fs::write(&script, text).unwrap();
    fs::set_permissions(&script, fs::Permissions::from_mode(0o755)).unwrap();
    fs::write(flag, "").unwrap();
    script
}

#[test]
fn a_failed_flush_is_reported_before_and_after_the_restart() {
    let home = scratch::dir("strace");
    let mut forebay = Forebay::new(failing_flush_script(home.path()))
        .set("kafka.brokers", NO_KAFKA)
        .toml(&kind("order.create", "orders.v1"));
    forebay.start();
    assert_eq!(metric(&forebay, LAST_FAILURE), 0.0);
    let mut http = forebay.http();
    let accepted = wait::until("a flush fails", LONG, || {
        let answers = (0..100).map(|_| http.post("/v1/commands/order.create", r#"{"key":"a"}"#));
        let accepted =
            answers.take_while(|answer| answer.as_ref().is_ok_and(|one| one.status == 202)).count();
        (accepted < 100).then_some(accepted)
    });
    assert_eq!(forebay.wait(LONG).code(), Some(74), "{}", forebay.log());
    let told = lines(&forebay, "problem.started", "log_poisoned");
    assert_eq!(told.len(), 1, "{}", forebay.log());
    assert!(told[0].contains("\"level\":\"ERROR\"") && told[0].contains("Input/output error"), "{told:?}");
    fs::remove_file(home.path().join("flag")).unwrap();
    forebay.start();
    assert!(backlog_value(&forebay, "backlog") >= accepted as u64, "accepted records are retained");
    assert!(entries(&forebay, "log_poisoned").is_empty(), "recovery determined what the log holds");
    let at = metric(&forebay, LAST_FAILURE);
    let now = forebay::units::Timestamp::now().0 as f64 / 1e3;
    assert!(at > 0.0 && at <= now, "the failure stays visible: {at}");
}

const LAST_FAILURE: &str = "forebay_wal_last_failure_timestamp_seconds";

#[test]
fn a_restored_log_is_reported_until_an_operator_decides() {
    let Some(kafka) = services::secure_kafka("a_restored_log_is_reported_until_an_operator_decides") else {
        return;
    };
    let topic = support::admin::unique_name("restored");
    support::admin::Admin::new(&kafka.bootstrap()).create_topic(&topic, 1, 1, &[]);
    let daemon = || {
        forebay(&kafka.bootstrap())
            .toml(&kind("order.create", &topic))
            .set("drain.delivery", "exactly-once")
            .set("drain.workers", 1)
    };
    let mut original = daemon();
    original.start();
    assert_eq!(post(&original, "first"), 202);
    await_drained(&original);
    let mut restored = daemon();
    copy(&original.wal_dir(), &restored.wal_dir());
    assert_eq!(post(&original, "second"), 202);
    await_drained(&original);
    original.kill();
    restored.start();
    let told = await_problem(&restored, "log_restored");
    assert!(text(&told, "last_error").contains("on_restored_log says what to do"), "{told}");
    assert_on_all_surfaces(&restored, &told);
    assert!(entries(&restored, "drain_stalled").is_empty());
    assert_eq!(post(&restored, "third"), 202, "the daemon accepts commands");
    restored.configure("drain.on_restored_log", "continue-after-kafka");
    restored.restart();
    await_drained(&restored);
    assert!(entries(&restored, "log_restored").is_empty());
}

#[test]
fn a_broken_user_database_is_reported_until_a_restart() {
    let forebay = daemon::under_test();
    let database = forebay.dir().join("users.sqlite");
    fs::write(&database, "no database, but long enough to be read as the head of one".repeat(20)).unwrap();
    let mut forebay = forebay.set("database.url", format!("sqlite://{}", database.display()));
    forebay.start();
    let told = await_problem(&forebay, "users_not_served");
    assert!(text(&told, "last_error").contains("sqlite error 26"), "{told}");
    assert_on_all_surfaces(&forebay, &told);
    assert_eq!(forebay.http().post("/v1/users", "{}").unwrap().status, 404);
    let answer = forebay.http().post("/v1/commands/order.create", r#"{"id":"a","amount":1}"#).unwrap();
    assert_eq!(answer.status, 202, "other commands are accepted");
    fs::remove_file(database).unwrap();
    forebay.restart();
    assert!(entries(&forebay, "users_not_served").is_empty());
    assert_ne!(forebay.http().post("/v1/users", "{}").unwrap().status, 404);
}
