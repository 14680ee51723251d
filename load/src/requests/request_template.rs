//! A request whose path, headers and body contain placeholders.

use anyhow::{Context, bail};
use hyper::header::{HeaderMap, HeaderName, HeaderValue};
use hyper::{Method, Uri};

use super::headers::PlainHeader;
use crate::http::OutgoingRequest;
use crate::template::{Template, Values};

/// A template of requests for a kind, or for any endpoint.
pub struct RequestTemplate {
    method: Method,
    path: Path,
    fixed: HeaderMap,
    headers: Vec<(HeaderName, Template)>,
    body: Template,
}

/// The path. A path without placeholders is parsed once.
enum Path {
    Fixed(Uri),
    Filled(Template),
}

impl RequestTemplate {
    /// Checks everything that does not depend on a request's values, and builds one request.
    pub fn new(
        method: Method,
        path: &str,
        fixed: HeaderMap,
        headers: Vec<PlainHeader>,
        body: Template,
    ) -> anyhow::Result<Self> {
        let template: Template =
            path.parse().map_err(anyhow::Error::msg).with_context(|| format!("path {path}"))?;
        let path = match template.constant() {
            Some(path) => Path::Fixed(path.parse().with_context(|| format!("path {path}"))?),
            None => Path::Filled(template),
        };
        let headers = headers.into_iter().map(|PlainHeader(name, value)| (name, value)).collect();
        let request = Self { method, path, fixed, headers, body };
        if request.message(Values::new("run", 0, 1)).is_none() {
            bail!("the path or a header is not valid after its placeholders are filled");
        }
        Ok(request)
    }

    /// Builds one request. `None` if its values make it invalid, which `new` has checked for the possible values.
    pub fn message(&self, mut values: Values<'_>) -> Option<OutgoingRequest> {
        let path = match &self.path {
            Path::Fixed(path) => path.clone(),
            Path::Filled(template) => template.fill(&mut values).parse().ok()?,
        };
        let mut headers = self.fixed.clone();
        for (name, value) in &self.headers {
            headers.insert(name.clone(), HeaderValue::from_str(&value.fill(&mut values)).ok()?);
        }
        let body = self.body.fill(&mut values).into();
        Some(OutgoingRequest { method: self.method.clone(), path, headers, body })
    }
}
