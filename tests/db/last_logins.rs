//! Login times, written in parallel with changes of the same users.

use forebay::db::{Database, DbError, UserRow};
use forebay::units::Timestamp;
use tokio::task::JoinSet;

use crate::{TestDatabase, insert, strings, user};

fn logins(list: &[(&str, u64)]) -> Vec<(String, Timestamp)> {
    list.iter().map(|&(name, at)| (name.to_owned(), Timestamp(at))).collect()
}

pub async fn only_later_times_of_existing_users_are_written(test_db: &TestDatabase) {
    let database = test_db.migrated().await;
    let linus = UserRow { last_login_at: Some(Timestamp(50)), ..user("linus") };
    insert(&database, &[user("ada"), user("grace"), linus.clone()]).await;
    assert_eq!(database.set_last_logins(&[]).await, Ok(0));
    let first = logins(&[("linus", 40), ("nobody", 7), ("ada", 9), ("Ada", 8), ("ada", 10), ("ada ", 11)]);
    assert_eq!(database.set_last_logins(&first).await, Ok(1));
    // All columns but the login time are unchanged.
    let ada = UserRow { last_login_at: Some(Timestamp(10)), ..user("ada") };
    assert_eq!(database.user("ada").await, Ok(Some(ada.clone())));
    assert_eq!(database.user("linus").await, Ok(Some(linus)));
    assert_eq!(database.user("grace").await, Ok(Some(user("grace"))));
    assert_eq!(database.user("nobody").await, Ok(None));
    let again = logins(&[("ada", 10), ("grace", 3), ("linus", 1_795_176_000_123)]);
    assert_eq!(database.set_last_logins(&again).await, Ok(2));
    assert_eq!(database.user("ada").await, Ok(Some(ada)));
    let linus = database.user("linus").await.unwrap().unwrap();
    assert_eq!(linus.last_login_at, Some(Timestamp(1_795_176_000_123)));
}

/// The login time waits to be written while the user is deleted and the name is registered again.
pub async fn a_login_of_a_former_user_is_not_written(test_db: &TestDatabase) {
    let database = test_db.migrated().await;
    insert(&database, &[UserRow { created_at: Timestamp(100), ..user("ada") }, user("grace")]).await;
    assert_eq!(database.set_last_logins(&logins(&[("ada", 99), ("grace", 99)])).await, Ok(1));
    assert_eq!(database.user("ada").await.unwrap().unwrap().last_login_at, None);
    assert_eq!(database.set_last_logins(&logins(&[("ada", 100)])).await, Ok(1));
}

pub async fn more_times_than_the_largest_shape_are_written(test_db: &TestDatabase) {
    let database = test_db.migrated().await;
    let names: Vec<String> = (0..1100).map(|number| format!("user{number:04}")).collect();
    insert(&database, &names.iter().map(|name| user(name)).collect::<Vec<_>>()).await;
    let times: Vec<_> = names.iter().cloned().zip((1..).map(Timestamp)).collect();
    assert_eq!(database.set_last_logins(&times).await, Ok(1100));
    let listed = database.users_after(None, 1000).await.unwrap();
    for (user, (name, at)) in listed.iter().zip(&times) {
        assert_eq!((&user.name, user.last_login_at), (name, Some(*at)));
    }
    assert_eq!(database.set_last_logins(&times).await, Ok(0));
}

/// A transaction reads the row, the login time is written, and then the transaction writes what it read.
pub async fn a_concurrent_change_keeps_the_login_time(test_db: &TestDatabase) {
    let database = test_db.migrated().await;
    let ada = UserRow { last_login_at: Some(Timestamp(5)), ..user("ada") };
    insert(&database, &[ada]).await;
    let mut batch = database.begin().await.unwrap();
    let mut ada = batch.users_for_update(&strings(&["ada"])).await.unwrap().remove(0);
    let noting = tokio::spawn({
        let database = database.clone();
        async move { database.set_last_logins(&logins(&[("ada", 10)])).await }
    });
    ada.nickname = Some("Countess".to_owned());
    batch.update_users(&[ada]).await.unwrap();
    batch.commit().await.unwrap();
    assert_eq!(noting.await.unwrap(), Ok(1));
    let ada = database.user("ada").await.unwrap().unwrap();
    assert_eq!((ada.last_login_at, ada.nickname.as_deref()), (Some(Timestamp(10)), Some("Countess")));

    // The other order: a row read before the time was written is written after it.
    let stale = UserRow { last_login_at: Some(Timestamp(5)), ..ada };
    let mut batch = database.begin().await.unwrap();
    batch.update_users(&[stale]).await.unwrap();
    batch.commit().await.unwrap();
    let ada = database.user("ada").await.unwrap().unwrap();
    assert_eq!(ada.last_login_at, Some(Timestamp(10)));
}

const ROUNDS: u64 = 20;

/// Writes logins of all users, again and again.
async fn note(database: Database, names: Vec<String>, writer: u64) -> Result<(), DbError> {
    for round in 0..ROUNDS {
        let at = Timestamp(round * 2 + writer + 1);
        let times: Vec<_> = names.iter().map(|name| (name.clone(), at)).collect();
        database.set_last_logins(&times).await?;
    }
    Ok(())
}

/// Changes all users, including their e-mail addresses, as the consumer does.
async fn change(database: Database, names: Vec<String>, writer: u64) -> Result<(), DbError> {
    for round in 0..ROUNDS {
        let mut batch = database.begin().await?;
        let mut users = batch.users_for_update(&names).await?;
        for user in &mut users {
            user.email = Some(format!("{}-{round}-{writer}@example.org", user.name));
        }
        batch.update_users(&users).await?;
        batch.commit().await?;
    }
    Ok(())
}

pub async fn login_times_and_changes_do_not_deadlock(test_db: &TestDatabase) {
    let database = test_db.migrated().await;
    let names: Vec<String> = (0..80).map(|number| format!("user{number:02}")).collect();
    insert(&database, &names.iter().map(|name| user(name)).collect::<Vec<_>>()).await;
    let backwards: Vec<String> = names.iter().rev().cloned().collect();
    let mut work = JoinSet::new();
    for writer in 0..2 {
        work.spawn(note(database.clone(), backwards.clone(), writer));
        work.spawn(change(database.clone(), names.clone(), writer));
    }
    // All lock in one order, so no deadlock occurs.
    for done in work.join_all().await {
        assert_eq!(done, Ok(()));
    }
    for user in database.users_after(None, 100).await.unwrap() {
        assert_eq!(user.last_login_at, Some(Timestamp(ROUNDS * 2)));
    }
}
