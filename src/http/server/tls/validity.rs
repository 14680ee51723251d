//! Until when a certificate is valid.

use std::time::Duration;

use tokio_rustls::rustls::client::verify_server_cert_signed_by_trust_anchor;
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{CertificateDer, UnixTime};
use tokio_rustls::rustls::server::ParsedCertificate;
use tokio_rustls::rustls::{CertificateError, Error, RootCertStore};

use crate::units::Timestamp;

/// Certificates are renewed weeks before their end: later than this, renewal has failed.
const WARN_WITHIN: Duration = Duration::from_secs(14 * 86_400);
/// Certificates that live for days are renewed later: in the last third of their life.
const WARN_FRACTION: u32 = 3;
/// No certificate can name an instant after the year 9999 (RFC 5280, section 4.1.2.5).
const AFTER_ALL: Duration = Duration::from_secs(253_402_300_800);

/// The period in which a certificate is valid.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Validity {
    /// Its first instant.
    pub from: Timestamp,
    /// Its last instant.
    pub until: Timestamp,
}

impl Validity {
    /// Of the certificate in this PEM text that expires first; `None` when there is none that can be read.
    pub fn of_pem(text: &[u8]) -> Option<Self> {
        let chain: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(text).collect();
        Self::of_chain(&chain.ok()?)
    }

    /// Of the certificate of this chain that expires first.
    pub(super) fn of_chain(chain: &[CertificateDer<'_>]) -> Option<Self> {
        chain.iter().filter_map(Self::of).min_by_key(|validity| validity.until)
    }

    /// rustls has no getter for the period. It names the bound that is violated at an instant before or after it.
    fn of(certificate: &CertificateDer<'_>) -> Option<Self> {
        let certificate = ParsedCertificate::try_from(certificate).ok()?;
        let refusal = |at| {
            let nobody = RootCertStore::empty();
            let refused = verify_server_cert_signed_by_trust_anchor(&certificate, &nobody, &[], at, &[]);
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

    /// Whether it should have been renewed by now.
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
    fn the_warning_comes_two_weeks_before_the_end_or_in_the_last_third() {
        let year = Validity { from: Timestamp(0), until: Timestamp(365 * DAY) };
        assert!(!year.is_ending(Timestamp(351 * DAY)));
        assert!(year.is_ending(Timestamp(351 * DAY + 1)) && year.is_ending(Timestamp(400 * DAY)));
        let never = Validity { from: Timestamp(9 * DAY), until: Timestamp(2 * DAY) };
        assert!(never.is_ending(Timestamp(9 * DAY)) && never.is_ending(Timestamp(10 * DAY)));
        let week = Validity { from: Timestamp(0), until: Timestamp(6 * DAY) };
        assert!(!week.is_ending(Timestamp(4 * DAY)) && week.is_ending(Timestamp(4 * DAY + 1)));
    }

    /// Made by `openssl req -x509 … -days 2`, valid from now on.
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
