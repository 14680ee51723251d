//! A connection that is opened when needed and replaced when it breaks.

use std::sync::Arc;
use std::time::{Duration, Instant};

use redis::{Cmd, RedisError, RedisResult, Value};
use tokio::sync::Mutex;

use super::super::KvError;
use super::connection::{Connecting, Connection, Connector};
use super::error::to_kv_error;
use crate::task::Task;

/// Minimum time between new connections to a cluster with an unresponsive node.
const RENEW_INTERVAL: Duration = Duration::from_secs(5);

/// Minimum time between replacements. If no server accepts writes, each call would connect again.
const REPLACE_INTERVAL: Duration = Duration::from_secs(1);

pub(super) struct ReconnectingConnection {
    connector: Arc<Connector>,
    slot: Arc<Mutex<ConnectionSlot>>,
    renewal: crate::sync::Mutex<Option<Renewal>>,
}

/// A new connection that is opened while the current one is in use.
struct Renewal {
    begun: Instant,
    _making: Task,
}

/// Replies, with the number of their connection.
type NumberedReplies = (Option<u64>, Vec<RedisResult<Value>>);

#[derive(Default)]
struct ConnectionSlot {
    /// Number of the connection; distinguishes a connection to replace from its successor.
    number: u64,
    connection: Option<Connection>,
    /// Kept when its caller times out, so that short timeouts of calls do not restart a longer connection attempt again
    /// and again.
    connecting: Option<Connecting>,
    /// When a connection to a demoted server was last replaced.
    replaced: Option<Instant>,
}

impl ReconnectingConnection {
    pub fn new(connector: Arc<Connector>) -> Self {
        Self { connector, slot: Arc::default(), renewal: crate::sync::Mutex::default() }
    }

    /// Sends commands and waits for their replies. A connection that is lost, or that leads to a server without write
    /// access, is replaced, and the commands are sent once more: each has the same effect if the server receives it
    /// twice.
    pub async fn send(&self, commands: Arc<Vec<Cmd>>) -> Result<Vec<RedisResult<Value>>, KvError> {
        match self.try_once(&commands).await {
            Err(error) if is_lost(&error) => {}
            Ok((Some(number), replies)) if replies.iter().any(is_demoted) => {
                if !self.replace(number).await {
                    return Ok(replies);
                }
            }
            asked => return replies(asked),
        }
        replies(self.try_once(&commands).await)
    }

    /// Drops a connection to a demoted server: after a failover its name leads to another server. It does nothing if
    /// this happened a moment ago. Returns whether another connection exists, or will.
    async fn replace(&self, number: u64) -> bool {
        let mut slot = self.slot.lock().await;
        if slot.number != number {
            return true;
        }
        let now = Instant::now();
        if slot.replaced.is_some_and(|last| now.saturating_duration_since(last) < REPLACE_INTERVAL) {
            return false;
        }
        slot.replaced = Some(now);
        slot.connection = None;
        tracing::debug!(event = "kv.connection_replaced", "Redis accepts no writes; reconnecting");
        true
    }

    /// Closes the connection, unless an attempt to connect is in progress.
    pub fn close(&self) {
        if let Ok(mut slot) = self.slot.try_lock() {
            slot.connection = None;
        }
    }

    /// The connection, if one is open.
    pub fn current(&self) -> Option<Connection> {
        self.slot.try_lock().ok()?.connection.clone()
    }

    /// Opens a new connection, and replaces the current one when it is ready. Calls continue meanwhile.
    pub fn renew(self: &Arc<Self>) {
        let mut renewal = self.renewal.lock();
        if renewal.as_ref().is_some_and(|renewal| renewal.begun.elapsed() < RENEW_INTERVAL) {
            return;
        }
        let (connector, slot) = (Arc::clone(&self.connector), Arc::clone(&self.slot));
        let making = Task::spawn("kv-renewal", async move {
            match connector.connect().await {
                Ok(connection) => slot.lock().await.put(connection),
                Err(error) => {
                    tracing::debug!(error = %to_kv_error(&error), "connection could not be renewed")
                }
            }
        });
        *renewal = Some(Renewal { begun: Instant::now(), _making: making });
    }

    /// The replies, and the number of the connection if this call has to replace it.
    async fn try_once(&self, commands: &Arc<Vec<Cmd>>) -> RedisResult<NumberedReplies> {
        let (number, connection) = self.connection().await?;
        let mends_itself = connection.reconnects_itself();
        let sent = connection.send(commands).await;
        if sent.is_err() && !mends_itself {
            let mut slot = self.slot.lock().await;
            if slot.number == number {
                slot.connection = None;
            }
        }
        Ok(((!mends_itself).then_some(number), sent?))
    }

    async fn connection(&self) -> RedisResult<(u64, Connection)> {
        let mut slot = self.slot.lock().await;
        if let Some(connection) = &slot.connection {
            return Ok((slot.number, connection.clone()));
        }
        let connecting = slot.connecting.get_or_insert_with(|| self.connector.connect());
        let connected = connecting.as_mut().await;
        slot.connecting = None;
        let connection = connected?;
        slot.put(connection.clone());
        Ok((slot.number, connection))
    }
}

impl ConnectionSlot {
    fn put(&mut self, connection: Connection) {
        self.number += 1;
        self.connection = Some(connection);
    }
}

fn replies(asked: RedisResult<NumberedReplies>) -> Result<Vec<RedisResult<Value>>, KvError> {
    asked.map(|(_, replies)| replies).map_err(|error| to_kv_error(&error))
}

/// Whether a server reports that it is not the primary, or has lost its replicas: another may have taken its place.
fn is_demoted(reply: &RedisResult<Value>) -> bool {
    let code = reply.as_ref().err().and_then(RedisError::code);
    matches!(code, Some("READONLY" | "MASTERDOWN" | "NOREPLICAS"))
}

/// Whether the connection ended, so that a new one may work.
fn is_lost(error: &RedisError) -> bool {
    error.is_connection_dropped() && !error.is_connection_refusal()
}
