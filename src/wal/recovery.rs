//! Opens a log: what a start finds, what it makes of it, and what it leaves behind. Reads one segment at most.
//!
//! Crashing anywhere in here and starting over has the same result: every step either changes nothing that the
//! next start looks at, or replaces it whole.

use std::io;
use std::path::Path;
use std::sync::Arc;

use super::checkpoint::Checkpoint;
use super::checkpoint::LoadError;
use super::crypt::Access;
use super::crypt::Keys;
use super::dead::Damage;
use super::dead::DeadLetters;
use super::event::Finding;
use super::event::FindingKind;
use super::event::Observer;
use super::frame;
use super::fs;
use super::fs::Fs;
use super::fs::Mode;
use super::header::HEADER_LEN;
use super::header::Seal;
use super::header::segment_name;
use super::ledger::Ledger;
use super::ledger::Marks;
use super::lock::Lock;
use super::log::Log;
use super::log::Parts;
use super::open_error::OpenError;
use super::quarantine;
use super::random;
use super::segment::Place;
use super::segment::Segment;
use super::segment::Segments;
use super::segment::State;
use super::segment::segment_path;
use super::sent;
use super::spare;
use super::survey;
use super::survey::Found;
use super::survey::Survey;
use super::survey::Unusable;
use super::tail_recovery;
use super::tail_recovery::Tail;
use super::transactions::Transactions;
use super::types::Identity;
use super::unlock;
use super::writer::Writer;
use crate::planted::Fault;
use crate::planted::planted;
use crate::planted::unless;
use crate::units::Lsn;
use crate::units::Timestamp;

/// Bytes of the first segment of a life: filled in some ten milliseconds, enough until the next one is.
const FIRST_SEGMENT: u64 = 4 << 20;

/// How to open a log.
#[derive(Clone)]
pub struct Options {
    /// Bytes of a segment's file.
    pub segment_size: u64,
    /// Bytes of the file system that acceptance leaves free.
    pub reserve_space: u64,
    /// Whether everything that is kept is to be delivered again, delivered or not: where the broker lives and dies
    /// with the process. Dead letters stay dead.
    pub redeliver: bool,
    /// The master keys. With none nothing is encrypted, and nothing encrypted is opened.
    pub keys: Keys,
    /// What a record is counted as: the label its writer gave, read from the payload.
    pub label: fn(&[u8]) -> Option<String>,
    /// Who is told what happens.
    pub observer: Observer,
}

/// What a start found.
#[derive(Clone, Debug, Default)]
pub struct Recovery {
    /// What was wrong.
    pub findings: Vec<Finding>,
    /// The first LSN that will be given.
    pub next: Lsn,
    /// Records waiting for delivery.
    pub backlog: u64,
    /// Segments of earlier starts whose payloads are not encrypted.
    pub plain_segments: u64,
}

/// A log, ready to take records.
pub struct Opened {
    /// Adds to it.
    pub writer: Writer,
    /// Reads it.
    pub log: Arc<Log>,
    /// What the start found.
    pub recovery: Recovery,
}

/// Takes the lock of the log in `dir`, which is made if missing, and opens it.
pub fn open_locked(dir: &Path, options: &Options, now: Timestamp) -> Result<(Lock, Opened), OpenError> {
    let fs: Arc<dyn Fs> = Arc::new(fs::RealFs);
    let unusable = |source| OpenError::Directory { path: dir.to_owned(), source };
    // Before anything is made or written, the lock's holder included.
    unlock::check(&*fs, dir, &options.keys)?;
    let made: Vec<_> = dir
        .ancestors()
        .skip(1)
        .take_while(|above| !above.as_os_str().is_empty() && !above.exists())
        .collect();
    fs.create_dir_all(dir).map_err(unusable)?;
    for entry in std::iter::once(dir).chain(made) {
        fs.sync_dir(fs::parent(entry)).map_err(unusable)?;
    }
    let lock = Lock::take(dir)?;
    Ok((lock, open(fs, dir, options, now)?))
}

/// Opens the log in `dir`. The caller has its lock.
pub fn open(fs: Arc<dyn Fs>, dir: &Path, options: &Options, now: Timestamp) -> Result<Opened, OpenError> {
    unlock::check(&*fs, dir, &options.keys)?;
    make_directories(&*fs, dir).map_err(|source| OpenError::Directory { path: dir.to_owned(), source })?;
    let failed = |source| OpenError::Io { path: dir.to_owned(), source };
    let mut recovery = Recovery::default();
    let loaded = Checkpoint::load(&*fs, dir);
    let known = loaded.as_ref().ok().map(|checkpoint| checkpoint.log_id);
    let survey = survey::survey(&*fs, dir, known, &options.keys, &mut recovery.findings)?;
    let plain = survey.segments.iter().filter(|found| matches!(found.access, Access::Plain));
    recovery.plain_segments = plain.count() as u64;
    let checkpoint = use_checkpoint(loaded, dir, &survey, &mut recovery.findings)?;
    let (dead, trouble) = DeadLetters::open(Arc::clone(&fs), dir, &options.keys).map_err(failed)?;
    let trouble = trouble.map(|detail| (FindingKind::Damaged, detail));
    let cut = dead.cut().map(|detail| (FindingKind::TornTail, detail));
    let segment = super::dead::NAME.to_owned();
    recovery.findings.extend(trouble.into_iter().chain(cut).map(|(kind, detail)| Finding {
        segment: segment.clone(),
        offset: 0,
        kind,
        detail,
    }));
    let mut start = Start {
        fs,
        dir,
        options,
        checkpoint: checkpoint.as_ref(),
        dead,
        segments: Segments::default(),
        ledger: Ledger::new(first_watermark(
            checkpoint.as_ref().filter(|_| !options.redeliver),
            survey.segments.first().map(|found| found.header.first),
        )),
        findings: &mut recovery.findings,
        now,
    };
    let identity = start.identity(&survey).map_err(failed)?;
    let headless = survey.headless.clone();
    let mut transactions = match start.checkpoint {
        Some(checkpoint) => checkpoint.transactions.clone(),
        None => Transactions::from_headers(&survey.segments),
    };
    let lived = |found: &Found| (found.header.first, found.header.identity.incarnation);
    let lived: Vec<_> = survey.segments.iter().map(lived).collect();
    let (end, predecessor) = start.adopt(survey)?;
    start.check_promise(end)?;
    let end = start.pass_letters(end)?;
    transactions.close(&lived, end);
    if !planted(Fault::LettersNotMarked) {
        start.dead.mark_in(&mut start.ledger);
    }
    start.ledger.advance();
    let Start { fs, dead, segments, ledger, .. } = start;
    recovery.next = end;
    recovery.backlog = ledger.backlog();
    let (observer, keys) = (Arc::clone(&options.observer), options.keys.clone());
    let owned = dir.to_owned();
    let parts = Parts { fs, dir: owned, identity, keys, segments, ledger, end, dead, observer, transactions };
    let log = Arc::new(Log::new(parts));
    let file = first_file(&*log.fs, dir, options).map_err(failed)?;
    let writer =
        Writer::begin(Arc::clone(&log), options.segment_size, file, end, predecessor, now).map_err(failed)?;
    for segment in &headless {
        survey::move_away(&*log.fs, dir, segment).map_err(failed)?;
    }
    Ok(Opened { writer, log, recovery })
}

fn make_directories(fs: &dyn Fs, dir: &Path) -> io::Result<()> {
    for name in [Place::Pending.dir(), Place::Acked.dir(), quarantine::DIR, sent::DIR, super::dead::DIR] {
        fs.create_dir_all(&dir.join(name))?;
    }
    fs.sync_dir(dir)
}

fn use_checkpoint(
    loaded: Result<Checkpoint, LoadError>,
    dir: &Path,
    survey: &Survey,
    findings: &mut Vec<Finding>,
) -> Result<Option<Checkpoint>, OpenError> {
    let foreign = |checkpoint: &Checkpoint| {
        survey.segments.last().is_some_and(|newest| newest.header.identity.log_id != checkpoint.log_id)
    };
    let detail = match loaded {
        Ok(checkpoint) if foreign(&checkpoint) => {
            "of another log: everything in pending/ is delivered again".to_owned()
        }
        Ok(checkpoint) => return Ok(Some(checkpoint)),
        Err(LoadError::Io(source)) => {
            return Err(OpenError::Io { path: dir.join(super::checkpoint::FILE), source });
        }
        Err(LoadError::Missing) if survey.segments.is_empty() => return Ok(None),
        Err(error) => format!("{error}: everything in pending/ is delivered again"),
    };
    let segment = super::checkpoint::FILE.to_owned();
    findings.push(Finding { segment, offset: 0, kind: FindingKind::Checkpoint, detail });
    Ok(None)
}

/// The first number that may not be done: where the ledger begins.
pub(super) fn first_watermark(checkpoint: Option<&Checkpoint>, oldest: Option<Lsn>) -> Lsn {
    match (checkpoint, oldest) {
        (Some(checkpoint), _) => checkpoint.watermark,
        (None, Some(oldest)) => oldest,
        (None, None) => Lsn(1),
    }
}

/// The file the first segment of this life is written to: a small one, because a start does not wait for a whole
/// segment of zeros. Without room even for that the daemon starts all the same, so that it can drain: the segment then
/// has room for nothing but its header.
fn first_file(fs: &dyn Fs, dir: &Path, options: &Options) -> io::Result<Arc<dyn fs::File>> {
    let size = options.segment_size.min(FIRST_SEGMENT);
    if let Ok(file) = spare::prepare(fs, dir, size, options.reserve_space) {
        return Ok(file);
    }
    let file = fs.open(&dir.join(spare::FILE), Mode::Create)?;
    file.write_all_at(&[0; HEADER_LEN as usize], 0)?;
    file.sync_all()?;
    Ok(file)
}

fn sync(fs: &dyn Fs, path: &Path) -> io::Result<()> {
    fs.open(path, Mode::Write)?.sync_all()
}

/// A start on its way.
struct Start<'a> {
    fs: Arc<dyn Fs>,
    dir: &'a Path,
    options: &'a Options,
    checkpoint: Option<&'a Checkpoint>,
    dead: DeadLetters,
    segments: Segments,
    ledger: Ledger,
    findings: &'a mut Vec<Finding>,
    now: Timestamp,
}

impl Start<'_> {
    /// The log's identity with a new incarnation; a new identity when there is no log yet.
    fn identity(&self, survey: &Survey) -> io::Result<Identity> {
        let incarnation = random()?;
        Ok(match survey.segments.last() {
            Some(newest) => Identity { incarnation, ..newest.header.identity.clone() },
            None => Identity { log_id: random()?, secret: random()?, incarnation },
        })
    }

    /// Takes all segments over, the last one after mending its end. Returns the number the next record
    /// gets and the seal the next header repeats.
    fn adopt(&mut self, survey: Survey) -> Result<(Lsn, Seal), OpenError> {
        let mut expected =
            self.checkpoint.map(|checkpoint| checkpoint.watermark).or_else(|| survey.oldest_headless());
        let mut before = Seal::default();
        let count = survey.segments.len();
        let mut successors =
            survey.segments.iter().skip(1).map(|next| next.header.predecessor).collect::<Vec<_>>();
        successors.push(Seal::default());
        for (index, (found, successor)) in survey.segments.iter().zip(successors).enumerate() {
            let behind = survey.segments.get(index + 1).map(|next| next.header.first);
            self.note_gap(expected, found.header.first)?;
            let path = segment_path(self.dir, found.place, found.header.first);
            let failed = |source| OpenError::Io { path: path.clone(), source };
            let last = index + 1 == count;
            // One in the middle lost its footer, and its successor is missing: what it holds is read all the same.
            let is_open = found.footer.is_none()
                && found.place == Place::Pending
                && successor.first != found.header.first;
            let seal = match is_open {
                true => {
                    let promise = self.checkpoint.map(|checkpoint| checkpoint.promise).unwrap_or_default();
                    let tail = tail_recovery::recover(
                        &*self.fs,
                        self.dir,
                        &found.header,
                        &found.access,
                        promise,
                        self.options.label,
                    )
                    .map_err(failed)?;
                    if last && survey.headless.is_empty() {
                        self.check_promise(tail.next())?;
                    }
                    match self.close(&tail).map_err(failed)? {
                        Some(seal) => seal,
                        // It holds no record: the new segment takes its place, and its name.
                        None => {
                            expected = Some(found.header.first);
                            continue;
                        }
                    }
                }
                false => self.check_seal(found, successor),
            };
            if last {
                // A start that failed may have left a size that is not durable yet.
                unless(Fault::SizeNotFlushed, || sync(&*self.fs, &path)).map_err(failed)?;
            }
            // The numbers from the next segment's first on are that one's.
            let seal = Seal { next: behind.map_or(seal.next, |behind| seal.next.min(behind)), ..seal };
            self.take_over(found, seal);
            expected = Some(seal.next);
            before = seal;
        }
        let mut end = expected.unwrap_or(Lsn(1));
        self.pass_headless(&survey.headless, &mut end)?;
        Ok((end, before))
    }

    /// The seal of a segment that was closed in an earlier life, and whether its neighbours agree on it.
    fn check_seal(&mut self, found: &Found, successor: Seal) -> Seal {
        let seal = found.seal(successor);
        let Some(detail) = found.seal_trouble(successor) else { return seal };
        self.findings.push(Finding {
            segment: segment_name(seal.first),
            offset: seal.length,
            kind: FindingKind::Damaged,
            detail: detail.to_owned(),
        });
        seal
    }

    /// A segment at the end whose header cannot be read held records nobody can count: no number it may have used
    /// is given again.
    fn pass_headless(&mut self, headless: &[Unusable], end: &mut Lsn) -> Result<(), OpenError> {
        for &Unusable { first, bytes, .. } in headless {
            if first < *end || planted(Fault::HeadlessNumbersGiven) {
                continue;
            }
            self.note_gap(Some(*end), first)?;
            let promised = self.checkpoint.map_or(Lsn(0), |checkpoint| checkpoint.promise.next);
            let next = promised.max(first.plus(bytes / frame::FRAME_HEADER as u64)).max(first.next());
            let name = segment_name(first);
            self.add_damage(first, Lsn(next.0 - 1), &name, "the segment's header is damaged".to_owned())
                .map_err(|source| OpenError::Io { path: self.dir.to_owned(), source })?;
            *end = next;
        }
        Ok(())
    }

    /// Puts the damage of the last segment into quarantine and seals what survived.
    fn close(&mut self, tail: &Tail) -> io::Result<Option<Seal>> {
        self.findings.extend(tail.findings(false));
        for hole in &tail.holes {
            tail.keep_hole(&*self.fs, self.dir, hole)?;
            self.add_damage(hole.from, hole.to, &segment_name(tail.header.first), hole.detail())?;
        }
        tail.seal(&*self.fs, self.dir)
    }

    fn take_over(&mut self, found: &Found, seal: Seal) {
        let header = &found.header;
        let place = found.place;
        let last_at = found.footer.as_ref().map_or(header.created, |footer| footer.last_at);
        let state =
            State { place, next: seal.next, length: seal.length, sealed: true, last_at, index: Vec::new() };
        self.segments.insert(Arc::new(Segment::new(header, found.access.clone(), state)));
        self.ledger.insert(header.first, self.marks(header.first, seal, place));
    }

    /// What the checkpoint knows of a segment that is closed now.
    fn marks(&self, first: Lsn, seal: Seal, place: Place) -> Marks {
        let (count, bytes) = (seal.next.0.saturating_sub(first.0), seal.length.saturating_sub(HEADER_LEN));
        if self.options.redeliver {
            return Marks { count, bytes, sealed: true, ..Marks::default() };
        }
        let mut marks = Checkpoint::marks_now(self.checkpoint, first, place, count, bytes);
        marks.close();
        marks
    }

    /// Records between two segments that no file holds: delivered and let go of, or missing.
    fn note_gap(&mut self, expected: Option<Lsn>, first: Lsn) -> Result<(), OpenError> {
        let Some(expected) = expected.filter(|&expected| expected < first) else { return Ok(()) };
        if !planted(Fault::GapForgotten) {
            self.ledger.insert_gap(expected, first);
        }
        let Some((from, to)) = survey::missing(self.checkpoint, expected, first) else { return Ok(()) };
        let detail = format!("records {from} to {to} are in no segment");
        let segment = segment_name(from);
        let kind = FindingKind::Missing;
        self.findings.push(Finding { segment: segment.clone(), offset: 0, kind, detail: detail.clone() });
        self.add_damage(from, to, &segment, detail)
            .map_err(|source| OpenError::Io { path: self.dir.to_owned(), source })
    }

    /// Lists records as damaged, durably, but for those at the beginning of the range that are dead letters already:
    /// the number of its first record is what an entry is found by.
    fn add_damage(&self, from: Lsn, to: Lsn, segment: &str, reason: String) -> io::Result<()> {
        let mut first = from;
        while let Some(last) = self.dead.last_with(first).filter(|_| first <= to) {
            first = last.next();
        }
        if first > to {
            return Ok(());
        }
        let (lsn_from, lsn_to, segment) = (first.0, to.0, segment.to_owned());
        self.dead.add_damage(Damage { lsn_from, lsn_to, segment, reason, found_at: self.now })
    }

    /// A dead letter was flushed before it became one: whatever the end of the log looks like, its number was given.
    fn pass_letters(&mut self, end: Lsn) -> Result<Lsn, OpenError> {
        let is_behind = |last: &Lsn| *last >= end && !planted(Fault::LetterNumbersGiven);
        let Some(last) = self.dead.last().filter(is_behind) else { return Ok(end) };
        self.note_gap(Some(end), last.next())?;
        Ok(last.next())
    }

    /// A log that ends before what its checkpoint saw flushed must not go on as if nothing had happened.
    fn check_promise(&self, next: Lsn) -> Result<(), OpenError> {
        match self.checkpoint {
            Some(checkpoint) if checkpoint.promise.next > next && !planted(Fault::PromiseNotChecked) => {
                Err(OpenError::Lost {
                    promised: Lsn(checkpoint.promise.next.0 - 1),
                    found: Lsn(next.0.saturating_sub(1)),
                    path: self.dir.join(super::checkpoint::FILE),
                })
            }
            _ => Ok(()),
        }
    }
}
