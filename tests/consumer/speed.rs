//! Batches reduce the number of transactions. The benchmarks measure the time saved.

use forebay::consumer::Config;
use forebay::units::Span;

use super::commands::{CommandSource, send};
use super::test_servers::{TestServers, for_each_database};

const RECORDS: u64 = 1_500;

#[test]
fn batches_need_a_fifth_of_the_transactions_at_most() {
    for_each_database("batches_need_a_fifth_of_the_transactions_at_most", |stage| {
        let mut log = CommandSource::new(1);
        let sent: Vec<_> = (0..RECORDS).map(|number| log.create(number, &format!("u{number}"))).collect();
        let ids: Vec<_> = sent.iter().map(|one| one.id).collect();
        send(&stage.kafka.bootstrap(), &sent);
        let before = stage.transactions();
        // A batch waits long enough for all records from a busy broker.
        let config = Config { batch_size: 500, batch_wait: Span::secs(5), ..TestServers::config() };
        let _running = stage.start(config);
        stage.await_outcomes(&ids);
        let transactions = stage.transactions() - before;
        assert!(transactions * 5 <= RECORDS, "{transactions} transactions for {RECORDS} rows");
    });
}
