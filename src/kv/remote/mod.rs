//! A Redis shared by daemons, single or a cluster.
//!
//! Every call has one timeout, including the time to connect, and passes the [`CircuitBreaker`]. After some failures in
//! a row calls fail at once, until a probe succeeds. A key always uses the same connection, so its operations take
//! effect in the order of the calls, even if a reply was late.
//!
//! In a cluster a failed call is not a failure of the store while any node replies: only that node's keys fail.

mod command;
mod connection;
mod error;
mod failed_subscriptions;
mod mode_check;
mod reconnecting_connection;
mod servers;
mod subscriber;

use std::hash::{BuildHasher, BuildHasherDefault, DefaultHasher};
use std::sync::Arc;
use std::time::Duration;

use prometheus::IntCounter;
use redis::{Cmd, RedisResult, Value};
use tokio::runtime::Handle;
use tokio::sync::oneshot;
use tokio::task::JoinSet;
use tokio::time::{Instant, timeout, timeout_at};

use crate::backoff::CircuitBreaker;
use crate::task::TaskSet;

use super::call::{Call, Reply};
use super::metrics::Metrics;
use super::{Config, KvError};

use command::{KeyQuery, NextStep};
use connection::Connector;
use error::{no_answer, to_kv_error};
use failed_subscriptions::FailedSubscriptions;
use reconnecting_connection::ReconnectingConnection;

pub(super) use servers::parse_nodes as servers;
pub(super) use subscriber::Subscriber;

/// The longest exchange about one key: set and read, repeated when the stored value expired in between.
const MAX_ROUNDS: usize = 6;

/// Time beyond the timeout, to check whether another node of the cluster replies.
const NODE_PROBE_EXTRA: Duration = Duration::from_millis(50);

pub(super) struct Remote {
    redis: Arc<Redis>,
    /// Calls in progress, including those that no caller waits for any more.
    calls: TaskSet,
    /// Failing subscriptions.
    failed_subscriptions: Arc<FailedSubscriptions>,
}

/// State shared by calls.
struct Redis {
    timeout: Duration,
    cluster: bool,
    gate: CircuitBreaker,
    connector: Arc<Connector>,
    connections: Arc<[Arc<ReconnectingConnection>]>,
}

impl Remote {
    pub fn new(config: &Config, metrics: &Metrics) -> Result<Self, KvError> {
        let connector = Arc::new(Connector::new(config)?);
        let link = || Arc::new(ReconnectingConnection::new(Arc::clone(&connector)));
        let links: Arc<[_]> = (0..config.pool_size.max(1)).map(|_| link()).collect();
        let all = Arc::clone(&links);
        let gate = CircuitBreaker::new("redis", metrics.breaker_open.clone(), move || {
            all.iter().for_each(|link| link.close());
        });
        let redis =
            Redis { timeout: config.timeout.0, cluster: config.cluster, gate, connections: links, connector };
        Ok(Self { redis: Arc::new(redis), calls: TaskSet::default(), failed_subscriptions: Arc::default() })
    }

    /// Runs the calls. A call that its caller abandons still runs to its end, within the timeout. The circuit breaker
    /// then learns whether the server replies, even if all callers have shorter timeouts. No further query is sent for
    /// an abandoned call.
    pub async fn run(&self, calls: Vec<Call>) -> Result<Vec<Reply>, KvError> {
        let redis = Arc::clone(&self.redis);
        let (reply_sender, reply_receiver) = oneshot::channel();
        self.calls.spawn(&Handle::current(), async move {
            let replies = redis.guarded(redis.run_rounds(&calls, || !reply_sender.is_closed())).await;
            // The caller may be gone.
            let _ = reply_sender.send(replies);
        });
        reply_receiver
            .await
            .unwrap_or_else(|_| Err(KvError::Unavailable("the call was interrupted".to_owned())))
    }

    pub async fn publish(&self, channel: &str, message: &str) -> Result<(), KvError> {
        let mut publish = redis::cmd("PUBLISH");
        publish.arg(channel).arg(message);
        let redis = &self.redis;
        let published = async {
            let link = &redis.connections[redis.connection_index(channel)];
            let replies = link.send(Arc::new(vec![publish])).await?;
            replies.into_iter().try_for_each(|reply| reply.map(drop).map_err(|error| to_kv_error(&error)))
        };
        redis.guarded(published).await
    }

    pub fn subscribe(&self, channel: &str, lost: Option<IntCounter>) -> Subscriber {
        Subscriber::new(
            Arc::clone(&self.redis.connector),
            channel,
            lost,
            Arc::clone(&self.failed_subscriptions),
        )
    }
}

impl Redis {
    async fn guarded<T>(&self, work: impl Future<Output = Result<T, KvError>>) -> Result<T, KvError> {
        match self.cluster {
            false => {
                let bounded = async { timeout(self.timeout, work).await.unwrap_or(Err(KvError::Timeout)) };
                self.gate.call(bounded).await
            }
            true => self.gate.call(self.in_cluster(work)).await,
        }
    }

    /// Distinguishes the failure of a node from that of the cluster.
    async fn in_cluster<T>(&self, work: impl Future<Output = Result<T, KvError>>) -> Result<T, KvError> {
        let by = Instant::now() + self.timeout;
        let error = match timeout_at(by, work).await {
            Ok(Ok(done)) => return Ok(done),
            // The nodes disagree at the moment.
            Ok(Err(KvError::WrongServerMode(_))) => {
                KvError::Unavailable("the server answered MOVED".to_owned())
            }
            Ok(Err(error)) => error,
            Err(_) => KvError::Timeout,
        };
        if !matches!(error, KvError::Timeout | KvError::Unavailable(_))
            || !self.any_node_answers(by + NODE_PROBE_EXTRA).await
        {
            return Err(error);
        }
        if error == KvError::Timeout {
            // A node without replies may have been replaced, and only a new connection learns its successor.
            self.connections.iter().for_each(ReconnectingConnection::renew);
        }
        Err(KvError::Node(Box::new(error)))
    }

    async fn any_node_answers(&self, by: Instant) -> bool {
        let Some(connection) = self.connections.iter().find_map(|link| link.current()) else { return false };
        timeout_at(by, connection.any_node_answers()).await.unwrap_or(false)
    }

    /// Sends a query for every key, and continues while a reply requires another query and the call is `wanted`.
    async fn run_rounds(&self, calls: &[Call], wanted: impl Fn() -> bool) -> Result<Vec<Reply>, KvError> {
        let mut replies: Vec<Option<Reply>> = calls.iter().map(|_| None).collect();
        let mut open: Vec<_> = (0..calls.len()).map(|number| (number, KeyQuery::Command)).collect();
        for round in 0..MAX_ROUNDS {
            if open.is_empty() {
                break;
            }
            // The server has replied, which is all that the circuit breaker needs.
            if round > 0 && !wanted() {
                return Err(KvError::Malformed("no caller waits for the reply any more".to_owned()));
            }
            let received = self.send_queries(calls, &open).await?;
            let mut further = Vec::new();
            for ((number, query), reply) in open.into_iter().zip(received) {
                match query.interpret(&calls[number], reply)? {
                    NextStep::Reply(reply) => replies[number] = Some(reply),
                    NextStep::Query(query) => further.push((number, query)),
                }
            }
            open = further;
        }
        let unanswered = || KvError::Unavailable("the value changed too often to be read".to_owned());
        replies.into_iter().map(|reply| reply.ok_or_else(unanswered)).collect()
    }

    /// Sends each query over its key's connection, all connections in parallel. The replies are in the queries' order.
    async fn send_queries(
        &self,
        calls: &[Call],
        queries: &[(usize, KeyQuery)],
    ) -> Result<Vec<RedisResult<Value>>, KvError> {
        let mut by_link: Vec<(Vec<usize>, Vec<Cmd>)> =
            self.connections.iter().map(|_| Default::default()).collect();
        for (position, (number, query)) in queries.iter().enumerate() {
            let call = &calls[*number];
            let (positions, commands) = &mut by_link[self.connection_index(&call.key)];
            positions.push(position);
            commands.push(query.command(call));
        }
        let mut asking = JoinSet::new();
        for (link, (positions, commands)) in self.connections.iter().zip(by_link) {
            if !positions.is_empty() {
                let link = Arc::clone(link);
                asking.spawn(async move {
                    link.send(Arc::new(commands)).await.map(|replies| (positions, replies))
                });
            }
        }
        let mut all: Vec<_> = queries.iter().map(|_| Err(no_answer())).collect();
        while let Some(joined) = asking.join_next().await {
            let (positions, replies) =
                joined.map_err(|_| KvError::Unavailable("the call was interrupted".to_owned()))??;
            for (position, reply) in positions.into_iter().zip(replies) {
                all[position] = reply;
            }
        }
        Ok(all)
    }

    fn connection_index(&self, key: &str) -> usize {
        let hash = BuildHasherDefault::<DefaultHasher>::default().hash_one(key);
        // Less than the number of connections.
        usize::try_from(hash % self.connections.len() as u64).unwrap_or(0)
    }
}
