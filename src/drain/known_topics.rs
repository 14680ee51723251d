//! The topics that one worker knows.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use prometheus::IntCounterVec;

use crate::backoff::Backoff;
use crate::drain::topic_state::{Route, TopicState};

/// All topics that occurred so far. At most as many as the configuration ever named.
#[derive(Debug)]
pub(super) struct KnownTopics {
    topics: Vec<TopicState>,
    numbers: HashMap<Arc<str>, usize>,
    backoff: Backoff,
    refresh: Duration,
    sent: IntCounterVec,
}

impl KnownTopics {
    /// Starts empty. `backoff` and `refresh` are the intervals between metadata requests for a faulty and for a
    /// healthy topic. `sent` counts the confirmed records by topic.
    pub(super) fn new(backoff: Backoff, refresh: Duration, sent: IntCounterVec) -> Self {
        Self { topics: Vec::new(), numbers: HashMap::new(), backoff, refresh, sent }
    }

    /// The number of a topic.
    pub(super) fn number(&mut self, name: &str, now: Instant) -> usize {
        if let Some(number) = self.numbers.get(name) {
            return *number;
        }
        let sent = self.sent.with_label_values(&[name]);
        let topic = TopicState::new(name, self.backoff.clone(), self.refresh, sent, now);
        let number = self.topics.len();
        self.numbers.insert(Arc::clone(&topic.name), number);
        self.topics.push(topic);
        number
    }

    /// The topic with this number.
    pub(super) fn get(&mut self, number: usize) -> &mut TopicState {
        &mut self.topics[number]
    }

    /// The name of the topic with this number.
    pub(super) fn name(&self, number: usize) -> &Arc<str> {
        &self.topics[number].name
    }

    /// The route of records of the topic with this number.
    pub(super) fn route(&self, number: usize) -> Route {
        self.topics[number].route()
    }

    /// Topics that the brokers reject, with the reason.
    pub(super) fn refused(&self) -> impl Iterator<Item = (&str, &'static str)> {
        self.topics.iter().filter_map(|topic| Some((&*topic.name, topic.refusal()?)))
    }

    /// Topics whose metadata is due now.
    pub(super) fn due(&self, now: Instant) -> Vec<usize> {
        (0..self.topics.len()).filter(|number| self.topics[*number].is_due(now)).collect()
    }
}
