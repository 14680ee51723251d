//! Delays of 40 ms from small packets that are held back until earlier ones are acknowledged (the driver does not set
//! `TCP_NODELAY`: github.com/launchbadge/sqlx/issues/4335).

use std::time::{Duration, Instant};

use forebay::db::Database;

use crate::{TestDatabase, insert, outcome, user};
use support::services;
use support::sql::SqlServer;

/// Rounds per connection, alternating, so that other load affects both equally.
const ROUNDS: usize = 20;

/// Runs every kind of statement in every shape.
async fn duration_of_a_round(database: &Database) -> Duration {
    let begun = Instant::now();
    database.user("ada").await.unwrap();
    database.holders(Some("ada"), Some("x"), Some("1")).await.unwrap();
    database.users_after(None, 10).await.unwrap();
    for shape in [1, 8, 64, 512] {
        let ids: Vec<String> = (0..shape).map(|id| format!("c{id}")).collect();
        database.outcomes(&ids).await.unwrap();
        let mut batch = database.begin().await.unwrap();
        batch.decided(&ids).await.unwrap();
        batch.parked(&ids).await.unwrap();
        batch.users_for_update(&ids).await.unwrap();
        batch.holders_of(&ids, &ids).await.unwrap();
        batch.tombstones(&ids).await.unwrap();
        batch.insert_outcomes(&ids.iter().map(|id| outcome(id, 1)).collect::<Vec<_>>()).await.unwrap();
        // Rolled back.
        drop(batch);
    }
    begun.elapsed()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn statements_over_tcp_are_not_delayed_by_acknowledgements() {
    let Some(server) = services::own_mariadb("statements_over_tcp_are_not_delayed_by_acknowledgements")
    else {
        return;
    };
    let tcp = TestDatabase::server(server.create_database());
    let name = tcp.url.rsplit_once('/').unwrap().1;
    let socket = TestDatabase::server(server.socket_url(name));
    insert(&tcp.migrated().await, &[user("ada")]).await;
    // The same server over a socket file, where packets are not held back.
    let by_socket = socket.with(|config| config.max_connections = 1).await;
    let by_tcp = tcp.with(|config| config.max_connections = 1).await;
    for database in [&by_socket, &by_tcp] {
        // Prepares the statements.
        duration_of_a_round(database).await;
    }
    let mut shortest = [Duration::MAX; 2];
    for _ in 0..ROUNDS {
        for (shortest, database) in shortest.iter_mut().zip([&by_socket, &by_tcp]) {
            *shortest = duration_of_a_round(database).await.min(*shortest);
        }
    }
    let [by_socket, by_tcp] = shortest;
    println!("{by_tcp:?} by TCP, {by_socket:?} by a socket file");
    // The delay occurs in every round or in none: three delayed statements make a round four times as long. Load can
    // only lengthen a round, and the shortest of twenty is compared.
    assert!(by_tcp < by_socket * 4, "{by_tcp:?} by TCP, {by_socket:?} by a socket file");
}
