//! A server that hands its part over to another one, or refuses this user what it needs.

use forebay::kv::{KvError, Rate, SetOutcome, SubscriptionEvent};
use tokio::time::timeout;

use super::test_store::{LONG, TTL, answered, patient, until};
use support::ports::Port;
use support::proxy::Proxy;
use support::services;

/// More than there are connections.
const KEYS: usize = 32;

#[tokio::test]
async fn no_connection_stays_on_a_server_that_became_a_replica() {
    let Some(place) = services::redis("no_connection_stays_on_a_server_that_became_a_replica") else {
        return;
    };
    let (old, new, proxy) = (place.start(), place.start(), Proxy::start());
    proxy.forward_to(&old.address());
    let kv = patient(&format!("redis://{}", proxy.address()), false);
    let entries: Vec<_> = (0..KEYS).map(|number| (format!("k:{number}"), b"x".to_vec(), TTL)).collect();
    kv.set_all(&entries).await.unwrap();
    assert_eq!(kv.check("c").await, Ok(()));

    // Of a primary that does not answer: it serves what it has.
    let nobody = Port::free().number().to_string();
    assert_eq!(old.command(&["REPLICAOF", "127.0.0.1", &nobody]).unwrap(), "+OK\r\n");
    let refused = kv.set_all(&entries).await.unwrap_err();
    assert_eq!(refused, KvError::Unavailable("the server answered READONLY".to_owned()));
    assert_eq!(kv.get("k:0").await, Ok(Some(b"x".to_vec())));
    assert!(kv.check("c").await.is_err(), "a look that only reads notices nothing");

    // The name leads to the other server now; nobody cuts what is open.
    proxy.forward_to(&new.address());
    answered("the successor has all keys", async || {
        // Between writes others read, so that no breaker opens.
        kv.get("k:0").await.unwrap();
        kv.set_all(&entries).await
    })
    .await;
    assert_eq!(new.command(&["DBSIZE"]).unwrap(), format!(":{KEYS}\r\n"));
    assert_eq!(kv.check("c").await, Ok(()));
}

#[tokio::test]
async fn a_primary_without_the_replicas_it_needs_is_not_well() {
    let Some(place) = services::redis("a_primary_without_the_replicas_it_needs_is_not_well") else { return };
    let server = place.start();
    let kv = patient(&server.url(), false);
    assert_eq!(kv.check("c").await, Ok(()));
    assert_eq!(server.command(&["CONFIG", "SET", "min-replicas-to-write", "1"]).unwrap(), "+OK\r\n");
    assert_eq!(kv.check("c").await, Err(KvError::Unavailable("the server answered NOREPLICAS".to_owned())));
}

/// `maxmemory` with the policy that Redis has by default: nothing is thrown out, and writes are refused.
#[tokio::test]
async fn a_server_whose_memory_is_full_serves_reads_and_is_not_well() {
    let Some(place) = services::redis("a_server_whose_memory_is_full_serves_reads_and_is_not_well") else {
        return;
    };
    let server = place.start();
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
    answered("there is room again", async || kv.set_all(&entry).await).await;
    assert_eq!(kv.check("c").await, Ok(()));
}

#[tokio::test]
async fn a_user_without_a_permission_it_needs_is_reported_by_every_look() {
    let Some(place) = services::redis("a_user_without_a_permission_it_needs_is_reported") else { return };
    let server = place.start();
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

    // Whoever may not subscribe misses what others say.
    let mut subscription = kv.subscribe("d");
    let unheard = KvError::NotSubscribed { channel: "d".to_owned(), why: Box::new(KvError::Denied) };
    let reported = until("it is reported", async || kv.check("c").await == Err(unheard.clone()));
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

/// The rules of docs/users.md#redis.
const RULES: &str = "on >secret resetkeys ~user:* ~forebay:* resetchannels &forebay:* -@all +@connection +@read +@write \
     +@scripting +@pubsub +time +info";

#[tokio::test]
async fn the_permissions_that_the_readme_names_are_enough() {
    let Some(place) = services::redis("the_permissions_that_the_readme_names_are_enough") else { return };
    let server = place.start();
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
