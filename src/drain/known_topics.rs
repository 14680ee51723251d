//! The topics one worker has met.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use prometheus::IntCounterVec;

use crate::backoff::Backoff;
use crate::drain::topic_state::{Route, TopicState};

/// As many as the configuration ever named.
#[derive(Debug)]
pub(super) struct KnownTopics {
    topics: Vec<TopicState>,
    numbers: HashMap<Arc<str>, usize>,
    backoff: Backoff,
    refresh: Duration,
    sent: IntCounterVec,
}

impl KnownTopics {
    /// None yet. How often to ask: about one at fault (`backoff`), about one that is well (`refresh`); `sent`: counts
    /// what arrives, by topic.
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

    /// What to do with records of the topic with this number.
    pub(super) fn route(&self, number: usize) -> Route {
        self.topics[number].route()
    }

    /// Those that the brokers refuse, with the reason.
    pub(super) fn refused(&self) -> impl Iterator<Item = (&str, &'static str)> {
        self.topics.iter().filter_map(|topic| Some((&*topic.name, topic.refusal()?)))
    }

    /// Those to ask about now.
    pub(super) fn due(&self, now: Instant) -> Vec<usize> {
        (0..self.topics.len()).filter(|number| self.topics[*number].is_due(now)).collect()
    }
}
