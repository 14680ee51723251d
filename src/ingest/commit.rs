//! The commit thread: takes what waits, appends it, flushes once, answers.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use super::gather::{Gather, Rule};
use super::index::{IndexEntry, Lookup, Scope};
use super::pending_reply::{Appended, PendingReply};
use super::queue::{CommitJob, Keyed};
use super::request::{Receipt, Request, Submission, SubmitError};
use super::shared::Shared;
use super::traced::TracedGroup;
use crate::command::{Envelope, Headers, IdMint, Repeat, lane, requeued};
use crate::failpoint::Failpoint;
use crate::units::Timestamp;
use crate::wal::{AppendError, Entry, Lsn, Writer};

/// Longest sleep: the watchdog wants a sign of life, and an old segment is to be sealed.
const TURN: Duration = Duration::from_millis(500);
/// A group larger than this is written and flushed before more is taken: it takes as long as a flush by itself,
/// and everyone in it waits for all of it.
const GROUP_BYTES: usize = 4 << 20;
/// How long the first group that needs the next segment waits while it is being filled: 64 MiB of zeros take 0.2 s on the
/// disks we know. Groups after it are refused at once until the segment is there.
const SEGMENT_PATIENCE: Duration = Duration::from_secs(2);
/// Random bytes are fetched from the system for many ids at once.
const RANDOM_POOL: usize = 9 * 256;

pub(super) struct Committer {
    shared: Arc<Shared>,
    writer: Writer,
    mint: IdMint,
    segment_max_age: Duration,
    gather: Gather,
    /// The segment behind which the next one was awaited in vain.
    waited_behind: Option<Lsn>,
    random: Vec<u8>,
    /// Appended, not yet flushed.
    answers: Vec<PendingReply>,
    /// Keys of the group that is being written.
    fresh: HashMap<Scope, Lsn>,
    /// Keys and claims of that group: they enter the index after the flush.
    index_entries: Vec<IndexEntry>,
    payloads: Vec<u8>,
    /// Records of that group, by topic.
    topics: Vec<(Arc<str>, u64)>,
    traced: TracedGroup,
}

impl Committer {
    pub fn new(shared: Arc<Shared>, writer: Writer, segment_max_age: Duration, rule: Rule) -> Self {
        let (identity, traced) = (shared.log.identity(), TracedGroup::new(&shared.tracer));
        let mint = IdMint::new(&identity.log_id, &identity.secret).sealed(shared.seal.clone());
        Self {
            shared,
            writer,
            mint,
            segment_max_age,
            gather: Gather::new(rule),
            waited_behind: None,
            random: Vec::new(),
            answers: Vec::new(),
            fresh: HashMap::new(),
            index_entries: Vec::new(),
            payloads: Vec::new(),
            topics: Vec::new(),
            traced,
        }
    }

    /// Until the queue is closed and empty, or the log is poisoned.
    pub fn run(mut self) {
        let _abandon = Abandon(Arc::clone(&self.shared));
        let mut taken = Vec::new();
        let mut last_look = Instant::now();
        while self.shared.queue.take(&mut taken, TURN, &self.gather) {
            self.beat();
            let count = taken.len();
            for work in taken.drain(..) {
                self.append(work);
                if self.writer.buffered_bytes() >= GROUP_BYTES {
                    self.flush();
                }
            }
            self.flush();
            self.gather.answered(count, Instant::now());
            if last_look.elapsed() >= TURN {
                last_look = Instant::now();
                // Full or poisoned shows at the next append; an old segment can wait for it.
                let _ = self.writer.seal_if_older(self.segment_max_age, Timestamp::now());
            }
            if self.shared.log.poisoned().is_some() {
                if Failpoint::QueueLeftBehind.is_set() {
                    return;
                }
                self.shared.queue.close();
            }
        }
    }

    /// Tells the watchdog that the thread is alive.
    fn beat(&self) {
        self.shared.heartbeat.fetch_add(1, Ordering::Relaxed);
    }

    fn append(&mut self, work: CommitJob) {
        match work {
            CommitJob::Submit { request, keyed, traced, reply } => {
                let first = self.writer.next_lsn();
                match self.with_segment(|this| this.append_request(&request, keyed)) {
                    Ok(answer) => {
                        self.traced.add(traced, first..self.writer.next_lsn());
                        self.answers.push(answer.to(reply));
                    }
                    // Whoever stopped waiting needs no answer.
                    Err(error) => drop(reply.send(Err(error))),
                }
            }
            CommitJob::Requeue { payload, from, reply } => {
                match self.with_segment(|this| this.append_again(&payload, from)) {
                    Ok(lsn) => self.answers.push(PendingReply::Requeued(reply, lsn)),
                    Err(error) => drop(reply.send(Err(error))),
                }
            }
        }
    }

    /// Appends; where the next segment is still being filled, once more when it is there, or has been awaited.
    fn with_segment<T>(
        &mut self,
        append: impl Fn(&mut Self) -> Result<T, SubmitError>,
    ) -> Result<T, SubmitError> {
        match append(self) {
            Err(SubmitError::SegmentNotReady) if self.await_segment() => append(self),
            appended => appended,
        }
    }

    /// Waits for the next segment, once behind each; says whether it waited. What is flushed is answered before.
    fn await_segment(&mut self) -> bool {
        let behind = Some(self.writer.segment());
        if self.waited_behind == behind {
            return false;
        }
        self.waited_behind = behind;
        self.flush();
        self.beat();
        if !self.shared.log.wait_spare(SEGMENT_PATIENCE) {
            self.shared.metrics.segment_hit.inc();
        }
        self.beat();
        true
    }

    fn append_request(&mut self, request: &Request, keyed: Option<Keyed>) -> Result<Appended, SubmitError> {
        if let Some(keyed) = &keyed
            && let Some(first) = self.earlier(keyed)?
        {
            return Ok(Appended::Repeat(first));
        }
        let repeat = keyed.map(|keyed| keyed.repeat);
        self.may_hold(request.commands.iter().any(|command| command.sealed))?;
        if self.shared.log.backlog_bytes() >= self.shared.max_backlog {
            self.shared.metrics.backlog_hit.inc();
            return Err(SubmitError::BacklogFull { limit: self.shared.max_backlog });
        }
        let at = self.writer.instant(Timestamp::now());
        let first = self.writer.next_lsn();
        let mut ids = Vec::with_capacity(request.commands.len());
        let mut ends = Vec::with_capacity(request.commands.len());
        self.payloads.clear();
        for (n, command) in request.commands.iter().enumerate() {
            let random = self.nine_random_bytes()?;
            let id = self.mint.mint(at, first.plus(n as u64), random);
            let repeat = repeat.filter(|_| n == 0);
            envelope(request, command, id, repeat).encode(&mut self.payloads);
            ids.push(id);
            ends.push(self.payloads.len());
        }
        let mut start = 0;
        let entries: Vec<Entry<'_>> = request
            .commands
            .iter()
            .zip(ends)
            .enumerate()
            .map(|(n, (command, end))| {
                let payload = &self.payloads[std::mem::replace(&mut start, end)..end];
                Entry {
                    lane: lane(command.key.as_deref(), first.plus(n as u64)),
                    label: &command.kind,
                    payload,
                }
            })
            .collect();
        self.writer.append(&entries, at).map_err(|error| refusal(&self.shared, &error))?;
        self.shared.last_at.store(at.0, Ordering::Relaxed);
        self.shared.refused_for_room.store(false, Ordering::Relaxed);
        if let Some(repeat) = repeat {
            self.fresh.insert(repeat.scope, first);
            self.index_entries.push((repeat.scope, first));
        }
        for (n, command) in request.commands.iter().enumerate() {
            self.claim(command.claim, first.plus(n as u64));
            self.count(&command.topic);
        }
        Ok(Appended::Receipt(Receipt { ids, accepted_at: at, replayed: false }))
    }

    fn append_again(&mut self, payload: &[u8], from: Lsn) -> Result<Lsn, SubmitError> {
        let lsn = self.writer.next_lsn();
        let again = requeued(payload, from, lsn);
        self.may_hold(again.sealed)?;
        let entry = Entry { lane: again.lane, label: &again.label, payload: &again.payload };
        self.writer.append(&[entry], Timestamp::now()).map_err(|error| refusal(&self.shared, &error))?;
        self.claim(again.claim, lsn);
        if let Ok(envelope) = Envelope::decode(&again.payload) {
            self.count(&Arc::from(envelope.topic));
        }
        Ok(lsn)
    }

    /// A record of this topic is in the group.
    fn count(&mut self, topic: &Arc<str>) {
        match self.topics.iter_mut().find(|(known, _)| known == topic) {
            Some((_, records)) => *records += 1,
            None => self.topics.push((Arc::clone(topic), 1)),
        }
    }

    /// A password lies in an encrypted log only.
    fn may_hold(&self, sealed: bool) -> Result<(), SubmitError> {
        if sealed && !self.shared.log.encrypts() { Err(SubmitError::Unencrypted) } else { Ok(()) }
    }

    /// The record's claim, if it has one, is to enter the index.
    fn claim(&mut self, claim: Option<[u8; 16]>, lsn: Lsn) {
        if let Some(claim) = claim {
            self.index_entries.push((self.shared.digests.of_claim(&claim), lsn));
        }
    }

    /// An earlier request with the same key: of this group, or from the index.
    fn earlier(&self, keyed: &Keyed) -> Result<Option<Lsn>, SubmitError> {
        let scope = &keyed.repeat.scope;
        if let Some(first) = self.fresh.get(scope) {
            return Ok(Some(*first));
        }
        match self.shared.index.find(scope, keyed.since).map_err(|_| SubmitError::IndexRebuilding)? {
            Lookup::First(first) => Ok(Some(first)),
            Lookup::Unused { .. } => Ok(None),
        }
    }

    /// Writes and flushes the group, then answers everyone in it; an error reaches all of them.
    fn flush(&mut self) {
        if Failpoint::AnswerBeforeFlush.is_set() {
            self.answers.drain(..).for_each(|answer| answer.send(true));
        }
        self.traced.flush_begins(&self.topics);
        let committed = self.writer.commit();
        self.traced.flush_ended();
        if Failpoint::CoverAfterFlush.is_set() {
            let mut late = Vec::new();
            self.shared.queue.take_now(&mut late);
            late.into_iter().for_each(|work| self.append(work));
        }
        let topics = self.topics.drain(..).filter(|_| committed.is_ok());
        topics.for_each(|(topic, records)| self.shared.metrics.topics.accepted(&topic, records));
        if committed.is_ok() {
            self.shared.index.add(&self.index_entries, self.shared.log.end());
        }
        self.fresh.clear();
        self.index_entries.clear();
        if Failpoint::ReadersBeforeAnswers.is_set() {
            self.shared.log.wake_satisfied_readers();
            // A lock, so that the model's scheduler may let a reader go on here.
            let _ = self.shared.queue.is_closed();
        }
        if Failpoint::FollowersNotTold.is_set() && committed.is_err() {
            self.answers.drain(1.min(self.answers.len())..).for_each(std::mem::forget);
        }
        for answer in self.answers.drain(..) {
            answer.send(committed.is_ok());
        }
        // After the answers: a reader would take the processor from the threads that send them.
        self.shared.log.wake_satisfied_readers();
        self.traced.report(committed.is_ok());
        if Failpoint::FailureLate.is_set()
            && let Err(cause) = committed
        {
            self.shared.log.poison(cause.0);
        }
    }

    fn nine_random_bytes(&mut self) -> Result<[u8; 9], SubmitError> {
        if self.random.len() < 9 {
            self.random.resize(RANDOM_POOL, 0);
            getrandom::fill(&mut self.random).map_err(|_| SubmitError::Closing)?;
        }
        let mut nine = [0; 9];
        let rest = self.random.len() - 9;
        nine.copy_from_slice(&self.random[rest..]);
        self.random.truncate(rest);
        Ok(nine)
    }
}

/// However the thread ends, also by a panic: nobody waits for an answer that cannot come.
struct Abandon(Arc<Shared>);

impl Drop for Abandon {
    fn drop(&mut self) {
        if !Failpoint::QueueLeftBehind.is_set() {
            self.0.queue.abandon();
        }
    }
}

fn envelope<'a>(
    request: &'a Request,
    command: &'a Submission,
    id: crate::command::CommandId,
    repeat: Option<Repeat>,
) -> Envelope<'a> {
    Envelope {
        id,
        kind: &command.kind,
        topic: &command.topic,
        key: command.key.as_deref(),
        content_type: &command.content_type,
        headers: Headers::parse(&command.headers).unwrap_or_default(),
        traceparent: request.traceparent.as_deref(),
        idempotency_key: request.idempotency.as_ref().map(|idempotency| &idempotency.key[..]),
        repeat,
        principal: request.principal.as_ref().map(|owner| &*owner.name),
        registered_at: request.principal.as_ref().and_then(|owner| owner.registered_at),
        requeued_from: None,
        claim: command.claim,
        fingerprint: command.fingerprint,
        sealed: command.sealed,
        no_value: command.no_value,
        value: &command.value,
    }
}

fn refusal(shared: &Shared, error: &AppendError) -> SubmitError {
    match error {
        AppendError::TooLarge { bytes, limit } => SubmitError::TooLarge { bytes: *bytes, limit: *limit },
        AppendError::Filling => {
            shared.refused_for_room.store(true, Ordering::Relaxed);
            SubmitError::SegmentNotReady
        }
        AppendError::NoRoom => {
            shared.refused_for_room.store(true, Ordering::Relaxed);
            shared.metrics.disk_hit.inc();
            SubmitError::DiskFull
        }
        AppendError::Poisoned(_) => SubmitError::Poisoned,
    }
}
