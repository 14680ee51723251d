//! `GET /v1/commands/{id}`, and waiting for commands to become final.

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

/// Answers with the status document, at once or after `Prefer: wait=N`.
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

/// The statuses of all commands of a request once every one of them is final; `None` when `wait` was not enough, or
/// a look-up failed: then the client gets its 202, which is true in any case.
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

/// The status once it is final or `deadline` has come. For those who may know it.
async fn find_final<C: CommandService>(
    commands: &C,
    id: CommandId,
    consumed: bool,
    deadline: Instant,
) -> Result<CommandStatus, StatusError> {
    let mut changed = pin!(commands.final_state(id, consumed, deadline));
    // The first poll of `changed` registers the wait, and `biased` makes it come before the look-up: a command that
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
