//! A record as a consumer gets it, on its own.

/// One record of a topic.
#[derive(Clone)]
pub struct Record {
    /// Where it lies.
    pub topic: Box<str>,
    /// In which partition.
    pub partition: i32,
    /// At which offset.
    pub offset: i64,
    /// Its key.
    pub key: Option<Vec<u8>>,
    /// Its value.
    pub value: Option<Vec<u8>>,
    /// Its headers, in their order.
    pub headers: Vec<(Box<str>, Vec<u8>)>,
}

impl Record {
    /// The value of the last header of this name, when it is text.
    pub fn header(&self, name: &str) -> Option<&str> {
        let (_, value) = self.headers.iter().rev().find(|(own, _)| **own == *name)?;
        str::from_utf8(value).ok()
    }

    /// Where it lies.
    pub fn topic_partition(&self) -> (&str, i32) {
        (&self.topic, self.partition)
    }

    /// Roughly what it costs to keep it.
    pub fn bytes(&self) -> usize {
        let headers: usize = self.headers.iter().map(|(name, value)| name.len() + value.len()).sum();
        self.key.as_ref().map_or(0, Vec::len) + self.value.as_ref().map_or(0, Vec::len) + headers
    }
}
