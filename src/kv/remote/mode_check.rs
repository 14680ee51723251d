//! Checking that the server works and is of the configured kind: a node of a cluster, or not.
//!
//! A cluster node answers for its own keys, so a single-server client would notice late. And a cluster client reports
//! only that it cannot connect if the server is not a cluster node.

use std::sync::Arc;

use redis::{Cmd, Value};
use tokio::time::timeout;

use super::super::KvError;
use super::super::call::Call;
use super::connection::CONNECT_TIMEOUT;
use super::error::IS_CLUSTER_NODE;
use super::{Redis, Remote};

/// Error text for a server that is not a cluster node, with `cluster = true`.
const NOT_CLUSTER_NODE: &str = "the server is not a node of a cluster: set [redis] cluster = false";

impl Remote {
    /// Runs the calls, publishes an empty message on the channel, and queries the server's kind.
    pub async fn check(&self, calls: Vec<Call>, channel: &str) -> Result<(), KvError> {
        let asked = self.run(calls).await.map(drop);
        // If the kind may not be queried, the configured kind is assumed.
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
    /// Queries a single server, over a connection that calls use.
    async fn is_a_node(&self) -> Option<bool> {
        let link = self.connections.first()?;
        let replies = timeout(self.timeout, link.send(Arc::new(vec![info()]))).await.ok()?.ok()?;
        is_node(replies.into_iter().next()?.ok()?)
    }

    /// Queries the configured servers; the first that replies decides.
    async fn is_no_cluster(&self) -> bool {
        let found = timeout(CONNECT_TIMEOUT, async {
            for node in self.connector.nodes() {
                let Ok(connection) = self.connector.connect_to(node).await else { continue };
                let Ok(Ok(replies)) = timeout(self.timeout, connection.send(&Arc::new(vec![info()]))).await
                else {
                    continue;
                };
                if let Some(Ok(reply)) = replies.into_iter().next() {
                    return is_node(reply);
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

/// `None` if the reply does not contain the setting.
fn is_node(reply: Value) -> Option<bool> {
    let Value::BulkString(text) = reply else { return None };
    let text = String::from_utf8_lossy(&text).into_owned();
    let enabled = text.lines().find_map(|line| line.strip_prefix("cluster_enabled:"))?;
    Some(enabled.trim() == "1")
}
