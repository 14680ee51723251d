//! A metric that a registry has.

use prometheus::core::Collector;
use prometheus::{Error, Registry};

/// Fails when the name is taken: a component registered its metrics twice.
pub(super) fn registered<C: Collector + Clone + 'static>(
    to: &Registry,
    metric: Result<C, Error>,
) -> Result<C, Error> {
    let metric = metric?;
    to.register(Box::new(metric.clone()))?;
    Ok(metric)
}
