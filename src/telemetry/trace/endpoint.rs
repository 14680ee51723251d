//! Address of the collector.

use hyper::Uri;
use hyper::http::uri::Scheme;
use serde::{Deserialize, Serialize};

/// Path at which collectors accept traces, below the endpoint.
const PATH: &str = "/v1/traces";

/// An OTLP endpoint, such as `http://localhost:4318`. Not validated yet.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Endpoint(String);

impl Endpoint {
    /// The allowed values.
    pub const ALLOWED: &str =
        "an http:// URL without user, query and fragment, such as \"http://localhost:4318\"";

    /// The URL that receives spans. `None` if the endpoint is not allowed.
    pub fn url(&self) -> Option<Uri> {
        let uri: Uri = self.0.parse().ok()?;
        let authority = uri.authority().filter(|authority| !authority.as_str().contains('@'))?;
        let is_allowed = uri.scheme() == Some(&Scheme::HTTP)
            && !authority.host().is_empty()
            && uri.query().is_none()
            && !self.0.contains('#');
        let path = uri.path().trim_end_matches('/');
        let path = path.strip_suffix(PATH).unwrap_or(path);
        let url = || format!("http://{authority}{path}{PATH}").parse().ok();
        is_allowed.then(url)?
    }

    /// The text for error messages, without a possible password.
    pub fn shown(&self) -> &str {
        if self.0.contains('@') { "a URL with a user" } else { &self.0 }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn url(text: &str) -> Option<String> {
        Endpoint(text.to_owned()).url().map(|url| url.to_string())
    }

    #[test]
    fn the_path_of_traces_is_added_once() {
        for (written, expected) in [
            ("http://localhost:4318", "http://localhost:4318/v1/traces"),
            ("http://localhost:4318/", "http://localhost:4318/v1/traces"),
            ("http://[::1]:4318/v1/traces", "http://[::1]:4318/v1/traces"),
            ("http://collector/otlp/", "http://collector/otlp/v1/traces"),
        ] {
            assert_eq!(url(written).as_deref(), Some(expected), "{written}");
        }
    }

    #[test]
    fn only_plain_http_urls_are_accepted_and_passwords_hidden() {
        for refused in [
            "",
            "localhost:4318",
            "https://localhost:4318",
            "http://",
            "http:///v1/traces",
            "http://localhost:4318?key=secret",
            "http://localhost:4318#x",
            "http://me:secret@localhost:4318",
            "http://local host",
        ] {
            assert_eq!(url(refused), None, "{refused}");
        }
        assert!(!Endpoint("http://me:secret@localhost:4318".to_owned()).shown().contains("secret"));
    }
}
