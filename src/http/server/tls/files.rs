//! Reads the certificate chain and the private key from their files, and checks that they belong together.

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

/// Maximum bytes of a file. A chain of a few certificates has some kilobytes. A larger file is a different file.
const MAX_FILE: usize = 1 << 20;
/// The only protocol inside TLS.
const ALPN: &[u8] = b"http/1.1";

/// Digest of the contents of both files.
pub(super) type Fingerprint = [u8; 32];

/// Paths of the certificate chain and the private key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Files {
    pub cert: PathBuf,
    pub key: PathBuf,
}

/// A certificate that is ready for use by a listener.
pub(super) struct LoadedCertificate {
    pub config: Arc<ServerConfig>,
    /// `None` if it cannot be determined.
    pub validity: Option<Validity>,
}

/// Contents of the files. The key is wiped from memory when the value is dropped.
pub(super) struct FileContents {
    cert: Vec<u8>,
    key: Zeroizing<Vec<u8>>,
}

impl Files {
    pub fn of(config: &Config) -> Option<Self> {
        Some(Self { cert: config.tls_cert_file.clone()?, key: config.tls_key_file.clone()? })
    }

    /// Reads both files. Blocks on disk I/O.
    pub fn read(&self) -> Result<FileContents, Vec<ConfigError>> {
        let cert = read_bounded(&self.cert).map_err(|error| self.wrong_cert(error));
        let key = secret_file::read(&self.key, MAX_FILE).map_err(|error| self.wrong_key(error));
        let (cert, key) = merge_errors(cert, key)?;
        Ok(FileContents { cert, key })
    }

    /// Parses the contents and checks that the key belongs to the chain.
    pub fn load(&self, contents: &FileContents) -> Result<LoadedCertificate, Vec<ConfigError>> {
        let (chain, key) = merge_errors(self.chain(&contents.cert), self.key(&contents.key))?;
        let validity = Validity::of_chain(&chain);
        let config = self.check_pair(chain, key).map_err(|error| vec![error])?;
        Ok(LoadedCertificate { config, validity })
    }

    fn chain(&self, text: &[u8]) -> Result<Vec<CertificateDer<'static>>, ConfigError> {
        let chain: Vec<_> = CertificateDer::pem_slice_iter(text)
            .collect::<Result<_, _>>()
            .map_err(|_| self.wrong_cert("not in PEM format"))?;
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
        PrivateKeyDer::from_pem_slice(text).map_err(|_| self.wrong_key("no readable private key"))
    }

    fn check_pair(
        &self,
        chain: Vec<CertificateDer<'static>>,
        key: PrivateKeyDer<'static>,
    ) -> Result<Arc<ServerConfig>, ConfigError> {
        let provider = Arc::new(ring::default_provider());
        // The provider's error is not shown, because it may contain details of the key.
        let signing = provider.key_provider.load_private_key(key);
        let signing = signing.map_err(|_| self.wrong_key("a private key of an unsupported type"))?;
        let certified = CertifiedKey::new(chain, signing);
        match certified.keys_match() {
            Ok(()) | Err(Error::InconsistentKeys(InconsistentKeys::Unknown)) => {}
            Err(_) => {
                return Err(self.wrong_key("a key that does not belong to the certificate in tls_cert_file"));
            }
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
    /// A digest of the contents.
    pub fn fingerprint(&self) -> Fingerprint {
        let parts = [Sha256::digest(&self.cert), Sha256::digest(&*self.key)];
        Sha256::digest(parts.concat()).into()
    }
}

/// Both values, or the errors of both.
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
        return Err(io::Error::other("larger than 1 MiB"));
    }
    Ok(bytes)
}
