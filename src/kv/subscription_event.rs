//! What a subscriber learns.

/// What a subscriber learns.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SubscriptionEvent {
    /// Somebody published this.
    Message(String),
    /// From here on messages come; whatever was published before may have been missed. Comes whenever a server is
    /// connected to, the first time too, and when messages came faster than they were taken.
    MessagesMissed,
}
