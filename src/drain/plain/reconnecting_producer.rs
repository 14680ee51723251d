//! A worker's producer, which is built again after a failure.

use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::backoff::Backoff;
use crate::drain::monitor::Denial;
use crate::drain::notify::Notify;
use crate::drain::producer_settings::ProducerSettings;
use crate::kafka::{ClientError, GapPolicy, Producer};

/// How long an unused producer is kept. It holds a few threads and connections; a new one waits half a second for its
/// id.
const IDLE_TIMEOUT: Duration = Duration::from_secs(60);

/// One producer, or the time at which the next one is built.
pub(super) struct ReconnectingProducer {
    settings: Arc<ProducerSettings>,
    guarantee: GapPolicy,
    notify: Arc<Notify>,
    producer: Option<Producer>,
    build_at: Instant,
    used_at: Instant,
    backoff: Backoff,
    denied: Option<Denial>,
}

impl ReconnectingProducer {
    /// Starts without a producer.
    pub(super) fn new(
        settings: &Arc<ProducerSettings>,
        guarantee: GapPolicy,
        notify: &Arc<Notify>,
        backoff: Backoff,
    ) -> Self {
        let (settings, notify, now) = (Arc::clone(settings), Arc::clone(notify), Instant::now());
        Self {
            settings,
            guarantee,
            notify,
            producer: None,
            build_at: now,
            used_at: now,
            backoff,
            denied: None,
        }
    }

    /// Builds a producer if none exists.
    pub(super) fn build(&mut self) -> Result<(), ClientError> {
        if self.producer.is_none() {
            let notify = Arc::clone(&self.notify);
            let ProducerSettings { config, bootstrap } = &*self.settings;
            self.producer = Some(Producer::new(config, bootstrap, self.guarantee, move || notify.notify())?);
        }
        Ok(())
    }

    /// The producer. Builds it if that is due.
    pub(super) fn ensure_ready(&mut self, now: Instant) -> Option<&Producer> {
        self.used_at = now;
        if self.producer.is_none()
            && now >= self.build_at
            && let Err(error) = self.build()
        {
            let delay = self.schedule_rebuild(now);
            tracing::warn!(
                event = "drain.producer_not_built",
                %error,
                drain.delay_ms = delay.as_millis() as u64,
                "Kafka producer not built; will retry"
            );
        }
        self.producer.as_ref()
    }

    /// The current producer.
    pub(super) fn producer(&self) -> Option<&Producer> {
        self.producer.as_ref()
    }

    /// Removes and returns the failed producer. The next one is built after a delay.
    pub(super) fn take_failed(&mut self, now: Instant) -> Option<Producer> {
        let delay = self.schedule_rebuild(now);
        let producer = self.producer.take()?;
        let (error, reason) = producer.fatal().map_or((None, None), |(code, text)| (Some(code), Some(text)));
        self.denied = error.and_then(|code| Denial::from_code(code, reason.clone().unwrap_or_default()));
        tracing::warn!(
            event = "drain.producer_failed",
            kafka.error = error.map(tracing::field::display),
            kafka.reason = reason,
            drain.delay_ms = delay.as_millis() as u64,
            "producer failed; another one replaces it"
        );
        Some(producer)
    }

    fn schedule_rebuild(&mut self, now: Instant) -> Duration {
        let delay = self.backoff.delay();
        self.build_at = now + delay;
        delay
    }

    /// The permission that the last producer was denied.
    pub(super) fn denied(&self) -> Option<&Denial> {
        self.denied.as_ref()
    }

    /// Blocks until the producer has an event or another notification arrives, for at most `timeout`.
    pub(super) fn wait(&self, timeout: Duration) {
        self.notify.wait(timeout);
    }

    /// Closes the producer when it was not used for a while.
    pub(super) fn close_idle(&mut self, now: Instant) {
        if now.saturating_duration_since(self.used_at) >= IDLE_TIMEOUT {
            self.producer = None;
        }
    }

    /// A record was confirmed.
    pub(super) fn record_success(&mut self) {
        self.backoff.reset();
    }

    /// Kafka confirmed a record of this user, through any producer.
    pub(super) fn clear_denial(&mut self) {
        self.denied = None;
    }
}
