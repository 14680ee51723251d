//! Many concurrent registrations, some repeated, some with values of other users, and the checks of the final state.

use std::collections::{BTreeMap, HashMap};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use serde_json::Value;

use super::test_users::new_user;
use support::http::{Client, Response};
use support::wait;

/// Number of concurrent clients.
const CLIENTS: usize = 64;
/// A repetition or conflict follows after this many requests, while the first request is pending.
const REPEAT_DISTANCE: usize = 37;
/// Delay before a temporarily rejected request is repeated.
const RETRY_DELAY: Duration = Duration::from_millis(100);
/// Timeout for all registrations, with every server killed once in between.
const CROWD_TIMEOUT: Duration = Duration::from_secs(300);

/// The final response to one request.
#[derive(Clone, Debug)]
struct FinalResponse {
    body: Value,
    status: u16,
    /// Command id, of a 202.
    id: Option<String>,
    replayed: bool,
    /// The conflicting field, of a 409.
    field: Option<String>,
    /// Whether an earlier attempt had no response, and so may have been accepted.
    uncertain: bool,
}

/// Running registrations.
pub struct Crowd {
    clients: Vec<thread::JoinHandle<()>>,
    done: Arc<AtomicUsize>,
    answers: Arc<Mutex<Vec<FinalResponse>>>,
    refusals: Arc<RefusalCounts>,
}

/// Number of temporary rejections by reason; printed when a test times out.
#[derive(Default)]
struct RefusalCounts(Mutex<BTreeMap<String, usize>>);

impl Crowd {
    /// Sends `total` requests to the daemons at these addresses: 20 % repetitions, 10 % with a name, e-mail or phone of
    /// another user.
    pub fn start(total: usize, addresses: &[String]) -> Crowd {
        let bodies = Arc::new((0..total).map(body).collect::<Vec<_>>());
        let (next, done) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
        let answers = Arc::new(Mutex::new(Vec::new()));
        let refusals = Arc::<RefusalCounts>::default();
        let clients = (0..CLIENTS).map(|client| {
            let address = addresses[client % addresses.len()].clone();
            let (bodies, next, done) = (Arc::clone(&bodies), Arc::clone(&next), Arc::clone(&done));
            let (answers, refusals) = (Arc::clone(&answers), Arc::clone(&refusals));
            thread::spawn(move || {
                let mut http = Client::new(&address);
                while let Some(body) = bodies.get(next.fetch_add(1, Ordering::Relaxed)) {
                    let answered = send_until_final(&mut http, body, &refusals);
                    answers.lock().unwrap().push(answered);
                    done.fetch_add(1, Ordering::Relaxed);
                }
            })
        });
        Crowd { clients: clients.collect(), done, answers, refusals }
    }

    /// Waits until `count` requests have a final response.
    pub fn await_answered(&self, count: usize) {
        self.refusals.0.lock().unwrap().clear();
        let answered = || (self.done.load(Ordering::Relaxed) >= count).then_some(());
        let refused =
            || format!("of {count} {:?} are answered; refusals since: {:?}", self.done, self.refusals.0);
        wait::poll(CROWD_TIMEOUT, answered)
            .unwrap_or_else(|| panic!("not within {CROWD_TIMEOUT:?}: {}", refused()));
    }

    /// Waits until all requests have a final response.
    pub fn finish(self) -> CrowdResult {
        for client in self.clients {
            client.join().expect("a client");
        }
        CrowdResult { answers: std::mem::take(&mut self.answers.lock().unwrap()) }
    }
}

impl RefusalCounts {
    fn count(&self, reason: &str) {
        *self.0.lock().unwrap().entry(reason.to_owned()).or_default() += 1;
    }
}

/// Body of request `n`.
fn body(n: usize) -> Value {
    let earlier = n.saturating_sub(REPEAT_DISTANCE);
    match n % 10 {
        0 | 5 => new_user(original_number(earlier)),
        7 => {
            let mut user = new_user(n);
            let field = ["name", "email", "phone"][n / 10 % 3];
            user[field] = new_user(original_number(earlier))[field].clone();
            user
        }
        _ => new_user(n),
    }
}

/// The nearest number whose request is neither a repetition nor a conflict.
fn original_number(n: usize) -> usize {
    if matches!(n % 10, 0 | 5 | 7) { n + 1 } else { n }
}

/// Repeats a request until its response is final.
fn send_until_final(http: &mut Client, body: &Value, refusals: &RefusalCounts) -> FinalResponse {
    let mut uncertain = false;
    loop {
        match http.post("/v1/users", &body.to_string()) {
            Ok(answer) if answer.status == 202 => {
                return FinalResponse { uncertain, ..accepted(body, &answer) };
            }
            Ok(answer) if answer.status == 409 => {
                let field = answer.json()["field"].as_str().map(str::to_owned);
                return FinalResponse {
                    body: body.clone(),
                    status: 409,
                    id: None,
                    replayed: false,
                    field,
                    uncertain,
                };
            }
            Ok(answer) => {
                assert_eq!(answer.status, 503, "{}", answer.text());
                assert!(answer.header("retry-after").is_some());
                refusals.count(answer.json()["code"].as_str().unwrap_or_default());
                thread::sleep(RETRY_DELAY);
            }
            // The daemon is down: retry with a delay, like a real client.
            Err(error) => {
                refusals.count(&error.kind().to_string());
                uncertain = true;
                thread::sleep(RETRY_DELAY);
            }
        }
    }
}

fn accepted(body: &Value, answer: &Response) -> FinalResponse {
    let id = answer.json()["id"].as_str().expect("an id").to_owned();
    let replayed = answer.header("idempotency-replayed").is_some();
    FinalResponse { body: body.clone(), status: 202, id: Some(id), replayed, field: None, uncertain: false }
}

/// The final responses.
pub struct CrowdResult {
    answers: Vec<FinalResponse>,
}

impl CrowdResult {
    /// Waits until every command is final, then checks that exactly the right rows exist and every rejection has a
    /// reason.
    pub fn check(&self, http: &mut Client) {
        let commands = self.commands();
        let states = self.final_states(http, &commands);
        let rows = rows(http);
        let mut applied = BTreeMap::new();
        for (id, body) in &commands {
            if states[id] == "applied" {
                let twice = applied.insert(body["name"].as_str().unwrap().to_owned(), *body);
                assert!(twice.is_none(), "two registrations of one name were applied: {body}");
            }
        }
        for (name, row) in &rows {
            let unheard = || {
                self.answers
                    .iter()
                    .any(|a| a.uncertain && ["name", "email", "phone"].iter().all(|m| a.body[m] == row[m]))
            };
            assert!(applied.contains_key(name) || unheard(), "no client got a response for {row}");
        }
        for (name, body) in applied {
            for field in ["email", "phone"] {
                assert!(rows.contains_key(&name), "{name} was applied but has no row");
                assert_eq!(
                    rows[&name][field], body[field],
                    "{name}: the row differs from the applied command"
                );
            }
        }
        self.check_refusals(&commands);
        let count = |status| self.answers.iter().filter(|answer| answer.status == status).count();
        let replayed = self.answers.iter().filter(|answer| answer.replayed).count();
        let rejected = states.values().filter(|state| *state == "rejected").count();
        println!(
            "{} requests: {} accepted ({replayed} of them repetitions), {} refused; {} rows, {rejected} rejected later",
            self.answers.len(),
            count(202),
            count(409),
            rows.len(),
        );
    }

    /// Checks that every rejected request conflicts with another request.
    fn check_refusals(&self, commands: &HashMap<String, &Value>) {
        for answer in self.answers.iter().filter(|answer| answer.status == 409) {
            let field = answer.field.as_deref().expect("the field at fault");
            let held = commands.values().any(|body| body[field] == answer.body[field]);
            let unheard = || {
                self.answers.iter().any(|other| other.uncertain && other.body[field] == answer.body[field])
            };
            assert!(held || unheard(), "no other request has this {field}: {}", answer.body);
        }
    }

    /// Each accepted command with its body. Each id must have one body.
    fn commands(&self) -> HashMap<String, &Value> {
        let mut commands = HashMap::new();
        for answer in &self.answers {
            let Some(id) = &answer.id else { continue };
            let before = commands.insert(id.clone(), &answer.body);
            assert!(before.is_none_or(|before| *before == answer.body), "{id} stands for two requests");
        }
        commands
    }

    fn final_states(&self, http: &mut Client, commands: &HashMap<String, &Value>) -> HashMap<String, String> {
        let mut states = HashMap::new();
        for (id, body) in commands {
            let state = wait::until(&format!("{} is decided", body["name"]), CROWD_TIMEOUT, || {
                let path = format!("/v1/commands/{id}");
                let status = http.request("GET", &path, &[("Prefer", "wait=30")], b"").ok()?;
                let state = status.json()["state"].as_str()?.to_owned();
                ["applied", "rejected"].contains(&state.as_str()).then_some(state)
            });
            states.insert(id.clone(), state);
        }
        states
    }
}

/// All users, by name.
fn rows(http: &mut Client) -> BTreeMap<String, Value> {
    let (mut rows, mut path) = (BTreeMap::new(), "/v1/users".to_owned());
    loop {
        let page = http.get(&path).expect("a page").json();
        for user in page["users"].as_array().expect("users") {
            rows.insert(user["name"].as_str().expect("a name").to_owned(), user.clone());
        }
        let Some(cursor) = page["next_cursor"].as_str() else { return rows };
        path = format!("/v1/users?cursor={cursor}");
    }
}
