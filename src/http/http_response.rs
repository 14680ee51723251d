//! What a request is answered with.

use bytes::Bytes;
use http_body_util::Full;

/// Every answer is built whole before it is sent.
pub type HttpResponse = hyper::Response<Full<Bytes>>;
