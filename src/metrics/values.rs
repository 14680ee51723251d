//! Reads the values of a metric with one label.

use std::collections::BTreeMap;

use prometheus::core::Collector;
use prometheus::proto::MetricType;

/// Values of a counter or gauge, by label value.
pub fn by_label(metric: &impl Collector) -> BTreeMap<String, f64> {
    let mut values = BTreeMap::new();
    for family in metric.collect() {
        for metric in family.get_metric() {
            let label = metric.get_label().first().map(|label| label.value().to_owned());
            let value = match family.get_field_type() {
                MetricType::COUNTER => metric.get_counter().get_value(),
                _ => metric.get_gauge().get_value(),
            };
            values.insert(label.unwrap_or_default(), value);
        }
    }
    values
}
