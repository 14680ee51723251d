//! What happens to Kafka and to the way there. One affair at a time: of three replicas two have to be well for a
//! record to be confirmed, and all three come back with what they had written.

use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use super::Schedule;
use crate::rng::Rng;
use crate::shared::Shared;
use support::kafka::{Broker, Kafka};
use support::proxy::{LinkState, Proxy};

#[derive(Clone, Copy, Debug)]
pub enum Fault {
    KillBroker,
    KillAllBrokers,
    /// In an orderly way: its partitions get other leaders first.
    StopBroker,
    FreezeBroker,
    FreezeAllBrokers,
    CutOne,
    CutAll,
    /// Requests arrive, answers do not.
    DeafOne,
    DeafAll,
    SlowOne,
    SlowAll,
    RefuseOne,
    RefuseAll,
    ResetOften,
    HalfCloseOften,
}

const FAULTS: [Fault; 15] = [
    Fault::KillBroker,
    Fault::KillAllBrokers,
    Fault::StopBroker,
    Fault::FreezeBroker,
    Fault::FreezeAllBrokers,
    Fault::CutOne,
    Fault::CutAll,
    Fault::DeafOne,
    Fault::DeafAll,
    Fault::SlowOne,
    Fault::SlowAll,
    Fault::RefuseOne,
    Fault::RefuseAll,
    Fault::ResetOften,
    Fault::HalfCloseOften,
];

/// What comes when.
pub type KafkaSchedule = Schedule<Fault>;

impl KafkaSchedule {
    /// The one of this seed.
    pub fn of(seed: u64) -> Self {
        Self::new(seed, 2, &FAULTS)
    }
}

/// Who does it.
pub struct KafkaFaults<'a> {
    pub shared: &'a Arc<Shared>,
    pub cluster: &'a Kafka,
    pub proxies: &'a [Proxy],
}

impl KafkaFaults<'_> {
    /// One after the other until the time is over; everything is well again then.
    pub fn run(self, schedule: &mut KafkaSchedule, length: Duration) {
        let until = Instant::now() + length;
        while let Some((calm, fault)) = schedule.next(until) {
            thread::sleep(calm);
            eprintln!("storm: Kafka: {fault:?}");
            self.shared.count(&format!("Kafka: {fault:?}"));
            self.strike(fault, &mut schedule.rng);
        }
    }

    fn strike(&self, fault: Fault, rng: &mut Rng) {
        let one = usize::try_from(rng.below(self.proxies.len() as u64)).unwrap_or(0);
        let time = rng.millis(500, 8_000);
        let (all, only) = (self.proxies, &self.proxies[one..=one]);
        let broker = &self.cluster.brokers()[one];
        match fault {
            Fault::KillBroker => {
                broker.kill();
                thread::sleep(time);
                broker.start();
            }
            Fault::KillAllBrokers => {
                self.each(Broker::kill);
                thread::sleep(time);
                // The quorum needs two of them.
                self.each(Broker::launch);
                self.each(Broker::await_ready);
            }
            Fault::StopBroker => {
                broker.stop();
                thread::sleep(time / 4);
                broker.start();
            }
            Fault::FreezeBroker => {
                broker.freeze();
                thread::sleep(time);
                broker.thaw();
            }
            Fault::FreezeAllBrokers => {
                self.each(Broker::freeze);
                thread::sleep(time);
                self.each(Broker::thaw);
            }
            Fault::CutOne => break_for(only, LinkState::CUT, time),
            Fault::CutAll => break_for(all, LinkState::CUT, time),
            Fault::DeafOne => break_for(only, LinkState::NO_RESPONSES, time),
            Fault::DeafAll => break_for(all, LinkState::NO_RESPONSES, time),
            Fault::SlowOne => break_for(only, slow(rng), time),
            Fault::SlowAll => break_for(all, slow(rng), time),
            Fault::RefuseOne => refuse_for(only, time),
            Fault::RefuseAll => refuse_for(all, time),
            Fault::ResetOften => often(time, rng, || all.iter().for_each(Proxy::reset)),
            Fault::HalfCloseOften => often(time, rng, || all.iter().for_each(Proxy::half_close)),
        }
    }

    fn each(&self, act: impl Fn(&Broker)) {
        self.cluster.brokers().iter().for_each(act);
    }
}

fn break_for(proxies: &[Proxy], link: LinkState, time: Duration) {
    proxies.iter().for_each(|proxy| proxy.set(link));
    thread::sleep(time);
    proxies.iter().for_each(Proxy::heal);
}

fn refuse_for(proxies: &[Proxy], time: Duration) {
    proxies.iter().for_each(Proxy::refuse);
    thread::sleep(time);
    proxies.iter().for_each(Proxy::heal);
}

fn slow(rng: &mut Rng) -> LinkState {
    LinkState::slow(rng.millis(20, 400), 64 << 10)
}

fn often(time: Duration, rng: &mut Rng, act: impl Fn()) {
    let until = Instant::now() + time;
    while Instant::now() < until {
        act();
        thread::sleep(rng.millis(20, 500));
    }
}
