//! Requests and responses.

use http_body_util::Full;
use hyper::body::Bytes;
use hyper::header::{AUTHORIZATION, HeaderMap, HeaderValue};
use hyper::{Method, Request, Uri};

/// A request that can be sent repeatedly.
#[derive(Clone)]
pub struct OutgoingRequest {
    /// Method.
    pub method: Method,
    /// Path and query.
    pub path: Uri,
    /// Headers, except those of the connection.
    pub headers: HeaderMap,
    /// Body.
    pub body: Bytes,
}

impl OutgoingRequest {
    /// The request in the form in which the connection sends it.
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

/// A response.
pub struct HttpResponse {
    /// Status code.
    pub status: u16,
    /// Headers.
    pub headers: HeaderMap,
    /// Body of an error, or a requested body. Empty otherwise.
    pub body: Vec<u8>,
}

impl HttpResponse {
    /// A member of a JSON object in the body.
    pub fn member(&self, name: &str) -> Option<serde_json::Value> {
        let mut document: serde_json::Value = serde_json::from_slice(&self.body).ok()?;
        document.get_mut(name).map(serde_json::Value::take)
    }

    /// The code of a problem document (RFC 9457 with forebay's `code`), if the body is one.
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
