//! Runs against the daemon.

use std::fs;
use std::os::unix::fs::PermissionsExt;

use serde_json::Value;

use support::admin::Admin;
use support::daemon::LONG;
use support::process::Forebay;
use support::tls::{CertificateFiles, Identity};
use support::{daemon, wait};

use crate::tool::{number, run};

/// Runs the tool for half a second and returns its report.
fn loaded(forebay: &Forebay, args: &[&str]) -> Value {
    let (base, admin) =
        (format!("http://{}", forebay.address()), format!("http://{}", forebay.admin_address()));
    let common = ["--base", &base, "--admin", &admin, "--await-drained", "60s", "--json"];
    run(&[args, &common].concat()).assert_exit(0).json()
}

#[test]
fn the_report_agrees_with_the_daemons_log_and_kafka() {
    let mut forebay = daemon::under_test();
    forebay.start();
    let args = ["concurrent-baseline", "--rate", "200", "--duration", "1s", "--warm-up", "200ms"];
    let report = loaded(&forebay, &[&args[..], &["--connections", "16"]].concat());
    let due = number(&report, "/total/due") + number(&report, "/warm_up/due");
    assert_eq!((due, number(&report, "/total/error_rate")), (240.0, 0.0), "{report:#}");
    assert_eq!(report["total"]["statuses"], serde_json::json!({"202": 200}));
    let [accepted, delivered, backlog] =
        ["accepted", "delivered", "backlog"].map(|name| number(&report, &format!("/kafka/{name}")));
    assert_eq!(accepted, 240.0, "{report:#}");
    // The two numbers come from two requests, so a record may be confirmed in between.
    assert!(delivered + backlog >= accepted && delivered <= accepted, "{report:#}");
    assert!(report["kafka"]["drained_after_seconds"].is_number(), "{report:#}");
    assert_eq!(daemon::metric(&forebay, "forebay_wal_append_total"), 240.0);
}

#[test]
fn the_database_pool_scenario_uses_existing_users() {
    let mut forebay = daemon::under_test().set("users.password_cost", 4);
    forebay.start();
    let args =
        ["database-pool", "--rate", "20", "--duration", "1500ms", "--warm-up", "0s", "--population", "3"];
    // The checks of a registration may exceed the daemon's limit on a machine that also builds.
    let report = loaded(&forebay, &[&args[..], &["--connections", "8"]].concat());
    let phases: Vec<_> = (0..3).map(|phase| number(&report, &format!("/phases/{phase}/due"))).collect();
    assert_eq!(phases, [10.0, 20.0, 40.0]);
    for operation in ["login", "read", "lookup", "list"] {
        let figures = &report["operations"][operation];
        assert!(number(figures, "/good") > 0.0, "{operation}: {report:#}");
        assert_eq!(figures["due"], figures["good"], "{operation}: {report:#}");
    }
    assert!(number(&report, "/operations/register/due") > 0.0, "{report:#}");
    assert_eq!(number(&report, "/logins/first"), 3.0);
}

/// Access tokens with a lifetime of one second, on a daemon that requires tokens.
#[test]
fn users_log_in_again_when_their_tokens_expire() {
    // Authentication needs a broker other than the daemon's embedded one.
    let mut lender = daemon::under_test().set("consumer.group", "lender");
    lender.start();
    let bootstrap = daemon::embedded_broker(&lender);
    let admin = Admin::new(&bootstrap);
    wait::until_true("the lender's consumer created the topics", LONG, || {
        let topics = admin.topics();
        let needed = ["user.commands.v1", "user.dead.v1", "user.retry.v1"];
        needed.iter().all(|needed| topics.iter().any(|topic| topic == needed))
    });
    let mut forebay = daemon::under_test()
        .set("kafka.brokers", bootstrap)
        .set("users.enabled", true)
        .set("consumer.enabled", true)
        .set("users.password_cost", 4)
        .set("auth.mode", "jwt")
        .set("auth.access_ttl", "1s")
        .with_companion(lender);
    let keys = forebay.dir().join("jwt.keys");
    fs::write(&keys, "c2lnbnMgZXZlcnkgdG9rZW4gb2YgdGhlIHRlc3RzIGhlcmU=").unwrap();
    fs::set_permissions(&keys, fs::Permissions::from_mode(0o600)).unwrap();
    forebay.configure("auth.jwt_key_file", keys.display().to_string());
    forebay.start();

    let args = ["concurrent-baseline", "--users", "--mix", "read=1", "--population", "2", "--rate", "20"];
    let report = loaded(&forebay, &[&args[..], &["--duration", "3s", "--warm-up", "0s"]].concat());
    assert_eq!((number(&report, "/total/due"), number(&report, "/total/good")), (60.0, 60.0), "{report:#}");
    let again = ["/logins/before_expiry", "/logins/after_401"]
        .map(|pointer| number(&report, pointer))
        .iter()
        .sum::<f64>();
    // A slow login may find its token expired.
    assert!(again >= 2.0, "two users, one more token each: {report:#}");
}

#[test]
fn https_is_verified_against_the_ca_file() {
    let Some(identity) = Identity::make("https") else { return };
    let mut forebay = daemon::under_test();
    let place = CertificateFiles::with(forebay.dir(), &identity);
    forebay.configure("server.tls_cert_file", place.cert.display().to_string());
    forebay.configure("server.tls_key_file", place.key.display().to_string());
    forebay.start();
    let base = format!("https://{}", forebay.address());
    let args =
        ["baseline", "--base", &base, "--rate", "50", "--duration", "500ms", "--warm-up", "0s", "--json"];
    let report =
        run(&[&args[..], &["--ca-file", place.cert.to_str().unwrap()]].concat()).assert_exit(0).json();
    assert_eq!(number(&report, "/total/good"), 25.0, "{report:#}");
    let refused = run(&args).assert_exit(2);
    assert!(refused.err.contains("invalid peer certificate"), "{refused:?}");
}
