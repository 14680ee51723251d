//! Every metric the daemon exposes, with its name, unit and labels in one place (docs/operations.md#metrics).
//!
//! Gauges that describe the log are set by whoever renders a scrape, so that they are true at that moment.
//! Labels come from configuration or from fixed sets, never from a request.

use prometheus::core::Collector;
use prometheus::{
    Encoder, Histogram, HistogramOpts, HistogramVec, IntCounter, IntCounterVec, IntGauge, IntGaugeVec, Opts,
    Registry, TextEncoder,
};

mod buckets;

use buckets::{
    BATCH_RECORDS, DATABASE_SECONDS, DELIVERY_SECONDS, FLUSH_SECONDS, REQUEST_SECONDS, STEP_SECONDS,
};

/// The metrics, registered.
pub struct Metrics {
    registry: Registry,
    /// Records accepted and not yet confirmed.
    pub backlog: IntGauge,
    /// Age of the oldest of them, in-flight ones included.
    pub oldest_age: prometheus::Gauge,
    /// The same with records parked in back-off left out.
    pub oldest_waiting_age: prometheus::Gauge,
    /// Bytes of the backlog.
    pub backlog_bytes: IntGauge,
    /// Segments by state: `open`, `pending`, `acked`.
    pub segments: IntGaugeVec,
    /// Records appended.
    pub appended: IntCounter,
    /// Their bytes, frames included.
    pub appended_bytes: IntCounter,
    /// Queue, write and flush of one request.
    pub commit_seconds: Histogram,
    /// One flush.
    pub flush_seconds: Histogram,
    /// Records that shared one flush.
    pub commit_records: Histogram,
    /// 1 once the log failed.
    pub poisoned: IntGauge,
    /// Free bytes of the log's file system.
    pub free_bytes: IntGauge,
    /// For how long a repetition is recognised.
    pub idempotency_window: prometheus::Gauge,
    /// Everything accepted before this instant is delivered or dead.
    pub watermark_timestamp: prometheus::Gauge,
    /// Dead letters in the store.
    pub dead_letters: IntGauge,
    /// Delivered segments given up before their time, because acceptance needed the room.
    pub retention_yielded: IntCounter,
    /// Records parked, by topic.
    pub parked: IntGaugeVec,
    /// Records confirmed by the broker, by topic.
    pub sent: IntCounterVec,
    /// Records sent again.
    pub retried: IntCounter,
    /// Dead letters written, by reason.
    pub dead: IntCounterVec,
    /// Accepted to confirmed.
    pub drain_latency: Histogram,
    /// Workers by state: `running`, `waiting`, `paused`, `rebuilding`.
    pub workers: IntGaugeVec,
    /// Logins by result: `ok`, `wrong`, `busy`, `limited`, `failed`; and `reused` refresh tokens.
    pub login: IntCounterVec,
    /// Passwords that wait to be hashed.
    pub hash_waiting: IntGauge,
    /// Login times that wait to be written.
    pub last_logins_waiting: IntGauge,
    /// Users' commands by what became of them: `applied`, `rejected`, `repeat`, `retry`, `dead`.
    pub consumer_applied: IntCounterVec,
    /// Users' commands in Kafka that this process has still to apply.
    pub consumer_lag: IntGauge,
    /// Commands sent to the retry topic.
    pub consumer_retry: IntCounter,
    /// Commands sent to the dead-letter topic.
    pub consumer_dead: IntCounter,
    /// 1 while the database is away, and nothing is applied.
    pub consumer_blocked: IntGauge,
    /// Commands that shared one transaction.
    pub consumer_batch: Histogram,
    /// HTTP requests by method, route and status.
    pub http_requests: IntCounterVec,
    /// Their duration.
    pub http_duration: HistogramVec,
    /// Requests being answered.
    pub http_in_flight: IntGauge,
    /// Requests refused because there were too many, by limiter: `login`, `write`, `account`, `address`.
    pub ratelimit_rejected: IntCounterVec,
    /// 1 while daemons do not count together, and each for itself.
    pub ratelimit_fallback: IntGauge,
    /// TLS handshakes that failed, by reason: `timeout`, `refused` (not TLS as we speak it), `lost` (hung up).
    pub tls_handshakes_failed: IntCounterVec,
    /// Connections to the database by state: `used`, `idle`.
    pub db_connections: IntGaugeVec,
    /// One statement, by query.
    pub db_query_seconds: HistogramVec,
    /// Expired rows deleted from the database, by table.
    pub retention_deleted: IntCounterVec,
    /// For how long the oldest row that is still to be deleted has been expired, in seconds, by table; 0: none is.
    pub retention_lag: IntGaugeVec,
    /// Log lines that could not be written.
    pub log_lines_lost: IntCounter,
    /// How often a bound was hit, by bound (`commit_queue`, `backlog`, `disk`, `connections`, `body`, …).
    pub bound_hit: IntCounterVec,
    /// Rebuilds of the idempotency index, or of a part of it, by cause.
    pub index_rebuilds: IntCounterVec,
    /// Duration of the steps that leave the process, by step (`kv.get`, …).
    pub step_seconds: HistogramVec,
    /// 1 while a dependency is not asked because it was away, by dependency.
    pub breaker_open: IntGaugeVec,
    /// Questions that a cache answered, by cache.
    pub cache_hits: IntCounterVec,
    /// Questions that it did not answer.
    pub cache_misses: IntCounterVec,
}

impl Metrics {
    /// Registers everything. Fails only when two metrics share a name, which a test rules out.
    pub fn new() -> Result<Self, prometheus::Error> {
        let registry = Registry::new();
        let r = &registry;
        let metrics = Self {
            backlog: gauge(r, "kafka_producer_wal_backlog", "Records accepted and not yet confirmed")?,
            oldest_age: float(
                r,
                "kafka_producer_wal_oldest_age_seconds",
                "Age of the oldest unconfirmed record",
            )?,
            oldest_waiting_age: float(
                r,
                "forebay_wal_oldest_waiting_age_seconds",
                "Age of the oldest unconfirmed record that is not parked in back-off",
            )?,
            backlog_bytes: gauge(r, "forebay_wal_backlog_bytes", "Bytes not yet delivered")?,
            segments: gauges(r, "forebay_wal_segments", "Segments by state", "state")?,
            appended: counter(r, "forebay_wal_append_total", "Records appended")?,
            appended_bytes: counter(r, "forebay_wal_append_bytes_total", "Bytes appended, frames included")?,
            commit_seconds: histogram(
                r,
                "forebay_wal_commit_seconds",
                "Queue, write and flush",
                FLUSH_SECONDS,
            )?,
            flush_seconds: histogram(r, "forebay_wal_flush_seconds", "One flush", FLUSH_SECONDS)?,
            commit_records: histogram(
                r,
                "forebay_wal_commit_records",
                "Records that shared a flush",
                BATCH_RECORDS,
            )?,
            poisoned: gauge(r, "forebay_wal_poisoned", "1 once the log failed")?,
            free_bytes: gauge(r, "forebay_wal_free_bytes", "Free bytes of the log's file system")?,
            idempotency_window: float(
                r,
                "forebay_idempotency_window_seconds",
                "For how long a repeated Idempotency-Key is recognised",
            )?,
            watermark_timestamp: float(
                r,
                "forebay_wal_watermark_timestamp_seconds",
                "Everything accepted before this instant is delivered or dead",
            )?,
            dead_letters: gauge(r, "forebay_dead_letters", "Dead letters in the store")?,
            retention_yielded: counter(
                r,
                "forebay_wal_retention_yielded_total",
                "Delivered segments given up early to make room",
            )?,
            parked: gauges(r, "forebay_drain_parked", "Records or partitions parked, by topic", "topic")?,
            sent: counters(r, "forebay_drain_sent_total", "Records confirmed by the broker", &["topic"])?,
            retried: counter(r, "forebay_drain_retried_total", "Records sent again")?,
            dead: counters(r, "forebay_drain_dead_total", "Dead letters written", &["reason"])?,
            drain_latency: histogram(
                r,
                "forebay_drain_latency_seconds",
                "Accepted to confirmed",
                DELIVERY_SECONDS,
            )?,
            workers: gauges(r, "forebay_drain_workers", "Workers by state", "state")?,
            login: counters(r, "forebay_login_total", "Logins, by result", &["result"])?,
            hash_waiting: gauge(r, "forebay_hash_waiting", "Passwords that wait to be hashed")?,
            last_logins_waiting: gauge(
                r,
                "forebay_last_logins_waiting",
                "Login times that wait to be written",
            )?,
            consumer_applied: counters(
                r,
                "forebay_consumer_applied_total",
                "Users' commands by what became of them",
                &["outcome"],
            )?,
            consumer_lag: gauge(r, "forebay_consumer_lag", "Users' commands in Kafka still to be applied")?,
            consumer_retry: counter(r, "forebay_consumer_retry_total", "Commands sent to the retry topic")?,
            consumer_dead: counter(
                r,
                "forebay_consumer_dead_total",
                "Commands sent to the dead-letter topic",
            )?,
            consumer_blocked: gauge(
                r,
                "forebay_consumer_blocked",
                "1 while nothing is applied: the database cannot be written, or no command is settled",
            )?,
            consumer_batch: histogram(
                r,
                "forebay_consumer_batch_records",
                "Commands that shared a transaction",
                BATCH_RECORDS,
            )?,
            http_requests: counters(
                r,
                "http_requests_total",
                "Requests answered",
                &["method", "route", "status"],
            )?,
            http_duration: registered(
                r,
                HistogramVec::new(
                    HistogramOpts::new("http_request_duration_seconds", "Time to answer")
                        .buckets(REQUEST_SECONDS.to_vec()),
                    &["method", "route"],
                ),
            )?,
            http_in_flight: gauge(r, "http_in_flight", "Requests being answered")?,
            ratelimit_rejected: counters(
                r,
                "forebay_ratelimit_rejected_total",
                "Requests refused because there were too many",
                &["limiter"],
            )?,
            ratelimit_fallback: gauge(
                r,
                "forebay_ratelimit_fallback",
                "1 while each daemon counts for itself",
            )?,
            tls_handshakes_failed: counters(
                r,
                "forebay_tls_handshakes_failed_total",
                "TLS handshakes that failed, by reason",
                &["reason"],
            )?,
            db_connections: gauges(r, "db_connections", "Connections to the database", "state")?,
            db_query_seconds: registered(
                r,
                HistogramVec::new(
                    HistogramOpts::new("db_query_seconds", "One statement to the database")
                        .buckets(DATABASE_SECONDS.to_vec()),
                    &["query"],
                ),
            )?,
            retention_deleted: counters(
                r,
                "forebay_retention_deleted_total",
                "Expired rows deleted from the database",
                &["table"],
            )?,
            retention_lag: gauges(
                r,
                "forebay_retention_lag_seconds",
                "For how long the oldest row still to be deleted has been expired; 0: none is",
                "table",
            )?,
            log_lines_lost: counter(
                r,
                "forebay_log_lines_lost_total",
                "Log lines that could not be written to standard error",
            )?,
            bound_hit: counters(r, "forebay_bound_hit_total", "How often a bound was hit", &["bound"])?,
            index_rebuilds: counters(
                r,
                "forebay_index_rebuilds_total",
                "Parts of the idempotency index dropped and rebuilt from the log",
                &["cause"],
            )?,
            step_seconds: registered(
                r,
                HistogramVec::new(
                    HistogramOpts::new("forebay_step_seconds", "One step outside the process")
                        .buckets(STEP_SECONDS.to_vec()),
                    &["step"],
                ),
            )?,
            breaker_open: gauges(
                r,
                "forebay_breaker_open",
                "1 while a dependency is not asked because it was away",
                "dependency",
            )?,
            cache_hits: counters(r, "forebay_cache_hits_total", "Questions a cache answered", &["cache"])?,
            cache_misses: counters(
                r,
                "forebay_cache_misses_total",
                "Questions a cache did not answer",
                &["cache"],
            )?,
            registry: registry.clone(),
        };
        let own = prometheus::process_collector::ProcessCollector::for_self();
        registry.register(Box::new(own))?;
        Ok(metrics)
    }

    /// The text exposition format, for `GET /metrics`.
    pub fn render(&self) -> Result<Vec<u8>, prometheus::Error> {
        let mut text = Vec::new();
        TextEncoder::new().encode(&self.registry.gather(), &mut text)?;
        Ok(text)
    }
}

fn registered<C: Collector + Clone + 'static>(
    registry: &Registry,
    metric: Result<C, prometheus::Error>,
) -> Result<C, prometheus::Error> {
    let metric = metric?;
    registry.register(Box::new(metric.clone()))?;
    Ok(metric)
}

fn gauge(r: &Registry, name: &str, help: &str) -> Result<IntGauge, prometheus::Error> {
    registered(r, IntGauge::new(name, help))
}

fn float(r: &Registry, name: &str, help: &str) -> Result<prometheus::Gauge, prometheus::Error> {
    registered(r, prometheus::Gauge::new(name, help))
}

fn gauges(r: &Registry, name: &str, help: &str, label: &str) -> Result<IntGaugeVec, prometheus::Error> {
    registered(r, IntGaugeVec::new(Opts::new(name, help), &[label]))
}

fn counter(r: &Registry, name: &str, help: &str) -> Result<IntCounter, prometheus::Error> {
    registered(r, IntCounter::new(name, help))
}

fn counters(
    r: &Registry,
    name: &str,
    help: &str,
    labels: &[&str],
) -> Result<IntCounterVec, prometheus::Error> {
    registered(r, IntCounterVec::new(Opts::new(name, help), labels))
}

fn histogram(r: &Registry, name: &str, help: &str, buckets: &[f64]) -> Result<Histogram, prometheus::Error> {
    registered(r, Histogram::with_opts(HistogramOpts::new(name, help).buckets(buckets.to_vec())))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_two_gauges_that_alerts_are_built_on_keep_their_names() {
        let metrics = Metrics::new().unwrap();
        metrics.backlog.set(3);
        let text = String::from_utf8(metrics.render().unwrap()).unwrap();
        assert!(text.contains("\nkafka_producer_wal_backlog 3\n"), "{text}");
        assert!(text.contains("\nkafka_producer_wal_oldest_age_seconds 0\n"), "{text}");
        assert!(text.contains("process_resident_memory_bytes"), "{text}");
    }
}
