//! The response type of both listeners.

use bytes::Bytes;
use http_body_util::Full;

/// A response. Its body is complete in memory before it is sent.
pub type HttpResponse = hyper::Response<Full<Bytes>>;
