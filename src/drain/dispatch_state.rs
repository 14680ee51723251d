//! State that a worker keeps about its records, with and without transactions.

use std::time::Instant;

use crate::drain::config::Config;
use crate::drain::context::Context;
use crate::drain::deferred_values::{DeferredValues, RescanPacer};
use crate::drain::failure_policy::{FailedRecord, FailurePolicy};
use crate::drain::in_flight::InFlight;
use crate::drain::in_flight_record::InFlightRecord;
use crate::drain::monitor::{PAUSED, ParkedTopic, WorkerMonitor};
use crate::drain::traced_records::TracedRecords;
use crate::kafka;
use crate::kafka::{DeliveryReport, ErrorCode};
use crate::units::Timestamp;
use crate::wal::{Confirmation, Lsn};

pub(super) struct DispatchState {
    pub(super) context: Context,
    pub(super) policy: FailurePolicy,
    /// Values that are resolved in the background.
    pub(super) values: DeferredValues,
    pub(super) rescan: RescanPacer,
    /// Records that are sent and not confirmed.
    pub(super) in_flight: InFlight,
    /// Records in flight whose trace is sampled.
    pub(super) traced: TracedRecords,
    /// Delivery reports that are not processed yet.
    pub(super) results: Vec<DeliveryReport>,
    /// When a broker last confirmed a record.
    pub(super) confirmed_at: Instant,
    /// Whether the producer must be replaced before another record is sent.
    pub(super) must_replace_producer: bool,
    /// When the worker last had nothing to deliver.
    last_idle_at: Instant,
}

impl DispatchState {
    /// Creates the state of one of `workers` workers with its own `monitor`.
    pub(super) fn new(
        context: Context,
        config: &Config,
        kafka: &kafka::Config,
        monitor: &WorkerMonitor,
        workers: usize,
    ) -> Self {
        let (backoff, grace) = (config.backoff(), config.topic_fault_grace.0);
        let now = Instant::now();
        Self {
            policy: FailurePolicy::new(&context, &backoff, grace, kafka.topic_refresh()),
            values: DeferredValues::new(&context, &monitor.notify),
            rescan: RescanPacer::default(),
            in_flight: InFlight::share(workers as u64, &context.extra_room),
            traced: TracedRecords::new(&context.tracer),
            results: Vec::new(),
            confirmed_at: now,
            must_replace_producer: false,
            last_idle_at: now,
            context,
        }
    }

    /// Whether records of this topic must wait for the consumer. Only the embedded broker needs this limit, and it
    /// has no transactions. The bytes counted in an aborted transaction would not be released.
    pub(super) fn is_backpressured(&self, topic: usize) -> bool {
        self.context
            .backpressure
            .as_ref()
            .is_some_and(|backpressure| backpressure.is_over_limit(self.policy.topic_name(topic)))
    }

    /// A record was sent.
    pub(super) fn on_sent(&mut self, lsn: Lsn, flight: InFlightRecord, now: Instant) {
        if flight.attempts > 1 {
            self.context.metrics.retried.inc();
        }
        if let Some(backpressure) = &self.context.backpressure {
            backpressure.on_sent(self.policy.topic_name(flight.topic_partition.topic), flight.bytes);
        }
        self.in_flight.add(lsn, flight, now);
    }

    /// Handles a record that Kafka confirmed: it is no longer in flight, and its topic and partition are healthy.
    pub(super) fn on_confirmed(
        &mut self,
        result: &DeliveryReport,
        at: Timestamp,
        now: Instant,
    ) -> Option<(InFlightRecord, Confirmation)> {
        let lsn = Lsn(result.tag);
        let flight = self.in_flight.remove(lsn)?;
        // librdkafka has several negative numbers for "unknown".
        let (partition, offset) = (result.partition, result.offset.max(-1));
        if let Some(backpressure) = &self.context.backpressure {
            backpressure.on_confirmed(
                self.policy.topic_name(flight.topic_partition.topic),
                flight.bytes,
                partition,
                offset,
            );
        }
        self.in_flight.on_progress(flight.topic_partition, now);
        self.policy.on_confirmed(&flight, lsn);
        Some((flight, Confirmation { lsn, bytes: flight.log_bytes, partition, offset, at }))
    }

    /// These records are delivered and need not be sent again.
    pub(super) fn confirm(&mut self, confirmed: &[(InFlightRecord, Confirmation)]) {
        let confirmations: Vec<Confirmation> =
            confirmed.iter().map(|(_, confirmation)| *confirmation).collect();
        self.context.log.confirm(&confirmations);
        self.traced.on_confirmed(&confirmations);
        let lsns: Vec<Lsn> = confirmations.iter().map(|confirmation| confirmation.lsn).collect();
        self.context.statuses.on_finished(&lsns);
        let latency = self.context.metrics.latency.local();
        let mut settled: Vec<(usize, u64)> = Vec::new();
        for (flight, confirmation) in confirmed {
            if confirmation.lsn >= self.context.log.start_lsn() {
                match settled.iter_mut().find(|(topic, _)| *topic == flight.topic_partition.topic) {
                    Some((_, records)) => *records += 1,
                    None => settled.push((flight.topic_partition.topic, 1)),
                }
            }
            latency.observe(confirmation.at.since(flight.accepted_at).as_secs_f64());
            self.policy.on_delivered(flight.topic_partition, confirmation.lsn);
            self.values.on_delivered(confirmation.lsn);
        }
        for (topic, records) in settled {
            self.context.metrics.topics.settled(self.policy.topic_name(topic), records);
        }
    }

    /// These records are no longer in flight and were not delivered. Those sent as single records were alone in their
    /// request.
    pub(super) fn on_failed(&mut self, failures: &[(Lsn, ErrorCode)]) -> Vec<FailedRecord> {
        let come_back = |(lsn, code): &(Lsn, ErrorCode)| {
            let flight = self.in_flight.remove(*lsn)?;
            if let Some(backpressure) = &self.context.backpressure {
                backpressure.on_returned(self.policy.topic_name(flight.topic_partition.topic), flight.bytes);
            }
            self.policy.on_returned(*lsn, &flight);
            self.traced.on_returned(*lsn, *code);
            Some(FailedRecord::new(*lsn, &flight, *code, flight.solo))
        };
        failures.iter().filter_map(come_back).collect()
    }

    /// Publishes the state of the worker. `parked` lists the parked records by topic.
    pub(super) fn publish(
        &mut self,
        monitor: &WorkerMonitor,
        activity: &'static str,
        oldest_waiting: Option<Lsn>,
        parked: impl Iterator<Item = ParkedTopic>,
        now: Instant,
    ) {
        if activity == PAUSED || oldest_waiting.is_none() {
            self.last_idle_at = now;
        }
        let mut state = monitor.state();
        (state.state, state.in_flight, state.oldest_waiting) =
            (activity, self.in_flight.len(), oldest_waiting);
        state.unconfirmed_for = now.duration_since(self.last_idle_at.max(self.confirmed_at));
        state.refused.clear();
        state.refused.extend(self.policy.refused_topics().map(|(topic, reason)| (topic.to_owned(), reason)));
        // Topics without parked records are set to zero, so that their gauge returns to zero.
        state.parked.values_mut().for_each(|count| *count = 0);
        state.parked_because.clear();
        for (topic, records, reason) in parked {
            let topic = self.policy.topic_name(topic).to_string();
            if records > 0 {
                state.parked_because.insert(topic.clone(), reason);
            }
            *state.parked.entry(topic).or_default() += records;
        }
    }
}
