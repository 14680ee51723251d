//! Subscriptions to messages of other daemons.

use super::embedded::LocalSubscriber;
use super::remote::Subscriber;
use super::subscription_event::SubscriptionEvent;

/// A subscription to one channel. It works, and reconnects, only while a caller awaits [`Subscription::next`]. It ends
/// when it is dropped.
pub struct Subscription(Source);

enum Source {
    Remote(Box<Subscriber>),
    Embedded(LocalSubscriber),
}

impl Subscription {
    pub(super) fn remote(subscriber: Subscriber) -> Self {
        Self(Source::Remote(Box::new(subscriber)))
    }

    pub(super) fn embedded(listener: LocalSubscriber) -> Self {
        Self(Source::Embedded(listener))
    }

    /// Waits for the next event. Cancelling the wait loses no event.
    pub async fn next(&mut self) -> SubscriptionEvent {
        match &mut self.0 {
            Source::Remote(subscriber) => subscriber.next().await,
            Source::Embedded(listener) => listener.next().await,
        }
    }
}
