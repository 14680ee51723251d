//! Waits of 40 ms that nobody asked for: small packets held back until the last ones are acknowledged (the driver does
//! not set `TCP_NODELAY`: github.com/launchbadge/sqlx/issues/4335).

use std::time::Duration;
use std::time::Instant;

use forebay::db::Database;

use crate::Place;
use crate::insert;
use crate::outcome;
use crate::support::services;
use crate::support::sql::SqlServer;
use crate::user;

const ROUNDS: usize = 20;

/// Every kind of statement that there is, in every shape, again and again. Statements are prepared beforehand.
async fn duration(database: &Database) -> Duration {
    let mut begun = Instant::now();
    for round in 0..=ROUNDS {
        if round == 1 {
            begun = Instant::now();
        }
        database.user("ada").await.unwrap();
        database.holders(Some("ada"), Some("x"), Some("1")).await.unwrap();
        database.users_after(None, 10).await.unwrap();
        for shape in [1, 8, 64, 512] {
            let ids: Vec<String> = (0..shape).map(|id| format!("c{id}")).collect();
            database.outcomes(&ids).await.unwrap();
            let mut batch = database.begin().await.unwrap();
            batch.known_outcomes(&ids).await.unwrap();
            batch.parked(&ids).await.unwrap();
            batch.users_for_update(&ids).await.unwrap();
            batch.holders_of(&ids, &ids).await.unwrap();
            batch.tombstones(&ids).await.unwrap();
            batch.insert_outcomes(&ids.iter().map(|id| outcome(id, 1)).collect::<Vec<_>>()).await.unwrap();
            // Rolled back.
            drop(batch);
        }
    }
    begun.elapsed()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn statements_over_tcp_wait_for_no_acknowledgement() {
    let Some(server) = services::own_mariadb("statements_over_tcp_wait_for_no_acknowledgement") else {
        return;
    };
    let tcp = Place::server(server.fresh());
    let name = tcp.url.rsplit_once('/').unwrap().1;
    let socket = Place::server(server.socket_url(name));
    insert(&tcp.migrated().await, &[user("ada")]).await;
    // The same on the same server, where there is nothing to be held back.
    let by_socket = duration(&socket.with(|config| config.max_connections = 1).await).await;
    let by_tcp = duration(&tcp.with(|config| config.max_connections = 1).await).await;
    println!("{by_tcp:?} by TCP, {by_socket:?} by a socket file");
    // One wait in ten statements would make it ten times as long.
    assert!(by_tcp < by_socket * 4, "{by_tcp:?} by TCP, {by_socket:?} by a socket file");
}
