//! Registry of the process's metrics, and helpers with which components register theirs.
//!
//! Each component has a file `metrics.rs` with a struct of its metrics and registers it once per process.
//! docs/operations.md#metrics lists all metrics. This module holds the metrics that several components share: bounds,
//! caches, breakers, steps, topics. Each component gets its own child of them.
//!
//! Label values come from the configuration or from fixed sets, never from a request.

pub mod buckets;
mod registered;
mod topics;
mod values;

use prometheus::process_collector::ProcessCollector;
use prometheus::{
    Encoder, Error, Gauge, Histogram, HistogramOpts, HistogramVec, IntCounter, IntCounterVec, IntGauge,
    IntGaugeVec, Opts, TextEncoder,
};

pub use topics::{TopicCounts, TopicMetrics};
pub use values::by_label;

use registered::registered;

/// All metrics of a process. Clones share them.
#[derive(Clone)]
pub struct Registry {
    registered: prometheus::Registry,
    bound_hit: IntCounterVec,
    cache_hits: IntCounterVec,
    cache_misses: IntCounterVec,
    breaker_open: IntGaugeVec,
    step_seconds: HistogramVec,
    topics: TopicMetrics,
}

/// Counters of a cache.
#[derive(Clone)]
pub struct CacheMetrics {
    /// Lookups that found an entry.
    pub hits: IntCounter,
    /// Lookups that found no entry.
    pub misses: IntCounter,
}

impl Registry {
    /// Creates a registry with the shared metrics and the metrics of the process.
    pub fn new() -> Result<Self, Error> {
        let to = prometheus::Registry::new();
        to.register(Box::new(ProcessCollector::for_self()))?;
        let counters =
            |name, help, label| registered(&to, IntCounterVec::new(Opts::new(name, help), &[label]));
        let steps = HistogramOpts::new(
            "forebay_step_seconds",
            "Duration of a step outside the process, such as kv.get, by step, in seconds. Worry when the \
             95th percentile is near the timeout.",
        );
        let open = Opts::new(
            "forebay_breaker_open",
            "1 while a dependency is not called because it did not respond. Worry when it stays 1.",
        );
        Ok(Self {
            bound_hit: counters(
                "forebay_bound_hit_total",
                "How often a bound was reached, by bound, such as commit_queue, backlog, disk, connections, \
                 body, retention. Worry when one grows for minutes.",
                "bound",
            )?,
            cache_hits: counters(
                "forebay_cache_hits_total",
                "Lookups that a cache answered, by cache. No reason to worry.",
                "cache",
            )?,
            cache_misses: counters(
                "forebay_cache_misses_total",
                "Lookups that a cache did not answer, by cache. Worry when they are more than half: the \
                 cache is too small.",
                "cache",
            )?,
            breaker_open: registered(&to, IntGaugeVec::new(open, &["dependency"]))?,
            step_seconds: registered(
                &to,
                HistogramVec::new(steps.buckets(buckets::STEP_SECONDS.to_vec()), &["step"]),
            )?,
            topics: TopicMetrics::register(&to)?,
            registered: to,
        })
    }

    /// Counter of hits of this bound.
    pub fn bound_hit(&self, bound: &str) -> IntCounter {
        self.bound_hit.with_label_values(&[bound])
    }

    /// Counters of this cache.
    pub fn cache(&self, cache: &str) -> CacheMetrics {
        let [hits, misses] =
            [&self.cache_hits, &self.cache_misses].map(|counters| counters.with_label_values(&[cache]));
        CacheMetrics { hits, misses }
    }

    /// Gauge that is 1 while this dependency is not called because it did not respond.
    pub fn breaker_open(&self, dependency: &str) -> IntGauge {
        self.breaker_open.with_label_values(&[dependency])
    }

    /// Durations of steps in seconds, by name.
    pub fn step_seconds(&self) -> HistogramVec {
        self.step_seconds.clone()
    }

    /// Number of records by topic.
    pub fn topics(&self) -> TopicMetrics {
        self.topics.clone()
    }

    /// Registers a gauge of integers.
    pub fn gauge(&self, name: &str, help: &str) -> Result<IntGauge, Error> {
        registered(&self.registered, IntGauge::new(name, help))
    }

    /// Registers a gauge of fractional numbers, such as seconds.
    pub fn float_gauge(&self, name: &str, help: &str) -> Result<Gauge, Error> {
        registered(&self.registered, Gauge::new(name, help))
    }

    /// Registers a gauge with one label. The `known` label values have a series from the start.
    pub fn gauges(&self, name: &str, help: &str, label: &str, known: &[&str]) -> Result<IntGaugeVec, Error> {
        let gauges = self.gauges_by(name, help, &[label])?;
        known.iter().for_each(|value| drop(gauges.with_label_values(&[*value])));
        Ok(gauges)
    }

    /// Registers a gauge with several labels.
    pub fn gauges_by(&self, name: &str, help: &str, labels: &[&str]) -> Result<IntGaugeVec, Error> {
        registered(&self.registered, IntGaugeVec::new(Opts::new(name, help), labels))
    }

    /// Registers a counter.
    pub fn counter(&self, name: &str, help: &str) -> Result<IntCounter, Error> {
        registered(&self.registered, IntCounter::new(name, help))
    }

    /// Registers a counter with one label. The `known` label values have a series with 0 from the start. Otherwise an
    /// alert on an increase would miss the first event.
    pub fn counters(
        &self,
        name: &str,
        help: &str,
        label: &str,
        known: &[&str],
    ) -> Result<IntCounterVec, Error> {
        let counters = self.counters_by(name, help, &[label])?;
        known.iter().for_each(|value| drop(counters.with_label_values(&[*value])));
        Ok(counters)
    }

    /// Registers a counter with several labels.
    pub fn counters_by(&self, name: &str, help: &str, labels: &[&str]) -> Result<IntCounterVec, Error> {
        registered(&self.registered, IntCounterVec::new(Opts::new(name, help), labels))
    }

    /// Registers a histogram with these upper bounds.
    pub fn histogram(&self, name: &str, help: &str, buckets: &[f64]) -> Result<Histogram, Error> {
        let options = HistogramOpts::new(name, help).buckets(buckets.to_vec());
        registered(&self.registered, Histogram::with_opts(options))
    }

    /// Registers a histogram with these upper bounds and several labels. Each combination has about twenty series,
    /// created at the first observation.
    pub fn histograms(
        &self,
        name: &str,
        help: &str,
        buckets: &[f64],
        labels: &[&str],
    ) -> Result<HistogramVec, Error> {
        let options = HistogramOpts::new(name, help).buckets(buckets.to_vec());
        registered(&self.registered, HistogramVec::new(options, labels))
    }

    /// Renders the text exposition format for `GET /metrics`.
    pub fn render(&self) -> Result<Vec<u8>, Error> {
        let mut text = Vec::new();
        TextEncoder::new().encode(&self.registered.gather(), &mut text)?;
        Ok(text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_registered_once_and_rendered_with_its_value() {
        let registry = Registry::new().unwrap();
        registry.gauge("sample", "A sample").unwrap().set(3);
        assert!(registry.gauge("sample", "Again").is_err());
        let text = String::from_utf8(registry.render().unwrap()).unwrap();
        assert!(text.contains("\n# HELP sample A sample\n"), "{text}");
        assert!(text.contains("\nsample 3\n"), "{text}");
        assert!(text.contains("process_resident_memory_bytes"), "{text}");
    }
}
