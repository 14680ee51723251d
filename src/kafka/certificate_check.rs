//! Determines why a broker's certificate is rejected. librdkafka reports "certificate verify failed" for an unknown
//! authority, an expired certificate and a wrong name alike. So forebay performs its own handshake, which sends
//! nothing else, to find the cause.

use std::fs;
use std::io;
use std::net::{TcpStream, ToSocketAddrs as _};
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio_rustls::rustls::crypto::ring;
use tokio_rustls::rustls::pki_types::pem::PemObject as _;
use tokio_rustls::rustls::pki_types::{CertificateDer, ServerName};
use tokio_rustls::rustls::{CertificateError, ClientConfig, ClientConnection, Error, RootCertStore};

use crate::kafka::{Config, SecurityProtocol};

/// A handshake takes milliseconds. Only the next request of the cluster probe waits for this one.
const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(2);
/// Files in which operating systems keep their trusted authorities.
const SYSTEM_CA_FILES: [&str; 4] = [
    "/etc/ssl/certs/ca-certificates.crt",
    "/etc/pki/tls/certs/ca-bundle.crt",
    "/etc/ssl/ca-bundle.pem",
    "/etc/ssl/cert.pem",
];

/// What is wrong with a broker's certificate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CertificateFault {
    /// No trusted authority signed it.
    UnknownAuthority,
    /// It has expired.
    Expired,
    /// It is not valid yet.
    NotYetValid,
    /// It is for another host name.
    OtherName,
}

/// Checks certificates as the clients do, with the authorities that the clients load.
pub(super) struct CertificateCheck(Option<Arc<ClientConfig>>);

impl CertificateCheck {
    /// Creates a check with the configured authorities. It does nothing without TLS, or if `[kafka.properties]`
    /// contains TLS settings for librdkafka.
    pub(super) fn new(config: &Config) -> Self {
        let has_tls = matches!(config.security_protocol, SecurityProtocol::Ssl | SecurityProtocol::SaslSsl);
        let is_ours = config.properties.iter().all(|(name, _)| !name.contains("ssl."));
        let authorities = if has_tls && is_ours { authorities(config.ssl_ca_file.as_deref()) } else { None };
        Self(authorities.and_then(tls_config))
    }

    /// The fault of the certificate at `broker` (`host:port`). `None` if it has none, or if the fault is unknown.
    /// Blocks for a few seconds at most, not counting name resolution.
    pub(super) fn check(&self, broker: &str) -> Option<CertificateFault> {
        let settings = Arc::clone(self.0.as_ref()?);
        let (host, _) = broker.rsplit_once(':')?;
        let host = host.trim_start_matches('[').trim_end_matches(']').to_owned();
        let session = ClientConnection::new(settings, ServerName::try_from(host).ok()?).ok()?;
        let address = broker.to_socket_addrs().ok()?.next()?;
        let tcp = TcpStream::connect_timeout(&address, HANDSHAKE_TIMEOUT).ok()?;
        handshake(session, tcp).ok().flatten()
    }
}

fn handshake(mut session: ClientConnection, mut tcp: TcpStream) -> io::Result<Option<CertificateFault>> {
    let end = Instant::now() + HANDSHAKE_TIMEOUT;
    tcp.set_read_timeout(Some(HANDSHAKE_TIMEOUT))?;
    tcp.set_write_timeout(Some(HANDSHAKE_TIMEOUT))?;
    while session.is_handshaking() && Instant::now() < end {
        while session.wants_write() {
            session.write_tls(&mut tcp)?;
        }
        if session.is_handshaking() && session.read_tls(&mut tcp)? == 0 {
            break;
        }
        if let Err(error) = session.process_new_packets() {
            return Ok(fault(&error));
        }
    }
    Ok(None)
}

fn fault(error: &Error) -> Option<CertificateFault> {
    let Error::InvalidCertificate(refused) = error else { return None };
    match refused {
        CertificateError::UnknownIssuer => Some(CertificateFault::UnknownAuthority),
        CertificateError::Expired | CertificateError::ExpiredContext { .. } => {
            Some(CertificateFault::Expired)
        }
        CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. } => {
            Some(CertificateFault::NotYetValid)
        }
        CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. } => {
            Some(CertificateFault::OtherName)
        }
        _ => None,
    }
}

fn authorities(file: Option<&Path>) -> Option<RootCertStore> {
    let text = match file {
        Some(path) => fs::read(path).ok(),
        None => SYSTEM_CA_FILES.iter().find_map(|path| fs::read(path).ok()),
    };
    let mut known = RootCertStore::empty();
    for certificate in CertificateDer::pem_slice_iter(&text?).flatten() {
        // A certificate that cannot be parsed cannot sign anything.
        let _ = known.add(certificate);
    }
    (!known.is_empty()).then_some(known)
}

fn tls_config(authorities: RootCertStore) -> Option<Arc<ClientConfig>> {
    let builder = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()));
    let builder = builder.with_safe_default_protocol_versions().ok()?;
    Some(Arc::new(builder.with_root_certificates(authorities).with_no_client_auth()))
}
