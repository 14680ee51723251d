//! Decides when parked records are released, and from which record they are read again.

use std::time::Instant;

use super::plain_sender::PlainSender;
use crate::drain::dispatcher::Dispatcher;
use crate::drain::lane_reader::ReadSide;
use crate::drain::scope::Scope;
use crate::drain::topic_state::Route;
use crate::wal::Lsn;

impl Dispatcher<PlainSender> {
    /// Opens every parked range whose cause is gone. Returns which readers must begin at which record.
    pub(super) fn unpark(&mut self, now: Instant) -> Vec<(ReadSide, Lsn)> {
        let mut begin = Vec::new();
        for scope in self.sender.parked.closed() {
            if !self.may_unpark(scope, now) {
                continue;
            }
            let topic = scope.topic();
            if matches!(scope, Scope::Topic(_)) {
                self.sender.on_in_flight_empty(&mut self.state.policy, topic);
            }
            let is_read_apart = self.sender.topics_read_apart.contains(&topic);
            let side = if is_read_apart { ReadSide::Topic(topic) } else { ReadSide::CatchUp };
            begin.extend(self.sender.parked.open(scope).map(|first| (side, first)));
        }
        begin
    }

    fn may_unpark(&mut self, scope: Scope, now: Instant) -> bool {
        let (state, topic) = (&mut self.state, scope.topic());
        if let Scope::Partition(place) = scope {
            let takes_more = !state.in_flight.is_parked(place) && !state.in_flight.is_slow(place);
            let is_held = self.sender.parked.is_closed(Scope::Topic(topic));
            return takes_more && !is_held && !state.is_backpressured(topic);
        }
        let known = state.policy.topic(topic);
        match known.route() {
            Route::Send { alone, .. } if alone || known.must_await_in_flight() => {
                // Stalled records are recalled, because they would otherwise block the topic as long as they are
                // stalled.
                state.must_replace_producer |=
                    known.must_await_in_flight() && state.in_flight.has_topic_stalled(topic, now);
                !state.in_flight.is_topic_busy(topic)
            }
            Route::Send { .. } | Route::DeadLetter(_) => true,
            Route::Park | Route::Wait => false,
        }
    }

    /// Opens key slots whose value is resolved or can be requested now. They must be ahead of a catch-up reader at
    /// `position`, or a new reader may begin. Returns the record at which it must begin.
    pub(super) fn unpark_keys(&mut self, position: Option<Lsn>, now: Instant) -> Option<Lsn> {
        let Self { state, sender } = self;
        let has_completions = state.values.take_completions();
        if sender.keys.is_empty() {
            return None;
        }
        sender.has_new_values |= has_completions;
        let is_worthwhile = match position {
            // Only new values justify more work for a running catch-up reader.
            Some(_) => has_completions,
            None => {
                sender.has_new_values || (sender.keys.has_unrequested() && state.values.has_room_for_many())
            }
        };
        if !is_worthwhile || (position.is_none() && !state.rescan.may_begin(now)) {
            return None;
        }
        let (sealed, room) = (&state.values, state.values.free_requests());
        let from = position.unwrap_or_default();
        let first =
            sender.keys.open(from, room, |lsn| sealed.is_resolved(lsn), |lsn| sealed.is_requested(lsn));
        // Slots behind a running catch-up reader wait for the next one.
        sender.has_new_values = position.is_some();
        if first.is_some() && position.is_none() {
            state.rescan.begin(now);
        }
        first
    }

    /// A catch-up reader has caught up with the main reader.
    pub(super) fn on_caught_up(&mut self, side: ReadSide, head: Lsn) {
        let PlainSender { parked, topics_read_apart: read_apart, keys, .. } = &mut self.sender;
        if let ReadSide::Topic(topic) = side {
            parked.on_caught_up(|of| of == topic);
            read_apart.remove(&topic);
        } else {
            parked.on_caught_up(|topic| !read_apart.contains(&topic));
            keys.on_position(head);
        }
    }

    /// Whether the catch-up reader, at this position, has nothing more to do.
    pub(super) fn is_caught_up(&mut self, position: Lsn) -> bool {
        let PlainSender { parked, topics_read_apart: read_apart, keys, .. } = &mut self.sender;
        keys.on_position(position);
        !keys.any_open() && !parked.any_open(|topic| !read_apart.contains(&topic))
    }

    /// Does maintenance that is due: builds a producer, fetches metadata of topics, drops unneeded state.
    pub(super) fn run_maintenance(&mut self, now: Instant) {
        self.sender.main.ensure_ready(now);
        self.refresh_topics(now);
        if self.state.in_flight.count_of(true) == 0 {
            self.sender.solo.close_idle(now);
        }
    }

    /// Stores dead letters once there are many, or once they have waited for others.
    pub(super) fn store_gathered_dead_letters(&mut self, now: Instant) {
        self.state.policy.store_gathered_dead_letters(&self.state.context, now);
    }

    /// Whether the state here cannot change by the passing of time alone.
    pub(super) fn is_idle(&self) -> bool {
        let nothing_held = self.sender.parked.is_empty() && self.sender.keys.is_empty();
        let is_idle = self.state.in_flight.len() == 0 && !self.state.policy.has_unstored_dead_letters();
        nothing_held && is_idle && self.is_connected()
    }
}
