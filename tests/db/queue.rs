//! Outcomes, audit and parked commands.

use std::collections::HashSet;

use forebay::db::{OutcomeRow, ParkedRow};

use crate::{TestDatabase, audit, outcome, strings};

pub async fn outcomes_and_audit_are_stored_unchanged(test_db: &TestDatabase) {
    let database = test_db.migrated().await;
    let full = outcome("c1", 9);
    let bare =
        OutcomeRow { field: None, reason: None, actor: Some("ada".into()), partition: 3, ..outcome("c2", 9) };
    let mut batch = database.begin().await.unwrap();
    batch.insert_outcomes(&[full.clone(), bare.clone()]).await.unwrap();
    batch.insert_audit(&[audit("c1"), audit("c2"), audit("c4")]).await.unwrap();
    let asked = strings(&["c1", "c3", "c4"]);
    let decided: HashSet<String> = strings(&["c1", "c4"]).into_iter().collect();
    assert_eq!(batch.decided(&asked).await, Ok(decided.clone()), "c4 has only an audit row");
    batch.commit().await.unwrap();
    assert_eq!(database.decided(&asked).await, Ok(decided));
    assert_eq!(database.outcome("c1").await, Ok(Some(full)));
    assert_eq!(database.outcome("c3").await, Ok(None));
    assert_eq!(database.outcomes(&strings(&["c2", "c3"])).await, Ok(vec![bare]));
    assert_eq!(database.outcomes(&[]).await, Ok(Vec::new()));
}

pub async fn parked_commands_come_in_their_order(test_db: &TestDatabase) {
    let database = test_db.migrated().await;
    let parked = |id: &str, name: &str, seq: i64, attempts: i32| ParkedRow {
        id: id.to_owned(),
        name: name.to_owned(),
        seq,
        attempts,
    };
    let mut batch = database.begin().await.unwrap();
    let rows = [parked("c2", "ada", 20, 0), parked("c9", "ada", 10, 1), parked("c3", "grace", 1, 0)];
    batch.park(&rows).await.unwrap();
    batch.park(&[parked("c2", "ada", 20, 1), parked("c2", "ada", 20, 2)]).await.unwrap();
    let ada = [parked("c9", "ada", 10, 1), parked("c2", "ada", 20, 2)];
    assert_eq!(batch.parked(&strings(&["ada", "linus"])).await.unwrap(), ada);
    batch.commit().await.unwrap();

    let mut batch = database.begin().await.unwrap();
    batch.unpark(&strings(&["c9", "c8"])).await.unwrap();
    batch.commit().await.unwrap();
    let mut batch = database.begin().await.unwrap();
    assert_eq!(batch.parked(&strings(&["ada"])).await.unwrap(), ada[1..]);
    assert_eq!(batch.parked(&[]).await, Ok(Vec::new()));
}
