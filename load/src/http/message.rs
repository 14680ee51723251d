//! What is sent, and what is answered.

use http_body_util::Full;
use hyper::body::Bytes;
use hyper::header::{AUTHORIZATION, HeaderMap, HeaderValue};
use hyper::{Method, Request, Uri};

/// A request. It can be sent again.
#[derive(Clone)]
pub struct OutgoingRequest {
    /// Its method.
    pub method: Method,
    /// Path and query.
    pub path: Uri,
    /// All headers but those of the connection.
    pub headers: HeaderMap,
    /// Its body.
    pub body: Bytes,
}

impl OutgoingRequest {
    /// As the connection sends it.
    pub(super) fn request(&self, host: &HeaderValue, bearer: Option<&HeaderValue>) -> Request<Full<Bytes>> {
        let mut request = Request::new(Full::new(self.body.clone()));
        *request.method_mut() = self.method.clone();
        *request.uri_mut() = self.path.clone();
        let headers = request.headers_mut();
        headers.insert(hyper::header::HOST, host.clone());
        headers.extend(self.headers.clone());
        if let Some(bearer) = bearer {
            headers.insert(AUTHORIZATION, bearer.clone());
        }
        request
    }
}

/// An answer.
pub struct HttpResponse {
    /// Its status.
    pub status: u16,
    /// Its headers.
    pub headers: HeaderMap,
    /// Its body where somebody reads it: of an error, or if asked for. Empty otherwise.
    pub body: Vec<u8>,
}

impl HttpResponse {
    /// A member of a JSON object in the body.
    pub fn member(&self, name: &str) -> Option<serde_json::Value> {
        let mut document: serde_json::Value = serde_json::from_slice(&self.body).ok()?;
        document.get_mut(name).map(serde_json::Value::take)
    }

    /// The code of a problem document (RFC 9457 with forebay's `code`), if it has the form of one.
    pub fn code(&self) -> Option<String> {
        let code = self.member("code")?;
        let code = code.as_str()?;
        let is_code = code.len() <= 64 && code.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'_');
        is_code.then(|| code.to_owned())
    }

    /// `Retry-After` in seconds.
    pub fn retry_after(&self) -> Option<u64> {
        self.headers.get(hyper::header::RETRY_AFTER)?.to_str().ok()?.parse().ok()
    }
}
