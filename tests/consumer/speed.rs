//! What batches are for: fewer transactions. How much time that saves is the benches' to say.

use forebay::consumer::Config;
use forebay::units::Span;

use super::commands::{CommandSource, send};
use super::test_servers::{TestServers, for_each_database};

const RECORDS: u64 = 1_500;

#[test]
fn batches_take_at_least_five_times_fewer_transactions_than_rows() {
    for_each_database("batches_take_at_least_five_times_fewer_transactions_than_rows", |stage| {
        let mut log = CommandSource::new(1);
        let sent: Vec<_> = (0..RECORDS).map(|number| log.create(number, &format!("u{number}"))).collect();
        let ids: Vec<_> = sent.iter().map(|one| one.id).collect();
        send(&stage.kafka.bootstrap(), &sent);
        let before = stage.transactions();
        // All of them are there: a batch waits for the broker only, and as long as a busy one needs.
        let config = Config { batch_size: 500, batch_wait: Span::secs(5), ..TestServers::config() };
        let _running = stage.start(config);
        stage.await_outcomes(&ids);
        let transactions = stage.transactions() - before;
        assert!(transactions * 5 <= RECORDS, "{transactions} transactions for {RECORDS} rows");
    });
}
