//! Clients that send one command after the other for their own keys, and record every response.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::Duration;

use super::http::Client;

/// Keys per client, used in rotation.
const KEYS: u64 = 5;

/// The sent commands: key → number within the key → the id of its 202, or `None` without a response.
pub type SentCommands = BTreeMap<String, Vec<Option<String>>>;

/// Running clients.
pub struct Load {
    stop: Arc<AtomicBool>,
    accepted: Arc<AtomicU64>,
    clients: Vec<JoinHandle<()>>,
    sent: Arc<Mutex<SentCommands>>,
}

/// Options of the clients.
#[derive(Clone)]
pub struct LoadOptions {
    pub address: String,
    pub kind: &'static str,
    pub clients: u64,
    /// Bytes of padding in each body.
    pub padding_bytes: usize,
    /// Prefix of the keys. Loads that must be distinguished need different prefixes.
    pub prefix: String,
    /// Called for every 202, with key and number, as soon as it has arrived.
    pub on_accepted: Option<Arc<OnAccepted>>,
}

/// See [`LoadOptions::on_accepted`].
pub type OnAccepted = dyn Fn(&str, usize) + Send + Sync;

impl LoadOptions {
    pub fn new(address: String) -> Self {
        Self {
            address,
            kind: "order.create",
            clients: 8,
            padding_bytes: 100,
            prefix: "k".to_owned(),
            on_accepted: None,
        }
    }
}

impl Load {
    pub fn start(plan: &LoadOptions) -> Self {
        let load = Self {
            stop: Arc::default(),
            accepted: Arc::default(),
            clients: Vec::new(),
            sent: Arc::default(),
        };
        load.with_clients(plan)
    }

    fn with_clients(mut self, plan: &LoadOptions) -> Self {
        for client in 0..plan.clients {
            let (plan, stop) = (plan.clone(), Arc::clone(&self.stop));
            let (accepted, sent) = (Arc::clone(&self.accepted), Arc::clone(&self.sent));
            self.clients.push(std::thread::spawn(move || {
                let mut http = Client::new(&plan.address);
                let mut n = 0;
                while !stop.load(Ordering::Relaxed) {
                    let key = format!("{}{client}-{}", plan.prefix, n % KEYS);
                    n += 1;
                    send(&mut http, &plan, key, &accepted, &sent);
                }
            }));
        }
        self
    }

    /// Number of 202 responses so far.
    pub fn accepted(&self) -> u64 {
        self.accepted.load(Ordering::Relaxed)
    }

    /// Returns when `n` more commands were accepted. Fails the test if that does not happen.
    pub fn await_accepted(&self, n: u64) {
        let goal = self.accepted() + n;
        super::wait::until_true("commands are accepted", super::daemon::LONG, || self.accepted() >= goal);
    }

    /// Does the same, but accepts fewer if the machine is too slow: it returns once one was accepted and `within` has
    /// passed.
    pub fn await_accepted_or(&self, n: u64, within: Duration) {
        let goal = self.accepted() + n;
        if super::wait::poll(within, || (self.accepted() >= goal).then_some(())).is_none() {
            self.await_accepted(1);
        }
    }

    pub fn stop(self) -> SentCommands {
        self.stop.store(true, Ordering::Relaxed);
        for client in self.clients {
            client.join().unwrap();
        }
        std::mem::take(&mut *self.sent.lock().unwrap())
    }
}

fn send(
    http: &mut Client,
    plan: &LoadOptions,
    key: String,
    accepted: &AtomicU64,
    sent: &Mutex<SentCommands>,
) {
    let number = {
        let mut sent = sent.lock().unwrap();
        let of_key = sent.entry(key.clone()).or_default();
        // Before it is sent: a command without a response may still arrive.
        of_key.push(None);
        of_key.len() - 1
    };
    match http.post(&format!("/v1/commands/{}", plan.kind), &body(&key, number, plan.padding_bytes)) {
        Ok(answer) if answer.status == 202 => {
            let id = answer.json()["id"].as_str().unwrap().to_owned();
            sent.lock().unwrap().get_mut(&key).unwrap()[number] = Some(id);
            if let Some(heard) = &plan.on_accepted {
                heard(&key, number);
            }
            accepted.fetch_add(1, Ordering::Relaxed);
        }
        Ok(answer) => {
            assert!(matches!(answer.status, 503 | 507), "{}: {}", answer.status, answer.text());
            std::thread::sleep(std::time::Duration::from_millis(20));
        }
        // The daemon was killed, or has not started yet: like a real client, do not retry at once.
        Err(_) => std::thread::sleep(std::time::Duration::from_millis(20)),
    }
}

/// The body of the command with this number within its key.
pub fn body(key: &str, number: usize, filling: usize) -> String {
    let filling = "x".repeat(filling);
    format!(r#"{{"id":"{key}","key":"{key}","amount":{number},"filling":"{filling}"}}"#)
}
