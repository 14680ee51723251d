//! Redis commands for calls, and the interpretation of their replies.
//!
//! Each command and script is about one key, so that the same works in a cluster.

use std::time::Duration;

use redis::{Cmd, RedisResult, Value};

use super::super::KvError;
use super::super::bucket::{PermitReply, SCRIPT};
use super::super::call::{Call, Op, Reply, SetOutcome, millis};
use super::error::to_kv_error;

/// Each script first checks the owner of the current value: a value that begins with `ARGV[1]` belongs to that owner.
///
/// Scripts are sent as text, not by their hash: a restarted server does not know the hash. A call that no caller waits
/// for any more would then have no effect when the server executes it.
/// not waited for any more would then have no effect when the server comes to it.
macro_rules! of_owner {
    ($then:literal) => {
        concat!(
            "local v = redis.call('GET', KEYS[1]) ",
            "if v and string.sub(v, 1, #ARGV[1]) == ARGV[1] then ",
            $then,
            " return 1 end return 0"
        )
    };
}

const REPLACE: &str = of_owner!("redis.call('SET', KEYS[1], ARGV[2], 'PX', ARGV[3])");
const REFRESH: &str = of_owner!("redis.call('PEXPIRE', KEYS[1], ARGV[2])");
const REMOVE: &str = of_owner!("redis.call('DEL', KEYS[1])");

/// A query about a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum KeyQuery {
    /// The operation of the call.
    Command,
    /// The value that is stored instead.
    CurrentValue,
}

/// The next step after a reply.
pub(super) enum NextStep {
    Reply(Reply),
    Query(KeyQuery),
}

impl KeyQuery {
    pub fn command(self, call: &Call) -> Cmd {
        let key = call.key.as_str();
        let set = |value| {
            let mut set = redis::cmd("SET");
            set.arg(key).arg(value);
            set
        };
        match &call.op {
            _ if self == Self::CurrentValue => Cmd::get(key),
            Op::Get => Cmd::get(key),
            Op::Delete => Cmd::del(key),
            Op::Set { value, ttl } => set(value).arg("PX").arg(millis(*ttl)).to_owned(),
            Op::SetIfAbsent { value, ttl } => set(value).arg("NX").arg("PX").arg(millis(*ttl)).to_owned(),
            Op::Replace { owner, value, ttl } => {
                script(REPLACE, key, owner).arg(value).arg(millis(*ttl)).to_owned()
            }
            Op::Refresh { owner, ttl } => script(REFRESH, key, owner).arg(millis(*ttl)).to_owned(),
            Op::Remove { owner } => script(REMOVE, key, owner),
            Op::Spend { rate, want, at } => {
                let mut spend = redis::cmd("EVAL");
                spend.arg(SCRIPT).arg(1).arg(key).arg(rate.limit.max(1)).arg(rate.window_micros());
                spend.arg(want.need).arg(want.extra).arg(*at);
                spend
            }
        }
    }

    /// Interprets the reply to this query.
    pub fn interpret(self, call: &Call, reply: RedisResult<Value>) -> Result<NextStep, KvError> {
        let value = reply.map_err(|error| to_kv_error(&error))?;
        let reply = match (&call.op, self, value) {
            (Op::SetIfAbsent { value, .. }, Self::CurrentValue, Value::BulkString(other)) => {
                // Owned: set by this call before its reply was lost, or by an earlier call.
                Reply::Held(if other == *value { SetOutcome::Owned } else { SetOutcome::Taken(other) })
            }
            // The value expired in between.
            (Op::SetIfAbsent { .. }, Self::CurrentValue, Value::Nil) => {
                return Ok(NextStep::Query(Self::Command));
            }
            (Op::SetIfAbsent { .. }, _, Value::Nil) => return Ok(NextStep::Query(Self::CurrentValue)),
            (Op::SetIfAbsent { .. }, _, Value::Okay) => Reply::Held(SetOutcome::Owned),
            (Op::Get, _, Value::BulkString(value)) => Reply::Value(Some(value)),
            (Op::Get, _, Value::Nil) => Reply::Value(None),
            (Op::Set { .. }, _, Value::Okay) => Reply::Changed(true),
            (
                Op::Replace { .. } | Op::Refresh { .. } | Op::Remove { .. } | Op::Delete,
                _,
                Value::Int(count),
            ) => Reply::Changed(count > 0),
            (Op::Spend { .. }, _, Value::Array(spent)) => Reply::Spent(read_spent(&spent)?),
            _ => return Err(unexpected_type()),
        };
        Ok(NextStep::Reply(reply))
    }
}

fn read_spent(values: &[Value]) -> Result<PermitReply, KvError> {
    let [Value::Int(granted), Value::Int(wait)] = values else { return Err(unexpected_type()) };
    let count = |number: &i64| u64::try_from(*number).map_err(|_| unexpected_type());
    Ok(PermitReply { granted: count(granted)?, retry_after: Duration::from_micros(count(wait)?) })
}

fn unexpected_type() -> KvError {
    KvError::Malformed("a reply has an unexpected type".to_owned())
}

fn script(code: &str, key: &str, owner: &[u8]) -> Cmd {
    let mut command = redis::cmd("EVAL");
    command.arg(code).arg(1).arg(key).arg(owner);
    command
}
