//! Certificates of one test, and connections that require one of them.

use std::net::Ipv4Addr;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::{fs, io};

use tokio_rustls::rustls::crypto::ring;
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{CertificateDer, ServerName};
use tokio_rustls::rustls::{
    ClientConfig, ClientConnection, RootCertStore, StreamOwned, SupportedProtocolVersion,
};

use super::http::Connection;
use super::{http, scratch, services};

/// Creates a key and a self-signed certificate for 127.0.0.1.
const MAKE: &str = "req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 2 -subj /CN=test \
                    -addext basicConstraints=critical,CA:FALSE -addext subjectAltName=IP:127.0.0.1 \
                    -keyout key.pem -out cert.pem";

/// A certificate and its key, as text.
pub struct Identity {
    pub cert: String,
    pub key: String,
}

/// The certificate files of a daemon.
pub struct CertificateFiles {
    pub cert: PathBuf,
    pub key: PathBuf,
}

/// A connection after its handshake.
pub struct TlsConnection {
    pub connection: Connection,
    /// The server's certificate.
    pub cert: CertificateDer<'static>,
    /// The negotiated application protocol.
    pub alpn: Option<Vec<u8>>,
}

impl Identity {
    /// Creates a new identity. `None`: skip the test, which has been reported.
    pub fn make(test: &str) -> Option<Identity> {
        let dir = scratch::dir("certificate");
        let made = Command::new("openssl").args(MAKE.split_whitespace()).current_dir(&dir).output();
        let made =
            services::available(test, "openssl", made.map_err(|error| format!("no openssl: {error}")))?;
        assert!(made.status.success(), "{made:?}");
        let text = |name| fs::read_to_string(dir.path().join(name)).expect("what openssl wrote");
        Some(Identity { cert: text("cert.pem"), key: text("key.pem") })
    }

    pub fn der(&self) -> CertificateDer<'static> {
        CertificateDer::from_pem_slice(self.cert.as_bytes()).expect("a certificate")
    }
}

impl CertificateFiles {
    /// Writes this certificate and its key to the directory.
    pub fn with(dir: &Path, identity: &Identity) -> CertificateFiles {
        let place = CertificateFiles { cert: dir.join("tls-cert.pem"), key: dir.join("tls-key.pem") };
        replace(&place.cert, &identity.cert);
        replace(&place.key, &identity.key);
        place
    }
}

/// Replaces a file atomically: no reader sees a part of it.
pub fn replace(path: &Path, text: &str) {
    let new = path.with_extension("new");
    fs::write(&new, text).expect("a file");
    // A key that every user may read is refused.
    fs::set_permissions(&new, fs::Permissions::from_mode(0o600)).expect("a private file");
    fs::rename(new, path).expect("its name");
}

/// Connects. Fails unless the server shows one of these certificates and owns its key.
pub fn connect(
    address: &str,
    known: &[&Identity],
    versions: &[&'static SupportedProtocolVersion],
) -> io::Result<TlsConnection> {
    let mut roots = RootCertStore::empty();
    for identity in known {
        roots.add(identity.der()).expect("a certificate to trust");
    }
    let builder = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()));
    let builder = builder.with_protocol_versions(versions).expect("versions");
    let mut config = builder.with_root_certificates(roots).with_no_client_auth();
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    let name = ServerName::from(std::net::IpAddr::from(Ipv4Addr::LOCALHOST));
    let mut session = ClientConnection::new(Arc::new(config), name).expect("a client");
    let mut tcp = http::tcp(address)?;
    while session.is_handshaking() {
        session.complete_io(&mut tcp)?;
    }
    let cert = session.peer_certificates().and_then(|chain| chain.first()).expect("a certificate").clone();
    let alpn = session.alpn_protocol().map(<[u8]>::to_vec);
    let stream = StreamOwned::new(session, tcp.try_clone()?);
    Ok(TlsConnection { connection: Connection::over(tcp, Box::new(stream)), cert: cert.into_owned(), alpn })
}
