//! The commit thread: takes the waiting requests, appends them, flushes once, and replies.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use super::commit_queue::{CommitJob, KeyedRequest};
use super::group_gatherer::{GatherRule, GroupGatherer};
use super::index::{IndexEntry, IndexLookup, ScopeDigest};
use super::pending_reply::{Appended, PendingReply};
use super::request::{Receipt, Request, Submission, SubmitError};
use super::request_spans::TracedGroup;
use super::shared::Shared;
use crate::command::{Envelope, Headers, IdGenerator, RequestDigest, lane, requeued_record};
use crate::failpoint::Failpoint;
use crate::units::Timestamp;
use crate::wal::{AppendError, Lsn, NewRecord, Writer};

/// Longest sleep of the thread. It is short, because the watchdog expects a heartbeat and old segments must be sealed.
const MAX_SLEEP: Duration = Duration::from_millis(500);
/// A group larger than this is written and flushed before more requests are taken. Writing it takes as long as a flush,
/// and every request in the group waits for all of it.
const GROUP_BYTES: usize = 4 << 20;
/// How long the first group that needs the next segment waits for its preallocation. 64 MiB of zeros take 0.2 s on the
/// disks measured. Later groups are refused at once until the segment is ready.
const SEGMENT_TIMEOUT: Duration = Duration::from_secs(2);
/// Random bytes are fetched from the system for many ids at once.
const RANDOM_POOL: usize = 9 * 256;

pub(super) struct Committer {
    shared: Arc<Shared>,
    writer: Writer,
    mint: IdGenerator,
    segment_max_age: Duration,
    gather: GroupGatherer,
    /// The last segment for whose successor this thread has waited. It waits only once per segment.
    awaited_after: Option<Lsn>,
    random: Vec<u8>,
    /// Replies to appended requests that are not yet flushed.
    pending_replies: Vec<PendingReply>,
    /// Idempotency keys of the current group.
    group_keys: HashMap<ScopeDigest, Lsn>,
    /// Idempotency keys and reservation claims of the current group. They are added to the index after the flush.
    index_entries: Vec<IndexEntry>,
    payloads: Vec<u8>,
    /// Records of the current group, by topic.
    topics: Vec<(Arc<str>, u64)>,
    traced: TracedGroup,
}

impl Committer {
    pub fn new(shared: Arc<Shared>, writer: Writer, segment_max_age: Duration, rule: GatherRule) -> Self {
        let (identity, traced) = (shared.log.identity(), TracedGroup::new(&shared.tracer));
        let mint = IdGenerator::new(&identity.log_id, &identity.secret).with_seal(shared.seal.clone());
        Self {
            shared,
            writer,
            mint,
            segment_max_age,
            gather: GroupGatherer::new(rule),
            awaited_after: None,
            random: Vec::new(),
            pending_replies: Vec::new(),
            group_keys: HashMap::new(),
            index_entries: Vec::new(),
            payloads: Vec::new(),
            topics: Vec::new(),
            traced,
        }
    }

    /// Runs until the queue is closed and empty, or the log is poisoned.
    pub fn run(mut self) {
        let _abandon = AbandonOnDrop(Arc::clone(&self.shared));
        let mut taken = Vec::new();
        let mut last_look = Instant::now();
        while self.shared.queue.take(&mut taken, MAX_SLEEP, &self.gather) {
            self.beat();
            let count = taken.len();
            for work in taken.drain(..) {
                self.append(work);
                if self.writer.buffered_bytes() >= GROUP_BYTES {
                    self.flush();
                }
            }
            self.flush();
            self.gather.on_group_answered(count, Instant::now());
            if last_look.elapsed() >= MAX_SLEEP {
                last_look = Instant::now();
                // An error is ignored here, because the next append reports a full or poisoned log.
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

    /// Reports a heartbeat to the watchdog.
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
                        self.pending_replies.push(answer.into_pending(reply));
                    }
                    // A client that no longer waits needs no reply.
                    Err(error) => drop(reply.send(Err(error))),
                }
            }
            CommitJob::Requeue { payload, from, reply } => {
                match self.with_segment(|this| this.append_requeued(&payload, from)) {
                    Ok(lsn) => self.pending_replies.push(PendingReply::Requeued(reply, lsn)),
                    Err(error) => drop(reply.send(Err(error))),
                }
            }
        }
    }

    /// Runs `append`. If the next segment is not ready, waits for it and runs `append` once more.
    fn with_segment<T>(
        &mut self,
        append: impl Fn(&mut Self) -> Result<T, SubmitError>,
    ) -> Result<T, SubmitError> {
        match append(self) {
            Err(SubmitError::SegmentNotReady) if self.await_segment() => append(self),
            appended => appended,
        }
    }

    /// Waits until the next segment is preallocated, at most once per segment. Returns whether it waited. Appended
    /// requests are flushed and answered first.
    fn await_segment(&mut self) -> bool {
        let behind = Some(self.writer.segment());
        if self.awaited_after == behind {
            return false;
        }
        self.awaited_after = behind;
        self.flush();
        self.beat();
        if !self.shared.log.wait_while_preallocating(SEGMENT_TIMEOUT) {
            self.shared.metrics.segment_hit.inc();
        }
        self.beat();
        true
    }

    fn append_request(
        &mut self,
        request: &Request,
        keyed: Option<KeyedRequest>,
    ) -> Result<Appended, SubmitError> {
        if let Some(keyed) = &keyed
            && let Some(first) = self.find_earlier(keyed)?
        {
            return Ok(Appended::Repeat(first));
        }
        let digest = keyed.map(|keyed| keyed.digest);
        self.check_encryption(request.commands.iter().any(|command| command.sealed))?;
        if self.shared.log.backlog_bytes() >= self.shared.max_backlog {
            self.shared.metrics.backlog_hit.inc();
            return Err(SubmitError::BacklogFull { limit: self.shared.max_backlog });
        }
        let at = self.writer.next_timestamp(Timestamp::now());
        let first = self.writer.next_lsn();
        let mut ids = Vec::with_capacity(request.commands.len());
        let mut ends = Vec::with_capacity(request.commands.len());
        self.payloads.clear();
        for (n, command) in request.commands.iter().enumerate() {
            let random = self.nine_random_bytes()?;
            let id = self.mint.generate(at, first.plus(n as u64), random);
            let digest = digest.filter(|_| n == 0);
            envelope(request, command, id, digest).encode(&mut self.payloads);
            ids.push(id);
            ends.push(self.payloads.len());
        }
        let mut start = 0;
        let entries: Vec<NewRecord<'_>> = request
            .commands
            .iter()
            .zip(ends)
            .enumerate()
            .map(|(n, (command, end))| {
                let payload = &self.payloads[std::mem::replace(&mut start, end)..end];
                NewRecord {
                    lane: lane(command.key.as_deref(), first.plus(n as u64)),
                    label: &command.kind,
                    payload,
                }
            })
            .collect();
        self.writer.append(&entries, at).map_err(|error| refusal(&self.shared, &error))?;
        self.shared.last_accepted_ms.store(at.0, Ordering::Relaxed);
        self.shared.was_segment_unavailable.store(false, Ordering::Relaxed);
        if let Some(digest) = digest {
            self.group_keys.insert(digest.scope, first);
            self.index_entries.push((digest.scope, first));
        }
        for (n, command) in request.commands.iter().enumerate() {
            self.add_claim(command.claim, first.plus(n as u64));
            self.count(&command.topic);
        }
        Ok(Appended::Receipt(Receipt { ids, accepted_at: at, replayed: false }))
    }

    fn append_requeued(&mut self, payload: &[u8], from: Lsn) -> Result<Lsn, SubmitError> {
        let lsn = self.writer.next_lsn();
        let again = requeued_record(payload, from, lsn);
        self.check_encryption(again.sealed)?;
        let entry = NewRecord { lane: again.lane, label: &again.label, payload: &again.payload };
        self.writer.append(&[entry], Timestamp::now()).map_err(|error| refusal(&self.shared, &error))?;
        self.add_claim(again.claim, lsn);
        if let Ok(envelope) = Envelope::decode(&again.payload) {
            self.count(&Arc::from(envelope.topic));
        }
        Ok(lsn)
    }

    /// Counts a record of this topic in the group.
    fn count(&mut self, topic: &Arc<str>) {
        match self.topics.iter_mut().find(|(known, _)| known == topic) {
            Some((_, records)) => *records += 1,
            None => self.topics.push((Arc::clone(topic), 1)),
        }
    }

    /// Refuses a command with an unhashed password unless the log is encrypted.
    fn check_encryption(&self, sealed: bool) -> Result<(), SubmitError> {
        if sealed && !self.shared.log.is_encrypting() { Err(SubmitError::Unencrypted) } else { Ok(()) }
    }

    /// Queues the record's claim, if it has one, for the index.
    fn add_claim(&mut self, claim: Option<[u8; 16]>, lsn: Lsn) {
        if let Some(claim) = claim {
            self.index_entries.push((self.shared.digests.claim_digest(&claim), lsn));
        }
    }

    /// Finds an earlier request with the same idempotency key, in this group or in the index.
    fn find_earlier(&self, keyed: &KeyedRequest) -> Result<Option<Lsn>, SubmitError> {
        let scope = &keyed.digest.scope;
        if let Some(first) = self.group_keys.get(scope) {
            return Ok(Some(*first));
        }
        match self.shared.index.find(scope, keyed.since).map_err(|_| SubmitError::IndexRebuilding)? {
            IndexLookup::Found(first) => Ok(Some(first)),
            IndexLookup::Unused { .. } => Ok(None),
        }
    }

    /// Writes and flushes the group, then replies to every request in it. If the flush fails, all of them get an error.
    fn flush(&mut self) {
        if Failpoint::AnswerBeforeFlush.is_set() {
            self.pending_replies.drain(..).for_each(|answer| answer.send(true));
        }
        self.traced.on_flush_started(&self.topics);
        let committed = self.writer.commit();
        self.traced.on_flush_ended();
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
        self.group_keys.clear();
        self.index_entries.clear();
        if Failpoint::ReadersBeforeAnswers.is_set() {
            self.shared.log.wake_ready_readers();
            // The lock lets the model's scheduler run a reader at this point.
            let _ = self.shared.queue.is_closed();
        }
        if Failpoint::FollowersNotTold.is_set() && committed.is_err() {
            self.pending_replies.drain(1.min(self.pending_replies.len())..).for_each(std::mem::forget);
        }
        for answer in self.pending_replies.drain(..) {
            answer.send(committed.is_ok());
        }
        // After the replies: readers would compete for the processor with the threads that send the replies.
        self.shared.log.wake_ready_readers();
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

/// Abandons the queue when the thread ends, also after a panic, so that no request waits for a reply that cannot come.
struct AbandonOnDrop(Arc<Shared>);

impl Drop for AbandonOnDrop {
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
    digest: Option<RequestDigest>,
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
        idempotency: digest,
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
            shared.was_segment_unavailable.store(true, Ordering::Relaxed);
            SubmitError::SegmentNotReady
        }
        AppendError::NoRoom => {
            shared.was_segment_unavailable.store(true, Ordering::Relaxed);
            shared.metrics.disk_hit.inc();
            SubmitError::DiskFull
        }
        AppendError::Poisoned(_) => SubmitError::Poisoned,
    }
}
