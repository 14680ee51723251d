//! Which segments a directory holds, by their names, headers and footers.

use std::io;
use std::path::Path;

use super::event::Finding;
use super::event::FindingKind;
use super::footer::Footer;
use super::frame::Seed;
use super::fs;
use super::fs::Fs;
use super::fs::Mode;
use super::header::HEADER_LEN;
use super::header::Header;
use super::header::HeaderError;
use super::header::Seal;
use super::header::parse_segment_name;
use super::header::segment_name;
use super::quarantine;
use super::recovery::OpenError;
use super::segment::Place;
use super::segment::segment_path;
use super::spare;
use super::types::Lsn;

/// A segment that was found.
pub struct Found {
    /// Where.
    pub place: Place,
    /// Its header.
    pub header: Header,
    /// Its footer; none when it was open, or lost it.
    pub footer: Option<Footer>,
    /// Bytes of the file.
    pub file_len: u64,
}

impl Found {
    /// How it was sealed: by its own word, else by its successor's.
    pub fn seal(&self, successor: Seal) -> Seal {
        let first = self.header.first;
        match &self.footer {
            Some(footer) => Seal { first, next: footer.next, length: footer.length, chain: footer.chain },
            None if successor.first == first => successor,
            None => Seal { first, next: first, length: self.file_len.max(HEADER_LEN), chain: 0 },
        }
    }
}

/// All of them, oldest first.
pub struct Survey {
    /// The segments of this log.
    pub segments: Vec<Found>,
    /// First LSN and size of the ones whose header cannot be read; they lie in quarantine.
    pub headless: Vec<(Lsn, u64)>,
}

/// Looks at `pending/` and `acked/`, removes what an interrupted start or rotation left over, and moves what
/// cannot be used into quarantine.
///
/// `known` is the log the checkpoint belongs to: it says which segments are ours, if any of them is its own.
pub fn survey(
    fs: &dyn Fs,
    dir: &Path,
    known: Option<[u8; 16]>,
    findings: &mut Vec<Finding>,
) -> Result<Survey, OpenError> {
    let failed = |source| OpenError::Io { path: dir.to_owned(), source };
    remove_if_there(fs, &dir.join(spare::FILE)).map_err(failed)?;
    let mut segments = Vec::new();
    let mut unusable = Vec::new();
    let mut headless = Vec::new();
    for place in [Place::Pending, Place::Acked] {
        for name in fs.list(&dir.join(place.dir())).map_err(failed)? {
            let Some(first) = parse_segment_name(&name) else {
                let detail = "not a segment of forebay; left alone".to_owned();
                findings.push(Finding { segment: name, offset: 0, kind: FindingKind::Unknown, detail });
                continue;
            };
            match look(fs, dir, place, first)? {
                Ok(found) => segments.push(found),
                Err(error) => {
                    let path = segment_path(dir, place, first);
                    headless.push((
                        first,
                        fs.open(&path, Mode::Read).and_then(|file| file.size()).map_err(failed)?,
                    ));
                    unusable.push((place, first, FindingKind::Damaged, error));
                }
            }
        }
    }
    segments.sort_by_key(|found| found.header.first);
    headless.sort_unstable();
    set_aside_foreign(known, &mut segments, &mut unusable);
    for (place, first, kind, detail) in unusable {
        findings.push(Finding { segment: segment_name(first), offset: 0, kind, detail });
        move_away(fs, dir, place, first).map_err(failed)?;
    }
    Ok(Survey { segments, headless })
}

/// The checkpoint says which log this is, else the newest segment.
fn set_aside_foreign(
    known: Option<[u8; 16]>,
    segments: &mut Vec<Found>,
    unusable: &mut Vec<(Place, Lsn, FindingKind, String)>,
) {
    let of = |found: &Found| found.header.identity.log_id;
    let known = known.filter(|known| segments.iter().any(|found| of(found) == *known));
    let Some(log_id) = known.or_else(|| segments.last().map(of)) else { return };
    segments.retain(|found| {
        let ours = found.header.identity.log_id == log_id;
        if !ours {
            let detail = "a segment of another log".to_owned();
            unusable.push((found.place, found.header.first, FindingKind::Foreign, detail));
        }
        ours
    });
}

type Looked = Result<Found, String>;

/// Reads header and footer of one segment.
pub fn look(fs: &dyn Fs, dir: &Path, place: Place, first: Lsn) -> Result<Looked, OpenError> {
    let path = segment_path(dir, place, first);
    let failed = |source| OpenError::Io { path: path.clone(), source };
    let file = fs.open(&path, Mode::Read).map_err(failed)?;
    let file_len = file.size().map_err(failed)?;
    let mut block = vec![0; HEADER_LEN as usize];
    let read = fs::read_full(&*file, &mut block, 0).map_err(failed)?;
    let header = match Header::decode(&block[..read]) {
        Ok(header) if header.first == first => header,
        Ok(header) => return Ok(Err(format!("its header says it begins at {}", header.first))),
        Err(error @ HeaderError::Version(..)) => {
            return Err(OpenError::Version { path, detail: error.to_string() });
        }
        Err(error) => return Ok(Err(error.to_string())),
    };
    let footer = Footer::find(&*file, &Seed::new(&header.salt)).map_err(failed)?;
    Ok(Ok(Found { place, header, footer, file_len }))
}

fn move_away(fs: &dyn Fs, dir: &Path, place: Place, first: Lsn) -> io::Result<()> {
    let to = dir.join(quarantine::DIR).join(segment_name(first));
    fs.rename(&segment_path(dir, place, first), &to)?;
    fs.sync_dir(&dir.join(quarantine::DIR))?;
    fs.sync_dir(&dir.join(place.dir()))
}

fn remove_if_there(fs: &dyn Fs, path: &Path) -> io::Result<()> {
    match fs.remove(path) {
        Err(e) if e.kind() != io::ErrorKind::NotFound => Err(e),
        _ => Ok(()),
    }
}
