//! Files of keys and certificates that are read when a client is made, or at the next start.

use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};

use crate::config::Config;
use crate::http::Validity;
use crate::units::Timestamp;

/// A chain of certificates has some kilobytes.
const MAX_FILE: u64 = 1 << 20;

/// The files that the configuration names.
pub(in crate::app) struct Files {
    /// Each with its key in the configuration, and whether it holds a certificate.
    named: Vec<(&'static str, PathBuf, bool)>,
}

/// What is wrong with one of them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum FileTrouble {
    Unreadable { key: &'static str, error: String },
    Ending { key: &'static str, until: Timestamp },
}

impl Files {
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

    /// Reads the certificates, and tries whether the others can be read. Blocks for the disk.
    pub(super) fn look(&self, now: Timestamp) -> Vec<FileTrouble> {
        self.named.iter().filter_map(|(key, path, is_cert)| look(key, path, *is_cert, now)).collect()
    }

    /// When the certificate of this key ends, if that is near or over. Blocks for the disk.
    pub(in crate::app) fn end_of(&self, key: &str, now: Timestamp) -> Option<Timestamp> {
        end_of(&self.look(now), key)
    }
}

/// When the certificate of this key ends, if that is near or over.
pub(super) fn end_of(troubles: &[FileTrouble], key: &str) -> Option<Timestamp> {
    troubles.iter().find_map(|trouble| match trouble {
        FileTrouble::Ending { key: own, until } if *own == key => Some(*until),
        _ => None,
    })
}

/// Of a key or a password one byte is read: what is secret is not brought into memory to see that it is there.
fn look(key: &'static str, path: &Path, is_certificate: bool, now: Timestamp) -> Option<FileTrouble> {
    let most = if is_certificate { MAX_FILE } else { 1 };
    let mut text = Vec::new();
    let read = File::open(path).and_then(|file| file.take(most).read_to_end(&mut text));
    if let Err(error) = read {
        return Some(FileTrouble::Unreadable { key, error: format!("{}: {error}", path.display()) });
    }
    let validity =
        is_certificate.then(|| Validity::of_pem(&text))?.filter(|validity| validity.is_ending(now))?;
    Some(FileTrouble::Ending { key, until: validity.until })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_missing_file_is_told_and_a_readable_one_is_not() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("password");
        let now = Timestamp::now();
        let looked = look("kafka.sasl_password_file", &path, false, now);
        assert!(matches!(looked, Some(FileTrouble::Unreadable { .. })), "{looked:?}");
        std::fs::write(&path, "x").unwrap();
        assert_eq!(look("kafka.sasl_password_file", &path, false, now), None);
    }

    #[test]
    fn a_client_certificate_is_told_before_it_expires() {
        let Some(identity) = support::tls::Identity::make("a_client_certificate_is_told_before_it_expires")
        else {
            return;
        };
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("cert.pem");
        std::fs::write(&path, identity.cert).unwrap();
        let (now, hour) = (Timestamp::now().0, 3_600_000);
        let look = |hours: u64| look("kafka.ssl_cert_file", &path, true, Timestamp(now + hours * hour));
        assert_eq!(look(1), None, "valid for two days");
        assert!(matches!(look(40), Some(FileTrouble::Ending { .. })));
    }
}
