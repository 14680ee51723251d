//! The queue of one purpose. Clients are served round-robin, and each client's passwords keep their order.

use std::collections::{HashMap, VecDeque};

use super::estimate::rounds;
use super::job::{ClientAddress, Job};

/// Number of jobs, and their rounds in total.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct JobTotals {
    pub jobs: usize,
    pub rounds: u64,
}

impl JobTotals {
    pub fn add(&mut self, cost: u32) {
        self.jobs += 1;
        self.rounds = self.rounds.saturating_add(rounds(cost));
    }

    pub fn remove(&mut self, cost: u32) {
        self.jobs = self.jobs.saturating_sub(1);
        self.rounds = self.rounds.saturating_sub(rounds(cost));
    }

    /// Rounds of at most `jobs` of these jobs, on average.
    pub fn rounds_of(self, jobs: usize) -> u64 {
        if jobs >= self.jobs {
            return self.rounds;
        }
        (self.rounds / self.jobs as u64).saturating_mul(jobs as u64)
    }
}

/// The queue of one purpose.
#[derive(Default)]
pub(super) struct FairQueue {
    queues: HashMap<ClientAddress, VecDeque<Job>>,
    /// Clients with at least one job; the first is next.
    order: VecDeque<ClientAddress>,
    waiting: JobTotals,
}

impl FairQueue {
    pub fn push(&mut self, job: Job) {
        self.waiting.add(job.info.cost);
        let queue = self.queues.entry(job.info.client).or_default();
        if queue.is_empty() {
            self.order.push_back(job.info.client);
        }
        queue.push_back(job);
    }

    /// Removes the next client's oldest job.
    pub fn pop(&mut self) -> Option<Job> {
        let client = self.order.pop_front()?;
        let queue = self.queues.get_mut(&client)?;
        let job = queue.pop_front()?;
        if queue.is_empty() {
            self.queues.remove(&client);
        } else {
            self.order.push_back(client);
        }
        self.waiting.remove(job.info.cost);
        Some(job)
    }

    pub fn waiting(&self) -> JobTotals {
        self.waiting
    }

    pub fn waiting_for_client(&self, client: ClientAddress) -> usize {
        self.queues.get(&client).map_or(0, VecDeque::len)
    }

    /// Maximum number of jobs taken before one that this client adds now: its own jobs, and for each other client at
    /// most one per own job plus one.
    pub fn jobs_before(&self, client: ClientAddress) -> usize {
        let own = self.waiting_for_client(client);
        let others = self.order.len() - usize::from(own > 0);
        own + (self.waiting.jobs - own).min(others.saturating_mul(own + 1))
    }
}

#[cfg(test)]
mod tests {
    use std::net::IpAddr;

    use super::*;
    use crate::command::Secret;
    use crate::users::hash::job::{HashPurpose, HashReply, JobInfo};

    fn client(number: u8) -> ClientAddress {
        Some(IpAddr::from([192, 0, 2, number]))
    }

    // The cost identifies the job.
    fn job(number: u8, cost: u32) -> Job {
        Job {
            info: JobInfo { purpose: HashPurpose::Compare, client: client(number), cost },
            password: Secret::new(String::new()),
            salt: [0; 16],
            deadline: None,
            reply: HashReply::Callback(Box::new(|_| ())),
        }
    }

    #[test]
    fn clients_are_served_round_robin() {
        let mut turns = FairQueue::default();
        for cost in 4..9 {
            turns.push(job(1, cost));
        }
        assert_eq!((turns.jobs_before(client(1)), turns.jobs_before(client(2))), (5, 1));
        turns.push(job(2, 14));
        turns.push(job(3, 15));
        turns.push(job(3, 16));
        assert_eq!((turns.jobs_before(client(3)), turns.jobs_before(client(4))), (2 + 6, 3), "upper bound");
        let order: Vec<u32> = std::iter::from_fn(|| turns.pop()).map(|job| job.info.cost).collect();
        assert_eq!(order, [4, 14, 15, 5, 16, 6, 7, 8]);
        assert_eq!((turns.waiting(), turns.jobs_before(client(1))), (JobTotals::default(), 0));
    }

    #[test]
    fn the_rounds_of_some_jobs_are_proportional() {
        let mut amount = JobTotals::default();
        assert_eq!(amount.rounds_of(3), 0);
        amount.add(4);
        amount.add(5);
        assert_eq!([0, 1, 2, 3].map(|jobs| amount.rounds_of(jobs)), [0, 24, 48, 48]);
    }
}
