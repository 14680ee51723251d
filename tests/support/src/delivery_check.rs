//! Comparison of the records in Kafka with the acknowledged commands.

use std::collections::{HashMap, HashSet};
use std::fmt;

use serde_json::Value;

use crate::consume::Record;
use crate::load::SentCommands;

/// Numbers of a comparison.
pub struct DeliveryCounts {
    pub acknowledged: usize,
    pub records: usize,
    pub repeated: usize,
}

impl fmt::Display for DeliveryCounts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { acknowledged, records, repeated } = self;
        write!(f, "{acknowledged} acknowledged, all in Kafka: {records} records, {repeated} of them repeats")
    }
}

/// Checks that every 202 has a record with its id, that the first occurrences of each key are in order, that no record
/// was never sent, and that repeats have the same id.
pub fn check(sent: &SentCommands, records: &[Record]) -> DeliveryCounts {
    let mut ids: HashSet<String> = HashSet::new();
    let mut id_of: HashMap<(String, u64), String> = HashMap::new();
    let mut repeated = 0;
    for record in records {
        let key = String::from_utf8(record.key.clone().expect("a key")).unwrap();
        let body: Value = serde_json::from_str(&record.text()).expect("the body that was sent");
        let number = body["amount"].as_u64().unwrap();
        let id = record.header("forebay-command-id").expect("an id").to_owned();
        let of_key = sent.get(&key).unwrap_or_else(|| panic!("key {key} was never sent"));
        assert!((number as usize) < of_key.len(), "{key} {number} was never sent");
        assert_eq!(body["key"], key.as_str());
        if let Some(before) = id_of.insert((key.clone(), number), id.clone()) {
            assert_eq!(before, id, "a repeat keeps its id");
            repeated += 1;
        }
        ids.insert(id);
    }
    if let Some((key, early, late)) = out_of_order(records) {
        panic!("{key}: {early} came before {late}");
    }
    let acknowledged: Vec<_> = sent.values().flatten().flatten().collect();
    let lost: Vec<_> = acknowledged.iter().filter(|id| !ids.contains(**id)).collect();
    assert!(
        lost.is_empty(),
        "{} of {} acknowledged commands are missing: {lost:?}",
        lost.len(),
        acknowledged.len()
    );
    DeliveryCounts { acknowledged: acknowledged.len(), records: records.len(), repeated }
}

/// A key with a record that first appeared after a later one: the key, the later and the earlier number.
pub fn out_of_order(records: &[Record]) -> Option<(String, u64, u64)> {
    let mut seen: HashMap<&[u8], (HashSet<u64>, u64)> = HashMap::new();
    for record in records {
        let key = record.key.as_deref()?;
        let body: Value = serde_json::from_str(&record.text()).ok()?;
        let number = body["amount"].as_u64()?;
        let (numbers, highest) = seen.entry(key).or_default();
        if numbers.insert(number) && number < *highest {
            return Some((String::from_utf8_lossy(key).into_owned(), *highest, number));
        }
        *highest = number.max(*highest);
    }
    None
}
