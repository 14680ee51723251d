//! A client that sends one request after the other, and records the outcome of each.

use std::collections::VecDeque;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::thread;
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::checker::idempotency_key;
use crate::command::{Command, Key, Kind};
use crate::create_outcome::CreateOutcome;
use crate::findings::Violation;
use crate::journal::{Journal, RequestOutcome};
use crate::rng::Rng;
use crate::shared::{AcknowledgedCommand, Shared};
use crate::status_observation::StatusObservation;
use support::http;

/// Shorter than the longest freeze, so that some responses arrive too late.
const RESPONSE_TIMEOUT: Duration = Duration::from_secs(4);
/// Longer than any fault, shorter than the time for which the daemon retains delivered segments.
const RETRY_FOR: Duration = Duration::from_secs(60);
/// The load is divided by this between two rounds of faults.
const CALM_LOAD_DIVISOR: u32 = 10;
/// How often a request without a key is sent again after a rejection.
const RETRIES: usize = 3;
/// Number of keys that each client uses at the same time.
const KEYS_PER_CLIENT: u64 = 5;
/// Maximum number of accepted requests that may be sent again.
const MAX_REMEMBERED: usize = 32;

/// A client under load.
pub struct LoadClient {
    number: u32,
    shared: Arc<Shared>,
    rng: Rng,
    http: http::Client,
    journal: Journal,
    epoch: u32,
    accepted: VecDeque<AcceptedRequest>,
}

/// A request that may be sent several times.
#[derive(Clone)]
struct ClientRequest {
    kind: Kind,
    batch: u32,
    commands: Vec<Command>,
    keyed: bool,
    wait: bool,
    body: String,
}

/// An accepted request with a key.
struct AcceptedRequest {
    request: ClientRequest,
    ids: Vec<Box<str>>,
    at: Instant,
    evictions: u64,
}

impl LoadClient {
    pub fn new(number: u32, shared: &Arc<Shared>, journal: &Path) -> Self {
        Self {
            number,
            shared: Arc::clone(shared),
            rng: Rng::new(shared.seed, 1_000 + u64::from(number)),
            http: http::Client::new(&shared.address).with_read_within(RESPONSE_TIMEOUT),
            journal: Journal::new(Some(journal)),
            epoch: 0,
            accepted: VecDeque::new(),
        }
    }

    /// Sends until a stop is requested. `pause` follows each command.
    pub fn run(mut self, pause: Duration) -> Journal {
        let mut next = Instant::now();
        while !self.shared.stop.load(Ordering::Relaxed) {
            let request = self.compose();
            let commands = request.commands.len();
            self.send(request);
            if self.rng.chance(10) {
                self.repeat_accepted();
            }
            // Commands that an outage delayed are not all sent at once afterwards.
            let pause =
                if self.shared.is_calm.load(Ordering::Relaxed) { pause * CALM_LOAD_DIVISOR } else { pause };
            next = (next + pause * commands as u32).max(Instant::now() - Duration::from_secs(1));
            thread::sleep(next.saturating_duration_since(Instant::now()));
        }
        self.journal
    }

    fn compose(&mut self) -> ClientRequest {
        let rng = &mut self.rng;
        let kind = match rng.below(100) {
            0..60 => Kind::Order,
            60..75 => Kind::Small,
            _ => Kind::Note,
        };
        let count = if rng.chance(10) { 2 + rng.below(29) } else { 1 };
        let keyed = rng.chance(40);
        let batch = self.journal.next_serial();
        let mut commands = Vec::new();
        for _ in 0..count {
            let filling = match rng.below(200) {
                0 if kind == Kind::Small => Kind::TOO_LARGE,
                0..4 => 2_000,
                _ => 20 + rng.below(300) as u32,
            };
            let slot = rng.below(KEYS_PER_CLIENT) as u32;
            let key = kind.has_key().then_some(Key { client: self.number, slot, epoch: self.epoch });
            let serial = self.journal.next_serial();
            let command = Command { client: self.number, serial, kind, key, filling };
            self.journal.begin(command, batch, keyed);
            commands.push(command);
        }
        let wait = rng.chance(3);
        let body: Vec<String> = commands.iter().map(|command| command.body(self.shared.seed)).collect();
        ClientRequest { kind, batch, commands, keyed, wait, body: body.join("\n") }
    }

    /// Sends until the outcome is known, as far as the client can know it.
    fn send(&mut self, request: ClientRequest) {
        let deadline = Instant::now() + RETRY_FOR;
        let evictions = self.shared.evictions();
        let mut maybe = false;
        let mut attempts = 0;
        let mut notes = Vec::new();
        let (outcome, ids) = loop {
            attempts += 1;
            let given_up = self.rng.chance(1);
            match self.attempt(&request, given_up) {
                CreateOutcome::Accepted { ids, documents } => {
                    self.record_acknowledged(&request, &ids, &documents, evictions);
                    break (RequestOutcome::Unknown, ids);
                }
                CreateOutcome::Refused(code) => notes.push(code),
                CreateOutcome::ConnectionLost => {
                    maybe = true;
                    notes.push("lost".to_owned());
                }
                CreateOutcome::TimedOut => {
                    maybe = true;
                    notes.push("late".to_owned());
                    // It may still be accepted, in any order relative to later requests.
                    self.epoch += 1;
                }
                CreateOutcome::Unexpected(what) => {
                    self.shared.findings.add(Violation::Answer, &what);
                    maybe = true;
                    notes.push(what);
                }
            }
            let spent = if request.keyed { Instant::now() >= deadline } else { maybe || attempts > RETRIES };
            if spent {
                break (if maybe { RequestOutcome::Unknown } else { RequestOutcome::Refused }, Vec::new());
            }
            thread::sleep(self.rng.millis(20, 200));
        };
        let beyond_window = request.keyed && attempts > 1 && self.shared.may_have_evicted(evictions);
        self.journal.end(request.batch, &outcome, &ids, beyond_window, &notes.join(", "));
        if request.keyed && !ids.is_empty() {
            self.accepted.truncate(MAX_REMEMBERED - 1);
            self.accepted.push_front(AcceptedRequest { request, ids, at: Instant::now(), evictions });
        }
    }

    /// Makes one attempt. With `given_up`, the client closes the connection before the response can arrive.
    fn attempt(&mut self, request: &ClientRequest, given_up: bool) -> CreateOutcome {
        self.shared.requests.fetch_add(1, Ordering::Relaxed);
        let key = idempotency_key(self.shared.seed, self.number, request.batch);
        let is_batch = request.commands.len() > 1;
        let media_type = if is_batch { "application/x-ndjson" } else { "application/json" };
        let mut headers = vec![("Content-Type", media_type)];
        if request.keyed {
            headers.push(("Idempotency-Key", &key));
        }
        if request.wait {
            headers.push(("Prefer", "wait=1"));
        }
        let path = format!("/v1/commands/{}", request.kind.name());
        let body = request.body.as_bytes();
        if given_up {
            let hasty = http::Client::new(&self.shared.address);
            let mut hasty = hasty.with_read_within(Duration::from_millis(1));
            if hasty.connect().is_err() {
                return CreateOutcome::Refused("not sent".to_owned());
            }
            return CreateOutcome::of(hasty.request("POST", &path, &headers, body), request.commands.len());
        }
        if self.http.connect().is_err() {
            return CreateOutcome::Refused("not sent".to_owned());
        }
        CreateOutcome::of(self.http.request("POST", &path, &headers, body), request.commands.len())
    }

    fn record_acknowledged(
        &self,
        request: &ClientRequest,
        ids: &[Box<str>],
        documents: &[Value],
        evictions: u64,
    ) {
        let known = request.commands.iter().zip(ids).map(|(command, id)| AcknowledgedCommand {
            client: command.client,
            serial: command.serial,
            kind: command.kind,
            id: id.clone(),
            at: Instant::now(),
            evictions,
        });
        self.shared.acknowledged(known);
        if !request.wait {
            return;
        }
        // With `Prefer: wait` these may be status documents.
        for (command, document) in request.commands.iter().zip(documents) {
            if document["kind"].is_null() {
                continue;
            }
            match StatusObservation::read(command.client, command.serial, command.kind, document) {
                Ok(observation) => self.shared.add_observation(observation),
                Err(what) => self.shared.findings.add(Violation::Status, what),
            }
        }
    }

    /// Repeats an accepted request with the same key, which must return the same ids.
    fn repeat_accepted(&mut self) {
        if self.accepted.is_empty() {
            return;
        }
        let choice = self.rng.below(self.accepted.len() as u64) as usize;
        let Some(earlier) = self.accepted.remove(choice).filter(|one| one.at.elapsed() < RETRY_FOR) else {
            return;
        };
        self.journal.note(&format!("batch {} again", earlier.request.batch));
        let answer = self.attempt(&earlier.request, false);
        self.shared.replays.fetch_add(1, Ordering::Relaxed);
        if let CreateOutcome::TimedOut = answer {
            self.epoch += 1;
        }
        if self.shared.may_have_evicted(earlier.evictions) {
            // Its key may have expired, and then it was accepted as a new request.
            self.journal.mark_key_expired(earlier.request.batch, earlier.request.commands.len());
            return;
        }
        match answer {
            CreateOutcome::Accepted { ids, .. } if ids != earlier.ids => {
                let told = format!("{}: {ids:?} after {:?}", earlier.request.commands[0], earlier.ids);
                self.shared.findings.add(Violation::Key, told);
            }
            CreateOutcome::Unexpected(what) => self.shared.findings.add(Violation::Answer, what),
            _ => self.accepted.push_back(earlier),
        }
    }
}
