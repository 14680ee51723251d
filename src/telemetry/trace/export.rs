//! Thread that sends spans to the collector.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use opentelemetry::{InstrumentationScope, KeyValue};
use opentelemetry_otlp::{ExporterBuildError, Protocol, SpanExporter, WithExportConfig, WithHttpConfig};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::trace::SpanExporter as _;
use tokio::runtime::{Builder, Runtime};

use super::client::SharedClient;
use super::endpoint::Endpoint;
use super::metrics::Metrics;
use super::queue::SpanQueue;
use super::ratio::SampleRatio;
use super::span::Span;
use super::tracer::Tracer;
use crate::task::{OnFailure, Thread};

/// Maximum time that a span waits for others in its export. Traces are rarely viewed earlier.
const BATCH_DELAY: Duration = Duration::from_secs(1);
/// Timeout of all attempts of one export, including delays that the collector requests.
const EXPORT_TIMEOUT: Duration = Duration::from_secs(10);
/// Maximum time that the end of the process waits for the last spans.
const FINAL_EXPORT_TIMEOUT: Duration = Duration::from_secs(1);

/// The thread. Dropping it exports the waiting spans and blocks for at most one second.
pub struct ExportThread {
    thread: Option<Thread>,
    queue: Arc<SpanQueue>,
}

impl ExportThread {
    /// Starts the thread. Never waits for the collector.
    pub fn start(endpoint: &Endpoint, ratio: SampleRatio, metrics: &Metrics) -> io::Result<(Tracer, Self)> {
        let queue = Arc::new(SpanQueue::new(&metrics.queue_full));
        let tracer = Tracer::new(&queue, ratio);
        let exporting = ExportWorker::new(endpoint, metrics)?;
        let its = Arc::clone(&queue);
        // Without the thread the queue fills, and spans are counted as dropped.
        let on_failure = OnFailure::Report(Box::new(|cause| {
            tracing::error!(event = "telemetry.export_ended", error = cause, "spans are no longer exported");
        }));
        let thread = Thread::spawn("traces", on_failure, move |_| {
            exporting.run(&its);
            Ok(())
        })?;
        Ok((tracer, Self { thread: Some(thread), queue }))
    }
}

impl Drop for ExportThread {
    fn drop(&mut self) {
        self.queue.close();
        if self.thread.take().is_some_and(|thread| thread.stop(FINAL_EXPORT_TIMEOUT).is_err()) {
            tracing::warn!(
                event = "telemetry.spans_left",
                telemetry.spans = self.queue.unfinished(),
                "the last spans are not exported: the collector did not take them within {} s",
                FINAL_EXPORT_TIMEOUT.as_secs()
            );
        }
    }
}

/// State of the thread.
struct ExportWorker {
    exporter: SpanExporter,
    client: SharedClient,
    runtime: Runtime,
    scope: InstrumentationScope,
    metrics: Metrics,
}

impl ExportWorker {
    fn new(endpoint: &Endpoint, metrics: &Metrics) -> io::Result<Self> {
        let client = SharedClient::default();
        let exporter = exporter(endpoint, client.clone()).map_err(io::Error::other)?;
        let runtime = Builder::new_current_thread().enable_io().enable_time().build()?;
        let scope = InstrumentationScope::builder("forebay").with_version(env!("CARGO_PKG_VERSION")).build();
        Ok(Self { exporter, client, runtime, scope, metrics: metrics.clone() })
    }

    /// Runs until the queue is closed and empty.
    fn run(self, queue: &SpanQueue) {
        let mut dropped = None;
        while let Some(spans) = queue.next_batch(BATCH_DELAY) {
            if spans.is_empty() {
                continue;
            }
            let count = spans.len() as u64;
            match self.export(spans) {
                Ok(()) => {
                    self.metrics.exported.inc_by(count);
                    if let Some(before) = dropped.take() {
                        let now = self.metrics.export_failed.get();
                        tracing::info!(
                            event = "telemetry.export_resumed",
                            telemetry.spans_dropped = now - before,
                            "spans are exported again"
                        );
                    }
                }
                Err(error) => {
                    if dropped.is_none() {
                        dropped = Some(self.metrics.export_failed.get());
                        tracing::warn!(
                            event = "telemetry.export_failed",
                            error,
                            "spans are not exported, and are dropped until the collector takes them"
                        );
                    }
                    self.metrics.export_failed.inc_by(count);
                }
            }
        }
    }

    fn export(&self, spans: Vec<Span>) -> Result<(), String> {
        let spans = spans.into_iter().map(|span| span.into_data(&self.scope)).collect();
        self.client.0.take_error();
        let exported = self.runtime.block_on(self.exporter.export(spans));
        exported.map_err(|error| self.client.0.take_error().unwrap_or_else(|| error.to_string()))
    }
}

fn exporter(endpoint: &Endpoint, client: SharedClient) -> Result<SpanExporter, ExporterBuildError> {
    let url = endpoint.url().map(|url| url.to_string()).unwrap_or_default();
    let mut exporter = SpanExporter::builder()
        .with_http()
        .with_http_client(client)
        .with_protocol(Protocol::HttpBinary)
        .with_endpoint(url)
        .with_timeout(EXPORT_TIMEOUT)
        .build()?;
    let version = KeyValue::new("service.version", env!("CARGO_PKG_VERSION"));
    exporter.set_resource(&Resource::builder().with_service_name("forebay").with_attribute(version).build());
    Ok(exporter)
}
