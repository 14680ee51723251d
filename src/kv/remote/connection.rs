//! Connecting to a server, and sending commands over a connection.

use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use redis::aio::{ConnectionLike, MultiplexedConnection};
use redis::cluster::ClusterClient;
use redis::cluster_async::ClusterConnection;
use redis::cluster_routing::{MultipleNodeRoutingInfo, ResponsePolicy, RoutingInfo};
use redis::{AsyncConnectionConfig, Client, Cmd, ConnectionInfo, Pipeline, RedisResult, Value};
use tokio::task::JoinSet;
use tokio::time::timeout;

use super::super::{Config, KvError};
use super::error::no_answer;
use super::servers::{Servers, tcp};

/// Timeout for name resolution, TCP, TLS and greeting. A call may time out earlier; the next call continues the
/// attempt.
pub(super) const CONNECT_TIMEOUT: Duration = Duration::from_secs(2);
/// Timeout for connecting to one node of a cluster. It is shorter, because all nodes must be tried within
/// [`CONNECT_TIMEOUT`], and one of them may be frozen.
const NODE_CONNECT_TIMEOUT: Duration = Duration::from_millis(500);
/// Maximum number of commands queued on a connection. Further callers wait.
const MAX_QUEUED_COMMANDS: usize = 1024;

/// A connection attempt in progress.
pub(super) type Connecting = Pin<Box<dyn Future<Output = RedisResult<Connection>> + Send>>;

/// A connection. Clones share it; dropping the last one closes it.
#[derive(Clone)]
pub(super) enum Connection {
    Single(MultiplexedConnection),
    Cluster(ClusterConnection),
}

/// Addresses and credentials of the servers.
pub(super) struct Connector {
    /// The single server, or some nodes of the cluster.
    nodes: Vec<ConnectionInfo>,
    cluster: Option<ClusterClient>,
}

impl Connector {
    pub fn new(config: &Config) -> Result<Self, KvError> {
        let Servers { nodes, certificates } = Servers::of(config)?;
        let cluster = config.cluster.then(|| {
            // The library's own timeout is shorter than ours, so that it tries another node while a caller waits.
            let builder = ClusterClient::builder(nodes.clone());
            let builder = match certificates {
                Some(certificates) => builder.certs(certificates),
                None => builder,
            };
            builder
                .connection_timeout(NODE_CONNECT_TIMEOUT)
                .tcp_settings(tcp())
                .response_timeout(config.timeout.0)
                .retries(3)
                .min_retry_wait(10)
                .max_retry_wait(100)
                .build()
        });
        let wrong = |_| KvError::Malformed("[redis] url: its servers cannot form a cluster".to_owned());
        Ok(Self { cluster: cluster.transpose().map_err(wrong)?, nodes })
    }

    /// Starts to connect. The returned future makes no progress unless it is awaited.
    pub fn connect(&self) -> Connecting {
        match (&self.cluster, self.nodes.first().cloned()) {
            (Some(cluster), _) => {
                let cluster = cluster.clone();
                Box::pin(within(async move { cluster.get_async_connection().await.map(Connection::Cluster) }))
            }
            (None, Some(node)) => Box::pin(within(single(node))),
            (None, None) => Box::pin(async { Err(no_answer()) }),
        }
    }

    /// Connects to one node, whatever the configured kind.
    pub async fn connect_to(&self, node: &ConnectionInfo) -> RedisResult<Connection> {
        let late = |_| Err(std::io::Error::from(std::io::ErrorKind::TimedOut).into());
        timeout(NODE_CONNECT_TIMEOUT, single(node.clone())).await.unwrap_or_else(late)
    }

    /// The configured servers.
    pub fn nodes(&self) -> &[ConnectionInfo] {
        &self.nodes
    }

    /// The node at this round-robin position: any node of a cluster receives all messages.
    pub fn node(&self, turn: usize) -> ConnectionInfo {
        self.nodes[turn % self.nodes.len()].clone()
    }
}

async fn single(node: ConnectionInfo) -> RedisResult<Connection> {
    let client = Client::open(node)?;
    let made = client.get_multiplexed_async_connection_with_config(&settings()).await;
    made.map(Connection::Single)
}

/// The library's timeouts are off: each call has forebay's own.
pub(super) fn settings() -> AsyncConnectionConfig {
    AsyncConnectionConfig::new()
        .set_connection_timeout(None)
        .set_response_timeout(None)
        .set_pipeline_buffer_size(MAX_QUEUED_COMMANDS)
}

async fn within<T>(work: impl Future<Output = RedisResult<T>>) -> RedisResult<T> {
    let late = |_| std::io::Error::from(std::io::ErrorKind::TimedOut).into();
    timeout(CONNECT_TIMEOUT, work).await.unwrap_or_else(|elapsed| Err(late(elapsed)))
}

impl Connection {
    /// Whether the connection reconnects by itself: a cluster connection replaces its connections to nodes one by one.
    pub fn reconnects_itself(&self) -> bool {
        matches!(self, Self::Cluster(_))
    }

    /// Whether at least one node replies.
    pub async fn any_node_answers(self) -> bool {
        let everybody =
            RoutingInfo::MultiNode((MultipleNodeRoutingInfo::AllNodes, Some(ResponsePolicy::OneSucceeded)));
        match self {
            Self::Single(mut connection) => connection.req_packed_command(&redis::cmd("PING")).await.is_ok(),
            Self::Cluster(mut connection) => {
                connection.route_command(redis::cmd("PING"), everybody).await.is_ok()
            }
        }
    }

    /// Sends all commands and waits for all replies. An error of the whole means that the connection is unusable.
    pub async fn send(self, commands: &Arc<Vec<Cmd>>) -> RedisResult<Vec<RedisResult<Value>>> {
        match self {
            Self::Single(connection) => pipelined(connection, commands).await,
            Self::Cluster(connection) => side_by_side(connection, commands).await,
        }
    }
}

async fn pipelined(
    mut connection: MultiplexedConnection,
    commands: &[Cmd],
) -> RedisResult<Vec<RedisResult<Value>>> {
    let mut pipeline = Pipeline::with_capacity(commands.len());
    for command in commands {
        pipeline.add_command(command.clone());
    }
    let replies = connection.req_packed_commands(&pipeline, 0, commands.len()).await?;
    Ok(replies.into_iter().map(Value::extract_error).collect())
}

/// In a cluster each key has its node, and a pipeline goes to one node. So each command is sent separately, and all are
/// awaited: a failing node does not affect the others.
async fn side_by_side(
    connection: ClusterConnection,
    commands: &Arc<Vec<Cmd>>,
) -> RedisResult<Vec<RedisResult<Value>>> {
    let mut asking = JoinSet::new();
    for number in 0..commands.len() {
        let (mut connection, commands) = (connection.clone(), Arc::clone(commands));
        asking.spawn(async move { (number, connection.req_packed_command(&commands[number]).await) });
    }
    let mut replies: Vec<_> = commands.iter().map(|_| Err(no_answer())).collect();
    while let Some(joined) = asking.join_next().await {
        let Ok((number, reply)) = joined else { return Err(no_answer()) };
        replies[number] = reply.and_then(Value::extract_error);
    }
    // An error reported by a node has a code; an error without one means that the node was not reached.
    let unreached = |reply: &RedisResult<Value>| reply.as_ref().is_err_and(|error| error.code().is_none());
    if replies.iter().all(unreached)
        && let Some(Err(error)) = replies.pop()
    {
        return Err(error);
    }
    Ok(replies)
}
