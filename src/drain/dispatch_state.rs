//! What a worker knows of its records, however it sends them.

use std::time::Instant;

use crate::drain::board::PAUSED;
use crate::drain::board::Parts;
use crate::drain::board::Post;
use crate::drain::config::Config;
use crate::drain::court::Court;
use crate::drain::court::Returned;
use crate::drain::flight::Flight;
use crate::drain::part::STALL;
use crate::drain::sealed::Pass;
use crate::drain::sealed::Sealed;
use crate::drain::window::Window;
use crate::kafka;
use crate::kafka::Delivery;
use crate::kafka::ErrorCode;
use crate::units::Timestamp;
use crate::wal::Confirmation;
use crate::wal::Lsn;

pub(super) struct DispatchState {
    pub(super) parts: Parts,
    pub(super) court: Court,
    /// Values that are made elsewhere.
    pub(super) sealed: Sealed,
    pub(super) pass: Pass,
    /// Records that are sent and not confirmed.
    pub(super) window: Window,
    /// Delivery reports, not yet taken in.
    pub(super) results: Vec<Delivery>,
    /// When a broker last confirmed anything.
    pub(super) arrived_at: Instant,
    /// The producer must be dealt with before anything else is sent.
    pub(super) has_failed: bool,
    /// When there was last nothing to deliver.
    idle_at: Instant,
}

impl DispatchState {
    /// For one of so many workers; `post`: its own.
    pub(super) fn new(
        parts: Parts,
        config: &Config,
        kafka: &kafka::Config,
        post: &Post,
        workers: usize,
    ) -> Self {
        let (backoff, grace) = (config.backoff(), config.topic_fault_grace.0);
        let now = Instant::now();
        Self {
            court: Court::new(&parts, &backoff, grace, kafka.topic_refresh()),
            sealed: Sealed::new(&parts, &post.bell),
            pass: Pass::default(),
            window: Window::share(workers as u64, &parts.extra),
            results: Vec::new(),
            arrived_at: now,
            has_failed: false,
            idle_at: now,
            parts,
        }
    }

    /// Whether records of this topic wait for the consumer.
    pub(super) fn is_far_ahead(&self, topic: usize) -> bool {
        self.parts.lead.as_ref().is_some_and(|lead| lead.is_far(self.court.topic_name(topic)))
    }

    /// A record was sent.
    pub(super) fn sent(&mut self, lsn: Lsn, flight: Flight, now: Instant) {
        if flight.attempts > 1 {
            self.parts.metrics.retried.inc();
        }
        if let Some(lead) = &self.parts.lead {
            lead.sent(self.court.topic_name(flight.place.topic), flight.bytes);
        }
        self.window.add(lsn, flight, now);
    }

    /// Kafka took a record: it is no longer in flight, and its topic and partition are well.
    pub(super) fn arrived(
        &mut self,
        result: &Delivery,
        at: Timestamp,
        now: Instant,
    ) -> Option<(Flight, Confirmation)> {
        let lsn = Lsn(result.tag);
        let flight = self.window.remove(lsn)?;
        // librdkafka has several negative numbers for "not known".
        let (partition, offset) = (result.partition, result.offset.max(-1));
        if let Some(lead) = &self.parts.lead {
            lead.arrived(self.court.topic_name(flight.place.topic), flight.bytes, partition, offset);
        }
        self.window.progress(flight.place, now);
        self.court.arrived(&flight, lsn);
        Some((flight, Confirmation { lsn, bytes: flight.log_bytes, partition, offset, at }))
    }

    /// These records are delivered: they need not be sent again.
    pub(super) fn confirm(&mut self, arrived: &[(Flight, Confirmation)]) {
        let confirmations: Vec<Confirmation> = arrived.iter().map(|(_, note)| *note).collect();
        self.parts.log.confirm(&confirmations);
        let lsns: Vec<Lsn> = confirmations.iter().map(|note| note.lsn).collect();
        self.parts.statuses.finished(&lsns);
        let latency = self.parts.metrics.drain_latency.local();
        for (flight, note) in arrived {
            latency.observe(note.at.since(flight.at).as_secs_f64());
            self.court.delivered(flight.place, note.lsn);
            self.sealed.settled(note.lsn);
        }
    }

    /// These records are no longer in flight and not delivered. `alone`: those sent as single records were alone in their
    /// request.
    pub(super) fn take_back(&mut self, failures: &[(Lsn, ErrorCode)]) -> Vec<Returned> {
        let come_back = |(lsn, code): &(Lsn, ErrorCode)| {
            let flight = self.window.remove(*lsn)?;
            if let Some(lead) = &self.parts.lead {
                lead.came_back(self.court.topic_name(flight.place.topic), flight.bytes);
            }
            self.court.came_back(*lsn, &flight);
            Some(Returned::new(*lsn, &flight, *code, flight.solo))
        };
        failures.iter().filter_map(come_back).collect()
    }

    /// Shows what the worker is doing. `waiting`: records held back, by topic.
    pub(super) fn publish(
        &mut self,
        post: &Post,
        activity: &'static str,
        oldest_waiting: Option<Lsn>,
        waiting: impl Iterator<Item = (usize, u64)>,
        now: Instant,
    ) {
        if activity == PAUSED || oldest_waiting.is_none() {
            self.idle_at = now;
        }
        let mut state = post.state();
        (state.state, state.in_flight, state.oldest_waiting) = (activity, self.window.len(), oldest_waiting);
        state.stalled = now.duration_since(self.idle_at.max(self.arrived_at)) >= STALL;
        // Topics without any are there with zero, so that their gauge goes back.
        state.parked.values_mut().for_each(|count| *count = 0);
        for (topic, records) in waiting {
            *state.parked.entry(self.court.topic_name(topic).to_string()).or_default() += records;
        }
    }
}
