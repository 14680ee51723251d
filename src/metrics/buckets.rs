//! Upper bounds of histogram buckets.

/// Flushes take 50 µs on a good disk and several seconds on a disk that is about to fail.
pub const FLUSH_SECONDS: &[f64] = &[
    0.000_05, 0.000_1, 0.000_2, 0.000_5, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0,
];

/// Requests range from a cached response to `Prefer: wait=60`.
pub const REQUEST_SECONDS: &[f64] =
    &[0.000_1, 0.000_2, 0.000_5, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 5.0, 60.0];

/// Delivery takes from a millisecond to the hours for which brokers may be unavailable.
pub const DELIVERY_SECONDS: &[f64] =
    &[0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.5, 1.0, 5.0, 30.0, 60.0, 300.0, 1800.0, 3600.0, 14_400.0];

/// From a single record to a full batch.
pub const BATCH_RECORDS: &[f64] =
    &[1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0, 128.0, 256.0, 512.0, 1024.0, 4096.0, 16_384.0];

/// Steps outside the process take from 50 µs on the local machine to a timeout. Few buckets, because every step has a
/// histogram. 0.2 is the default of `slow_step`.
pub const STEP_SECONDS: &[f64] = &[0.000_2, 0.001, 0.005, 0.02, 0.1, 0.2, 1.0, 5.0];

/// Statements take from a lookup in a local file to the daemon's timeout. Few buckets, because every statement has a
/// histogram.
pub const DATABASE_SECONDS: &[f64] = &[0.001, 0.005, 0.02, 0.1, 0.5, 2.0];
