//! Asks for statuses during the storm, of some commands again and again: what was said once stays true.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::thread;
use std::time::Duration;

use serde_json::Value;

use crate::findings::Violation;
use crate::rng::Rng;
use crate::shared::{Known, Shared};
use crate::sightings::{Sighting, State};
use support::http;
use support::http::Client;

/// A hundred looks a second at most.
const PAUSE: Duration = Duration::from_millis(10);
/// A frozen daemon is no reason to wait for long.
const ANSWER_WITHIN: Duration = Duration::from_secs(2);
/// Commands looked at more than once.
const WATCHED: usize = 500;
/// Delivered segments are kept for longer than this, unless the disk fills up.
const KEPT: Duration = Duration::from_secs(30);

/// What was said last about a command.
struct Watched {
    known: Known,
    last: Sighting,
    /// Read before it was asked.
    crashes: u64,
}

/// Who asks.
pub struct Asker {
    shared: Arc<Shared>,
    rng: Rng,
    http: Client,
    admin: Client,
    watched: Vec<Watched>,
}

impl Asker {
    pub fn new(shared: &Arc<Shared>, admin: &str) -> Self {
        let admin = Client::new(admin).with_read_within(ANSWER_WITHIN);
        let http = Client::new(&shared.address).with_read_within(ANSWER_WITHIN);
        Self { shared: Arc::clone(shared), rng: Rng::new(shared.seed, 3), http, admin, watched: Vec::new() }
    }

    pub fn run(mut self) {
        while !self.shared.stop.load(Ordering::Relaxed) {
            thread::sleep(PAUSE);
            let choice = self.rng.next();
            if choice.is_multiple_of(50) {
                self.look_at_backlog();
            }
            self.watched.retain(|watched| watched.last.state != State::Gone);
            if choice.is_multiple_of(2) && self.watched.len() == WATCHED {
                self.look_again(choice as usize / 2 % WATCHED);
            } else {
                self.look_at_one_more(choice / 2);
            }
        }
    }

    fn look_at_backlog(&mut self) {
        let Ok(answer) = self.admin.get("/admin/backlog") else { return };
        let backlog = answer.json()["backlog"].as_u64().unwrap_or(0);
        self.shared.largest_backlog.fetch_max(backlog, Ordering::Relaxed);
    }

    fn look_at_one_more(&mut self, choice: u64) {
        let Some(known) = self.shared.recent(choice) else { return };
        let crashes = self.shared.crashes.load(Ordering::SeqCst);
        let Some(last) = self.ask(&known) else { return };
        let watched = Watched { known, last, crashes };
        if self.watched.len() < WATCHED {
            self.watched.push(watched);
        } else {
            let place = self.rng.below(WATCHED as u64) as usize;
            self.watched[place] = watched;
        }
    }

    fn look_again(&mut self, index: usize) {
        let known = self.watched[index].known.clone();
        let before = self.shared.crashes.load(Ordering::SeqCst);
        let Some(now) = self.ask(&known) else { return };
        let crashed = self.shared.crashes.load(Ordering::SeqCst) != self.watched[index].crashes;
        let last = self.watched[index].last;
        let contradiction = match (last.state, now.state) {
            (_, State::Gone) => false,
            (State::Gone, _) | (State::Dead, State::Accepted | State::Sent) => true,
            (State::Sent, State::Accepted) if crashed => {
                self.shared.forgotten.fetch_add(1, Ordering::Relaxed);
                false
            }
            (State::Sent, State::Accepted | State::Dead) => true,
            (State::Sent, State::Sent) => !crashed && last.place.is_some() && last.place != now.place,
            (State::Accepted, _) | (State::Dead, State::Dead) => false,
        };
        if contradiction {
            self.shared.findings.add(Violation::Status, format!("{now:?} after {last:?} ({})", known.id));
        }
        self.watched[index] = Watched { known, last: now, crashes: before };
    }

    /// What is said about a command now, if anything is.
    fn ask(&mut self, known: &Known) -> Option<Sighting> {
        let sighting = ask(&mut self.http, &self.shared, known)?;
        let young = known.at.elapsed() < KEPT;
        if sighting.state == State::Gone && young && !self.shared.may_have_evicted(known.evictions) {
            self.shared.findings.add(Violation::Status, format!("404 of the young {}", known.id));
        }
        self.shared.saw(sighting);
        Some(sighting)
    }
}

/// Asks once; nothing when there is no answer, or none about the command.
pub fn ask(http: &mut http::Client, shared: &Shared, known: &Known) -> Option<Sighting> {
    let response = http.get(&format!("/v1/commands/{}", known.id)).ok()?;
    let document: Value = serde_json::from_slice(&response.body).ok()?;
    let (client, serial) = (known.client, known.serial);
    match (response.status, document["code"].as_str()) {
        (200, _) => match Sighting::read(client, serial, known.kind, &document) {
            Ok(sighting) => Some(sighting),
            Err(what) => {
                shared.findings.add(Violation::Status, what);
                None
            }
        },
        (404, Some("not_found")) => {
            Some(Sighting { client, serial, state: State::Gone, place: None, is_final: false })
        }
        (503, _) => None,
        (status, _) => {
            shared.findings.add(Violation::Answer, format!("status of {}: {status} {document}", known.id));
            None
        }
    }
}
