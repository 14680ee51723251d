//! Polls statuses during the storm, of some commands repeatedly. A reported status must remain true.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::thread;
use std::time::Duration;

use serde_json::Value;

use crate::findings::Violation;
use crate::rng::Rng;
use crate::shared::{AcknowledgedCommand, Shared};
use crate::status_observation::{ObservedState, StatusObservation};
use support::http;
use support::http::Client;

/// At most a hundred requests per second.
const POLL_INTERVAL: Duration = Duration::from_millis(10);
/// Short, so that a frozen daemon does not block the poller for long.
const RESPONSE_TIMEOUT: Duration = Duration::from_secs(2);
/// Maximum number of commands that are polled repeatedly.
const MAX_WATCHED: usize = 500;
/// Delivered segments are retained for longer than this, unless the disk fills up.
const MIN_RETENTION: Duration = Duration::from_secs(30);

/// The last reported status of a command.
struct WatchedCommand {
    known: AcknowledgedCommand,
    last: StatusObservation,
    /// Read before the request.
    crashes: u64,
}

/// Polls statuses.
pub struct StatusPoller {
    shared: Arc<Shared>,
    rng: Rng,
    http: Client,
    admin: Client,
    watched: Vec<WatchedCommand>,
}

impl StatusPoller {
    pub fn new(shared: &Arc<Shared>, admin: &str) -> Self {
        let admin = Client::new(admin).with_read_within(RESPONSE_TIMEOUT);
        let http = Client::new(&shared.address).with_read_within(RESPONSE_TIMEOUT);
        Self { shared: Arc::clone(shared), rng: Rng::new(shared.seed, 3), http, admin, watched: Vec::new() }
    }

    pub fn run(mut self) {
        while !self.shared.stop.load(Ordering::Relaxed) {
            thread::sleep(POLL_INTERVAL);
            let choice = self.rng.next();
            if choice.is_multiple_of(50) {
                self.check_backlog();
            }
            self.watched.retain(|watched| watched.last.state != ObservedState::Gone);
            if choice.is_multiple_of(2) && self.watched.len() == MAX_WATCHED {
                self.recheck(choice as usize / 2 % MAX_WATCHED);
            } else {
                self.watch_another(choice / 2);
            }
        }
    }

    fn check_backlog(&mut self) {
        let Ok(answer) = self.admin.get("/admin/backlog") else { return };
        let backlog = answer.json()["backlog"].as_u64().unwrap_or(0);
        self.shared.largest_backlog.fetch_max(backlog, Ordering::Relaxed);
    }

    fn watch_another(&mut self, choice: u64) {
        let Some(known) = self.shared.recent(choice) else { return };
        let crashes = self.shared.crashes.load(Ordering::SeqCst);
        let Some(last) = self.poll_status(&known) else { return };
        let watched = WatchedCommand { known, last, crashes };
        if self.watched.len() < MAX_WATCHED {
            self.watched.push(watched);
        } else {
            let place = self.rng.below(MAX_WATCHED as u64) as usize;
            self.watched[place] = watched;
        }
    }

    fn recheck(&mut self, index: usize) {
        let known = self.watched[index].known.clone();
        let before = self.shared.crashes.load(Ordering::SeqCst);
        let Some(now) = self.poll_status(&known) else { return };
        let crashed = self.shared.crashes.load(Ordering::SeqCst) != self.watched[index].crashes;
        let last = self.watched[index].last;
        let contradiction = match (last.state, now.state) {
            (_, ObservedState::Gone) => false,
            (ObservedState::Gone, _)
            | (ObservedState::Dead, ObservedState::Accepted | ObservedState::Sent) => true,
            (ObservedState::Sent, ObservedState::Accepted) if crashed => {
                self.shared.statuses_lost.fetch_add(1, Ordering::Relaxed);
                false
            }
            (ObservedState::Sent, ObservedState::Accepted | ObservedState::Dead) => true,
            (ObservedState::Sent, ObservedState::Sent) => {
                !crashed && last.place.is_some() && last.place != now.place
            }
            (ObservedState::Accepted, _) | (ObservedState::Dead, ObservedState::Dead) => false,
        };
        if contradiction {
            self.shared.findings.add(Violation::Status, format!("{now:?} after {last:?} ({})", known.id));
        }
        self.watched[index] = WatchedCommand { known, last: now, crashes: before };
    }

    /// The current status of a command, if one is reported.
    fn poll_status(&mut self, known: &AcknowledgedCommand) -> Option<StatusObservation> {
        let observation = request_status(&mut self.http, &self.shared, known)?;
        let young = known.at.elapsed() < MIN_RETENTION;
        if observation.state == ObservedState::Gone && young && !self.shared.may_have_evicted(known.evictions)
        {
            self.shared.findings.add(Violation::Status, format!("404 for the recent command {}", known.id));
        }
        self.shared.add_observation(observation);
        Some(observation)
    }
}

/// Sends one request. Returns `None` without a response, or if the response has no information about the command.
pub fn request_status(
    http: &mut http::Client,
    shared: &Shared,
    known: &AcknowledgedCommand,
) -> Option<StatusObservation> {
    let response = http.get(&format!("/v1/commands/{}", known.id)).ok()?;
    let document: Value = serde_json::from_slice(&response.body).ok()?;
    let (client, serial) = (known.client, known.serial);
    match (response.status, document["code"].as_str()) {
        (200, _) => match StatusObservation::read(client, serial, known.kind, &document) {
            Ok(observation) => Some(observation),
            Err(what) => {
                shared.findings.add(Violation::Status, what);
                None
            }
        },
        (404, Some("not_found")) => Some(StatusObservation {
            client,
            serial,
            state: ObservedState::Gone,
            place: None,
            is_final: false,
        }),
        (503, _) => None,
        (status, _) => {
            shared.findings.add(Violation::Answer, format!("status of {}: {status} {document}", known.id));
            None
        }
    }
}
