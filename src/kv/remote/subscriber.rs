//! Messages from a Redis, over a separate connection.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use prometheus::IntCounter;
use redis::aio::MultiplexedConnection;
use redis::{Client, ProtocolVersion, PushInfo, PushKind, RedisResult, Value};
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep_until, timeout};

use crate::backoff::Backoff;

use super::super::KvError;
use super::super::subscription_event::SubscriptionEvent;
use super::connection::{CONNECT_TIMEOUT, Connector, settings};
use super::error::to_kv_error;
use super::failed_subscriptions::FailedSubscriptions;

/// Maximum number of queued messages. Further messages are dropped, and the subscriber is notified.
const MESSAGES: usize = 1024;
/// A server that has sent nothing for this long gets a `PING`: a cut cable causes no error.
const PING_AFTER: Duration = Duration::from_secs(5);
const RETRY_MIN: Duration = Duration::from_millis(100);
const RETRY_MAX: Duration = Duration::from_secs(2);

pub(in super::super) struct Subscriber {
    connector: Arc<Connector>,
    channel: String,
    lost: Option<IntCounter>,
    failed_subscriptions: Arc<FailedSubscriptions>,
    /// Number of the subscriber in this process.
    number: u64,
    delays: Backoff,
    /// When to connect, while there is no connection.
    retry_at: Instant,
    /// Attempts so far; each uses the next node of a cluster.
    turn: usize,
    active: Option<ActiveSubscription>,
}

/// A connection that has subscribed.
struct ActiveSubscription {
    connection: MultiplexedConnection,
    messages: mpsc::Receiver<String>,
    /// Whether a message was dropped because the queue was full.
    missed: Arc<AtomicBool>,
    ping_at: Instant,
}

/// The next event of a connection.
enum Received {
    Message(String),
    Missed,
    Lost,
}

impl Subscriber {
    pub(super) fn new(
        connector: Arc<Connector>,
        channel: &str,
        lost: Option<IntCounter>,
        failed_subscriptions: Arc<FailedSubscriptions>,
    ) -> Self {
        Self {
            connector,
            channel: channel.to_owned(),
            lost,
            number: failed_subscriptions.next_id(),
            failed_subscriptions,
            delays: Backoff::new(RETRY_MIN, RETRY_MAX),
            retry_at: Instant::now(),
            turn: 0,
            active: None,
        }
    }

    pub async fn next(&mut self) -> SubscriptionEvent {
        loop {
            let Some(live) = &mut self.active else {
                if self.connect().await {
                    return SubscriptionEvent::MessagesMissed;
                }
                continue;
            };
            match live.next().await {
                Received::Message(message) => return SubscriptionEvent::Message(message),
                Received::Missed => {
                    if let Some(lost) = &self.lost {
                        lost.inc();
                    }
                    return SubscriptionEvent::MessagesMissed;
                }
                Received::Lost => {
                    tracing::info!(
                        event = "kv.subscription_lost",
                        "connection of a subscription lost; reconnecting"
                    );
                    self.active = None;
                    self.retry_at = Instant::now() + self.delays.delay();
                }
            }
        }
    }

    /// Waits until the next attempt is due, and tries once. Returns whether it worked.
    async fn connect(&mut self) -> bool {
        sleep_until(self.retry_at).await;
        let attempt = ActiveSubscription::open(&self.connector, self.turn, &self.channel);
        match timeout(CONNECT_TIMEOUT, attempt).await {
            Ok(Ok(live)) => {
                self.delays.reset();
                self.failed_subscriptions.clear(self.number);
                self.active = Some(live);
                return true;
            }
            Ok(Err(error)) => {
                self.failed_subscriptions.failed(self.number, &self.channel, to_kv_error(&error))
            }
            Err(_) => self.failed_subscriptions.failed(self.number, &self.channel, KvError::Timeout),
        }
        self.turn = self.turn.wrapping_add(1);
        self.retry_at = Instant::now() + self.delays.delay();
        false
    }
}

impl Drop for Subscriber {
    fn drop(&mut self) {
        self.failed_subscriptions.clear(self.number);
    }
}

impl ActiveSubscription {
    async fn open(connector: &Connector, turn: usize, channel: &str) -> RedisResult<Self> {
        let node = connector.node(turn);
        // Version 3 of the protocol delivers messages and replies on one connection.
        let greeting = node.redis_settings().clone().set_protocol(ProtocolVersion::RESP3);
        let client = Client::open(node.set_redis_settings(greeting))?;
        let (sender, messages) = mpsc::channel(MESSAGES);
        let missed = Arc::new(AtomicBool::new(false));
        let full = Arc::clone(&missed);
        let settings = settings().set_push_sender(move |push| {
            if let Some(message) = message(push)
                && sender.try_send(message).is_err()
            {
                full.store(true, Ordering::Release);
            }
            Ok::<(), redis::aio::SendError>(())
        });
        let mut connection = client.get_multiplexed_async_connection_with_config(&settings).await?;
        connection.subscribe(channel).await?;
        Ok(Self { connection, messages, missed, ping_at: Instant::now() + PING_AFTER })
    }

    async fn next(&mut self) -> Received {
        loop {
            if self.missed.swap(false, Ordering::AcqRel) {
                // The queued messages were published before. Dropping them makes space for new ones.
                while self.messages.try_recv().is_ok() {}
                return Received::Missed;
            }
            tokio::select! {
                biased;
                message = self.messages.recv() => {
                    self.ping_at = Instant::now() + PING_AFTER;
                    return message.map_or(Received::Lost, Received::Message);
                }
                () = sleep_until(self.ping_at) => {}
            }
            let ping = redis::cmd("PING");
            match timeout(CONNECT_TIMEOUT, self.connection.send_packed_command(&ping)).await {
                Ok(Ok(_)) => self.ping_at = Instant::now() + PING_AFTER,
                _ => return Received::Lost,
            }
        }
    }
}

/// The text of a message; `None` for other pushes.
fn message(push: PushInfo) -> Option<String> {
    match (push.kind, push.data.into_iter().nth(1)) {
        (PushKind::Message, Some(Value::BulkString(text))) => String::from_utf8(text).ok(),
        _ => None,
    }
}
