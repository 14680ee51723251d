//! How a server is connected to, and how commands go over a connection.

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

/// Name look-up, TCP, TLS and greeting. A call may give up earlier; the attempt goes on with the next one.
pub(super) const CONNECT_TIMEOUT: Duration = Duration::from_secs(2);
/// The same to one node of a cluster. Shorter, because all nodes have to be gone through within the above, and one of
/// them may be frozen.
const NODE_CONNECT_TIMEOUT: Duration = Duration::from_millis(500);
/// Commands that wait for their turn on a connection; whoever comes then waits.
const MAX_QUEUED_COMMANDS: usize = 1024;

/// A connection that is being made.
pub(super) type Connecting = Pin<Box<dyn Future<Output = RedisResult<Connection>> + Send>>;

/// A connection. Clones share it; the last one closes it.
#[derive(Clone)]
pub(super) enum Connection {
    Single(MultiplexedConnection),
    Cluster(ClusterConnection),
}

/// Knows where the server is and how to log in.
pub(super) struct Connector {
    /// One, or some nodes of the cluster.
    nodes: Vec<ConnectionInfo>,
    cluster: Option<ClusterClient>,
}

impl Connector {
    pub fn new(config: &Config) -> Result<Self, KvError> {
        let Servers { nodes, certificates } = Servers::of(config)?;
        let cluster = config.cluster.then(|| {
            // The library's own patience: less than ours, so that it turns to another node while somebody waits.
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
        let wrong = |_| KvError::Malformed("[redis] url: its servers are no cluster's".to_owned());
        Ok(Self { cluster: cluster.transpose().map_err(wrong)?, nodes })
    }

    /// Begins to connect; nothing happens unless somebody waits.
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

    /// A connection to one node, whatever the configuration says it is.
    pub async fn connect_to(&self, node: &ConnectionInfo) -> RedisResult<Connection> {
        let late = |_| Err(std::io::Error::from(std::io::ErrorKind::TimedOut).into());
        timeout(NODE_CONNECT_TIMEOUT, single(node.clone())).await.unwrap_or_else(late)
    }

    /// The servers that the configuration names.
    pub fn nodes(&self) -> &[ConnectionInfo] {
        &self.nodes
    }

    /// The node whose turn it is: any one of a cluster has all messages.
    pub fn node(&self, turn: usize) -> ConnectionInfo {
        self.nodes[turn % self.nodes.len()].clone()
    }
}

async fn single(node: ConnectionInfo) -> RedisResult<Connection> {
    let client = Client::open(node)?;
    let made = client.get_multiplexed_async_connection_with_config(&settings()).await;
    made.map(Connection::Single)
}

/// The library's time-outs are off: a call has ours.
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
    /// A cluster's connections to its nodes come and go one by one.
    pub fn reconnects_itself(&self) -> bool {
        matches!(self, Self::Cluster(_))
    }

    /// Whether at least one node is there.
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

    /// Sends all and waits for all answers. An error of the whole: the connection is of no use any more.
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
    let answers = connection.req_packed_commands(&pipeline, 0, commands.len()).await?;
    Ok(answers.into_iter().map(Value::extract_error).collect())
}

/// In a cluster each key has its node, and a pipeline goes to one: so each command for itself. All are waited for:
/// what one node does not do, others do all the same.
async fn side_by_side(
    connection: ClusterConnection,
    commands: &Arc<Vec<Cmd>>,
) -> RedisResult<Vec<RedisResult<Value>>> {
    let mut asking = JoinSet::new();
    for number in 0..commands.len() {
        let (mut connection, commands) = (connection.clone(), Arc::clone(commands));
        asking.spawn(async move { (number, connection.req_packed_command(&commands[number]).await) });
    }
    let mut answers: Vec<_> = commands.iter().map(|_| Err(no_answer())).collect();
    while let Some(joined) = asking.join_next().await {
        let Ok((number, answer)) = joined else { return Err(no_answer()) };
        answers[number] = answer.and_then(Value::extract_error);
    }
    // What a node says has a code; all else says that it was not reached.
    let unreached = |answer: &RedisResult<Value>| answer.as_ref().is_err_and(|error| error.code().is_none());
    if answers.iter().all(unreached)
        && let Some(Err(error)) = answers.pop()
    {
        return Err(error);
    }
    Ok(answers)
}
