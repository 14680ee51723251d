//! TLS handshakes with the current certificate.

use std::io;
use std::io::Write;
use std::sync::Arc;
use std::time::Duration;

use prometheus::IntCounterVec;
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::ServerConfig;
use tokio_rustls::server::TlsStream;

use super::files::{Files, Fingerprint, LoadedCertificate};
use super::validity::Validity;
use crate::config_error::ConfigError;
use crate::http::config::Config;
use crate::http::metrics::{Metrics, TLS_LOST, TLS_REFUSED, TLS_TIMEOUT};
use crate::http::server::timed_io::Transport;
use crate::sync::{Mutex, RwLock};

/// The current certificate of a listener. Clones share it.
#[derive(Clone)]
pub struct Tls {
    pub(super) files: Files,
    /// Fingerprint of the files when this value was created.
    pub(super) first: Fingerprint,
    current: Arc<RwLock<Arc<ServerConfig>>>,
    status: Arc<Mutex<CertificateStatus>>,
    failed: IntCounterVec,
}

/// The state of the current certificate and of the files that replace it.
#[derive(Clone, Debug, Default)]
pub struct CertificateStatus {
    /// Validity of the current certificate.
    pub validity: Option<Validity>,
    /// Why the files cannot be used. The previous certificate then stays in use.
    pub file_error: Option<String>,
}

impl Tls {
    /// Reads chain and private key. Returns `None` if the configuration names no files. The errors name each
    /// configuration key whose file is invalid. Blocks on disk I/O.
    pub fn load(config: &Config, metrics: &Metrics) -> Result<Option<Self>, Vec<ConfigError>> {
        let Some(files) = Files::of(config) else { return Ok(None) };
        let contents = files.read()?;
        let LoadedCertificate { config: current, validity } = files.load(&contents)?;
        let current = Arc::new(RwLock::new(current));
        let status = Arc::new(Mutex::new(CertificateStatus { validity, file_error: None }));
        let failed = metrics.tls_handshakes_failed.clone();
        Ok(Some(Self { files, first: contents.fingerprint(), current, status, failed }))
    }

    /// Errors in the files that the configuration names. Blocks on disk I/O.
    pub fn validate(config: &Config) -> Vec<ConfigError> {
        let Some(files) = Files::of(config) else { return Vec::new() };
        files.read().and_then(|contents| files.load(&contents)).err().unwrap_or_default()
    }

    /// Reads the files again. The returned function puts the new certificate in use. Blocks on disk I/O.
    pub fn prepare(&self) -> Result<Box<dyn FnOnce() + Send>, Vec<ConfigError>> {
        let fitted = self.files.read().and_then(|contents| self.files.load(&contents))?;
        let this = self.clone();
        Ok(Box::new(move || this.replace(fitted)))
    }

    /// Does the handshake. Returns `None` if it fails. A failure is counted and logged at debug level only, because any
    /// client can cause it.
    pub(in crate::http) async fn accept(
        &self,
        tcp: TcpStream,
        within: Duration,
    ) -> Option<TlsStream<TcpStream>> {
        let reason = match timeout(within, TlsAcceptor::from(self.current()).accept(tcp)).await {
            Ok(Ok(stream)) => return Some(stream),
            Ok(Err(error)) => {
                tracing::debug!(%error, "TLS handshake failed");
                if error.kind() == io::ErrorKind::InvalidData { TLS_REFUSED } else { TLS_LOST }
            }
            Err(_) => {
                tracing::debug!("TLS handshake timed out");
                TLS_TIMEOUT
            }
        };
        self.failed.with_label_values(&[reason]).inc();
        None
    }

    fn current(&self) -> Arc<ServerConfig> {
        Arc::clone(&self.current.read())
    }

    pub(super) fn replace(&self, LoadedCertificate { config, validity }: LoadedCertificate) {
        *self.current.write() = config;
        *self.status.lock() = CertificateStatus { validity, file_error: None };
    }

    /// Records why the files cannot be used.
    pub(super) fn set_file_error(&self, why: String) {
        self.status.lock().file_error = Some(why);
    }

    /// The state of the certificate and of its files.
    pub fn status(&self) -> CertificateStatus {
        self.status.lock().clone()
    }
}

impl Transport for TlsStream<TcpStream> {
    fn try_write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let (tcp, session) = self.get_mut();
        let taken = session.writer().write(bytes)?;
        while session.wants_write() {
            session.write_tls(&mut NonBlockingWriter(tcp))?;
        }
        Ok(taken)
    }
}

/// Writes to the socket without waiting.
struct NonBlockingWriter<'a>(&'a mut TcpStream);

impl Write for NonBlockingWriter<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.try_write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
