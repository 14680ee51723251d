//! Clients that send one command after the other for keys of their own, and remember every answer.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::Duration;

use super::http::Client;

/// Keys a client sends for, in turn.
const KEYS: u64 = 5;

/// What was sent: number within its key → the id of its 202, or nothing when the answer never came.
pub type SentCommands = BTreeMap<String, Vec<Option<String>>>;

/// Clients at work.
pub struct Load {
    stop: Arc<AtomicBool>,
    accepted: Arc<AtomicU64>,
    clients: Vec<JoinHandle<()>>,
    sent: Arc<Mutex<SentCommands>>,
}

/// How to send.
#[derive(Clone)]
pub struct LoadOptions {
    pub address: String,
    pub kind: &'static str,
    pub clients: u64,
    /// Bytes of filling in each body.
    pub padding_bytes: usize,
    /// What its keys begin with: two loads that are to be told apart have two of them.
    pub prefix: String,
    /// Told of every 202, by key and number, as soon as it has arrived.
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

    /// Commands answered 202 so far.
    pub fn accepted(&self) -> u64 {
        self.accepted.load(Ordering::Relaxed)
    }

    /// Returns when `n` more were accepted; ends the test when that does not happen.
    pub fn await_accepted(&self, n: u64) {
        let goal = self.accepted() + n;
        super::wait::until_true("commands are accepted", super::daemon::LONG, || self.accepted() >= goal);
    }

    /// The same, but for fewer where the machine is too slow for so many: once one was accepted and `within` has passed.
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
        // Before it is sent: what is on its way may arrive.
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
        // Killed, or not up again yet: as a real client would, not at once.
        Err(_) => std::thread::sleep(std::time::Duration::from_millis(20)),
    }
}

/// The body of the command with this number within its key.
pub fn body(key: &str, number: usize, filling: usize) -> String {
    let filling = "x".repeat(filling);
    format!(r#"{{"id":"{key}","key":"{key}","amount":{number},"filling":"{filling}"}}"#)
}
