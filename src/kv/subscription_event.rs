//! Events of a subscription.

/// An event of a subscription.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SubscriptionEvent {
    /// A message was published.
    Message(String),
    /// Messages arrive from now on; earlier ones may have been missed. Occurs after each connect, including the first,
    /// and when messages arrived faster than they were taken.
    MessagesMissed,
}
