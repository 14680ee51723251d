//! The registry of a process's metrics, and what components need to add theirs to it.
//!
//! Each component has a file `metrics.rs` with a struct of its metrics, and registers it once in a process
//! (docs/operations.md#metrics lists them all). Metrics that several components share are here: bounds, caches, breakers,
//! steps, topics. A component asks for its own child of them.
//!
//! Labels come from the configuration or from fixed sets, never from a request.

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

/// What a cache counts.
#[derive(Clone)]
pub struct CacheMetrics {
    /// Questions that it answered.
    pub hits: IntCounter,
    /// Questions that it did not answer.
    pub misses: IntCounter,
}

impl Registry {
    /// Has what components share, and figures of the process.
    pub fn new() -> Result<Self, Error> {
        let to = prometheus::Registry::new();
        to.register(Box::new(ProcessCollector::for_self()))?;
        let counters =
            |name, help, label| registered(&to, IntCounterVec::new(Opts::new(name, help), &[label]));
        let steps = HistogramOpts::new(
            "forebay_step_seconds",
            "Duration of a step outside the process, such as kv.get, by step, in seconds. Worry when the \
             95th percentile is near the time-out.",
        );
        let open = Opts::new(
            "forebay_breaker_open",
            "1 while a dependency is not asked because it did not answer. Worry when it stays 1.",
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
                "Questions that a cache answered, by cache. No reason to worry.",
                "cache",
            )?,
            cache_misses: counters(
                "forebay_cache_misses_total",
                "Questions that a cache did not answer, by cache. Worry when they are more than half: the \
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

    /// How often this bound was hit.
    pub fn bound_hit(&self, bound: &str) -> IntCounter {
        self.bound_hit.with_label_values(&[bound])
    }

    /// What this cache counts.
    pub fn cache(&self, cache: &str) -> CacheMetrics {
        let [hits, misses] =
            [&self.cache_hits, &self.cache_misses].map(|counters| counters.with_label_values(&[cache]));
        CacheMetrics { hits, misses }
    }

    /// 1 while this dependency is not asked because it did not answer.
    pub fn breaker_open(&self, dependency: &str) -> IntGauge {
        self.breaker_open.with_label_values(&[dependency])
    }

    /// Durations of steps, by name.
    pub fn step_seconds(&self) -> HistogramVec {
        self.step_seconds.clone()
    }

    /// Records by topic.
    pub fn topics(&self) -> TopicMetrics {
        self.topics.clone()
    }

    /// A gauge of whole numbers.
    pub fn gauge(&self, name: &str, help: &str) -> Result<IntGauge, Error> {
        registered(&self.registered, IntGauge::new(name, help))
    }

    /// A gauge of fractions: seconds, for example.
    pub fn float_gauge(&self, name: &str, help: &str) -> Result<Gauge, Error> {
        registered(&self.registered, Gauge::new(name, help))
    }

    /// A gauge for each value of a label. Those that are `known` in advance are there from the start.
    pub fn gauges(&self, name: &str, help: &str, label: &str, known: &[&str]) -> Result<IntGaugeVec, Error> {
        let gauges = self.gauges_by(name, help, &[label])?;
        known.iter().for_each(|value| drop(gauges.with_label_values(&[*value])));
        Ok(gauges)
    }

    /// A gauge for each combination of labels.
    pub fn gauges_by(&self, name: &str, help: &str, labels: &[&str]) -> Result<IntGaugeVec, Error> {
        registered(&self.registered, IntGaugeVec::new(Opts::new(name, help), labels))
    }

    /// A counter.
    pub fn counter(&self, name: &str, help: &str) -> Result<IntCounter, Error> {
        registered(&self.registered, IntCounter::new(name, help))
    }

    /// A counter for each value of a label. Those that are `known` in advance are there from the start with 0: an alert on
    /// an increase would miss the first event of a counter that begins with it.
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

    /// A counter for each combination of labels.
    pub fn counters_by(&self, name: &str, help: &str, labels: &[&str]) -> Result<IntCounterVec, Error> {
        registered(&self.registered, IntCounterVec::new(Opts::new(name, help), labels))
    }

    /// A histogram with these upper bounds.
    pub fn histogram(&self, name: &str, help: &str, buckets: &[f64]) -> Result<Histogram, Error> {
        let options = HistogramOpts::new(name, help).buckets(buckets.to_vec());
        registered(&self.registered, Histogram::with_opts(options))
    }

    /// A histogram with these upper bounds for each combination of labels. Each is some twenty series: they are made when
    /// there is something to observe.
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

    /// The text exposition format, for `GET /metrics`.
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
