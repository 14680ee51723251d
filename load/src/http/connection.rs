//! One connection, opened when needed and kept open between requests.

use std::future::poll_fn;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::Poll;

use http_body_util::{BodyExt, Full};
use hyper::Request;
use hyper::body::{Bytes, Incoming};
use hyper::client::conn::http1::{Connection, SendRequest, handshake};
use hyper::header::HeaderValue;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;

use super::endpoint::Server;
use super::message::{HttpResponse, OutgoingRequest};
use super::request_error::RequestError;

/// Maximum size of a retained body, in bytes: a token, a problem document, the metrics of a daemon.
const MAX_KEPT_BODY: usize = 1 << 20;

/// The transport: TCP, or TLS over TCP.
trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin> Stream for T {}

type Driver = Pin<Box<Connection<TokioIo<Box<dyn Stream>>, Full<Bytes>>>>;

/// An open connection. Its driver moves bytes only while a request is in progress.
struct OpenConnection {
    sender: SendRequest<Full<Bytes>>,
    /// `None` after the server has closed the connection.
    driver: Option<Driver>,
}

/// A connection to a server.
pub struct ServerConnection {
    server: Arc<Server>,
    /// Taken while a request is in progress, so that a cancelled request closes its connection.
    open: Option<OpenConnection>,
}

impl ServerConnection {
    /// Creates a connection that opens with the first request.
    pub fn new(server: Arc<Server>) -> Self {
        Self { server, open: None }
    }

    /// Opens the connection if it is not open.
    pub async fn connect(&mut self) -> Result<(), RequestError> {
        if self.open.is_none() {
            self.open = Some(OpenConnection::new(&self.server).await?);
        }
        Ok(())
    }

    /// Sends a request and returns the response. The body is retained if `keep`, or if the status is an error.
    ///
    /// If the server has just closed the connection and no byte was sent, the request is sent over a new connection.
    pub async fn send(
        &mut self,
        message: &OutgoingRequest,
        bearer: Option<&HeaderValue>,
        keep: bool,
    ) -> Result<HttpResponse, RequestError> {
        let mut request = message.request(&self.server.host, bearer);
        if let Some(mut open) = self.open.take()
            && open.is_usable().await
        {
            match open.exchange(request, keep).await {
                Ok(response) => {
                    self.open = Some(open);
                    return Ok(response);
                }
                Err((failure, None)) => return Err(failure),
                Err((_, Some(unsent))) => request = unsent,
            }
        }
        let mut open = OpenConnection::new(&self.server).await?;
        let response = open.exchange(request, keep).await.map_err(|(failure, _)| failure)?;
        self.open = Some(open);
        Ok(response)
    }
}

impl OpenConnection {
    async fn new(server: &Server) -> Result<Self, RequestError> {
        let tcp =
            TcpStream::connect(&*server.addresses).await.map_err(|error| RequestError::connect(&error))?;
        tcp.set_nodelay(true).map_err(|error| RequestError::connect(&error))?;
        let stream: Box<dyn Stream> = match &server.tls {
            None => Box::new(tcp),
            Some((connector, name)) => {
                let session = connector.connect(name.clone(), tcp).await;
                Box::new(session.map_err(|error| RequestError::connect(&error))?)
            }
        };
        let (sender, connection) = handshake(TokioIo::new(stream))
            .await
            .map_err(|error| RequestError::Connect(error.to_string()))?;
        Ok(Self { sender, driver: Some(Box::pin(connection)) })
    }

    /// Whether the server kept the connection open since the last request.
    async fn is_usable(&mut self) -> bool {
        poll_fn(|context| {
            if self.driver.as_mut().is_some_and(|driver| driver.as_mut().poll(context).is_ready()) {
                self.driver = None;
            }
            Poll::Ready(())
        })
        .await;
        let Self { sender, driver } = self;
        drive(driver, sender.ready()).await.is_ok()
    }

    /// Sends one request and reads its response. The error contains the request if no byte of it was sent.
    async fn exchange(
        &mut self,
        request: Request<Full<Bytes>>,
        keep: bool,
    ) -> Result<HttpResponse, (RequestError, Option<Request<Full<Bytes>>>)> {
        let sent = self.sender.try_send_request(request);
        let response = drive(&mut self.driver, sent).await.map_err(|mut error| {
            let unsent = error.take_message();
            (RequestError::lost(error.error()), unsent)
        })?;
        let (head, body) = response.into_parts();
        let status = head.status.as_u16();
        let reading = read_body(body, keep || status >= 400);
        let body =
            drive(&mut self.driver, reading).await.map_err(|error| (RequestError::lost(&error), None))?;
        Ok(HttpResponse { status, headers: head.headers, body })
    }
}

/// Reads a body to its end. Bytes that are not retained are discarded.
async fn read_body(mut body: Incoming, keep: bool) -> Result<Vec<u8>, hyper::Error> {
    let mut kept = Vec::new();
    while let Some(frame) = body.frame().await {
        if let Some(data) = frame?.data_ref()
            && keep
        {
            let room = MAX_KEPT_BODY - kept.len();
            kept.extend_from_slice(&data[..data.len().min(room)]);
        }
    }
    Ok(kept)
}

/// Completes `work` while the driver moves the connection's bytes, in one task.
async fn drive<T>(driver: &mut Option<Driver>, work: impl Future<Output = T>) -> T {
    let mut work = pin!(work);
    poll_fn(|context| {
        if let Poll::Ready(done) = work.as_mut().poll(context) {
            return Poll::Ready(done);
        }
        if driver.as_mut().is_some_and(|driver| driver.as_mut().poll(context).is_ready()) {
            // Closed. The received bytes, or the error, are in `work`.
            *driver = None;
        }
        work.as_mut().poll(context)
    })
    .await
}
