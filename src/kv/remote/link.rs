//! A connection that comes when it is needed and is replaced when it breaks.

use std::sync::Arc;
use std::sync::PoisonError;
use std::time::Duration;
use std::time::Instant;

use redis::Cmd;
use redis::RedisError;
use redis::RedisResult;
use redis::Value;
use tokio::sync::Mutex;

use super::super::KvError;
use super::connection::Connecting;
use super::connection::Connection;
use super::connection::Connector;
use super::said;
use crate::task::Task;

/// Between two new connections to a cluster of which a node is silent.
const RENEW_EVERY: Duration = Duration::from_secs(5);

pub(super) struct Link {
    connector: Arc<Connector>,
    slot: Arc<Mutex<Slot>>,
    renewal: std::sync::Mutex<Option<Renewal>>,
}

/// A new connection that is made beside the one in use.
struct Renewal {
    begun: Instant,
    _making: Task,
}

#[derive(Default)]
struct Slot {
    /// Of the connection; tells one that is to be given up from its successor.
    number: u64,
    connection: Option<Connection>,
    /// Kept when whoever waited gives up, so that short time-outs of calls do not begin again and again what takes
    /// longer.
    connecting: Option<Connecting>,
}

impl Link {
    pub fn new(connector: Arc<Connector>) -> Self {
        Self { connector, slot: Arc::default(), renewal: std::sync::Mutex::default() }
    }

    /// Sends commands and waits for their answers. A connection that turns out to be lost is replaced, and the
    /// commands are sent once more: each has the same effect when the server hears it twice.
    pub async fn ask(&self, commands: Arc<Vec<Cmd>>) -> Result<Vec<RedisResult<Value>>, KvError> {
        match self.try_once(&commands).await {
            Err(error) if is_lost(&error) => self.try_once(&commands).await.map_err(|error| said(&error)),
            asked => asked.map_err(|error| said(&error)),
        }
    }

    /// Closes the connection, unless one is just being made.
    pub fn give_up(&self) {
        if let Ok(mut slot) = self.slot.try_lock() {
            slot.connection = None;
        }
    }

    /// The connection, if there is one.
    pub fn current(&self) -> Option<Connection> {
        self.slot.try_lock().ok()?.connection.clone()
    }

    /// Makes a new connection, and replaces the one there is when it is ready: calls go on meanwhile.
    pub fn renew(self: &Arc<Self>) {
        let mut renewal = self.renewal.lock().unwrap_or_else(PoisonError::into_inner);
        if renewal.as_ref().is_some_and(|renewal| renewal.begun.elapsed() < RENEW_EVERY) {
            return;
        }
        let (connector, slot) = (Arc::clone(&self.connector), Arc::clone(&self.slot));
        let making = Task::spawn("kv-renewal", async move {
            match connector.connect().await {
                Ok(connection) => slot.lock().await.put(connection),
                Err(error) => tracing::debug!(error = %said(&error), "kv.renewal: not connected"),
            }
        });
        *renewal = Some(Renewal { begun: Instant::now(), _making: making });
    }

    async fn try_once(&self, commands: &Arc<Vec<Cmd>>) -> RedisResult<Vec<RedisResult<Value>>> {
        let (number, connection) = self.connection().await?;
        let mends_itself = connection.mends_itself();
        let sent = connection.send(commands).await;
        if sent.is_err() && !mends_itself {
            let mut slot = self.slot.lock().await;
            if slot.number == number {
                slot.connection = None;
            }
        }
        sent
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

impl Slot {
    fn put(&mut self, connection: Connection) {
        self.number += 1;
        self.connection = Some(connection);
    }
}

/// Whether the connection ended, so that a new one may fare better.
fn is_lost(error: &RedisError) -> bool {
    error.is_connection_dropped() && !error.is_connection_refusal()
}
