//! Cached profiles, in a process and shared between daemons, are never older than the last change notice.

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

/// A database with one user. Reads can be blocked after they have read the row.
struct ProfileDatabase {
    runtime: Runtime,
    db: Database,
    gate: StatementGate,
}

impl ProfileDatabase {
    fn new(test: &str) -> Option<ProfileDatabase> {
        let url = services::postgres(test)?;
        let runtime = Runtime::new().unwrap();
        // Reads may be blocked for any time.
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

    /// The nickname of user ada according to this cache.
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
fn a_read_overtaken_by_a_change_is_not_cached() {
    let Some(mut place) = ProfileDatabase::new("a_read_overtaken_by_a_change_is_not_cached") else {
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
    assert_eq!(read.unwrap().nickname.as_deref(), Some("old"), "the row was read before the change");
    assert_eq!(place.nickname(&profiles).as_deref(), Some("new"));
}

#[test]
fn a_slow_load_does_not_replace_a_newer_fetch() {
    let Some(mut place) = ProfileDatabase::new("a_slow_load_does_not_replace_a_newer_fetch") else {
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
    // Like a client that waited for the change. The change notice has not arrived yet.
    place.runtime.block_on(profiles.fetch("ada")).unwrap();
    place.gate.open();
    place.runtime.block_on(loading).unwrap().unwrap();
    let remembered = place.nickname(&profiles);
    // The load's entry in the shared level may be stale until the change notice arrives.
    place.changed(&profiles);
    assert_eq!((remembered.as_deref(), place.nickname(&profiles).as_deref()), (Some("new"), Some("new")));
}

#[test]
fn a_deleted_user_does_not_return_to_the_shared_cache() {
    let test = "a_deleted_user_does_not_return_to_the_shared_cache";
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
    // However late it completes.
    wait::until_true("the user is not cached", LONG, || {
        redis.command(&["EXISTS", ENTRY]).is_ok_and(|answer| answer == ":0\r\n")
    });
    place.gate.open();
    assert!(
        place.runtime.block_on(loading).unwrap().unwrap().is_some(),
        "the row was read before the deletion"
    );
    assert_eq!(redis.command(&["EXISTS", ENTRY]).unwrap(), ":0\r\n");
    assert_eq!(place.nickname(&other), None);
}

#[test]
fn reads_are_shared_and_entries_of_earlier_versions_valid() {
    let test = "what_is_read_without_a_change_is_shared";
    let (Some(mut place), Some(redis)) = (ProfileDatabase::new(test), services::redis(test)) else { return };
    let redis = redis.start();
    let kv = store(&redis.url());
    assert_eq!(place.nickname(&place.profiles(&kv)).as_deref(), Some("old"));
    let written = redis.command(&["GET", ENTRY]).unwrap();
    assert!(written.contains(r#"{"name":"ada","#), "{written}");
    // Read from the shared level, not from the database.
    place.gate.sql(RENAMED);
    assert_eq!(place.nickname(&place.profiles(&kv)).as_deref(), Some("old"));
    // A daemon of an earlier version writes the same entry; a change removes it.
    place.changed(&place.profiles(&kv));
    assert_eq!(place.nickname(&place.profiles(&kv)).as_deref(), Some("new"));
    // The lease of a killed process does not block others.
    assert_eq!(redis.command(&["SET", ENTRY, "lease:0123456789abcdef0123456789abcdef"]).unwrap(), "+OK\r\n");
    assert_eq!(place.nickname(&place.profiles(&kv)).as_deref(), Some("new"));
}

#[test]
fn a_change_notice_is_sent_after_a_redis_outage() {
    let test = "a_change_notice_is_sent_after_a_redis_outage";
    let (Some(mut place), Some(redis)) = (ProfileDatabase::new(test), services::redis(test)) else { return };
    let (redis, proxy) = (redis.start(), Proxy::start());
    proxy.forward_to(&redis.address());
    let profiles = place.profiles(&store(&format!("redis://{}", proxy.address())));
    let _repeats = place.runtime.block_on(async { profiles.notices().retry_unpublished() });
    let mut heard = store(&redis.url()).subscribe(users::CHANNEL);
    assert_eq!(place.next(&mut heard), SubscriptionEvent::MessagesMissed, "the subscription has started");
    assert_eq!(place.nickname(&profiles).as_deref(), Some("old"));
    redis.kill();
    place.gate.sql(RENAMED);
    place.changed(&profiles);
    assert_eq!(
        place.nickname(&profiles).as_deref(),
        Some("new"),
        "this process must have dropped the old entry"
    );
    // The notice is sent only after the other daemon has subscribed again; otherwise it would notice the gap by itself.
    proxy.refuse();
    redis.restart();
    assert_eq!(
        place.next(&mut heard),
        SubscriptionEvent::MessagesMissed,
        "the subscription has started again"
    );
    assert_eq!(redis.command(&["SET", ENTRY, "null"]).unwrap(), "+OK\r\n");
    proxy.heal();
    assert_eq!(place.next(&mut heard), SubscriptionEvent::Message("ada".to_owned()));
    assert_eq!(redis.command(&["EXISTS", ENTRY]).unwrap(), ":0\r\n");
}

#[test]
fn a_notice_for_all_users_bypasses_older_redis_entries() {
    let test = "a_notice_for_all_users_bypasses_older_redis_entries";
    let (Some(mut place), Some(redis)) = (ProfileDatabase::new(test), services::redis(test)) else { return };
    let redis = redis.start();
    let kv = store(&redis.url());
    let (one, listening, late) = (place.profiles(&kv), place.profiles(&kv), place.profiles(&kv));
    let _tasks = place.runtime.block_on(async { [one.notices().retry_unpublished(), listening.listen()] });
    assert_eq!(place.nickname(&one).as_deref(), Some("old"));
    place.gate.sql(RENAMED);
    // As if ada's name was among the dropped ones: one more name waits than allowed.
    let many: Vec<_> = (0..50_001).map(|number| format!("user{number}")).collect();
    place.runtime.block_on(one.invalidate(&many));
    wait::until_true("the notice for all users is stored", LONG, || {
        redis.command(&["EXISTS", "user:profile:*"]).is_ok_and(|answer| answer == ":1\r\n")
    });
    let is_new = |profiles: &ProfileCache| place.nickname(profiles).as_deref() == Some("new");
    wait::until_true("a daemon that listens reads the change", LONG, || is_new(&listening));
    let _task = place.runtime.block_on(async { late.listen() });
    wait::until_true("a daemon that starts after it reads the change", LONG, || is_new(&late));
    assert!(redis.command(&["GET", ENTRY]).unwrap().contains(r#""old""#), "the entry still exists");
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
