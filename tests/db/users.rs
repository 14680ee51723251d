//! Rows of users and their tombstones.

use forebay::db::{DbError, UserRow};
use forebay::units::Timestamp;

use crate::{TestDatabase, insert, strings, user, version};

pub async fn an_inserted_user_is_read_back(test_db: &TestDatabase) {
    let database = test_db.migrated().await;
    let full = UserRow {
        nickname: Some("Ada ❤ 'quoted' \\ ?".to_owned()),
        is_admin: true,
        created_at: Timestamp(1_795_176_000_123),
        updated_at: Timestamp(1_795_176_000_124),
        last_login_at: Some(Timestamp(7)),
        ..user("ada")
    };
    let bare = UserRow { email: None, phone: None, ..user("grace") };
    insert(&database, &[full.clone(), bare.clone()]).await;
    assert_eq!(database.user("ada").await, Ok(Some(full)));
    assert_eq!(database.user("grace").await, Ok(Some(bare)));
    assert_eq!(database.user("linus").await, Ok(None));
}

pub async fn holders_are_found_by_each_column(test_db: &TestDatabase) {
    let database = test_db.migrated().await;
    insert(&database, &[user("ada"), user("grace"), user("linus")]).await;
    let (ada, grace) = (user("ada"), user("grace"));
    let names = |holders: Vec<forebay::db::Holder>| {
        let mut names: Vec<String> = holders.into_iter().map(|holder| holder.name).collect();
        names.sort();
        names
    };
    let found = database.holders(Some("ada"), grace.email.as_deref(), None).await.unwrap();
    assert_eq!(names(found), ["ada", "grace"]);
    let found = database.holders(None, ada.email.as_deref(), ada.phone.as_deref()).await.unwrap();
    assert_eq!(names(found), ["ada"], "one holder, found twice");
    assert_eq!(names(database.holders(None, None, None).await.unwrap()), [""; 0]);
    assert_eq!(names(database.holders(Some("x"), Some("x"), Some("1")).await.unwrap()), [""; 0]);

    let mut batch = database.begin().await.unwrap();
    let found = batch.holders_of(&[ada.email.unwrap(), "x".into()], &[grace.phone.unwrap()]).await.unwrap();
    assert_eq!(names(found), ["ada", "grace"]);
    assert_eq!(batch.holders_of(&[], &[]).await, Ok(Vec::new()));
    let found = batch.holders_of(&[], &[user("linus").phone.unwrap()]).await.unwrap();
    assert_eq!(names(found), ["linus"]);
}

pub async fn comparison_is_byte_exact(test_db: &TestDatabase) {
    let database = test_db.migrated().await;
    let alike = ["ada", "Ada", "ada ", "àda", "a\u{300}da", "ａda"];
    insert(&database, &alike.map(user)).await;
    for name in alike {
        assert_eq!(database.user(name).await.unwrap().unwrap().name, name);
        let email = format!("{name}@example.org");
        assert_eq!(database.holders(None, Some(&email), None).await.unwrap().len(), 1, "{name:?}");
    }
    let listed = database.users_after(None, 100).await.unwrap();
    let mut sorted = alike.to_vec();
    sorted.sort_unstable();
    assert_eq!(listed.iter().map(|user| user.name.as_str()).collect::<Vec<_>>(), sorted, "sorted by bytes");
}

pub async fn users_are_listed_by_name_page_by_page(test_db: &TestDatabase) {
    let database = test_db.migrated().await;
    let mut names: Vec<String> = (0..25).map(|number| format!("user{number}")).collect();
    insert(&database, &names.iter().map(|name| user(name)).collect::<Vec<_>>()).await;
    names.sort();
    let mut listed: Vec<String> = Vec::new();
    loop {
        let page = database.users_after(listed.last().map(String::as_str), 10).await.unwrap();
        if page.is_empty() {
            break;
        }
        assert!(page.len() <= 10);
        listed.extend(page.into_iter().map(|user| user.name));
    }
    assert_eq!(listed, names);
}

pub async fn an_update_changes_all_columns_but_the_last_login(test_db: &TestDatabase) {
    let database = test_db.migrated().await;
    let login = Some(Timestamp(5));
    let ada = UserRow { last_login_at: login, ..user("ada") };
    let grace = user("grace");
    insert(&database, &[ada.clone(), grace.clone()]).await;

    let mut batch = database.begin().await.unwrap();
    let found = batch.users_for_update(&strings(&["grace", "ada", "nobody", "ada"])).await.unwrap();
    assert_eq!(found.len(), 2);
    let moved = UserRow {
        email: Some("new@example.org".into()),
        nickname: Some("Countess".into()),
        password_hash: "$2b$10$other".into(),
        is_admin: true,
        updated_at: Timestamp(9),
        version: version(9, "c9"),
        ..ada.clone()
    };
    // Takes the address that the row before gave up.
    let taker = UserRow { email: ada.email.clone(), ..grace };
    let written = [UserRow { last_login_at: None, ..moved.clone() }, taker.clone()];
    batch.update_users(&written).await.unwrap();
    batch.commit().await.unwrap();
    assert_eq!(database.user("ada").await, Ok(Some(moved)));
    assert_eq!(database.user("grace").await, Ok(Some(taker)));
}

pub async fn an_administrator_is_created_once_and_audited(test_db: &TestDatabase) {
    let database = test_db.migrated().await;
    database.create_admin("root", "$2b$10$hash", Timestamp(3)).await.unwrap();
    let root = database.user("root").await.unwrap().unwrap();
    assert!(root.is_admin && root.email.is_none() && root.created_at == Timestamp(3));
    let again = database.create_admin("root", "$2b$10$hash", Timestamp(4)).await;
    assert_eq!(again, Err(DbError::Conflict));
    // Two administrators without an address do not conflict.
    database.create_admin("other", "$2b$10$hash", Timestamp(4)).await.unwrap();
    let made = |target: &str| format!("operator:migrate user.create_admin {target} applied");
    assert_eq!(audited(test_db).await, [made("root") + " 3", made("other") + " 4"]);
}

/// The audit in the order of time: actor, action, target, outcome, time.
async fn audited(test_db: &TestDatabase) -> Vec<String> {
    let columns = "CONCAT(actor, ' ', action, ' ', target, ' ', outcome, ' ', at)";
    test_db.texts(&format!("SELECT {columns} FROM audit ORDER BY at")).await
}

pub async fn deleted_users_leave_tombstones(test_db: &TestDatabase) {
    let database = test_db.migrated().await;
    insert(&database, &[user("ada"), user("grace")]).await;
    let mut batch = database.begin().await.unwrap();
    batch.delete_users(&strings(&["ada", "nobody"])).await.unwrap();
    let twice = [("ada".to_owned(), version(5, "c5")), ("ada".to_owned(), version(6, "c6"))];
    batch.put_tombstones(&twice).await.unwrap();
    batch.commit().await.unwrap();
    assert_eq!(database.user("ada").await, Ok(None));
    assert!(database.user("grace").await.unwrap().is_some());

    let mut batch = database.begin().await.unwrap();
    let names = strings(&["ada", "grace"]);
    assert_eq!(batch.tombstones(&names).await, Ok(vec![("ada".to_owned(), version(6, "c6"))]));
    batch.put_tombstones(&[("ada".to_owned(), version(8, "c8"))]).await.unwrap();
    assert_eq!(batch.tombstones(&names).await, Ok(vec![("ada".to_owned(), version(8, "c8"))]));
}
