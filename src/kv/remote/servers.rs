//! The servers' addresses, password and certificates.

use std::path::Path;
use std::time::Duration;
use std::{fs, io};

use redis::io::tcp::TcpSettings;
use redis::{Client, ConnectionInfo, IntoConnectionInfo, RedisResult, TlsCertificates};

use super::super::url::ServerUrl;
use super::super::{Config, KvError};
use super::error::no_answer;

/// A connection is considered dead when its peer has not acknowledged sent data for this long: a cut cable causes no
/// error. The kernel of a frozen server still acknowledges.
const TCP_USER_TIMEOUT: Duration = Duration::from_secs(5);

/// First line of a certificate in PEM format.
const PEM: &str = "-----BEGIN CERTIFICATE-----";

/// The servers, with all that is needed to connect to them.
pub(super) struct Servers {
    pub nodes: Vec<ConnectionInfo>,
    pub certificates: Option<TlsCertificates>,
}

impl Servers {
    /// Reads the configured files.
    pub fn of(config: &Config) -> Result<Self, KvError> {
        let mut nodes = parse_nodes(&config.url).map_err(|_| wrong("url: contains no server"))?;
        if let Some(path) = &config.password_file {
            let password = String::from_utf8(file("password_file", path)?)
                .map_err(|_| wrong("password_file: is not UTF-8 text"))?;
            let password = password.trim_end_matches(['\r', '\n']);
            nodes = nodes.into_iter().map(|node| with_password(node, password)).collect();
        }
        let mut certificates = None;
        if let Some(path) = &config.ca_file {
            let authorities = file("ca_file", path)?;
            // Without a certificate the library would trust no server, and report this only when it connects.
            if !String::from_utf8_lossy(&authorities).contains(PEM) {
                return Err(wrong("ca_file: contains no certificate in PEM format"));
            }
            let given = TlsCertificates { client_tls: None, root_cert: Some(authorities) };
            let known = nodes.into_iter().map(|node| with_certificates(node, &given));
            nodes = known.collect::<RedisResult<_>>().map_err(|_| {
                wrong("ca_file: contains a damaged certificate, or the url does not begin with rediss://")
            })?;
            certificates = Some(given);
        }
        Ok(Self { nodes, certificates })
    }
}

/// The servers in a URL.
pub(in super::super) fn parse_nodes(url: &ServerUrl) -> RedisResult<Vec<ConnectionInfo>> {
    let node = |node: &str| node.into_connection_info().map(|node| node.set_tcp_settings(tcp()));
    let nodes: Vec<_> = url.nodes().map(node).collect::<RedisResult<_>>()?;
    if nodes.is_empty() { Err(no_answer()) } else { Ok(nodes) }
}

pub(super) fn tcp() -> TcpSettings {
    let settings = TcpSettings::default();
    // Only Linux supports it.
    #[cfg(target_os = "linux")]
    let settings = settings.set_user_timeout(TCP_USER_TIMEOUT);
    settings
}

fn wrong(what: &str) -> KvError {
    KvError::Malformed(format!("[redis] {what}"))
}

fn file(key: &str, path: &Path) -> Result<Vec<u8>, KvError> {
    fs::read(path).map_err(|error: io::Error| wrong(&format!("{key} {}: {error}", path.display())))
}

fn with_password(node: ConnectionInfo, password: &str) -> ConnectionInfo {
    let login = node.redis_settings().clone().set_password(password);
    node.set_redis_settings(login)
}

fn with_certificates(node: ConnectionInfo, certificates: &TlsCertificates) -> RedisResult<ConnectionInfo> {
    let client = Client::build_with_tls(node, certificates.clone())?;
    Ok(client.get_connection_info().clone())
}
