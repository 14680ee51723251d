//! Deferred columns of an overloaded database.

use forebay::db::{Database, DbError, UserRow};

use crate::{TestDatabase, insert, strings, user};

async fn defer(database: &Database, name: &str, extras: &str) -> Result<(), DbError> {
    let mut batch = database.begin().await?;
    batch.put_extras(&[(name.to_owned(), extras.to_owned())]).await?;
    batch.commit().await
}

async fn nickname(database: &Database, name: &str) -> Option<String> {
    database.user(name).await.unwrap().unwrap().nickname
}

pub async fn deferred_columns_show_at_once_and_are_merged_later(test_db: &TestDatabase) {
    let database = test_db.migrated().await;
    let grace = UserRow { nickname: Some("Amazing".into()), ..user("grace") };
    insert(&database, &[user("ada"), grace, user("linus")]).await;
    defer(&database, "ada", r#"{"nickname":"Countess","later":1}"#).await.unwrap();
    defer(&database, "grace", r#"{"nickname":null}"#).await.unwrap();
    // An object without members keeps the columns deferred before.
    defer(&database, "ada", "{}").await.unwrap();
    let refused = defer(&database, "ada", "[]").await.unwrap_err();
    assert!(matches!(refused, DbError::Refused(_)), "{refused}");
    // For a user that does not exist.
    defer(&database, "nobody", r#"{"nickname":"x"}"#).await.unwrap();
    assert_eq!(nickname(&database, "ada").await.as_deref(), Some("Countess"));
    assert_eq!(nickname(&database, "grace").await, None);

    assert_eq!(database.merge_extras(2).await, Ok(2));
    assert_eq!(database.merge_extras(2).await, Ok(1));
    assert_eq!(database.merge_extras(2).await, Ok(0));
    test_db.sql("DELETE FROM user_extras").await;
    assert_eq!(nickname(&database, "ada").await.as_deref(), Some("Countess"));
    assert_eq!(nickname(&database, "grace").await, None);
    assert_eq!(nickname(&database, "linus").await, None);
}

pub async fn an_update_or_deletion_removes_deferred_columns(test_db: &TestDatabase) {
    let database = test_db.migrated().await;
    insert(&database, &[user("ada"), user("grace")]).await;
    for name in ["ada", "grace"] {
        defer(&database, name, r#"{"nickname":"old"}"#).await.unwrap();
    }
    let mut batch = database.begin().await.unwrap();
    let mut ada = batch.users_for_update(&strings(&["ada"])).await.unwrap().remove(0);
    assert_eq!(ada.nickname.as_deref(), Some("old"));
    ada.nickname = Some("new".into());
    batch.update_users(&[ada]).await.unwrap();
    batch.delete_users(&strings(&["grace"])).await.unwrap();
    batch.commit().await.unwrap();
    insert(&database, &[user("grace")]).await;

    assert_eq!(database.merge_extras(10).await, Ok(0));
    assert_eq!(nickname(&database, "ada").await.as_deref(), Some("new"));
    assert_eq!(nickname(&database, "grace").await, None, "another user with that name");
}
