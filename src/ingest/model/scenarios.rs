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
use super::setup::{FOREVER, ModelSetup, SEGMENT, Shape, request};
use crate::command::RequestDigest;
use crate::wal::Lsn;

const CLIENTS: usize = 3;

/// Runs `client` in one thread per client and returns the results.
fn clients<T: Send + 'static>(setup: &ModelSetup, client: fn(&ModelSetup, usize) -> T) -> Vec<T> {
    let spawn = |n| {
        let setup = setup.clone();
        thread::spawn(move || client(&setup, n))
    };
    let threads: Vec<_> = (0..CLIENTS).map(spawn).collect();
    threads.into_iter().map(|thread| thread.join().unwrap()).collect()
}

pub fn all_are_acknowledged_after_their_flush() {
    let (setup, commits) = ModelSetup::start(Shape::default());
    let client =
        |setup: &ModelSetup, n| [1 + n % 2, 1].map(|count| setup.submit(request(count, 10)).unwrap());
    let receipts = clients(&setup, client).concat();
    assert_eq!(setup.ingest.admission(), Admission::Open);
    setup.end(commits, &receipts);
}

pub fn readers_see_only_flushed_records() {
    let (setup, commits) = ModelSetup::start(Shape::default());
    let reader = |setup: ModelSetup| {
        move || {
            let mut cursor = setup.log.cursor(Lsn(1));
            for n in 1..=CLIENTS as u64 {
                // Every group wakes all readers; no reader sleeps past the record it waits for.
                while !setup.log.wait_for(Lsn(n), FOREVER) {}
                let frame = cursor.next_retained().unwrap().unwrap();
                assert_eq!(frame.lsn, Lsn(n));
                let payload = frame.payload.to_vec();
                let flushed = setup.fs.flushed();
                let mut files = flushed.iter().map(|(_, bytes)| bytes);
                let there = files.any(|bytes| bytes.windows(payload.len()).any(|window| window == payload));
                assert!(there, "a reader saw a record that was not flushed");
            }
        }
    };
    let readers = [thread::spawn(reader(setup.clone())), thread::spawn(reader(setup.clone()))];
    let receipts = clients(&setup, |setup, _| setup.submit(request(1, 10)).unwrap());
    readers.into_iter().for_each(|reader| reader.join().unwrap());
    setup.end(commits, &receipts);
}

pub fn replies_are_sent_before_readers_are_woken() {
    let (setup, commits) = ModelSetup::start(Shape::default());
    let reader = {
        let setup = setup.clone();
        thread::spawn(move || {
            let (reply, answer) = oneshot::channel();
            let pusher = {
                let setup = setup.clone();
                thread::spawn(move || {
                    // The reader must be asleep before the append, so that it is woken.
                    while !setup.log.is_awaited(Lsn(1)) {
                        thread::yield_now();
                    }
                    let work =
                        CommitJob::Submit { request: request(1, 10), keyed: None, traced: None, reply };
                    setup.ingest.shared.queue.push(work, 1).unwrap();
                })
            };
            assert!(setup.log.wait_for(Lsn(1), FOREVER));
            let mut answer = answer;
            assert!(answer.try_recv().is_ok(), "a reader was woken before the answer was sent");
            pusher.join().unwrap();
        })
    };
    reader.join().unwrap();
    setup.end(commits, &[]);
}

pub fn a_gathering_group_ends() {
    let (setup, commits) = ModelSetup::start(Shape { gathers: true, ..Shape::default() });
    let client = |setup: &ModelSetup, _| {
        [(); 2].map(|()| {
            let (reply, answer) = oneshot::channel();
            let work = CommitJob::Submit { request: request(1, 10), keyed: None, traced: None, reply };
            setup.ingest.shared.queue.push(work, 1).unwrap();
            answer
        })
    };
    let answers = clients(&setup, client);
    // The last group waits for more requests that never arrive.
    setup.close();
    let receipts: Vec<Receipt> = answers
        .into_iter()
        .flatten()
        .map(|answer| match block_on(answer) {
            Ok(Ok(CommitOutcome::New(receipt))) => receipt,
            _ => panic!("not accepted"),
        })
        .collect();
    receipts.iter().for_each(|receipt| setup.assert_flushed(receipt));
    setup.end(commits, &receipts);
}

pub fn a_failed_flush_reaches_all_callers() {
    let (setup, commits) = ModelSetup::start(Shape::default());
    setup.fs.fail_flush_after(thread_rng().gen_range(0..2));
    let client = |setup: &ModelSetup, _| {
        let mut receipts = Vec::new();
        let mut failed = false;
        for _ in 0..2 {
            match setup.submit(request(1, 10)) {
                Ok(receipt) => {
                    assert!(!failed, "accepted after a failure");
                    receipts.push(receipt);
                }
                Err(SubmitError::Poisoned | SubmitError::Closing) => {
                    failed = true;
                    let closed = Admission::Closed(SubmitError::Poisoned);
                    assert_eq!(setup.ingest.admission(), closed, "later callers get the error");
                }
                Err(other) => panic!("{other}"),
            }
        }
        receipts
    };
    let receipts = clients(&setup, client).concat();
    // No client sends its second request before the reply to the first: at least two groups exist.
    assert!(receipts.len() < 2 * CLIENTS);
    let later = setup.submit(request(1, 10));
    assert!(matches!(later, Err(SubmitError::Poisoned | SubmitError::Closing)), "{later:?}");
    setup.end(commits, &receipts);
}

pub fn a_cancelled_request_affects_no_other() {
    let bytes = 3 * 600;
    let (setup, commits) = ModelSetup::start(Shape { requests: 3, bytes, ..Shape::default() });
    let client = |setup: &ModelSetup, n| -> Option<Receipt> {
        if n > 0 {
            return setup.submit(request(1, 88)).ok();
        }
        for _ in 0..2 {
            let mut waiting = pin!(setup.ingest.commit(request(1, 88)));
            let polled = waiting.as_mut().poll(&mut Context::from_waker(Waker::noop()));
            if let Poll::Ready(Ok(receipt)) = polled {
                setup.assert_flushed(&receipt);
            }
        }
        None
    };
    let receipts: Vec<_> = clients(&setup, client).into_iter().flatten().collect();
    // Earlier jobs were taken before this one is answered: the whole queue is free again.
    let last = retry(|| setup.submit(request(1, 88)));
    assert_eq!(setup.ingest.shared.queue.held(), (0, 0), "no job waits and no bytes are held");
    setup.end(commits, &[receipts, vec![last]].concat());
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
    let (setup, commits) = ModelSetup::start(shape);
    let watcher = {
        let setup = setup.clone();
        thread::spawn(move || {
            for _ in 0..8 {
                let (requests, bytes) = setup.ingest.shared.queue.held();
                assert!(requests <= 2, "{requests} requests wait");
                assert!(bytes <= 2 * 600 || requests == 1, "{requests} requests of {bytes} bytes wait");
                thread::yield_now();
            }
        })
    };
    // One request is larger than the whole queue: it is accepted when the queue is empty.
    let client = |setup: &ModelSetup, n| {
        let bytes = if n == 0 { 2000 } else { 88 };
        retry(|| setup.submit(request(1, bytes)))
    };
    let receipts = clients(&setup, client);
    watcher.join().unwrap();
    assert_eq!(setup.ingest.shared.queue.held(), (0, 0));
    setup.end(commits, &receipts);
}

pub fn a_stop_answers_or_refuses_everyone() {
    let (setup, commits) = ModelSetup::start(Shape::default());
    let stopper = {
        let setup = setup.clone();
        thread::spawn(move || setup.close())
    };
    let client = |setup: &ModelSetup, _| {
        let answers = [setup.submit(request(1, 10)), setup.submit(request(1, 10))];
        assert!(!(answers[0].is_err() && answers[1].is_ok()), "accepted after a refusal");
        let refused = answers.iter().filter_map(|answer| answer.as_ref().err());
        refused.for_each(|error| assert_eq!(*error, SubmitError::Closing));
        answers.into_iter().flatten().collect::<Vec<_>>()
    };
    let receipts = clients(&setup, client).concat();
    stopper.join().unwrap();
    setup.end(commits, &receipts);
}

pub fn segments_are_handed_over() {
    let (setup, commits) = ModelSetup::start(Shape { segment: SEGMENT, ..Shape::default() });
    let filler = {
        let setup = setup.clone();
        thread::spawn(move || {
            // Preallocates like the maintenance thread, until the queue is closed or no free space is left.
            while !setup.ingest.shared.queue.is_closed() {
                if setup.log.wait_for_preallocation_request(FOREVER) && !setup.ingest.shared.queue.is_closed()
                {
                    setup.log.preallocate_segment(setup.shape.segment, 0);
                }
            }
        })
    };
    let client = |setup: &ModelSetup, _| [(); 2].map(|()| setup.submit(request(1, 300)).unwrap());
    let receipts = clients(&setup, client).concat();
    assert!(setup.log.segments().len() > 2, "the segment was changed more than once");
    setup.close();
    setup.fs.set_free(0);
    setup.log.preallocate_segment(setup.shape.segment, 1);
    filler.join().unwrap();
    setup.end(commits, &receipts);
}

pub fn a_repeat_waits_for_its_original() {
    let (setup, commits) = ModelSetup::start(Shape::default());
    if thread_rng().gen_bool(0.5) {
        setup.fs.fail_flush_after(thread_rng().gen_range(0..2));
    }
    let client = |setup: &ModelSetup, _| {
        let digest = RequestDigest { scope: [1; 16], body: [2; 16], count: 1 };
        let keyed = Some(KeyedRequest { digest, since: Lsn(0) });
        let (reply, answer) = oneshot::channel();
        let pushed = setup
            .ingest
            .shared
            .queue
            .push(CommitJob::Submit { request: request(1, 10), keyed, traced: None, reply }, 1);
        pushed.ok()?;
        let end = |first: Lsn| assert!(first < setup.log.end(), "a repeat of an unflushed record");
        match block_on(answer).ok()?.ok()? {
            CommitOutcome::New(receipt) => {
                setup.assert_flushed(&receipt);
                Some((true, receipt))
            }
            CommitOutcome::Repeat(first) => {
                end(first);
                assert_eq!(first, Lsn(1));
                Some((false, Receipt { ids: Vec::new(), accepted_at: Default::default(), replayed: true }))
            }
        }
    };
    let answers: Vec<_> = clients(&setup, client).into_iter().flatten().collect();
    let new: Vec<_> = answers.iter().filter(|(new, _)| *new).map(|(_, receipt)| receipt.clone()).collect();
    assert!(new.len() == 1 || answers.is_empty(), "accepted more than once");
    setup.end(commits, &new);
}
