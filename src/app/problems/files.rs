//! Checks files of keys and certificates that are read only when a client is created, or at the next start.

use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};

use crate::config::Config;
use crate::http::Validity;
use crate::units::Timestamp;

/// Maximum file size in bytes. A certificate chain has a few kilobytes.
const MAX_FILE: u64 = 1 << 20;

/// Files named in the configuration.
pub(in crate::app) struct ConfiguredFiles {
    /// Path of each file, with its configuration key and whether it holds a certificate.
    named: Vec<(&'static str, PathBuf, bool)>,
}

/// Problem of one file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum FileProblem {
    Unreadable { key: &'static str, error: String },
    Ending { key: &'static str, until: Timestamp },
}

impl ConfiguredFiles {
    pub(in crate::app) fn of(config: &Config) -> Self {
        let (kafka, wal) = (&config.kafka, &config.wal);
        let files = [
            ("kafka.ssl_cert_file", &kafka.ssl_cert_file, true),
            ("kafka.ssl_key_file", &kafka.ssl_key_file, false),
            ("kafka.ssl_ca_file", &kafka.ssl_ca_file, false),
            ("kafka.sasl_password_file", &kafka.sasl_password_file, false),
            ("kafka.sasl_token_file", &kafka.sasl_token_file, false),
        ];
        let of_kafka =
            files.into_iter().filter_map(|(key, path, is_cert)| Some((key, path.clone()?, is_cert)));
        let current = wal.encryption_key_file.iter().map(|path| ("wal.encryption_key_file", path));
        let old = wal.encryption_old_key_files.iter().map(|path| ("wal.encryption_old_key_files", path));
        let of_log = current.chain(old).map(|(key, path)| (key, path.clone(), false));
        Self { named: of_kafka.chain(of_log).collect() }
    }

    /// Parses the certificates and checks that the other files can be read. Blocks on disk I/O.
    pub(super) fn check(&self, now: Timestamp) -> Vec<FileProblem> {
        self.named.iter().filter_map(|(key, path, is_cert)| check_file(key, path, *is_cert, now)).collect()
    }

    /// End of the certificate of this key, if it is near or past. Blocks on disk I/O.
    pub(in crate::app) fn end_of(&self, key: &str, now: Timestamp) -> Option<Timestamp> {
        end_of(&self.check(now), key)
    }
}

/// End of the certificate of this key, if it is near or past.
pub(super) fn end_of(problems: &[FileProblem], key: &str) -> Option<Timestamp> {
    problems.iter().find_map(|problem| match problem {
        FileProblem::Ending { key: own, until } if *own == key => Some(*until),
        _ => None,
    })
}

/// Checks one file. Reads only one byte of a key or password file, so that the secret does not enter memory.
fn check_file(key: &'static str, path: &Path, is_certificate: bool, now: Timestamp) -> Option<FileProblem> {
    let most = if is_certificate { MAX_FILE } else { 1 };
    let mut text = Vec::new();
    let read = File::open(path).and_then(|file| file.take(most).read_to_end(&mut text));
    if let Err(error) = read {
        return Some(FileProblem::Unreadable { key, error: format!("{}: {error}", path.display()) });
    }
    let validity =
        is_certificate.then(|| Validity::of_pem(&text))?.filter(|validity| validity.is_ending(now))?;
    Some(FileProblem::Ending { key, until: validity.until })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_missing_file_is_reported() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("password");
        let now = Timestamp::now();
        let checked = check_file("kafka.sasl_password_file", &path, false, now);
        assert!(matches!(checked, Some(FileProblem::Unreadable { .. })), "{checked:?}");
        std::fs::write(&path, "x").unwrap();
        assert_eq!(check_file("kafka.sasl_password_file", &path, false, now), None);
    }

    #[test]
    fn a_client_certificate_is_reported_before_it_expires() {
        let Some(identity) =
            support::tls::Identity::make("a_client_certificate_is_reported_before_it_expires")
        else {
            return;
        };
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("cert.pem");
        std::fs::write(&path, identity.cert).unwrap();
        let (now, hour) = (Timestamp::now().0, 3_600_000);
        let check_after =
            |hours: u64| check_file("kafka.ssl_cert_file", &path, true, Timestamp(now + hours * hour));
        assert_eq!(check_after(1), None, "valid for two days");
        assert!(matches!(check_after(40), Some(FileProblem::Ending { .. })));
    }
}
