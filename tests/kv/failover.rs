//! A server that is demoted, or refuses commands for lack of permissions or space.

use forebay::kv::{KvError, Rate, SetOutcome, SubscriptionEvent};
use tokio::time::timeout;

use super::test_store::{LONG, TTL, answered, patient, until};
use support::ports::Port;
use support::proxy::Proxy;
use support::services;

/// More keys than connections.
const KEYS: usize = 32;

#[tokio::test]
async fn no_connection_stays_on_a_demoted_server() {
    let Some(starter) = services::redis("no_connection_stays_on_a_demoted_server") else {
        return;
    };
    let (old, new, proxy) = (starter.start(), starter.start(), Proxy::start());
    proxy.forward_to(&old.address());
    let kv = patient(&format!("redis://{}", proxy.address()), false);
    let entries: Vec<_> = (0..KEYS).map(|number| (format!("k:{number}"), b"x".to_vec(), TTL)).collect();
    kv.set_all(&entries).await.unwrap();
    assert_eq!(kv.check("c").await, Ok(()));

    // A replica of an unavailable primary: it serves its data.
    let nobody = Port::free().number().to_string();
    assert_eq!(old.command(&["REPLICAOF", "127.0.0.1", &nobody]).unwrap(), "+OK\r\n");
    let refused = kv.set_all(&entries).await.unwrap_err();
    assert_eq!(refused, KvError::Unavailable("the server answered READONLY".to_owned()));
    assert_eq!(kv.get("k:0").await, Ok(Some(b"x".to_vec())));
    assert!(kv.check("c").await.is_err(), "a read-only server must fail the health check");

    // The name now leads to the other server; open connections are not cut.
    proxy.forward_to(&new.address());
    answered("the successor has all keys", async || {
        // Reads in between succeed, so that the circuit breaker stays closed.
        kv.get("k:0").await.unwrap();
        kv.set_all(&entries).await
    })
    .await;
    assert_eq!(new.command(&["DBSIZE"]).unwrap(), format!(":{KEYS}\r\n"));
    assert_eq!(kv.check("c").await, Ok(()));
}

#[tokio::test]
async fn a_primary_without_its_required_replicas_fails_the_check() {
    let Some(starter) = services::redis("a_primary_without_its_required_replicas_fails_the_check") else {
        return;
    };
    let server = starter.start();
    let kv = patient(&server.url(), false);
    assert_eq!(kv.check("c").await, Ok(()));
    assert_eq!(server.command(&["CONFIG", "SET", "min-replicas-to-write", "1"]).unwrap(), "+OK\r\n");
    assert_eq!(kv.check("c").await, Err(KvError::Unavailable("the server answered NOREPLICAS".to_owned())));
}

/// `maxmemory` with Redis's default policy: no key is evicted, and writes are refused.
#[tokio::test]
async fn a_server_out_of_memory_serves_reads_only() {
    let Some(starter) = services::redis("a_server_out_of_memory_serves_reads_only") else {
        return;
    };
    let server = starter.start();
    let kv = patient(&server.url(), false);
    let entry = [("k".to_owned(), b"x".to_vec(), TTL)];
    kv.set_all(&entry).await.unwrap();
    assert_eq!(server.command(&["CONFIG", "SET", "maxmemory", "1"]).unwrap(), "+OK\r\n");
    let full = KvError::Unavailable("the server answered OOM".to_owned());
    assert_eq!(kv.set_all(&entry).await, Err(full.clone()));
    assert_eq!(kv.set_if_absent("other", b"x", TTL).await, Err(full.clone()));
    assert_eq!(kv.check("c").await, Err(full));
    assert_eq!(kv.get("k").await, Ok(Some(b"x".to_vec())));
    assert_eq!(server.command(&["CONFIG", "SET", "maxmemory", "0"]).unwrap(), "+OK\r\n");
    answered("space is free again", async || kv.set_all(&entry).await).await;
    assert_eq!(kv.check("c").await, Ok(()));
}

#[tokio::test]
async fn a_missing_permission_is_reported_by_every_check() {
    let Some(starter) = services::redis("a_missing_permission_is_reported_by_every_check") else { return };
    let server = starter.start();
    let allow = |rules: &[&str]| {
        let command = [&["ACL", "SETUSER", "app"], rules].concat();
        assert_eq!(server.command(&command).unwrap(), "+OK\r\n");
    };
    allow(&["on", ">secret", "~*", "+@all", "resetchannels"]);
    let kv = patient(&format!("redis://app:secret@{}", server.address()), false);
    kv.set("a", b"1", TTL).await.unwrap();
    assert_eq!(kv.check("c").await, Err(KvError::Denied), "it may not publish");
    allow(&["&c"]);
    assert_eq!(kv.check("c").await, Ok(()));

    // A user that may not subscribe misses other daemons' messages.
    let mut subscription = kv.subscribe("d");
    let not_received = KvError::NotSubscribed { channel: "d".to_owned(), why: Box::new(KvError::Denied) };
    let reported = until("it is reported", async || kv.check("c").await == Err(not_received.clone()));
    tokio::select! {
        event = subscription.next() => panic!("{event:?} on a channel that is forbidden"),
        () = reported => {}
    }
    allow(&["&d"]);
    let event = timeout(LONG, subscription.next()).await.expect("it is subscribed to");
    assert_eq!((event, kv.check("c").await), (SubscriptionEvent::MessagesMissed, Ok(())));

    for rule in ["-set", "-eval", "-time"] {
        allow(&[rule]);
        assert_eq!(kv.check("c").await, Err(KvError::Denied), "{rule}");
        allow(&["+@all"]);
    }
    allow(&["resetkeys", "~user:*"]);
    assert_eq!(kv.check("c").await, Err(KvError::Denied), "its keys");
}

/// The rules in docs/users.md#redis.
const RULES: &str = "on >secret resetkeys ~user:* ~forebay:* resetchannels &forebay:* -@all +@connection +@read +@write \
     +@scripting +@pubsub +time +info";

#[tokio::test]
async fn the_documented_permissions_are_sufficient() {
    let Some(starter) = services::redis("the_documented_permissions_are_sufficient") else { return };
    let server = starter.start();
    let command: Vec<&str> = ["ACL", "SETUSER", "app"].into_iter().chain(RULES.split_whitespace()).collect();
    assert_eq!(server.command(&command).unwrap(), "+OK\r\n");
    let kv = patient(&format!("redis://app:secret@{}", server.address()), false);
    let mut subscription = kv.subscribe("forebay:users");
    assert_eq!(timeout(LONG, subscription.next()).await, Ok(SubscriptionEvent::MessagesMissed));
    assert_eq!(kv.check("forebay:users").await, Ok(()));
    let key = "user:pending:ada";
    assert_eq!(kv.set_if_absent(key, b"a:1", TTL).await, Ok(SetOutcome::Owned));
    assert_eq!(kv.replace(key, b"a:", b"a:2", TTL).await, Ok(true));
    assert_eq!(kv.remove(key, b"a:").await, Ok(true));
    assert_eq!(kv.delete_all(&[key.to_owned()]).await, Ok(()));
    let rate = Rate { limit: 10, window: TTL };
    assert_eq!(kv.take_permits("forebay:ratelimit:x", rate, 1, 0).await.map(|spent| spent.granted), Ok(1));
}
