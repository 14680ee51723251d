//! Certificate chain and private key, read from their files and fitted together.

use std::fs::File;
use std::io;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use sha2::{Digest, Sha256};
use tokio_rustls::rustls::crypto::ring;
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio_rustls::rustls::server::ParsedCertificate;
use tokio_rustls::rustls::sign::{CertifiedKey, SingleCertAndKey};
use tokio_rustls::rustls::{Error, InconsistentKeys, ServerConfig};
use zeroize::Zeroizing;

use super::validity::Validity;
use crate::config_error::ConfigError;
use crate::http::config::Config;
use crate::secret_file;

const CERT: &str = "tls_cert_file";
const KEY: &str = "tls_key_file";
const CHAIN_WANTED: &str =
    "a file with the certificate chain in PEM format, the server's own certificate first";
const KEY_WANTED: &str = "a file with the certificate's private key in PEM format, without a passphrase";

/// A chain of a few certificates has some kilobytes; more than this is another file.
const MAX_FILE: usize = 1 << 20;
/// Nothing else is spoken inside.
const ALPN: &[u8] = b"http/1.1";

/// What tells the contents of the files from others, without being them.
pub(super) type Fingerprint = [u8; 32];

/// Where chain and key lie.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Files {
    pub cert: PathBuf,
    pub key: PathBuf,
}

/// What a listener needs of them.
pub(super) struct LoadedCertificate {
    pub config: Arc<ServerConfig>,
    /// None where it cannot be told.
    pub validity: Option<Validity>,
}

/// What stands in them. The key is wiped from memory when this is dropped.
pub(super) struct FileContents {
    cert: Vec<u8>,
    key: Zeroizing<Vec<u8>>,
}

impl Files {
    pub fn of(config: &Config) -> Option<Self> {
        Some(Self { cert: config.tls_cert_file.clone()?, key: config.tls_key_file.clone()? })
    }

    /// Reads both. Blocks for the disk.
    pub fn read(&self) -> Result<FileContents, Vec<ConfigError>> {
        let cert = read_bounded(&self.cert).map_err(|error| self.wrong_cert(error));
        let key = secret_file::read(&self.key, MAX_FILE).map_err(|error| self.wrong_key(error));
        let (cert, key) = merge_errors(cert, key)?;
        Ok(FileContents { cert, key })
    }

    /// What a listener needs, if the contents are a chain and its key.
    pub fn load(&self, contents: &FileContents) -> Result<LoadedCertificate, Vec<ConfigError>> {
        let (chain, key) = merge_errors(self.chain(&contents.cert), self.key(&contents.key))?;
        let validity = Validity::of_chain(&chain);
        let config = self.check_pair(chain, key).map_err(|mistake| vec![mistake])?;
        Ok(LoadedCertificate { config, validity })
    }

    fn chain(&self, text: &[u8]) -> Result<Vec<CertificateDer<'static>>, ConfigError> {
        let chain: Vec<_> = CertificateDer::pem_slice_iter(text)
            .collect::<Result<_, _>>()
            .map_err(|_| self.wrong_cert("what is no PEM"))?;
        if chain.is_empty() {
            return Err(self.wrong_cert("no certificate"));
        }
        let damaged = |cert: &CertificateDer<'_>| ParsedCertificate::try_from(cert).is_err();
        match chain.iter().position(damaged) {
            Some(place) => Err(self.wrong_cert(format!("a damaged certificate, number {}", place + 1))),
            None => Ok(chain),
        }
    }

    fn key(&self, text: &[u8]) -> Result<PrivateKeyDer<'static>, ConfigError> {
        PrivateKeyDer::from_pem_slice(text).map_err(|_| self.wrong_key("no private key that can be read"))
    }

    fn check_pair(
        &self,
        chain: Vec<CertificateDer<'static>>,
        key: PrivateKeyDer<'static>,
    ) -> Result<Arc<ServerConfig>, ConfigError> {
        let provider = Arc::new(ring::default_provider());
        // Its own error is not shown: what it says of a key is not ours to know.
        let signing = provider.key_provider.load_private_key(key);
        let signing = signing.map_err(|_| self.wrong_key("a private key of a kind that is not supported"))?;
        let certified = CertifiedKey::new(chain, signing);
        match certified.keys_match() {
            Ok(()) | Err(Error::InconsistentKeys(InconsistentKeys::Unknown)) => {}
            Err(_) => return Err(self.wrong_key("the key of another certificate than that in tls_cert_file")),
        }
        let builder = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .map_err(|error| self.wrong_cert(error))?;
        let resolver = Arc::new(SingleCertAndKey::from(certified));
        let mut config = builder.with_no_client_auth().with_cert_resolver(resolver);
        config.alpn_protocols = vec![ALPN.to_vec()];
        Ok(Arc::new(config))
    }

    fn wrong_cert(&self, found: impl std::fmt::Display) -> ConfigError {
        ConfigError::new("server", CERT, format!("{}: {found}", self.cert.display()), CHAIN_WANTED)
    }

    fn wrong_key(&self, found: impl std::fmt::Display) -> ConfigError {
        ConfigError::new("server", KEY, format!("{}: {found}", self.key.display()), KEY_WANTED)
    }
}

impl FileContents {
    /// The same for the same contents.
    pub fn fingerprint(&self) -> Fingerprint {
        let parts = [Sha256::digest(&self.cert), Sha256::digest(&*self.key)];
        Sha256::digest(parts.concat()).into()
    }
}

/// Both, or everything that is wrong.
fn merge_errors<A, B>(
    one: Result<A, ConfigError>,
    other: Result<B, ConfigError>,
) -> Result<(A, B), Vec<ConfigError>> {
    match (one, other) {
        (Ok(one), Ok(other)) => Ok((one, other)),
        (one, other) => Err(one.err().into_iter().chain(other.err()).collect()),
    }
}

fn read_bounded(path: &Path) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    File::open(path)?.take(MAX_FILE as u64 + 1).read_to_end(&mut bytes)?;
    if bytes.len() > MAX_FILE {
        return Err(io::Error::other("more than a mebibyte"));
    }
    Ok(bytes)
}
