//! Scenarios of the models. Each scenario asserts its properties under every schedule.

use std::pin::pin;
use std::task::{Context, Poll, Waker};

use shuttle::future::block_on;
use shuttle::rand::{Rng, thread_rng};
use shuttle::thread;
use tokio::sync::oneshot;

use super::super::commit_queue::{CommitJob, KeyedRequest};
use super::super::request::CommitOutcome;
use super::super::{Admission, Receipt, SubmitError};
use super::world::{FOREVER, SEGMENT, Shape, World, request};
use crate::command::RequestDigest;
use crate::wal::Lsn;

const CLIENTS: usize = 3;

/// Runs `client` in one thread per client and returns the results.
fn clients<T: Send + 'static>(world: &World, client: fn(&World, usize) -> T) -> Vec<T> {
    let spawn = |n| {
        let world = world.clone();
        thread::spawn(move || client(&world, n))
    };
    let threads: Vec<_> = (0..CLIENTS).map(spawn).collect();
    threads.into_iter().map(|thread| thread.join().unwrap()).collect()
}

pub fn all_are_acknowledged_after_their_flush() {
    let (world, commits) = World::start(Shape::default());
    let client = |world: &World, n| [1 + n % 2, 1].map(|count| world.submit(request(count, 10)).unwrap());
    let receipts = clients(&world, client).concat();
    assert_eq!(world.ingest.admission(), Admission::Open);
    world.end(commits, &receipts);
}

pub fn readers_see_only_flushed_records() {
    let (world, commits) = World::start(Shape::default());
    let reader = |world: World| {
        move || {
            let mut cursor = world.log.cursor(Lsn(1));
            for n in 1..=CLIENTS as u64 {
                // Every group wakes all readers; no reader sleeps past the record it waits for.
                while !world.log.wait_for(Lsn(n), FOREVER) {}
                let frame = cursor.next_retained().unwrap().unwrap();
                assert_eq!(frame.lsn, Lsn(n));
                let payload = frame.payload.to_vec();
                let flushed = world.fs.flushed();
                let mut files = flushed.iter().map(|(_, bytes)| bytes);
                let there = files.any(|bytes| bytes.windows(payload.len()).any(|window| window == payload));
                assert!(there, "a reader saw a record that was not flushed");
            }
        }
    };
    let readers = [thread::spawn(reader(world.clone())), thread::spawn(reader(world.clone()))];
    let receipts = clients(&world, |world, _| world.submit(request(1, 10)).unwrap());
    readers.into_iter().for_each(|reader| reader.join().unwrap());
    world.end(commits, &receipts);
}

pub fn replies_are_sent_before_readers_are_woken() {
    let (world, commits) = World::start(Shape::default());
    let reader = {
        let world = world.clone();
        thread::spawn(move || {
            let (reply, answer) = oneshot::channel();
            let pusher = {
                let world = world.clone();
                thread::spawn(move || {
                    // The reader must be asleep before the append, so that it is woken.
                    while !world.log.is_awaited(Lsn(1)) {
                        thread::yield_now();
                    }
                    let work =
                        CommitJob::Submit { request: request(1, 10), keyed: None, traced: None, reply };
                    world.ingest.shared.queue.push(work, 1).unwrap();
                })
            };
            assert!(world.log.wait_for(Lsn(1), FOREVER));
            let mut answer = answer;
            assert!(answer.try_recv().is_ok(), "a reader was woken before the answer was sent");
            pusher.join().unwrap();
        })
    };
    reader.join().unwrap();
    world.end(commits, &[]);
}

pub fn a_gathering_group_ends() {
    let (world, commits) = World::start(Shape { gathers: true, ..Shape::default() });
    let client = |world: &World, _| {
        [(); 2].map(|()| {
            let (reply, answer) = oneshot::channel();
            let work = CommitJob::Submit { request: request(1, 10), keyed: None, traced: None, reply };
            world.ingest.shared.queue.push(work, 1).unwrap();
            answer
        })
    };
    let answers = clients(&world, client);
    // The last group waits for more requests that never arrive.
    world.close();
    let receipts: Vec<Receipt> = answers
        .into_iter()
        .flatten()
        .map(|answer| match block_on(answer) {
            Ok(Ok(CommitOutcome::New(receipt))) => receipt,
            _ => panic!("not accepted"),
        })
        .collect();
    receipts.iter().for_each(|receipt| world.assert_flushed(receipt));
    world.end(commits, &receipts);
}

pub fn a_failed_flush_reaches_all_callers() {
    let (world, commits) = World::start(Shape::default());
    world.fs.fail_flush_after(thread_rng().gen_range(0..2));
    let client = |world: &World, _| {
        let mut receipts = Vec::new();
        let mut failed = false;
        for _ in 0..2 {
            match world.submit(request(1, 10)) {
                Ok(receipt) => {
                    assert!(!failed, "accepted after a failure");
                    receipts.push(receipt);
                }
                Err(SubmitError::Poisoned | SubmitError::Closing) => {
                    failed = true;
                    let closed = Admission::Closed(SubmitError::Poisoned);
                    assert_eq!(world.ingest.admission(), closed, "later callers get the error");
                }
                Err(other) => panic!("{other}"),
            }
        }
        receipts
    };
    let receipts = clients(&world, client).concat();
    // No client sends its second request before the reply to the first: at least two groups exist.
    assert!(receipts.len() < 2 * CLIENTS);
    let later = world.submit(request(1, 10));
    assert!(matches!(later, Err(SubmitError::Poisoned | SubmitError::Closing)), "{later:?}");
    world.end(commits, &receipts);
}

pub fn a_cancelled_request_affects_no_other() {
    let bytes = 3 * 600;
    let (world, commits) = World::start(Shape { requests: 3, bytes, ..Shape::default() });
    let client = |world: &World, n| -> Option<Receipt> {
        if n > 0 {
            return world.submit(request(1, 88)).ok();
        }
        for _ in 0..2 {
            let mut waiting = pin!(world.ingest.commit(request(1, 88)));
            let polled = waiting.as_mut().poll(&mut Context::from_waker(Waker::noop()));
            if let Poll::Ready(Ok(receipt)) = polled {
                world.assert_flushed(&receipt);
            }
        }
        None
    };
    let receipts: Vec<_> = clients(&world, client).into_iter().flatten().collect();
    // Earlier jobs were taken before this one is answered: the whole queue is free again.
    let last = retry(|| world.submit(request(1, 88)));
    assert_eq!(world.ingest.shared.queue.held(), (0, 0), "no job waits and no bytes are held");
    world.end(commits, &[receipts, vec![last]].concat());
}

/// Retries until the queue accepts the request. The model ends only if the commit thread frees space meanwhile.
fn retry(submit: impl Fn() -> Result<Receipt, SubmitError>) -> Receipt {
    loop {
        match submit() {
            Ok(receipt) => return receipt,
            Err(SubmitError::QueueFull) => thread::yield_now(),
            Err(other) => panic!("{other}"),
        }
    }
}

pub fn the_queue_is_bounded() {
    let shape = Shape { requests: 2, bytes: 2 * 600, ..Shape::default() };
    let (world, commits) = World::start(shape);
    let watcher = {
        let world = world.clone();
        thread::spawn(move || {
            for _ in 0..8 {
                let (requests, bytes) = world.ingest.shared.queue.held();
                assert!(requests <= 2, "{requests} requests wait");
                assert!(bytes <= 2 * 600 || requests == 1, "{requests} requests of {bytes} bytes wait");
                thread::yield_now();
            }
        })
    };
    // One request is larger than the whole queue: it is accepted when the queue is empty.
    let client = |world: &World, n| {
        let bytes = if n == 0 { 2000 } else { 88 };
        retry(|| world.submit(request(1, bytes)))
    };
    let receipts = clients(&world, client);
    watcher.join().unwrap();
    assert_eq!(world.ingest.shared.queue.held(), (0, 0));
    world.end(commits, &receipts);
}

pub fn a_stop_answers_or_refuses_everyone() {
    let (world, commits) = World::start(Shape::default());
    let stopper = {
        let world = world.clone();
        thread::spawn(move || world.close())
    };
    let client = |world: &World, _| {
        let answers = [world.submit(request(1, 10)), world.submit(request(1, 10))];
        assert!(!(answers[0].is_err() && answers[1].is_ok()), "accepted after a refusal");
        let refused = answers.iter().filter_map(|answer| answer.as_ref().err());
        refused.for_each(|error| assert_eq!(*error, SubmitError::Closing));
        answers.into_iter().flatten().collect::<Vec<_>>()
    };
    let receipts = clients(&world, client).concat();
    stopper.join().unwrap();
    world.end(commits, &receipts);
}

pub fn segments_are_handed_over() {
    let (world, commits) = World::start(Shape { segment: SEGMENT, ..Shape::default() });
    let filler = {
        let world = world.clone();
        thread::spawn(move || {
            // Preallocates like the maintenance thread, until the queue is closed or no free space is left.
            while !world.ingest.shared.queue.is_closed() {
                if world.log.wait_for_preallocation_request(FOREVER) && !world.ingest.shared.queue.is_closed()
                {
                    world.log.preallocate_segment(world.shape.segment, 0);
                }
            }
        })
    };
    let client = |world: &World, _| [(); 2].map(|()| world.submit(request(1, 300)).unwrap());
    let receipts = clients(&world, client).concat();
    assert!(world.log.segments().len() > 2, "the segment was changed more than once");
    world.close();
    world.fs.set_free(0);
    world.log.preallocate_segment(world.shape.segment, 1);
    filler.join().unwrap();
    world.end(commits, &receipts);
}

pub fn a_repeat_waits_for_its_original() {
    let (world, commits) = World::start(Shape::default());
    if thread_rng().gen_bool(0.5) {
        world.fs.fail_flush_after(thread_rng().gen_range(0..2));
    }
    let client = |world: &World, _| {
        let repeat = RequestDigest { scope: [1; 16], body: [2; 16], count: 1 };
        let keyed = Some(KeyedRequest { repeat, since: Lsn(0) });
        let (reply, answer) = oneshot::channel();
        let pushed = world
            .ingest
            .shared
            .queue
            .push(CommitJob::Submit { request: request(1, 10), keyed, traced: None, reply }, 1);
        pushed.ok()?;
        let end = |first: Lsn| assert!(first < world.log.end(), "a repeat of an unflushed record");
        match block_on(answer).ok()?.ok()? {
            CommitOutcome::New(receipt) => {
                world.assert_flushed(&receipt);
                Some((true, receipt))
            }
            CommitOutcome::Repeat(first) => {
                end(first);
                assert_eq!(first, Lsn(1));
                Some((false, Receipt { ids: Vec::new(), accepted_at: Default::default(), replayed: true }))
            }
        }
    };
    let answers: Vec<_> = clients(&world, client).into_iter().flatten().collect();
    let new: Vec<_> = answers.iter().filter(|(new, _)| *new).map(|(_, receipt)| receipt.clone()).collect();
    assert!(new.len() == 1 || answers.is_empty(), "accepted more than once");
    world.end(commits, &new);
}
