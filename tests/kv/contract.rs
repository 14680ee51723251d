//! The contract of every store.

use std::time::Duration;

use forebay::kv::{Kv, Rate, Replacement, SetOutcome};

use super::test_store;
use super::test_store::{TTL, until};

/// A time to live that ends during the test.
const SHORT: Duration = Duration::from_millis(50);

fn bytes(text: &str) -> Vec<u8> {
    text.as_bytes().to_vec()
}

fn other(text: &str) -> SetOutcome {
    SetOutcome::Taken(bytes(text))
}

/// Refreshes one value, and returns whether it exists.
async fn refreshed(kv: &Kv, key: &str, owner: &[u8], ttl: Duration) -> bool {
    kv.refresh_all(&[(key.to_owned(), owner.to_owned(), ttl)]).await.unwrap() == [true]
}

#[tokio::test]
async fn a_value_can_be_read_replaced_and_deleted() {
    for store in test_store::all_stores("a_value_can_be_read_replaced_and_deleted") {
        let kv = &store.kv;
        assert_eq!(kv.get("a").await.unwrap(), None);
        kv.set("a", b"1", TTL).await.unwrap();
        kv.set("a", b"2", TTL).await.unwrap();
        assert_eq!(kv.get("a").await.unwrap(), Some(bytes("2")));
        kv.set("empty", b"", TTL).await.unwrap();
        assert_eq!(kv.get("empty").await.unwrap(), Some(Vec::new()), "an empty value is a value");
        kv.delete_all(&["a".to_owned(), "empty".to_owned(), "never".to_owned()]).await.unwrap();
        assert_eq!(kv.get("a").await.unwrap(), None);
    }
}

#[tokio::test]
async fn only_the_first_caller_sets_an_absent_value() {
    for store in test_store::all_stores("only_the_first_caller_sets_an_absent_value") {
        let kv = &store.kv;
        assert_eq!(kv.set_if_absent("a", b"x:1", TTL).await.unwrap(), SetOutcome::Owned);
        assert_eq!(kv.set_if_absent("a", b"x:1", TTL).await.unwrap(), SetOutcome::Owned, "a repeated call");
        assert_eq!(kv.set_if_absent("a", b"y:1", TTL).await.unwrap(), other("x:1"));
        kv.delete_all(&["a".to_owned()]).await.unwrap();
        assert_eq!(kv.set_if_absent("a", b"y:1", TTL).await.unwrap(), SetOutcome::Owned);
    }
}

#[tokio::test]
async fn only_its_owner_changes_a_value() {
    for store in test_store::all_stores("only_its_owner_changes_a_value") {
        let kv = &store.kv;
        for nobody in [kv.replace("a", b"x:", b"x:2", TTL), kv.replace("a", b"", b"x:2", TTL)] {
            assert!(!nobody.await.unwrap(), "no value to replace");
        }
        kv.set("a", b"x:1", TTL).await.unwrap();
        assert!(!kv.replace("a", b"y:", b"y:2", TTL).await.unwrap());
        assert!(!refreshed(kv, "a", b"y:", TTL).await);
        assert!(!kv.remove("a", b"y:").await.unwrap());
        assert!(!kv.remove("a", b"x:11").await.unwrap(), "longer than the value");
        assert_eq!(kv.get("a").await.unwrap(), Some(bytes("x:1")));

        assert!(kv.replace("a", b"x:", b"x:2", TTL).await.unwrap());
        assert_eq!(kv.get("a").await.unwrap(), Some(bytes("x:2")));
        assert!(refreshed(kv, "a", b"x:", TTL).await);
        assert!(kv.remove("a", b"x:").await.unwrap());
        assert!(!kv.remove("a", b"x:").await.unwrap(), "it no longer exists");
        assert_eq!(kv.get("a").await.unwrap(), None);
    }
}

#[tokio::test]
async fn owners_and_values_of_any_bytes_are_compared_as_bytes() {
    for store in test_store::all_stores("owners_and_values_of_any_bytes_are_compared_as_bytes") {
        let kv = &store.kv;
        let value = [0, 255, b'%', b'\n', 0xC3, 0x28];
        kv.set("a b\r\n:ä", &value, TTL).await.unwrap();
        assert!(!kv.remove("a b\r\n:ä", &[0, 254]).await.unwrap());
        assert_eq!(kv.get("a b\r\n:ä").await.unwrap(), Some(value.to_vec()));
        assert!(kv.remove("a b\r\n:ä", &[0, 255, b'%']).await.unwrap());
    }
}

#[tokio::test]
async fn a_value_expires_unless_it_is_refreshed() {
    for store in test_store::all_stores("a_value_expires_unless_it_is_refreshed") {
        let kv = &store.kv;
        for key in ["set", "absent", "replaced", "refreshed", "kept"] {
            kv.set(key, b"x", if key == "set" { SHORT } else { TTL }).await.unwrap();
        }
        kv.delete_all(&["absent".to_owned()]).await.unwrap();
        assert_eq!(kv.set_if_absent("absent", b"x", SHORT).await.unwrap(), SetOutcome::Owned);
        assert!(kv.replace("replaced", b"x", b"xy", SHORT).await.unwrap());
        assert!(refreshed(kv, "refreshed", b"x", SHORT).await);
        kv.set("brief", b"x", SHORT).await.unwrap();
        let lives_on = refreshed(kv, "brief", b"x", TTL).await;
        for key in ["set", "absent", "replaced", "refreshed"] {
            until("its end", async || kv.get(key).await.unwrap().is_none()).await;
        }
        assert!(kv.get("kept").await.unwrap().is_some());
        assert_eq!(kv.get("brief").await.unwrap().is_some(), lives_on, "refreshed in time");
        assert_eq!(
            kv.set_if_absent("set", b"y", TTL).await.unwrap(),
            SetOutcome::Owned,
            "the key is free again"
        );
        kv.set("instantly", b"x", Duration::ZERO).await.unwrap();
        until("the end of a value with a zero time to live", async || {
            kv.get("instantly").await.unwrap().is_none()
        })
        .await;
    }
}

#[tokio::test]
async fn many_keys_get_separate_replies_in_order() {
    // More keys than one request to the store contains.
    const COUNT: usize = 1_203;
    for store in test_store::all_stores("many_keys_get_separate_replies_in_order") {
        let kv = &store.kv;
        let keys: Vec<String> = (0..COUNT).map(|number| format!("key:{number}")).collect();
        let owner = |number: usize| bytes(if number.is_multiple_of(3) { "x:" } else { "y:" });
        let entries: Vec<_> = (0..COUNT).map(|number| (keys[number].clone(), owner(number), TTL)).collect();
        kv.set_all(&entries[..COUNT / 2]).await.unwrap();
        let stand = kv.get_all(&keys).await.unwrap();
        assert!(stand.iter().enumerate().all(|(n, v)| *v == (n < COUNT / 2).then(|| owner(n))));

        let ours: Vec<_> = keys.iter().map(|key| (key.clone(), bytes("z:"), TTL)).collect();
        let held = kv.set_if_absent_all(&ours).await.unwrap();
        let expected = |n: usize| if n < COUNT / 2 { SetOutcome::Taken(owner(n)) } else { SetOutcome::Owned };
        assert!(held.iter().enumerate().all(|(n, held)| *held == expected(n)));

        kv.set_all(&entries).await.unwrap();
        let thirds = |changed: &[bool]| changed.iter().enumerate().all(|(n, c)| *c == n.is_multiple_of(3));
        let by_x: Vec<_> = keys.iter().map(|key| (key.clone(), bytes("x:"), TTL)).collect();
        assert!(thirds(&kv.refresh_all(&by_x).await.unwrap()));
        let replace = |key: &String| Replacement {
            key: key.clone(),
            owner: bytes("x:"),
            value: bytes("x:2"),
            ttl: TTL,
        };
        let replacements: Vec<_> = keys.iter().map(replace).collect();
        assert!(thirds(&kv.replace_all(&replacements).await.unwrap()));
        let removals: Vec<_> = keys.iter().map(|key| (key.clone(), bytes("x:2"))).collect();
        assert!(thirds(&kv.remove_all(&removals).await.unwrap()));
        kv.delete_all(&keys).await.unwrap();
        assert!(kv.get_all(&keys).await.unwrap().iter().all(Option::is_none));
        assert!(kv.get_all(&[]).await.unwrap().is_empty());
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn exactly_one_of_two_racing_callers_sets_a_key() {
    for store in test_store::all_stores("exactly_one_of_two_racing_callers_sets_a_key") {
        let race = async |kv: Kv, name: &'static str| {
            let mut won = Vec::new();
            for number in 0..1_000 {
                let held = kv.set_if_absent(&format!("race:{number}"), name.as_bytes(), TTL).await.unwrap();
                won.push(held == SetOutcome::Owned);
                assert!(held == SetOutcome::Owned || held == other(if name == "x" { "y" } else { "x" }));
            }
            won
        };
        let (x, y) = (store.kv.clone(), store.kv.clone());
        let (x, y) = tokio::join!(tokio::spawn(race(x, "x")), tokio::spawn(race(y, "y")));
        let (x, y) = (x.unwrap(), y.unwrap());
        let winners = x.iter().zip(&y).filter(|(x, y)| *x != *y).count();
        assert_eq!(winners, 1_000, "one winner each");
    }
}

#[tokio::test]
async fn a_limit_is_granted_once_and_a_refusal_announces_more() {
    for store in test_store::all_stores("a_limit_is_granted_once_and_a_refusal_announces_more") {
        let (kv, rate) = (&store.kv, Rate { limit: 100, window: Duration::from_secs(86_400) });
        assert_eq!(
            kv.take_permits("a", rate, 50, 1_000).await.unwrap().granted,
            55,
            "extra permits: a tenth of the rest"
        );
        assert_eq!(kv.take_permits("a", rate, 46, 0).await.unwrap().granted, 0, "all or nothing");
        assert_eq!(kv.take_permits("a", rate, 45, 0).await.unwrap().granted, 45);
        let refused = kv.take_permits("a", rate, 1, 0).await.unwrap();
        assert_eq!(refused.granted, 0);
        assert!(refused.retry_after <= rate.window / 100, "{refused:?}");
        assert!(refused.retry_after > rate.window / 200, "{refused:?}");
        kv.return_permits("a", rate, 2).await.unwrap();
        assert_eq!(kv.take_permits("a", rate, 3, 0).await.unwrap().granted, 0);
        assert_eq!(kv.take_permits("a", rate, 2, 0).await.unwrap().granted, 2);
        kv.return_permits("b", rate, 7).await.unwrap();
        assert_eq!(kv.take_permits("b", rate, 101, 0).await.unwrap().granted, 0, "never more than the limit");
        assert_eq!(
            kv.take_permits("b", rate, 100, 0).await.unwrap().granted,
            100,
            "another key, another bucket"
        );
        let raised = Rate { limit: 150, ..rate };
        assert_eq!(
            kv.take_permits("b", raised, 50, 0).await.unwrap().granted,
            50,
            "a raised limit frees at once"
        );
    }
}
