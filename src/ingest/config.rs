//! Section `[wal]`: the log's directory, size limits, retention, encryption and the commit queue.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use crate::config_error::ConfigError;
use crate::units::{ByteSize, Span};
use crate::wal::{KeyFileError, Keys, MasterKey};

const SECTION: &str = "wal";

/// Below this size, rotation would take more time than records.
const SMALLEST_SEGMENT: ByteSize = ByteSize::mib(1);

/// Bounds the length of a frame, and the work of a recovery: it rewrites at most one segment.
const LARGEST_SEGMENT: ByteSize = ByteSize::mib(1024);

/// Configuration of the log and its commit queue.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// The log's directory.
    pub dir: PathBuf,
    /// Size of one segment file.
    pub segment_size: ByteSize,
    /// Limit of undelivered bytes; at the limit, commands are refused. `None`: all disk space above the reserve.
    pub max_backlog_size: Option<ByteSize>,
    /// Free disk space that accepted commands never use.
    pub reserve_space: ByteSize,
    /// Age at which an open segment with records is sealed.
    pub segment_max_age: Span,
    /// How long delivered segments are retained.
    pub retain_acked_age: Span,
    /// How many bytes of delivered segments are retained.
    pub retain_acked_size: ByteSize,
    /// File of the master key. `None` disables encryption.
    pub encryption_key_file: Option<PathBuf>,
    /// Files of previous master keys. They only decrypt what they encrypted.
    pub encryption_old_key_files: Vec<PathBuf>,
    /// Limits of the queue before the commit thread.
    pub commit_queue: CommitQueueConfig,
}

/// Limits of the queue before the commit thread.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct CommitQueueConfig {
    /// Maximum number of requests.
    pub requests: usize,
    /// Maximum bytes of these requests.
    pub bytes: ByteSize,
}

impl Default for CommitQueueConfig {
    fn default() -> Self {
        Self { requests: 65_536, bytes: ByteSize::mib(64) }
    }
}

impl Default for Config {
    fn default() -> Self {
        Self {
            dir: "forebay-data/wal".into(),
            segment_size: ByteSize::mib(64),
            max_backlog_size: None,
            reserve_space: ByteSize::mib(512),
            segment_max_age: Span::secs(3600),
            retain_acked_age: Span::secs(24 * 3600),
            retain_acked_size: ByteSize::mib(1024),
            encryption_key_file: None,
            encryption_old_key_files: Vec::new(),
            commit_queue: CommitQueueConfig::default(),
        }
    }
}

impl Config {
    /// Reads the master keys from their files.
    pub fn keys(&self) -> Result<Keys, KeyFileError> {
        Keys::read(self.encryption_key_file.as_deref(), &self.encryption_old_key_files)
    }

    /// Errors in the key files. Separate from [`Self::validate`], because it reads the files.
    pub fn key_mistakes(&self) -> Vec<ConfigError> {
        let current = self.encryption_key_file.iter().map(|path| ("encryption_key_file", path));
        let old = self.encryption_old_key_files.iter().map(|path| ("encryption_old_key_files", path));
        let wrong = current.chain(old).filter_map(|(key, path)| {
            let error = MasterKey::from_file(path).err()?;
            Some(ConfigError::new(
                SECTION,
                key,
                format!("a file that cannot be used ({error})"),
                "a file with 64 hexadecimal digits that is not readable by everyone",
            ))
        });
        wrong.collect()
    }

    /// Errors of this section, checked without the others.
    pub fn validate(&self) -> Vec<ConfigError> {
        let mut mistakes = Vec::new();
        let mut check = |right: bool, key: &str, found: String, allowed: &str| {
            if !right {
                mistakes.push(ConfigError::new(SECTION, key, found, allowed));
            }
        };
        let dir = self.dir.as_os_str();
        check(!dir.is_empty(), "dir", "an empty path".to_owned(), "a directory");
        let size = self.segment_size;
        let fits = (SMALLEST_SEGMENT..=LARGEST_SEGMENT).contains(&size);
        check(fits, "segment_size", size.to_string(), "1MiB to 1GiB");
        let no_backlog = self.max_backlog_size == Some(ByteSize(0));
        check(!no_backlog, "max_backlog_size", "0B".to_owned(), "at least 1B");
        let age = self.segment_max_age;
        check(age >= Span::secs(1), "segment_max_age", age.to_string(), "at least 1s");
        let CommitQueueConfig { requests, bytes } = self.commit_queue;
        check(requests > 0, "commit_queue.requests", requests.to_string(), "at least 1");
        check(bytes > ByteSize(0), "commit_queue.bytes", bytes.to_string(), "at least 1B");
        mistakes
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_default_is_valid_and_every_bound_is_named() {
        assert_eq!(Config::default().validate(), []);
        let wrong = Config {
            dir: "".into(),
            segment_size: ByteSize::kib(1023),
            max_backlog_size: Some(ByteSize(0)),
            segment_max_age: Span::millis(1),
            commit_queue: CommitQueueConfig { requests: 0, bytes: ByteSize(0) },
            ..Config::default()
        };
        let keys: Vec<_> = wrong.validate().into_iter().map(|mistake| mistake.key).collect();
        assert_eq!(
            keys,
            [
                "dir",
                "segment_size",
                "max_backlog_size",
                "segment_max_age",
                "commit_queue.requests",
                "commit_queue.bytes"
            ]
        );
    }
}
