//! The validity period of a certificate.

use std::time::Duration;

use tokio_rustls::rustls::client::verify_server_cert_signed_by_trust_anchor;
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{CertificateDer, UnixTime};
use tokio_rustls::rustls::server::ParsedCertificate;
use tokio_rustls::rustls::{CertificateError, Error, RootCertStore};

use crate::units::Timestamp;

/// A warning is given this long before the end. Certificates are usually renewed weeks earlier, so renewal has failed.
const WARN_WITHIN: Duration = Duration::from_secs(14 * 86_400);
/// For certificates that are valid for a few days, the warning is given in the last third of the period.
const WARN_FRACTION: u32 = 3;
/// An instant after the end of every certificate: none is valid after the year 9999 (RFC 5280, section 4.1.2.5).
const AFTER_ALL: Duration = Duration::from_secs(253_402_300_800);

/// The validity period of a certificate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Validity {
    /// The first instant.
    pub from: Timestamp,
    /// The last instant.
    pub until: Timestamp,
}

impl Validity {
    /// The period of the certificate in this PEM text that expires first. `None` if no certificate can be read.
    pub fn of_pem(text: &[u8]) -> Option<Self> {
        let chain: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(text).collect();
        Self::of_chain(&chain.ok()?)
    }

    /// The period of the certificate in this chain that expires first.
    pub(super) fn of_chain(chain: &[CertificateDer<'_>]) -> Option<Self> {
        chain.iter().filter_map(Self::of).min_by_key(|validity| validity.until)
    }

    /// The period of one certificate. rustls has no getter for it. But its verification error for an instant outside of
    /// the period contains the violated bound.
    fn of(certificate: &CertificateDer<'_>) -> Option<Self> {
        let certificate = ParsedCertificate::try_from(certificate).ok()?;
        let refusal = |at| {
            let no_roots = RootCertStore::empty();
            let refused = verify_server_cert_signed_by_trust_anchor(&certificate, &no_roots, &[], at, &[]);
            match refused.err()? {
                Error::InvalidCertificate(refusal) => Some(refusal),
                _ => None,
            }
        };
        let until = match refusal(UnixTime::since_unix_epoch(AFTER_ALL))? {
            CertificateError::ExpiredContext { not_after, .. } => timestamp(not_after),
            _ => return None,
        };
        let from = match refusal(UnixTime::since_unix_epoch(Duration::ZERO))? {
            CertificateError::NotValidYetContext { not_before, .. } => timestamp(not_before),
            // Valid since 1970.
            _ => Timestamp(0),
        };
        Some(Self { from, until })
    }

    /// Whether the certificate should have been renewed by now.
    pub fn is_ending(&self, now: Timestamp) -> bool {
        let lifetime = self.until.since(self.from);
        self.until <= now || self.until.since(now) < WARN_WITHIN.min(lifetime / WARN_FRACTION)
    }
}

fn timestamp(time: UnixTime) -> Timestamp {
    Timestamp(time.as_secs().saturating_mul(1_000))
}

#[cfg(test)]
mod tests {
    use super::*;

    const DAY: u64 = 86_400_000;

    #[test]
    fn warning_starts_two_weeks_before_end_or_in_last_third() {
        let year = Validity { from: Timestamp(0), until: Timestamp(365 * DAY) };
        assert!(!year.is_ending(Timestamp(351 * DAY)));
        assert!(year.is_ending(Timestamp(351 * DAY + 1)) && year.is_ending(Timestamp(400 * DAY)));
        let never = Validity { from: Timestamp(9 * DAY), until: Timestamp(2 * DAY) };
        assert!(never.is_ending(Timestamp(9 * DAY)) && never.is_ending(Timestamp(10 * DAY)));
        let week = Validity { from: Timestamp(0), until: Timestamp(6 * DAY) };
        assert!(!week.is_ending(Timestamp(4 * DAY)) && week.is_ending(Timestamp(4 * DAY + 1)));
    }

    /// The certificate is created by `openssl req -x509 … -days 2` and is valid from now on.
    #[test]
    fn the_period_of_a_real_certificate_is_read() {
        let Some(identity) = support::tls::Identity::make("the_period_of_a_real_certificate_is_read") else {
            return;
        };
        let validity = Validity::of_pem(identity.cert.as_bytes()).unwrap();
        assert_eq!(validity.until.since(validity.from), Duration::from_secs(2 * 86_400));
        assert!(Timestamp::now().since(validity.from) < Duration::from_secs(3_600));
        assert!(!validity.is_ending(Timestamp::now()));
        assert_eq!(Validity::of_pem(b"nothing"), None);
    }
}
