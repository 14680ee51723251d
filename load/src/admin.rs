//! The daemon's backlog and delivery statistics, from its admin listener.

use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use hyper::header::HeaderMap;
use hyper::{Method, Uri};

use crate::http::{Endpoint, HttpResponse, OutgoingRequest, Server, ServerConnection, TrustedCas};
use crate::report::DeliveryStats;

/// Timeout of a request. The daemon computes its statistics on a thread that may wait for the disk.
const RESPONSE_TIMEOUT: Duration = Duration::from_secs(10);
/// Time between two requests while the tool waits for an empty backlog.
const POLL_INTERVAL: Duration = Duration::from_millis(100);

/// A client of the admin listener.
pub struct Admin {
    link: ServerConnection,
}

/// The daemon's statistics at one moment.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct DaemonStats {
    backlog: u64,
    oldest_age_seconds: f64,
    dead: u64,
    accepted: u64,
    delivered: u64,
}

impl Admin {
    /// Resolves the address.
    pub async fn new(endpoint: &Endpoint, trust: &TrustedCas) -> anyhow::Result<Self> {
        let server: Arc<Server> = endpoint.resolve(trust).await.context("--admin")?;
        Ok(Self { link: ServerConnection::new(server) })
    }

    /// The current statistics.
    pub async fn stats(&mut self) -> anyhow::Result<DaemonStats> {
        let backlog = self.get("/admin/backlog").await?;
        let metrics = self.get("/metrics").await?;
        let number = |name: &str| {
            let value = backlog.member(name).and_then(|value| value.as_f64());
            value.with_context(|| format!("--admin: /admin/backlog has no number {name}"))
        };
        let metrics = String::from_utf8_lossy(&metrics.body);
        Ok(DaemonStats {
            backlog: number("backlog")? as u64,
            oldest_age_seconds: number("oldest_age_seconds")?,
            dead: number("dead")? as u64,
            accepted: sum(&metrics, "forebay_wal_append_total"),
            delivered: sum(&metrics, "forebay_drain_sent_total"),
        })
    }

    /// Waits for an empty backlog and returns the seconds until then. `None` if `within` has passed.
    pub async fn await_drained(&mut self, within: Duration) -> anyhow::Result<Option<f64>> {
        let started = Instant::now();
        loop {
            let backlog =
                self.get("/admin/backlog").await?.member("backlog").and_then(|value| value.as_u64());
            let passed = started.elapsed();
            match backlog {
                None => bail!("--admin: /admin/backlog has no number backlog"),
                Some(0) => return Ok(Some(passed.as_secs_f64())),
                Some(_) if passed >= within => return Ok(None),
                Some(_) => tokio::time::sleep(POLL_INTERVAL).await,
            }
        }
    }

    async fn get(&mut self, path: &'static str) -> anyhow::Result<HttpResponse> {
        let message = OutgoingRequest {
            method: Method::GET,
            path: Uri::from_static(path),
            headers: HeaderMap::new(),
            body: Default::default(),
        };
        let response = tokio::time::timeout(RESPONSE_TIMEOUT, self.link.send(&message, None, true)).await;
        let response = response.with_context(|| format!("--admin: {path} got no response"))?;
        let response =
            response.map_err(|failure| anyhow::anyhow!("--admin: {path}: {}", failure.detail()))?;
        if response.status != 200 {
            bail!("--admin: {path} returned {}", response.status);
        }
        Ok(response)
    }
}

impl DaemonStats {
    /// The difference between two moments.
    pub fn delta_to(&self, end: &Self, drained_after_seconds: Option<f64>) -> DeliveryStats {
        DeliveryStats {
            accepted: end.accepted.saturating_sub(self.accepted),
            delivered: end.delivered.saturating_sub(self.delivered),
            backlog: end.backlog,
            oldest_age_seconds: end.oldest_age_seconds,
            dead: end.dead.saturating_sub(self.dead),
            backlog_before: self.backlog,
            drained_after_seconds,
        }
    }
}

/// The sum of all series of a metric.
fn sum(metrics: &str, name: &str) -> u64 {
    let value = |line: &str| {
        let rest = line.strip_prefix(name)?;
        let is_series = rest.starts_with(' ') || rest.starts_with('{');
        rest.rsplit(' ').next().filter(|_| is_series)?.parse::<f64>().ok()
    };
    metrics.lines().filter_map(value).sum::<f64>() as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_series_of_one_metric_are_added() {
        let metrics =
            "# HELP a_total x\na_total{topic=\"x y\"} 3\na_total{topic=\"z\"} 4\na_total_more 9\nb_total 5\n";
        assert_eq!((sum(metrics, "a_total"), sum(metrics, "b_total"), sum(metrics, "c_total")), (7, 5, 0));
    }
}
