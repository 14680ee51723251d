//! What batches are for: a ratio, on one database in one run.

use std::time::Instant;

use forebay::consumer::Config;

use super::commands::Log;
use super::commands::send;
use super::stage::Stage;
use super::stage::on_each;

/// Enough for a figure, few enough for one-row transactions.
const FEW: u64 = 1_500;
const MANY: u64 = 15_000;

#[test]
fn batches_are_at_least_five_times_as_fast_as_transactions_of_one_row() {
    on_each("batches_are_at_least_five_times_as_fast_as_transactions_of_one_row", |stage| {
        let rate = |log: u8, count: u64, batch_size: u32| {
            let mut log_of = Log::new(log);
            let sent: Vec<_> =
                (0..count).map(|number| log_of.create(number, &format!("u{log}x{number}"))).collect();
            let ids: Vec<_> = sent.iter().map(|one| one.id).collect();
            send(&stage.kafka.bootstrap(), &sent);
            let began = Instant::now();
            let _running = stage.start(Config { batch_size, ..Stage::config() });
            // Joining the group is not what is measured.
            stage.await_some(&ids[..1], 1);
            let joined = Instant::now();
            let before = stage.try_outcomes(&ids).unwrap().len();
            stage.await_outcomes(&ids);
            let rate = (ids.len() - before) as f64 / joined.elapsed().as_secs_f64();
            println!("batch_size {batch_size}: {rate:.0}/s ({:?} in all)", began.elapsed());
            rate
        };
        let single = rate(1, FEW, 1);
        let batched = rate(2, MANY, 500);
        println!("ratio {:.1}", batched / single);
        assert!(batched >= 5.0 * single, "{batched:.0}/s in batches, {single:.0}/s one by one");
    });
}
