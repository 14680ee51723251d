//! An owned record, as a consumer receives it.

/// One record of a topic.
#[derive(Clone)]
pub struct Record {
    /// Topic of the record.
    pub topic: Box<str>,
    /// Partition of the record.
    pub partition: i32,
    /// Offset of the record.
    pub offset: i64,
    /// Key of the record.
    pub key: Option<Vec<u8>>,
    /// Value of the record.
    pub value: Option<Vec<u8>>,
    /// Headers of the record, in order.
    pub headers: Vec<(Box<str>, Vec<u8>)>,
}

impl Record {
    /// The value of the last header with this name, if it is text.
    pub fn header(&self, name: &str) -> Option<&str> {
        let (_, value) = self.headers.iter().rev().find(|(own, _)| **own == *name)?;
        str::from_utf8(value).ok()
    }

    /// The topic and the partition of the record.
    pub fn topic_partition(&self) -> (&str, i32) {
        (&self.topic, self.partition)
    }

    /// Approximate memory that the record uses, in bytes.
    pub fn bytes(&self) -> usize {
        let headers: usize = self.headers.iter().map(|(name, value)| name.len() + value.len()).sum();
        self.key.as_ref().map_or(0, Vec::len) + self.value.as_ref().map_or(0, Vec::len) + headers
    }
}
