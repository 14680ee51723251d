//! The server in a URL.

use std::net::SocketAddr;
use std::str::FromStr;
use std::sync::Arc;

use anyhow::{Context, bail};
use hyper::header::HeaderValue;
use tokio_rustls::TlsConnector;
use tokio_rustls::rustls::pki_types::ServerName;

use super::tls::TrustedCas;

/// Scheme, host, port and path of a URL.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Endpoint {
    /// Whether connections use TLS.
    pub tls: bool,
    /// Name or address, without brackets.
    pub host: String,
    /// Port.
    pub port: u16,
    /// Path and query, with a leading slash.
    pub path: String,
    /// Whether the URL contains a name and a password, which are dropped.
    pub has_credentials: bool,
}

impl FromStr for Endpoint {
    type Err = String;

    fn from_str(url: &str) -> Result<Self, String> {
        let example = "not a URL such as http://127.0.0.1:8088/path";
        let (scheme, rest) = url.split_once("://").ok_or(example)?;
        let tls = match scheme {
            "http" => false,
            "https" => true,
            _ => return Err(format!("scheme {scheme} is neither http nor https")),
        };
        // The path may contain placeholders, which are invalid in a URI.
        let split = rest.find(['/', '?']).unwrap_or(rest.len());
        let (authority, path) = rest.split_at(split);
        let has_credentials = authority.contains('@');
        let authority = authority.rsplit('@').next().unwrap_or_default();
        let authority: hyper::http::uri::Authority = authority.parse().map_err(|_| example.to_owned())?;
        let host = authority.host().trim_start_matches('[').trim_end_matches(']').to_owned();
        if host.is_empty() {
            return Err(example.to_owned());
        }
        let port = authority.port_u16().unwrap_or(if tls { 443 } else { 80 });
        let path = if path.starts_with('/') { path.to_owned() } else { format!("/{path}") };
        Ok(Self { tls, host, port, path, has_credentials })
    }
}

impl Endpoint {
    /// The URL of another path on this server.
    pub fn at(&self, path: &str) -> String {
        let scheme = if self.tls { "https" } else { "http" };
        format!("{scheme}://{}{path}", self.authority())
    }

    fn authority(&self) -> String {
        let (host, port) = (&self.host, self.port);
        if host.contains(':') { format!("[{host}]:{port}") } else { format!("{host}:{port}") }
    }

    /// Resolves the host, once for the whole run.
    pub async fn resolve(&self, trust: &TrustedCas) -> anyhow::Result<Arc<Server>> {
        let name = self.authority();
        let found = tokio::net::lookup_host((self.host.as_str(), self.port)).await;
        let addresses: Vec<_> = found.with_context(|| format!("cannot resolve {name}"))?.collect();
        if addresses.is_empty() {
            bail!("{name} has no address");
        }
        let host = HeaderValue::from_str(&name).context("host")?;
        let tls = match self.tls {
            false => None,
            true => Some((trust.connector()?, ServerName::try_from(self.host.clone())?)),
        };
        Ok(Arc::new(Server { addresses, host, tls }))
    }
}

/// The addresses and TLS settings of a server.
pub struct Server {
    pub(super) addresses: Vec<SocketAddr>,
    pub(super) host: HeaderValue,
    pub(super) tls: Option<(TlsConnector, ServerName<'static>)>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_path_of_a_url_may_have_placeholders() {
        let endpoint: Endpoint = "https://example.org/items/{{seq}}?a=b".parse().unwrap();
        let expected = ("example.org", 443, "/items/{{seq}}?a=b", true);
        assert_eq!((&*endpoint.host, endpoint.port, &*endpoint.path, endpoint.tls), expected);
        let endpoint: Endpoint = "http://[::1]:8088".parse().unwrap();
        assert_eq!(
            (&*endpoint.host, endpoint.port, &*endpoint.path, endpoint.tls),
            ("::1", 8088, "/", false)
        );
        assert_eq!(endpoint.at("/x"), "http://[::1]:8088/x");
        let endpoint: Endpoint = "http://user:pw@host/".parse().unwrap();
        assert!(endpoint.has_credentials && endpoint.at("/") == "http://host:80/");
        for wrong in ["", "localhost:80", "ftp://a/", "http://", "http://a b/"] {
            assert!(wrong.parse::<Endpoint>().is_err(), "{wrong}");
        }
    }
}
