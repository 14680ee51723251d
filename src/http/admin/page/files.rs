//! The files of the status page. They are embedded in the program, because an operator's network may have no access to
//! other hosts.

use hyper::header;
use hyper::header::HeaderValue;

use crate::http::http_response::HttpResponse;
use crate::http::respond;

const STYLE: &str = include_str!("page.css");
const SCRIPT: &str = include_str!("page.js");
const ICON: &str = include_str!("icon.svg");

/// Allows only files of this listener, and nothing inline.
const POLICY: HeaderValue = HeaderValue::from_static(
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; form-action 'self'; \
     base-uri 'none'; frame-ancestors 'none'",
);

/// The file with this name.
pub fn find(name: &str) -> Option<HttpResponse> {
    let (media_type, text) = match name {
        "page.css" => ("text/css; charset=utf-8", STYLE),
        "page.js" => ("text/javascript; charset=utf-8", SCRIPT),
        "icon.svg" => ("image/svg+xml", ICON),
        _ => return None,
    };
    Some(with_security_headers(respond::bytes(HeaderValue::from_static(media_type), text)))
}

/// An HTML response of the operator's listener.
pub fn html(text: String) -> HttpResponse {
    with_security_headers(respond::bytes(HeaderValue::from_static("text/html; charset=utf-8"), text))
}

fn with_security_headers(mut response: HttpResponse) -> HttpResponse {
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_SECURITY_POLICY, POLICY);
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    headers.insert(header::REFERRER_POLICY, HeaderValue::from_static("no-referrer"));
    response
}
