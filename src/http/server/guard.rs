//! Protects a listener without authentication from web pages.
//!
//! A browser on the machine or in its network sends requests for any page that it displays. This makes two attacks
//! possible:
//!
//! - DNS rebinding: the name of the page resolves to the daemon's address. The browser then lets the page read the
//!   daemon's responses. `Host` still contains the name of the page. Therefore a name in `Host` must be one of the
//!   listener's names. An address is accepted, because rebinding needs a name.
//! - Cross-site requests: the page cannot read the response, but the daemon executes the request. The browser sends the
//!   origin of the page in `Origin` and its relation to the daemon's origin in `Sec-Fetch-Site`. Therefore a request
//!   that changes state must come from the listener's own origin. A client that is not a browser sends neither header
//!   and is accepted.
//!
//! On listeners that require a token, pages are no danger, because browsers do not add a token by themselves. These
//! listeners accept any name. Exception: on loopback the names are checked, because clients there need no other names.

use hyper::header::{HeaderName, HeaderValue};
use hyper::http::request::Parts;
use hyper::{HeaderMap, Version, header};

use super::authority::{Authority, Host};
use super::hosts::{AllowedHosts, HostNames};
use crate::http::problem::Problem;
use crate::http::{headers, problem};

const SEC_FETCH_SITE: HeaderName = HeaderName::from_static("sec-fetch-site");
/// Values of `Sec-Fetch-Site` that are refused. `same-site` is one of them: another port of this machine is another
/// origin of the same site.
const FOREIGN_SITES: [&str; 2] = ["cross-site", "same-site"];
/// Paths that accept any name in `Host` outside loopback. Scrapers and probes use names that the daemon does not know,
/// and these paths change nothing.
const PROBES: [&str; 3] = ["/metrics", "/healthz", "/readyz"];

/// The checks of one listener. They need only the head of a request.
pub struct Guard {
    /// `None` accepts every name.
    accepted_hosts: Option<HostNames>,
    probes_by_any_name: bool,
    own_origin_only: bool,
}

impl Guard {
    /// `loopback`: only processes of this machine can reach the listener. `open`: the listener requires no token.
    pub fn new(loopback: bool, open: bool, allowed: &AllowedHosts) -> Self {
        Self {
            accepted_hosts: (loopback || open).then(|| HostNames::new(allowed)),
            probes_by_any_name: !loopback,
            own_origin_only: open,
        }
    }

    pub fn check(&self, head: &Parts) -> Result<(), Problem> {
        let own = own_authority(head)?;
        if let Some(Authority { host: Host::Name(name), .. }) = own
            && !self.accepts_host(name, head.uri.path())
        {
            let detail = "This listener does not accept this host name. Use an address or `localhost`, or add the \
                          name to [server] allowed_hosts.";
            return Err(Problem::new(&problem::UNKNOWN_HOST, detail).field("Host"));
        }
        if self.own_origin_only && !head.method.is_safe() && is_cross_origin(&head.headers, own) {
            return Err(Problem::new(
                &problem::CROSS_SITE,
                "Web pages of other origins may not send requests that change state. Use a page of the same origin.",
            ));
        }
        Ok(())
    }

    fn accepts_host(&self, name: &str, path: &str) -> bool {
        let Some(names) = &self.accepted_hosts else { return true };
        names.contain(name) || (self.probes_by_any_name && PROBES.contains(&path))
    }
}

/// The authority to which the client sent the request. `None` only in HTTP/1.0.
fn own_authority(head: &Parts) -> Result<Option<Authority<'_>>, Problem> {
    let invalid =
        || Problem::new(&problem::BAD_HEADER, "Send `Host: NAME` or `Host: NAME:PORT`.").field("Host");
    let host = headers::single(&head.headers, &header::HOST)?;
    if host.is_none() && head.version >= Version::HTTP_11 {
        return Err(invalid());
    }
    let named =
        host.map(|value| value.to_str().ok().and_then(Authority::parse).ok_or_else(invalid)).transpose()?;
    // RFC 9112, section 3.2.2: an authority in the target replaces `Host`.
    let target = head.uri.authority().map(|target| Authority::parse(target.as_str()).ok_or_else(invalid));
    Ok(target.transpose()?.or(named))
}

/// Whether the headers show that a page of another origin sent the request.
fn is_cross_origin(headers: &HeaderMap, own: Option<Authority<'_>>) -> bool {
    let site =
        |value: &HeaderValue| FOREIGN_SITES.iter().any(|foreign| value.as_bytes() == foreign.as_bytes());
    headers.get_all(SEC_FETCH_SITE).iter().any(site)
        || headers.get_all(header::ORIGIN).iter().any(|origin| !is_same_origin(origin, own))
}

/// Whether the origin is the listener's own. The scheme is not compared, because a proxy may terminate TLS.
fn is_same_origin(origin: &HeaderValue, own: Option<Authority<'_>>) -> bool {
    let Some((scheme, authority)) = origin.to_str().ok().and_then(|origin| origin.split_once("://")) else {
        // For example `null`.
        return false;
    };
    let usual_port = match scheme {
        "http" => 80,
        "https" => 443,
        _ => return false,
    };
    let (Some(origin), Some(own)) = (Authority::parse(authority), own) else { return false };
    origin.host == own.host && origin.port.unwrap_or(usual_port) == own.port.unwrap_or(usual_port)
}

#[cfg(test)]
mod tests {
    use hyper::Request;

    use super::*;

    fn code(guard: &Guard, method: &str, path: &str, lines: &[(&str, &str)]) -> &'static str {
        let mut request = Request::builder().method(method).uri(path);
        for (name, value) in lines {
            request = request.header(*name, *value);
        }
        let (head, ()) = request.body(()).unwrap().into_parts();
        guard.check(&head).err().map_or("passes", |refusal| refusal.kind.code)
    }

    fn guard(loopback: bool, open: bool) -> Guard {
        Guard::new(loopback, open, &serde_json::from_str(r#"["forebay.example"]"#).unwrap())
    }

    const EVIL: (&str, &str) = ("host", "evil.example");

    #[test]
    fn names_are_checked_on_loopback_and_in_open_mode() {
        for (loopback, open, expected) in [
            (true, true, "unknown_host"),
            (true, false, "unknown_host"),
            (false, true, "unknown_host"),
            (false, false, "passes"),
        ] {
            let guard = guard(loopback, open);
            assert_eq!(code(&guard, "GET", "/v1/users", &[EVIL]), expected, "{loopback} {open}");
            for known in ["localhost:9", "127.0.0.1", "[::1]:9", "198.51.100.7", "Forebay.example.:443"] {
                assert_eq!(code(&guard, "GET", "/v1/users", &[("host", known)]), "passes", "{known}");
            }
        }
    }

    #[test]
    fn probes_and_scrapes_may_use_any_name_off_loopback() {
        for path in ["/metrics", "/healthz", "/readyz"] {
            assert_eq!(code(&guard(false, true), "GET", path, &[EVIL]), "passes", "{path}");
            assert_eq!(code(&guard(true, true), "GET", path, &[EVIL]), "unknown_host", "{path}");
        }
        for path in ["/", "/metrics/", "/admin/backlog", "/v1/users?/metrics"] {
            assert_eq!(code(&guard(false, true), "GET", path, &[EVIL]), "unknown_host", "{path}");
        }
    }

    #[test]
    fn authority_in_the_request_target_overrides_host() {
        let open = guard(true, true);
        assert_eq!(
            code(&open, "GET", "http://evil.example/healthz", &[("host", "localhost")]),
            "unknown_host"
        );
        assert_eq!(code(&open, "GET", "http://localhost/healthz", &[EVIL]), "passes");
        assert_eq!(code(&open, "GET", "http://u@localhost/", &[("host", "localhost")]), "bad_header");
    }

    #[test]
    fn open_listeners_refuse_changing_requests_from_other_origins() {
        let own = [("host", "localhost:9088")];
        let with = |name, value| [own[0], (name, value)];
        for foreign in [
            with("origin", "http://evil.example"),
            with("origin", "null"),
            with("origin", "http://localhost"),
            with("origin", "http://localhost:3000"),
            with("origin", "http://127.0.0.1:9088"),
            with("origin", "file://localhost:9088"),
            with("origin", "localhost:9088"),
            with("origin", "http://localhost:9088.evil.example"),
            with("origin", "http://localhost:9088@evil.example"),
            with("origin", ""),
            with("sec-fetch-site", "cross-site"),
            with("sec-fetch-site", "same-site"),
        ] {
            for method in ["POST", "PUT", "DELETE", "PATCH"] {
                assert_eq!(
                    code(&guard(true, true), method, "/", &foreign),
                    "cross_site",
                    "{method} {foreign:?}"
                );
                assert_eq!(
                    code(&guard(true, false), method, "/", &foreign),
                    "passes",
                    "{method} {foreign:?}"
                );
            }
            for method in ["GET", "HEAD", "OPTIONS"] {
                assert_eq!(code(&guard(true, true), method, "/", &foreign), "passes", "{method} {foreign:?}");
            }
        }
        for own in [
            with("origin", "http://localhost:9088"),
            with("origin", "https://LOCALHOST.:9088"),
            with("sec-fetch-site", "same-origin"),
            with("sec-fetch-site", "none"),
        ] {
            assert_eq!(code(&guard(true, true), "POST", "/", &own), "passes", "{own:?}");
        }
        let proxied = [("host", "forebay.example"), ("origin", "https://forebay.example")];
        assert_eq!(code(&guard(true, true), "POST", "/", &proxied), "passes", "the usual port on both sides");
    }

    #[test]
    fn one_foreign_header_among_several_is_enough() {
        let lines = [
            ("host", "localhost:9088"),
            ("origin", "http://localhost:9088"),
            ("origin", "http://evil.example"),
        ];
        assert_eq!(code(&guard(true, true), "POST", "/", &lines), "cross_site");
        let lines =
            [("host", "localhost"), ("sec-fetch-site", "same-origin"), ("sec-fetch-site", "cross-site")];
        assert_eq!(code(&guard(true, true), "POST", "/", &lines), "cross_site");
    }
}
