//! Finds the last user command that an earlier run accepted, so that the daemon can check whether a consumer applies
//! such commands without waiting for the next one.

use std::cmp::Reverse;
use std::sync::Arc;
use std::time::Duration;

use crate::command::{CommandId, Envelope, UserKind};
use crate::units::{Lsn, Timestamp};
use crate::wal::{Log, ReadError, Segment};

/// Maximum number of segments read, newest first. Footers tell which segments hold user commands.
const MAX_SEGMENTS: usize = 4;
/// Maximum age of the command. Outcomes of older commands may have been deleted, and their absence would be a false
/// alarm.
const MAX_AGE: Duration = Duration::from_secs(86_400);

/// Finds the command. Blocks on disk I/O: reads at most a few segments.
pub(super) fn last_user_command(log: &Arc<Log>, now: Timestamp) -> Result<Option<CommandId>, ReadError> {
    let began = log.start_lsn();
    let mut segments = log.segments();
    segments.retain(|segment| segment.first < began && may_have_users(segment));
    segments.sort_unstable_by_key(|segment| Reverse(segment.first));
    for segment in segments.iter().take(MAX_SEGMENTS) {
        let state = segment.state();
        if now.since(state.last_at) > MAX_AGE {
            return Ok(None);
        }
        if let Some(id) = last_in(log, segment.first, state.next.min(began), now)? {
            return Ok(Some(id));
        }
    }
    Ok(None)
}

/// Returns `true` also for a segment without a readable footer, because it may hold any kind.
fn may_have_users(segment: &Segment) -> bool {
    segment.labels.is_empty() || UserKind::ALL.iter().any(|kind| segment.labels.contains_key(kind.as_str()))
}

fn last_in(log: &Arc<Log>, from: Lsn, to: Lsn, now: Timestamp) -> Result<Option<CommandId>, ReadError> {
    let (mut cursor, mut last) = (log.cursor(from), None);
    while cursor.position() < to {
        let Some(frame) = cursor.next_retained()?.filter(|frame| frame.lsn < to) else { break };
        if now.since(frame.at) > MAX_AGE {
            continue;
        }
        let Ok(envelope) = Envelope::decode(frame.payload) else { continue };
        if UserKind::ALL.iter().any(|kind| kind.as_str() == envelope.kind) {
            last = Some(envelope.id);
        }
    }
    Ok(last)
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::command::{IdGenerator, kind_of};
    use crate::wal;
    use crate::wal::{Keys, NewRecord, Options, Writer};

    const NOW: Timestamp = Timestamp(1_000_000_000_000);

    fn open(dir: &Path) -> (wal::Lock, wal::OpenedLog) {
        let options = Options {
            segment_size: 1 << 20,
            reserve_space: 0,
            redeliver: false,
            keys: Keys::default(),
            label: kind_of,
            observer: Arc::new(|_: &_| {}),
        };
        wal::open_locked(dir, &options, NOW).unwrap()
    }

    fn add(writer: &mut Writer, kind: &str, at: Timestamp) -> CommandId {
        let id = IdGenerator::new(&[1; 16], &[2; 32]).generate(at, writer.next_lsn(), [0; 9]);
        let mut payload = Vec::new();
        Envelope::new(id, kind, "t", "application/json", b"{}").encode(&mut payload);
        writer.append(&[NewRecord { lane: 0, label: kind, payload: &payload }], at).unwrap();
        writer.commit().unwrap();
        id
    }

    #[test]
    fn the_last_user_command_of_an_earlier_run_is_found() {
        let dir = tempfile::tempdir().unwrap();
        let wal = dir.path().join("wal");
        let (lock, mut opened) = open(&wal);
        assert_eq!(last_user_command(&opened.log, NOW).unwrap(), None);
        add(&mut opened.writer, "user.create", NOW);
        let second = add(&mut opened.writer, "user.update", NOW);
        add(&mut opened.writer, "order.create", NOW);
        assert_eq!(last_user_command(&opened.log, NOW).unwrap(), None, "of an earlier start");
        drop((opened, lock));
        // A further start, which accepts only other commands.
        let (lock, mut opened) = open(&wal);
        add(&mut opened.writer, "order.create", NOW);
        drop((opened, lock));
        let (_lock, mut opened) = open(&wal);
        add(&mut opened.writer, "user.delete", NOW);
        assert_eq!(last_user_command(&opened.log, NOW).unwrap(), Some(second));
        let later = Timestamp(NOW.0 + 2 * 86_400_000);
        assert_eq!(last_user_command(&opened.log, later).unwrap(), None, "its outcome may have been deleted");
    }
}
