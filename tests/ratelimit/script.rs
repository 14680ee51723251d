//! The script in Redis and the arithmetic in Rust decide the same.

use std::time::{Duration, SystemTime};

use forebay::kv;
use forebay::kv::{Bucket, Kv, Rate, ServerUrl};
use forebay::metrics::Registry;

use support::services;

const BUCKETS: u64 = 200;
const STEPS: u64 = 100;

/// A linear congruential generator. Any other would do.
struct Random(u64);

impl Random {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % bound.max(1)
    }

    /// A number of any order of magnitude.
    fn size(&mut self, digits: u64) -> u64 {
        let top = 10u64.pow(u32::try_from(self.below(digits + 1)).unwrap());
        1 + self.below(top)
    }

    fn rate(&mut self) -> Rate {
        Rate { limit: self.size(9), window: Duration::from_micros(1_000_000 + self.size(10)) }
    }
}

#[tokio::test]
async fn the_redis_script_and_the_rust_code_agree() {
    let Some(starter) = services::redis("the_redis_script_and_the_rust_code_agree") else { return };
    let server = starter.start();
    let config = kv::Config { url: ServerUrl::from(&*server.url()), ..kv::Config::default() };
    let config = kv::Config { timeout: forebay::units::Span::secs(10), ..config };
    let kv = Kv::redis(&config, kv::Metrics::register(&Registry::new().unwrap()).unwrap().into()).unwrap();
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap();
    let seed = u64::try_from(since.as_nanos() % u128::from(u64::MAX)).unwrap();
    println!("seed {seed}");
    let mut random = Random(seed);
    let mut granted = 0;
    for life in 0..BUCKETS {
        let (key, mut bucket, mut rate) = (format!("k:{life}"), Bucket::default(), random.rate());
        let mut now = u64::try_from(since.as_micros()).unwrap();
        for step in 0..STEPS {
            match random.below(20) {
                // The limit changes, or the clock is set back.
                0 => rate = random.rate(),
                1 => now -= random.size(9),
                _ => now += random.size(7),
            }
            let need = i64::try_from(random.size(9).min(rate.limit + 5)).unwrap();
            let need = if random.below(8) == 0 { -need } else { need / 4 };
            let want = (need, random.size(9));
            let here = bucket.spend_at(rate, want, now);
            let by_script = kv.take_permits_at(&key, rate, want, now).await.unwrap();
            assert_eq!(
                by_script, here,
                "seed {seed}, life {life}, step {step}: {rate:?} {want:?} {bucket:?}"
            );
            granted += u64::from(here.granted > 0);
        }
    }
    let all = BUCKETS * STEPS;
    assert!(
        granted > all / 10 && granted < all * 9 / 10,
        "{granted} of {all}: both decisions must occur often"
    );
}
