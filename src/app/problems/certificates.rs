//! Problems of certificates and keys: expired, expiring, or unreadable.

use crate::auth::Authenticator;
use crate::http::Tls;
use crate::problems::{Code, Observation};
use crate::units::Timestamp;

use super::disk_checks::DiskCheck;
use super::files::FileProblem;

/// Configuration key of the public listener's certificate.
const SERVER: &str = "server.tls_cert_file";

/// Reports the problems of all certificates. `tls` and `auth` are `None` in a process without a public listener.
pub(in crate::app) fn certificates(
    tls: Option<&Tls>,
    auth: Option<&Authenticator>,
    watched: &DiskCheck,
) -> Vec<Observation> {
    let now = Timestamp::now();
    let mut observed = Vec::new();
    if let Some(status) = tls.map(Tls::status) {
        if let Some(error) = status.file_error {
            let detail = "the files of [server] tls_cert_file and tls_key_file cannot be used; the previous \
                          certificate stays in use";
            observed
                .push(Observation::new(Code::CertificateUnreadable, detail).about(SERVER).with_error(error));
        }
        let ending = status.validity.filter(|validity| validity.is_ending(now));
        observed.extend(ending.map(|validity| expiring(SERVER, validity.until, now)));
    }
    if let Some(error) = auth.and_then(Authenticator::file_error) {
        let detail = "the files of [auth] cannot be used; the previous keys and tokens stay in use";
        observed.push(Observation::new(Code::CertificateUnreadable, detail).about("auth").with_error(error));
    }
    observed.extend(watched.files.iter().map(|problem| match problem {
        FileProblem::Unreadable { key, error } => {
            let detail = format!("the file of {key} cannot be read; new clients and the next start need it");
            Observation::new(Code::CertificateUnreadable, detail).about(*key).with_error(error)
        }
        FileProblem::Ending { key, until } => expiring(key, *until, now),
    }));
    observed
}

fn expiring(key: &str, until: Timestamp, now: Timestamp) -> Observation {
    let verb = if until > now { "expires" } else { "has expired" };
    let detail = format!("the certificate of {key} {verb} at {until}; renew it");
    Observation::new(Code::CertificateExpiring, detail).about(key)
}
