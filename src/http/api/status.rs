//! The handler of `GET /v1/commands/{id}`, and waits for the final state of commands.

use std::pin::pin;
use std::time::{Duration, Instant};

use super::documents::StatusDocument;
use super::receipt;
use super::state::Api;
use crate::auth::Caller;
use crate::command::{CommandId, CommandStatus, has_consumer};
use crate::http::headers::Prefer;
use crate::http::http_response::HttpResponse;
use crate::http::problem::Problem;
use crate::http::respond;
use crate::http::server::service::MatchedRequest;
use crate::http::services::CommandService;
use crate::status::StatusError;

/// Responds with the status document. With `Prefer: wait=N`, waits until the status is final or N seconds have passed.
pub(super) async fn get<C: CommandService>(
    api: &Api<C>,
    request: MatchedRequest<'_>,
    caller: Caller,
) -> Result<HttpResponse, Problem> {
    let id: CommandId = request.parameter.parse().map_err(|_| StatusError::NotFound)?;
    let prefer = Prefer::of(&request.head.headers);
    let mut status = api.commands.find(id, &caller).await?;
    request.trace.set_commands(&[id]);
    if let Some(wait) = prefer.wait.filter(|_| !status.is_final()) {
        let consumed = has_consumer(&status.kind);
        status = find_final(&api.commands, id, consumed, Instant::now() + wait).await?;
    }
    Ok(receipt::add_preference_applied(respond::json(&StatusDocument::from(&status)), prefer))
}

/// Waits until all commands of a request are final, and returns their statuses. Returns `None` if `wait` was too short
/// or a look-up failed. The client then gets a 202, which is correct in any case.
pub(super) async fn final_statuses<C: CommandService>(
    commands: &C,
    ids: &[CommandId],
    consumed: bool,
    wait: Duration,
) -> Option<Vec<CommandStatus>> {
    let deadline = Instant::now() + wait;
    let mut statuses = Vec::with_capacity(ids.len());
    for id in ids {
        let status = find_final(commands, *id, consumed, deadline).await.ok()?;
        if !status.is_final() {
            return None;
        }
        statuses.push(status);
    }
    Some(statuses)
}

/// Waits until a command is final or `deadline` has passed, and returns its status. Does not check whether the caller
/// may read it.
async fn find_final<C: CommandService>(
    commands: &C,
    id: CommandId,
    consumed: bool,
    deadline: Instant,
) -> Result<CommandStatus, StatusError> {
    let mut changed = pin!(commands.final_state(id, consumed, deadline));
    // The first poll of `changed` registers the wait. `biased` polls it before the look-up, so that a command that
    // becomes final in between is not missed.
    let status = tokio::select! {
        biased;
        () = &mut changed => return commands.find(id, &Caller::OpenMode).await,
        status = commands.find(id, &Caller::OpenMode) => status?,
    };
    if status.is_final() || Instant::now() >= deadline {
        return Ok(status);
    }
    changed.await;
    commands.find(id, &Caller::OpenMode).await
}
