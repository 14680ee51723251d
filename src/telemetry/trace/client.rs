//! The HTTP client of the exporter: one connection per export.

use std::error::Error;
use std::future::Future;
use std::io;
use std::pin::Pin;
use std::time::Duration;

use http_body_util::{BodyExt, Full, Limited};
use hyper::client::conn::http1;
use hyper::header::{HOST, HeaderValue};
use hyper_util::rt::TokioIo;
use opentelemetry_http::{Bytes, HttpClient, HttpError, Request, Response};
use tokio::net::TcpStream;

use crate::sync::Mutex;

/// Timeout from the connection to the end of the response. A collector responds once the spans are in its own queue.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(5);
/// Maximum length of a response in bytes. A collector reports the number of rejected spans.
const MAX_RESPONSE_BYTES: usize = 64 << 10;
const PORT: u16 = 80;

/// Sends the requests encoded by the exporter.
#[derive(Debug, Default)]
pub(super) struct Client {
    /// Why the last request got no response. The exporter does not report this.
    error: Mutex<Option<String>>,
}

impl Client {
    /// Returns and clears the error of the last request.
    pub(super) fn take_error(&self) -> Option<String> {
        self.error.lock().take()
    }
}

/// A shared client, from which the owner can read errors.
#[derive(Clone, Debug, Default)]
pub(super) struct SharedClient(pub(super) std::sync::Arc<Client>);

type ExportFuture<'a> = Pin<Box<dyn Future<Output = Result<Response<Bytes>, HttpError>> + Send + 'a>>;

impl HttpClient for SharedClient {
    // The expansion of an asynchronous function by the macro `async_trait`.
    fn send_bytes<'a, 'b>(&'a self, request: Request<Bytes>) -> ExportFuture<'b>
    where
        'a: 'b,
        Self: 'b,
    {
        Box::pin(async move {
            self.0.error.lock().take();
            let answer = match tokio::time::timeout(REQUEST_TIMEOUT, send(request)).await {
                Ok(answer) => answer,
                Err(_) => Err(format!("no response within {} s", REQUEST_TIMEOUT.as_secs()).into()),
            };
            answer.inspect_err(|error| *self.0.error.lock() = Some(with_causes(&**error)))
        })
    }
}

async fn send(mut request: Request<Bytes>) -> Result<Response<Bytes>, HttpError> {
    let uri = request.uri().clone();
    let host = uri.host().ok_or("the endpoint names no host")?;
    let address = (host.trim_start_matches('[').trim_end_matches(']'), uri.port_u16().unwrap_or(PORT));
    let authority = uri.authority().ok_or("the endpoint names no host")?.as_str();
    request.headers_mut().insert(HOST, HeaderValue::from_str(authority)?);
    // HTTP/1.1 requires only the path.
    *request.uri_mut() = uri.path_and_query().ok_or("the endpoint has no path")?.as_str().parse()?;
    let stream = TcpStream::connect(address).await?;
    let (mut sender, connection) = http1::handshake::<_, Full<Bytes>>(TokioIo::new(stream)).await?;
    let exchange = async move {
        let (head, body) = sender.send_request(request.map(Full::new)).await?.into_parts();
        let body = Limited::new(body, MAX_RESPONSE_BYTES).collect().await?.to_bytes();
        Ok(Response::from_parts(head, body))
    };
    // The connection ends with the exchange, which owns its sender.
    let (answer, _) = tokio::join!(exchange, connection);
    answer
}

/// An error with its causes, because hyper only reports "error sending request".
fn with_causes(error: &(dyn Error + 'static)) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        // The error of the operating system is the last cause.
        if let Some(io) = error.downcast_ref::<io::Error>() {
            text = io.to_string();
        }
        cause = error.source();
    }
    text
}
