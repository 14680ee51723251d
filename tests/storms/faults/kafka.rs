//! Faults of Kafka and of the network to it, one at a time. Two of three replicas must be healthy for a record to be
//! confirmed. All three recover with the records they had written.

use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use super::FaultSchedule;
use crate::rng::Rng;
use crate::shared::Shared;
use support::kafka::{Broker, Kafka};
use support::proxy::{LinkState, Proxy};

#[derive(Clone, Copy, Debug)]
pub enum KafkaFault {
    KillBroker,
    KillAllBrokers,
    /// A clean stop: the broker's partitions get other leaders first.
    StopBroker,
    FreezeBroker,
    FreezeAllBrokers,
    CutOne,
    CutAll,
    /// Requests arrive, responses do not.
    DropResponsesOne,
    DropResponsesAll,
    SlowOne,
    SlowAll,
    RefuseOne,
    RefuseAll,
    ResetOften,
    HalfCloseOften,
}

const FAULTS: [KafkaFault; 15] = [
    KafkaFault::KillBroker,
    KafkaFault::KillAllBrokers,
    KafkaFault::StopBroker,
    KafkaFault::FreezeBroker,
    KafkaFault::FreezeAllBrokers,
    KafkaFault::CutOne,
    KafkaFault::CutAll,
    KafkaFault::DropResponsesOne,
    KafkaFault::DropResponsesAll,
    KafkaFault::SlowOne,
    KafkaFault::SlowAll,
    KafkaFault::RefuseOne,
    KafkaFault::RefuseAll,
    KafkaFault::ResetOften,
    KafkaFault::HalfCloseOften,
];

/// The schedule of Kafka's faults.
pub type KafkaSchedule = FaultSchedule<KafkaFault>;

impl KafkaSchedule {
    /// The schedule of this seed.
    pub fn of(seed: u64) -> Self {
        Self::new(seed, 2, &FAULTS)
    }
}

/// Injects Kafka's faults.
pub struct KafkaFaults<'a> {
    pub shared: &'a Arc<Shared>,
    pub cluster: &'a Kafka,
    pub proxies: &'a [Proxy],
}

impl KafkaFaults<'_> {
    /// Injects one fault after the other until the time is over. All faults have ended when it returns.
    pub fn run(self, schedule: &mut KafkaSchedule, length: Duration) {
        let until = Instant::now() + length;
        while let Some((calm, fault)) = schedule.next(until) {
            thread::sleep(calm);
            eprintln!("storm: Kafka: {fault:?}");
            self.shared.count(&format!("Kafka: {fault:?}"));
            self.inject(fault, &mut schedule.rng);
        }
    }

    fn inject(&self, fault: KafkaFault, rng: &mut Rng) {
        let one = usize::try_from(rng.below(self.proxies.len() as u64)).unwrap_or(0);
        let time = rng.millis(500, 8_000);
        let (all, only) = (self.proxies, &self.proxies[one..=one]);
        let broker = &self.cluster.brokers()[one];
        match fault {
            KafkaFault::KillBroker => {
                broker.kill();
                thread::sleep(time);
                broker.start();
            }
            KafkaFault::KillAllBrokers => {
                self.each(Broker::kill);
                thread::sleep(time);
                // The quorum needs two of them.
                self.each(Broker::launch);
                self.each(Broker::await_ready);
            }
            KafkaFault::StopBroker => {
                broker.stop();
                thread::sleep(time / 4);
                broker.start();
            }
            KafkaFault::FreezeBroker => {
                broker.freeze();
                thread::sleep(time);
                broker.thaw();
            }
            KafkaFault::FreezeAllBrokers => {
                self.each(Broker::freeze);
                thread::sleep(time);
                self.each(Broker::thaw);
            }
            KafkaFault::CutOne => break_for(only, LinkState::CUT, time),
            KafkaFault::CutAll => break_for(all, LinkState::CUT, time),
            KafkaFault::DropResponsesOne => break_for(only, LinkState::NO_RESPONSES, time),
            KafkaFault::DropResponsesAll => break_for(all, LinkState::NO_RESPONSES, time),
            KafkaFault::SlowOne => break_for(only, slow(rng), time),
            KafkaFault::SlowAll => break_for(all, slow(rng), time),
            KafkaFault::RefuseOne => refuse_for(only, time),
            KafkaFault::RefuseAll => refuse_for(all, time),
            KafkaFault::ResetOften => often(time, rng, || all.iter().for_each(Proxy::reset)),
            KafkaFault::HalfCloseOften => often(time, rng, || all.iter().for_each(Proxy::half_close)),
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
