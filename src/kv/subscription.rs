//! What others publish, as it comes.

use super::embedded::LocalSubscriber;
use super::remote::Subscriber;
use super::subscription_event::SubscriptionEvent;

/// One channel. It does its work, connecting again too, only while somebody waits for [`Subscription::next`], and
/// ends when it is dropped.
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

    /// What happens next; waits for it. Nothing is lost when the wait is given up and taken up again.
    pub async fn next(&mut self) -> SubscriptionEvent {
        match &mut self.0 {
            Source::Remote(subscriber) => subscriber.next().await,
            Source::Embedded(listener) => listener.next().await,
        }
    }
}
