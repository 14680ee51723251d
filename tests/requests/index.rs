//! The index of keys lost or damaged: the log is the truth, and rebuilding it holds nobody up who sent no key.

use std::fs;
use std::path::Path;

use crate::ask::NO_KAFKA;
use crate::ask::batch;
use crate::ask::daemon;
use crate::ask::id;
use crate::ask::ids;
use crate::ask::is_replay;
use crate::ask::keyed;
use crate::ask::order;
use crate::ask::refusal;
use crate::daemon::LONG;
use crate::daemon::kind;
use crate::support::http::Client;
use crate::support::process::Forebay;
use crate::support::wait;

/// A replay of the request with this key, once the index knows about keys again.
fn await_replay(http: &mut Client, key: &str) -> String {
    let answer = wait::until("the key is recognised", LONG, || {
        let answer = keyed(http, "order.create", key, &order(key));
        let rebuilding = answer.status == 503;
        assert!(!rebuilding || refusal(&answer).1 == "index_rebuilding", "{}", answer.text());
        (!rebuilding).then_some(answer)
    });
    assert!(is_replay(&answer), "{}", answer.text());
    id(&answer)
}

#[test]
fn without_its_index_a_daemon_accepts_at_once_and_asks_only_keyed_requests_to_wait() {
    // More than a start reads before it accepts, and enough to be still reading when the first request comes.
    const BATCHES: usize = 60;
    let mut forebay = daemon().set("kafka.brokers", NO_KAFKA).toml(&kind("order.create", "orders.v1"));
    forebay.start();
    let http = &mut forebay.http();
    let first = id(&keyed(http, "order.create", "first", &order("first")));
    let lines = "{\"key\":\"a\"}\n".repeat(10_000);
    for _ in 0..BATCHES {
        assert_eq!(ids(&batch(http, &[], &lines)).len(), 10_000);
    }
    let last = id(&keyed(http, "order.create", "last", &order("last")));
    forebay.kill9();
    fs::remove_dir_all(forebay.wal_dir().join("index")).unwrap();
    forebay.launch();
    let http = &mut forebay.http();
    let unsure = wait::until("it answers", LONG, || {
        http.request("POST", crate::ask::ORDERS, &[("Idempotency-Key", "new")], b"{\"key\":\"a\"}").ok()
    });
    assert_eq!(refusal(&unsure), (503, "index_rebuilding".to_owned()));
    assert_eq!(unsure.json()["retryable"], true);
    id(&http.post(crate::ask::ORDERS, &order("unkeyed")).unwrap());
    assert_eq!(http.get("/readyz").unwrap().status, 200);
    assert_eq!((await_replay(http, "first"), await_replay(http, "last")), (first, last));
    assert!(!is_replay(&keyed(http, "order.create", "new", "{\"key\":\"a\"}")));
}

/// What is done to one file of the index.
type Damage = fn(&Path);

fn garbage(path: &Path) {
    fs::write(path, vec![0x5a; fs::metadata(path).unwrap().len() as usize]).unwrap();
}

fn cut(path: &Path) {
    let bytes = fs::read(path).unwrap();
    fs::write(path, &bytes[..bytes.len() / 2]).unwrap();
}

/// Flips a bit in every 512 bytes.
fn rot(path: &Path) {
    let mut bytes = fs::read(path).unwrap();
    bytes.iter_mut().skip(100).step_by(512).for_each(|byte| *byte ^= 1);
    fs::write(path, bytes).unwrap();
}

fn files(dir: &Path, found: &mut Vec<std::path::PathBuf>) {
    for entry in fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() { files(&path, found) } else { found.push(path) }
    }
}

fn damage(forebay: &Forebay, how: Damage) {
    let mut found = Vec::new();
    files(&forebay.wal_dir().join("index"), &mut found);
    assert!(!found.is_empty());
    found.iter().for_each(|path| how(path));
}

#[test]
fn a_damaged_index_is_rebuilt_from_the_log() {
    const KEYS: usize = 500;
    let mut forebay = daemon().set("kafka.brokers", NO_KAFKA).toml(&kind("order.create", "orders.v1"));
    forebay.start();
    let http = &mut forebay.http();
    let keys: Vec<_> = (0..KEYS).map(|n| format!("key-{n}-{}", "x".repeat(n % 200))).collect();
    let first: Vec<_> = keys.iter().map(|key| id(&keyed(http, "order.create", key, &order(key)))).collect();
    let ways: [(&str, Damage); 3] = [("garbage", garbage), ("cut", cut), ("rot", rot)];
    for (way, how) in ways {
        // Orderly, so that the index covers the whole log: what is lost must not be believed to be there.
        assert!(forebay.term().success());
        damage(&forebay, how);
        forebay.start();
        let http = &mut forebay.http();
        for (key, first) in keys.iter().zip(&first) {
            assert_eq!(await_replay(http, key), *first, "{way}: {key}");
        }
    }
    assert!(forebay.term().success());
}
