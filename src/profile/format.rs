//! Messages of pprof's `profile.proto` that a CPU profile needs.
//!
//! <https://github.com/google/pprof/blob/main/proto/profile.proto>

use std::collections::HashMap;
use std::io;
use std::io::Write as _;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use flate2::Compression;
use flate2::write::GzEncoder;
use prost::Message;

#[derive(Clone, PartialEq, Message)]
struct Profile {
    #[prost(message, repeated, tag = "1")]
    sample_type: Vec<ValueType>,
    #[prost(message, repeated, tag = "2")]
    sample: Vec<Sample>,
    #[prost(message, repeated, tag = "4")]
    location: Vec<Location>,
    #[prost(message, repeated, tag = "5")]
    function: Vec<Function>,
    #[prost(string, repeated, tag = "6")]
    string_table: Vec<String>,
    #[prost(int64, tag = "9")]
    time_nanos: i64,
    #[prost(int64, tag = "10")]
    duration_nanos: i64,
    #[prost(message, optional, tag = "11")]
    period_type: Option<ValueType>,
    #[prost(int64, tag = "12")]
    period: i64,
}

/// Both fields are indexes into the string table.
#[derive(Clone, Copy, PartialEq, Message)]
struct ValueType {
    #[prost(int64, tag = "1")]
    kind: i64,
    #[prost(int64, tag = "2")]
    unit: i64,
}

#[derive(Clone, PartialEq, Message)]
struct Sample {
    /// Locations of the stack, the leaf first.
    #[prost(uint64, repeated, tag = "1")]
    location_id: Vec<u64>,
    #[prost(int64, repeated, tag = "2")]
    value: Vec<i64>,
    #[prost(message, repeated, tag = "3")]
    label: Vec<Label>,
}

#[derive(Clone, Copy, PartialEq, Message)]
struct Label {
    #[prost(int64, tag = "1")]
    key: i64,
    #[prost(int64, tag = "2")]
    text: i64,
}

#[derive(Clone, PartialEq, Message)]
struct Location {
    #[prost(uint64, tag = "1")]
    id: u64,
    /// Inlined functions, the innermost first.
    #[prost(message, repeated, tag = "4")]
    line: Vec<Line>,
}

#[derive(Clone, Copy, PartialEq, Eq, Hash, Message)]
struct Line {
    #[prost(uint64, tag = "1")]
    function_id: u64,
    #[prost(int64, tag = "2")]
    line: i64,
}

#[derive(Clone, Copy, PartialEq, Message)]
struct Function {
    #[prost(uint64, tag = "1")]
    id: u64,
    #[prost(int64, tag = "2")]
    name: i64,
    #[prost(int64, tag = "4")]
    filename: i64,
}

/// One function in a stack.
pub(super) struct Frame {
    pub(super) function: String,
    pub(super) file: String,
    pub(super) line: i64,
}

/// Collects samples. Equal names, functions and locations are stored once.
pub(super) struct Builder {
    profile: Profile,
    strings: HashMap<String, i64>,
    functions: HashMap<(i64, i64), u64>,
    locations: HashMap<Vec<Line>, u64>,
}

impl Builder {
    /// Starts a profile that counts samples and measures `kind`, with one sample every `period` of it.
    pub(super) fn new(kind: &str, unit: &str, period: i64) -> Self {
        let (profile, strings) = (Profile::default(), HashMap::new());
        let mut builder = Self { profile, strings, functions: HashMap::new(), locations: HashMap::new() };
        // The format requires the empty string at index 0.
        builder.string("");
        let samples = ValueType { kind: builder.string("samples"), unit: builder.string("count") };
        let measured = ValueType { kind: builder.string(kind), unit: builder.string(unit) };
        builder.profile.sample_type = vec![samples, measured];
        builder.profile.period_type = Some(measured);
        builder.profile.period = period;
        builder
    }

    /// Adds a stack, the leaf first. Each entry holds a frame and the functions inlined into it, the innermost first.
    pub(super) fn sample(&mut self, stack: Vec<Vec<Frame>>, values: [i64; 2], thread: &str) {
        let label = Label { key: self.string("thread"), text: self.string(thread) };
        let location_id = stack.iter().map(|frames| self.location(frames)).collect();
        self.profile.sample.push(Sample { location_id, value: values.to_vec(), label: vec![label] });
    }

    /// Encodes and compresses the profile.
    pub(super) fn finish(mut self, began: SystemTime, duration: Duration) -> io::Result<Vec<u8>> {
        let nanos = |duration: Duration| i64::try_from(duration.as_nanos()).unwrap_or(i64::MAX);
        self.profile.time_nanos = nanos(began.duration_since(UNIX_EPOCH).unwrap_or_default());
        self.profile.duration_nanos = nanos(duration);
        let mut compressed = GzEncoder::new(Vec::new(), Compression::default());
        compressed.write_all(&self.profile.encode_to_vec())?;
        compressed.finish()
    }

    fn location(&mut self, frames: &[Frame]) -> u64 {
        let lines: Vec<Line> = frames.iter().map(|frame| self.line(frame)).collect();
        let next = self.profile.location.len() as u64 + 1;
        let id = *self.locations.entry(lines.clone()).or_insert(next);
        if id == next {
            self.profile.location.push(Location { id, line: lines });
        }
        id
    }

    fn line(&mut self, frame: &Frame) -> Line {
        let (name, filename) = (self.string(&frame.function), self.string(&frame.file));
        let next = self.profile.function.len() as u64 + 1;
        let id = *self.functions.entry((name, filename)).or_insert(next);
        if id == next {
            self.profile.function.push(Function { id, name, filename });
        }
        Line { function_id: id, line: frame.line }
    }

    fn string(&mut self, text: &str) -> i64 {
        if let Some(at) = self.strings.get(text) {
            return *at;
        }
        let at = i64::try_from(self.profile.string_table.len()).unwrap_or(i64::MAX);
        self.profile.string_table.push(text.to_owned());
        self.strings.insert(text.to_owned(), at);
        at
    }
}

#[cfg(test)]
mod tests {
    use std::io::Read as _;

    use flate2::read::GzDecoder;

    use super::*;

    fn frame(function: &str) -> Frame {
        Frame { function: function.to_owned(), file: "lib.rs".to_owned(), line: 7 }
    }

    #[test]
    fn a_profile_can_be_decoded_and_stores_equal_locations_once() {
        let mut builder = Builder::new("cpu", "nanoseconds", 10);
        builder.sample(vec![vec![frame("leaf")], vec![frame("main")]], [1, 10], "a");
        builder.sample(vec![vec![frame("inlined"), frame("leaf")], vec![frame("main")]], [2, 20], "b");
        let bytes = builder.finish(UNIX_EPOCH + Duration::from_secs(1), Duration::from_secs(2)).unwrap();
        let mut text = Vec::new();
        GzDecoder::new(&*bytes).read_to_end(&mut text).unwrap();
        let profile = Profile::decode(&*text).unwrap();
        assert_eq!((profile.function.len(), profile.location.len(), profile.sample.len()), (3, 3, 2));
        assert_eq!(profile.sample[0].location_id[1], profile.sample[1].location_id[1], "main");
        assert_eq!(profile.sample[1].value, [2, 20]);
        assert_eq!((profile.time_nanos, profile.duration_nanos), (1_000_000_000, 2_000_000_000));
        let text = |at: i64| profile.string_table[usize::try_from(at).unwrap()].as_str();
        assert_eq!(text(0), "");
        assert_eq!(text(profile.sample[1].label[0].text), "b");
        assert_eq!(
            (text(profile.sample_type[1].kind), text(profile.sample_type[1].unit)),
            ("cpu", "nanoseconds")
        );
    }
}
