//! TLS, and the trusted certificates.

use std::path::PathBuf;
use std::sync::Arc;

use anyhow::Context;
use tokio_rustls::TlsConnector;
use tokio_rustls::rustls::crypto::ring;
use tokio_rustls::rustls::pki_types::CertificateDer;
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::{ClientConfig, RootCertStore};

/// The authorities that may sign a server's certificate.
#[derive(Clone, Debug, Default)]
pub struct TrustedCas {
    /// File with certificates (PEM). `None`: the public authorities.
    pub ca_file: Option<PathBuf>,
}

impl TrustedCas {
    pub(super) fn connector(&self) -> anyhow::Result<TlsConnector> {
        let builder = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()));
        let builder = builder.with_safe_default_protocol_versions()?;
        let mut config = builder.with_root_certificates(self.roots()?).with_no_client_auth();
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        Ok(TlsConnector::from(Arc::new(config)))
    }

    fn roots(&self) -> anyhow::Result<RootCertStore> {
        let Some(file) = &self.ca_file else {
            return Ok(RootCertStore { roots: webpki_roots::TLS_SERVER_ROOTS.to_vec() });
        };
        let name = || format!("--ca-file {}", file.display());
        let mut roots = RootCertStore::empty();
        for certificate in CertificateDer::pem_file_iter(file).with_context(name)? {
            roots.add(certificate.with_context(name)?).with_context(name)?;
        }
        anyhow::ensure!(!roots.is_empty(), "{} contains no certificate", name());
        Ok(roots)
    }
}
