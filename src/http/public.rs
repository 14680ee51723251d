//! The public listener.

use std::sync::Arc;

use bytes::Bytes;
use hyper::header::HeaderValue;
use prometheus::IntCounter;

use super::Answer;
use super::backend::AdminBackend;
use super::backend::Commands;
use super::body::Bodies;
use super::commands;
use super::config::Config;
use super::openapi;
use super::problem::Problem;
use super::readiness;
use super::respond;
use super::route::Route;
use super::site::Call;
use super::site::Site;
use super::status;
use crate::kinds::Kinds;
use crate::metrics::Metrics;
use crate::units::ByteSize;

/// What records are: batch lines and curl's default type are JSON too.
pub(super) const JSON: &str = "application/json";

/// What the public listener is made of.
pub struct PublicParts<C> {
    /// Takes commands in.
    pub commands: C,
    /// Which kinds may enter.
    pub kinds: Kinds,
    /// For `/readyz`.
    pub backend: Arc<dyn AdminBackend>,
    /// Where requests are counted.
    pub metrics: Arc<Metrics>,
    /// `[kafka] message_max`: no record may take more.
    pub message_max: ByteSize,
}

/// Its routes, ready to serve.
pub struct Public<C> {
    pub(super) commands: C,
    pub(super) kinds: Kinds,
    pub(super) bodies: Bodies,
    pub(super) record_hit: IntCounter,
    pub(super) json: Arc<str>,
    pub(super) max_body: usize,
    pub(super) max_batch_body: usize,
    pub(super) message_max: usize,
    backend: Arc<dyn AdminBackend>,
    metrics: Arc<Metrics>,
    description: Bytes,
}

impl<C: Commands> Public<C> {
    /// Ties the parts together.
    pub fn new(config: &Config, parts: PublicParts<C>) -> Self {
        Self {
            bodies: Bodies::new(&parts.metrics),
            record_hit: parts.metrics.bound_hit.with_label_values(&["record"]),
            json: Arc::from(JSON),
            max_body: config.max_body.as_usize(),
            max_batch_body: config.max_batch_body.as_usize(),
            message_max: parts.message_max.as_usize(),
            description: Bytes::from(openapi::describe(Self::ROUTES, &parts.kinds).to_string()),
            commands: parts.commands,
            kinds: parts.kinds,
            backend: parts.backend,
            metrics: parts.metrics,
        }
    }
}

/// The routes of the public listener.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Endpoint {
    /// Accept a command or a batch.
    Post,
    /// What became of a command.
    Status,
    /// The description of the interface.
    OpenApi,
    /// Liveness.
    Health,
    /// Readiness.
    Ready,
}

const fn get(path: &'static str, summary: &'static str, endpoint: Endpoint) -> Route<Endpoint> {
    Route { method: "GET", path, summary, usual: 200, endpoint }
}

impl<C: Commands> Site for Public<C> {
    type Endpoint = Endpoint;

    const ROUTES: &'static [Route<Endpoint>] = &[
        Route {
            method: "POST",
            path: "/v1/commands/{kind}",
            summary: "Accept one command, or a batch of one a line",
            usual: 202,
            endpoint: Endpoint::Post,
        },
        get("/v1/commands/{id}", "What became of a command", Endpoint::Status),
        get("/openapi.json", "This description", Endpoint::OpenApi),
        get("/healthz", "Whether the process answers", Endpoint::Health),
        get("/readyz", "Whether commands are accepted", Endpoint::Ready),
    ];

    fn metrics(&self) -> &Arc<Metrics> {
        &self.metrics
    }

    async fn answer(&self, endpoint: Endpoint, call: Call<'_>) -> Result<Answer, Problem> {
        match endpoint {
            Endpoint::Post => commands::post(self, call).await,
            Endpoint::Status => status::get(self, call).await,
            Endpoint::OpenApi => Ok(respond::bytes(HeaderValue::from_static(JSON), self.description.clone())),
            Endpoint::Health => Ok(readiness::health()),
            Endpoint::Ready => Ok(readiness::ready(&*self.backend)),
        }
    }
}
