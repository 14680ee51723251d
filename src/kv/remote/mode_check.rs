//! Whether the server does what is needed, and is what the configuration says: a node of a cluster, or none.
//!
//! A node answers for the keys that are its own, so that a single client would notice late; and of a server that is no
//! node a cluster's client says only that it cannot connect.

use std::sync::Arc;

use redis::{Cmd, Value};
use tokio::time::timeout;

use super::super::KvError;
use super::super::call::Call;
use super::connection::CONNECT_TIMEOUT;
use super::error::IS_CLUSTER_NODE;
use super::{Redis, Remote};

/// What is said of a server that is none with `cluster = true`.
const NOT_CLUSTER_NODE: &str = "the server is no node of a cluster: set [redis] cluster = false";

impl Remote {
    /// Makes the calls, publishes nothing on the channel, and asks what kind of a server it is.
    pub async fn check(&self, calls: Vec<Call>, channel: &str) -> Result<(), KvError> {
        let asked = self.run(calls).await.map(drop);
        // Who may not be asked what it is, is what it was taken for.
        match self.redis.cluster {
            false if self.redis.is_a_node().await == Some(true) => {
                return Err(KvError::WrongServerMode(IS_CLUSTER_NODE));
            }
            true if asked.is_err() && self.redis.is_no_cluster().await => {
                return Err(KvError::WrongServerMode(NOT_CLUSTER_NODE));
            }
            _ => asked?,
        }
        self.publish(channel, "").await?;
        self.failed_subscriptions.check()
    }
}

impl Redis {
    /// Of a single server, over a connection that calls use.
    async fn is_a_node(&self) -> Option<bool> {
        let link = self.connections.first()?;
        let answers = timeout(self.timeout, link.send(Arc::new(vec![info()]))).await.ok()?.ok()?;
        is_node(answers.into_iter().next()?.ok()?)
    }

    /// Of the servers named, the first that answers decides.
    async fn is_no_cluster(&self) -> bool {
        let found = timeout(CONNECT_TIMEOUT, async {
            for node in self.connector.nodes() {
                let Ok(connection) = self.connector.connect_to(node).await else { continue };
                let Ok(Ok(answers)) = timeout(self.timeout, connection.send(&Arc::new(vec![info()]))).await
                else {
                    continue;
                };
                if let Some(Ok(answer)) = answers.into_iter().next() {
                    return is_node(answer);
                }
            }
            None
        });
        found.await == Ok(Some(false))
    }
}

fn info() -> Cmd {
    let mut info = redis::cmd("INFO");
    info.arg("cluster");
    info
}

/// None: the answer does not say.
fn is_node(answer: Value) -> Option<bool> {
    let Value::BulkString(text) = answer else { return None };
    let text = String::from_utf8_lossy(&text).into_owned();
    let enabled = text.lines().find_map(|line| line.strip_prefix("cluster_enabled:"))?;
    Some(enabled.trim() == "1")
}
