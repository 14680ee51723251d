//! What is remembered of users, in a process and among daemons, is never older than what was told of them.

use std::sync::Arc;

use forebay::db::{Database, UserRow, Version};
use forebay::kv::{Kv, Subscription, SubscriptionEvent};
use forebay::metrics::Registry;
use forebay::units::{Span, Timestamp};
use forebay::users::ProfileCache;
use forebay::{db, kv, users};
use tokio::runtime::Runtime;

use support::daemon::LONG;
use support::proxy::Proxy;
use support::statement_gate::StatementGate;
use support::{scratch, services, wait};

const ENTRY: &str = "user:profile:ada";

/// A database with one user, whose reads can be held after they have seen it.
struct ProfileDatabase {
    runtime: Runtime,
    db: Database,
    gate: StatementGate,
}

impl ProfileDatabase {
    fn new(test: &str) -> Option<ProfileDatabase> {
        let url = services::postgres(test)?;
        let runtime = Runtime::new().unwrap();
        // Reads are held for as long as the test likes.
        let config = db::Config {
            url: url.as_str().into(),
            statement_timeout: Span::secs(60),
            ..db::Config::default()
        };
        let db = runtime.block_on(async {
            let metrics = db::Metrics::register(&Registry::new().unwrap()).unwrap();
            let db = Database::connect(&config, &metrics).await.unwrap();
            db.migrate().await.unwrap();
            let mut batch = db.begin().await.unwrap();
            batch.insert_users(&[ada()]).await.unwrap();
            batch.commit().await.unwrap();
            db
        });
        let mut gate = StatementGate::new(&url);
        gate.sql(
            "ALTER TABLE users RENAME TO stored_users; \
             CREATE VIEW users AS SELECT * FROM stored_users WHERE pass_gate()",
        );
        Some(ProfileDatabase { runtime, db, gate })
    }

    fn profiles(&self, kv: &Kv) -> ProfileCache {
        let metrics = users::Metrics::register(&Registry::new().unwrap()).unwrap();
        ProfileCache::new(&users::Config::default(), kv.clone(), self.db.clone(), &metrics)
    }

    fn changed(&self, profiles: &ProfileCache) {
        self.runtime.block_on(profiles.invalidate(&["ada".to_owned()]));
    }

    /// Who ada is, as far as these know: the nickname.
    fn nickname(&self, profiles: &ProfileCache) -> Option<String> {
        let known = self.runtime.block_on(profiles.get("ada")).expect("the database answers");
        known.map(|ada| ada.nickname.clone().expect("a nickname"))
    }
}

fn ada() -> UserRow {
    let at = Timestamp(1);
    UserRow {
        name: "ada".to_owned(),
        email: None,
        phone: None,
        password_hash: "?".to_owned(),
        nickname: Some("old".to_owned()),
        is_admin: false,
        created_at: at,
        updated_at: at,
        last_login_at: None,
        version: Version { at, id: String::new() },
    }
}

const RENAMED: &str = "UPDATE stored_users SET nickname = 'new'";

#[test]
fn a_fetch_that_was_overtaken_by_a_change_is_not_remembered() {
    let Some(mut place) = ProfileDatabase::new("a_fetch_that_was_overtaken_by_a_change_is_not_remembered")
    else {
        return;
    };
    let dir = scratch::dir("kv");
    let profiles = place.profiles(&Kv::embedded(dir.path()).unwrap());
    place.gate.close();
    let slow = profiles.clone();
    let reading = place.runtime.spawn(async move { slow.fetch("ada").await });
    place.gate.await_waiter();
    place.gate.sql(RENAMED);
    place.changed(&profiles);
    place.gate.open();
    let read = place.runtime.block_on(reading).unwrap().unwrap();
    assert_eq!(read.unwrap().nickname.as_deref(), Some("old"), "it was read before the change");
    assert_eq!(place.nickname(&profiles).as_deref(), Some("new"));
}

#[test]
fn a_slow_load_does_not_take_the_place_of_a_newer_fetch() {
    let Some(mut place) = ProfileDatabase::new("a_slow_load_does_not_take_the_place_of_a_newer_fetch") else {
        return;
    };
    let dir = scratch::dir("kv");
    let profiles = place.profiles(&Kv::embedded(dir.path()).unwrap());
    place.gate.close();
    let slow = profiles.clone();
    let loading = place.runtime.spawn(async move { slow.get("ada").await });
    place.gate.await_waiter();
    place.gate.sql(RENAMED);
    place.gate.unlock_new();
    // As somebody does who has waited for the change. The word of it is still on its way.
    place.runtime.block_on(profiles.fetch("ada")).unwrap();
    place.gate.open();
    place.runtime.block_on(loading).unwrap().unwrap();
    let remembered = place.nickname(&profiles);
    // The load's entry in the shared level may be as old until the word of the change comes.
    place.changed(&profiles);
    assert_eq!((remembered.as_deref(), place.nickname(&profiles).as_deref()), (Some("new"), Some("new")));
}

#[test]
fn a_deleted_user_does_not_come_back_into_the_shared_cache() {
    let test = "a_deleted_user_does_not_come_back_into_the_shared_cache";
    let (Some(mut place), Some(redis)) = (ProfileDatabase::new(test), services::redis(test)) else { return };
    let redis = redis.start();
    let kv = store(&redis.url());
    let (slow, consumer, other) = (place.profiles(&kv), place.profiles(&kv), place.profiles(&kv));
    place.gate.close();
    let loading = place.runtime.spawn(async move { slow.get("ada").await });
    place.gate.await_waiter();
    place.gate.unlock_new();
    place.gate.sql("DELETE FROM stored_users");
    place.changed(&consumer);
    // However late it comes.
    wait::until_true("nothing is known of the user", LONG, || {
        redis.command(&["EXISTS", ENTRY]).is_ok_and(|answer| answer == ":0\r\n")
    });
    place.gate.open();
    assert!(place.runtime.block_on(loading).unwrap().unwrap().is_some(), "it was read before the deletion");
    assert_eq!(redis.command(&["EXISTS", ENTRY]).unwrap(), ":0\r\n");
    assert_eq!(place.nickname(&other), None);
}

#[test]
fn what_is_read_without_a_change_is_shared_and_entries_of_earlier_versions_are_read() {
    let test = "what_is_read_without_a_change_is_shared";
    let (Some(mut place), Some(redis)) = (ProfileDatabase::new(test), services::redis(test)) else { return };
    let redis = redis.start();
    let kv = store(&redis.url());
    assert_eq!(place.nickname(&place.profiles(&kv)).as_deref(), Some("old"));
    let written = redis.command(&["GET", ENTRY]).unwrap();
    assert!(written.contains(r#"{"name":"ada","#), "{written}");
    // From there, not from the database.
    place.gate.sql(RENAMED);
    assert_eq!(place.nickname(&place.profiles(&kv)).as_deref(), Some("old"));
    // A daemon of an earlier version writes the same; a change takes it away.
    place.changed(&place.profiles(&kv));
    assert_eq!(place.nickname(&place.profiles(&kv)).as_deref(), Some("new"));
    // A lease of somebody who died holds nobody.
    assert_eq!(redis.command(&["SET", ENTRY, "lease:0123456789abcdef0123456789abcdef"]).unwrap(), "+OK\r\n");
    assert_eq!(place.nickname(&place.profiles(&kv)).as_deref(), Some("new"));
}

#[test]
fn a_change_that_redis_did_not_take_is_told_when_it_is_back() {
    let test = "a_change_that_redis_did_not_take_is_told_when_it_is_back";
    let (Some(mut place), Some(redis)) = (ProfileDatabase::new(test), services::redis(test)) else { return };
    let (redis, proxy) = (redis.start(), Proxy::start());
    proxy.forward_to(&redis.address());
    let profiles = place.profiles(&store(&format!("redis://{}", proxy.address())));
    let _repeats = place.runtime.block_on(async { profiles.notices().retry_unpublished() });
    let mut heard = store(&redis.url()).subscribe(users::CHANNEL);
    assert_eq!(place.next(&mut heard), SubscriptionEvent::MessagesMissed, "it listens");
    assert_eq!(place.nickname(&profiles).as_deref(), Some("old"));
    redis.kill();
    place.gate.sql(RENAMED);
    place.changed(&profiles);
    assert_eq!(place.nickname(&profiles).as_deref(), Some("new"), "this process has forgotten the old one");
    // Not before the other one listens again: it would know without a word that it has missed some.
    proxy.refuse();
    redis.restart();
    assert_eq!(place.next(&mut heard), SubscriptionEvent::MessagesMissed, "it listens again");
    assert_eq!(redis.command(&["SET", ENTRY, "null"]).unwrap(), "+OK\r\n");
    proxy.heal();
    assert_eq!(place.next(&mut heard), SubscriptionEvent::Message("ada".to_owned()));
    assert_eq!(redis.command(&["EXISTS", ENTRY]).unwrap(), ":0\r\n");
}

#[test]
fn no_entry_of_before_a_notice_to_all_users_is_read_from_redis() {
    let test = "no_entry_of_before_a_notice_to_all_users_is_read_from_redis";
    let (Some(mut place), Some(redis)) = (ProfileDatabase::new(test), services::redis(test)) else { return };
    let redis = redis.start();
    let kv = store(&redis.url());
    let (one, listening, late) = (place.profiles(&kv), place.profiles(&kv), place.profiles(&kv));
    let _tasks = place.runtime.block_on(async { [one.notices().retry_unpublished(), listening.listen()] });
    assert_eq!(place.nickname(&one).as_deref(), Some("old"));
    place.gate.sql(RENAMED);
    // As if ada's name was among those that were given up: one more waits than may.
    let many: Vec<_> = (0..50_001).map(|number| format!("user{number}")).collect();
    place.runtime.block_on(one.invalidate(&many));
    wait::until_true("the notice is noted", LONG, || {
        redis.command(&["EXISTS", "user:profile:*"]).is_ok_and(|answer| answer == ":1\r\n")
    });
    let is_new = |profiles: &ProfileCache| place.nickname(profiles).as_deref() == Some("new");
    wait::until_true("a daemon that listens reads the change", LONG, || is_new(&listening));
    let _task = place.runtime.block_on(async { late.listen() });
    wait::until_true("a daemon that starts after it reads the change", LONG, || is_new(&late));
    assert!(redis.command(&["GET", ENTRY]).unwrap().contains(r#""old""#), "the entry is still there");
}

impl ProfileDatabase {
    fn next(&self, subscription: &mut Subscription) -> SubscriptionEvent {
        let next = async { tokio::time::timeout(LONG, subscription.next()).await };
        self.runtime.block_on(next).expect("an event")
    }
}

fn store(url: &str) -> Kv {
    let config = kv::Config { url: url.into(), timeout: Span::secs(10), ..kv::Config::default() };
    let metrics = kv::Metrics::register(&Registry::new().unwrap()).unwrap();
    Kv::redis(&config, Arc::new(metrics)).unwrap()
}
