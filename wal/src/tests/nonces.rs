//! No data key is used with the same nonce twice. The tests check every byte that was ever written to the disk.

use std::collections::BTreeMap;

use proptest::collection::vec;
use proptest::prelude::*;

use super::super::encryption::key_slots;
use super::super::frame;
use super::super::segment_header::{HEADER_LEN, SegmentHeader};
use super::sim_fs::{FaultyCall, SimFs};
use super::support::*;
use crate::units::Timestamp;

#[derive(Clone, Debug)]
enum Op {
    Append(u8),
    Commit,
    Rotate,
    /// The next write, flush, rename … fails.
    Fail(usize, u8),
    Crash(Vec<u8>),
    Reopen,
}

fn op() -> impl Strategy<Value = Op> {
    prop_oneof![
        6 => (1u8..5).prop_map(Op::Append),
        6 => Just(Op::Commit),
        2 => Just(Op::Rotate),
        1 => (0..FaultyCall::ALL.len(), 0u8..4).prop_map(|(fault, after)| Op::Fail(fault, after)),
        3 => vec(any::<u8>(), 1..20).prop_map(Op::Crash),
        1 => Just(Op::Reopen),
    ]
}

/// Returns the number of messages. Panics if two different messages have the same key and nonce.
fn check(fs: &SimFs) -> usize {
    let mut keys: BTreeMap<usize, [u8; 32]> = BTreeMap::new();
    let mut sealed: BTreeMap<([u8; 32], u64), Vec<u8>> = BTreeMap::new();
    let mut wraps: BTreeMap<Vec<u8>, Vec<u8>> = BTreeMap::new();
    for (file, offset, bytes) in fs.journal() {
        let header = bytes.len() == HEADER_LEN as usize && offset == 0;
        if header && SegmentHeader::decode(&bytes).is_ok_and(|header| header.encrypted) {
            keys.insert(file, *key_slots::open(&bytes, &self::keys()).ok().unwrap().data_key());
            for at in key_slots::SLOT_OFFSETS {
                // The random bytes from which a wrapping key is derived.
                let again = wraps.insert(bytes[at + 8..at + 40].to_vec(), bytes[at + 40..].to_vec());
                assert_eq!(again, None, "a wrapping key was used twice");
            }
        }
        let Some(key) = keys.get(&file).filter(|_| offset >= HEADER_LEN as usize) else { continue };
        let mut at = 0;
        // The first bytes of a frame are zero only after the last frame.
        while let Some(found) =
            bytes.get(at..).and_then(frame::decode_trusted).filter(|found| found.meta.kind == 1)
        {
            let message = [found.header, found.payload].concat();
            let nonce = (offset + at) as u64;
            if let Some(before) = sealed.insert((*key, nonce), message.clone()) {
                assert_eq!(before, message, "another message under the key and nonce of offset {nonce}");
            }
            at += found.len;
        }
    }
    sealed.len()
}

fn run_ops(ops: &[Op]) -> SimFs {
    encrypt();
    let fs = SimFs::new();
    let mut opened = reopen(&fs);
    let mut n = 0;
    for op in ops {
        match op {
            Op::Append(size) => {
                preallocate(&opened.log);
                let payloads: Vec<_> = (0..*size).map(|i| payload(n + u64::from(i))).collect();
                n += u64::from(*size);
                let entries: Vec<_> = payloads
                    .iter()
                    .map(|payload| super::super::NewRecord { lane: 0, label: "test", payload })
                    .collect();
                // A poisoned log refuses the batch, and encrypts nothing.
                let _ = opened.writer.append(&entries, Timestamp(2_000));
            }
            Op::Commit => drop(opened.writer.commit()),
            Op::Rotate => {
                preallocate(&opened.log);
                let _ = opened.writer.seal_if_older(std::time::Duration::ZERO, Timestamp(3_000));
            }
            Op::Fail(fault, after) => fs.fail(FaultyCall::ALL[*fault], (*after).into()),
            Op::Crash(choices) => {
                let mut choices = choices.iter().cycle();
                fs.crash(&mut |n| usize::from(*choices.next().unwrap()) % n);
                opened = reopen(&fs);
            }
            Op::Reopen => {
                fs.kill();
                opened = reopen(&fs);
            }
        }
    }
    fs
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn no_key_and_nonce_encrypt_two_messages(ops in vec(op(), 1..60)) {
        check(&run_ops(&ops));
    }
}

/// The test above can fail: it detects a data key that survives a restart, even in a short run.
#[test]
#[cfg(feature = "planted-faults")]
fn a_data_key_reused_after_a_restart_is_detected() {
    use crate::failpoint::{self, Failpoint};
    failpoint::set(Some(Failpoint::ReuseDataKey));
    let ops = [Op::Append(2), Op::Commit, Op::Crash(vec![0]), Op::Append(3), Op::Commit];
    let found = std::panic::catch_unwind(|| check(&run_ops(&ops)));
    failpoint::set(None);
    assert!(found.is_err());
}

#[test]
pub fn every_written_record_is_checked() {
    let ops = [Op::Append(2), Op::Commit, Op::Crash(vec![0]), Op::Append(3), Op::Commit];
    assert_eq!(check(&run_ops(&ops)), 5);
}
