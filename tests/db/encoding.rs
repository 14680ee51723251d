//! MariaDB's column character sets that store every character.

use crate::TestDatabase;
use support::services;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ascii_is_accepted_only_in_the_migrations_ascii_columns() {
    let Some(url) = services::mariadb("ascii_is_accepted_only_in_the_migrations_ascii_columns") else {
        return;
    };
    let test_db = TestDatabase::server(url);
    let database = test_db.migrated().await;
    assert_eq!(database.wrong_encoding().await, Ok(None), "the migrations' own tables");
    test_db.sql("ALTER TABLE users MODIFY nickname VARCHAR(1024) CHARACTER SET ascii NULL").await;
    let wrong = database.wrong_encoding().await.unwrap().unwrap();
    assert!(wrong.found.contains("users.nickname") && wrong.found.contains("ascii"), "{wrong}");
    test_db.sql("ALTER TABLE users MODIFY nickname VARCHAR(1024) CHARACTER SET utf8mb4 NULL").await;
    test_db.sql("ALTER TABLE user_extras MODIFY extras MEDIUMTEXT CHARACTER SET ascii NOT NULL").await;
    let wrong = database.wrong_encoding().await.unwrap().unwrap();
    assert!(wrong.found.contains("user_extras.extras"), "{wrong}");
}
