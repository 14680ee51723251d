//! Export of traces while a subcommand runs.

use crate::telemetry;
use crate::telemetry::trace::{ExportThread, Metrics, Tracer};

/// Receives spans from every component and exports them. Dropping it exports the last ones.
pub(super) struct Traces {
    pub(super) tracer: Tracer,
    _export: Option<ExportThread>,
}

impl Traces {
    /// Starts the export if an endpoint is configured. A failure does not stop the daemon.
    pub(super) fn start(config: &telemetry::Config, metrics: &Metrics) -> Self {
        let off = || Self { tracer: Tracer::default(), _export: None };
        let Some(endpoint) = &config.otlp_endpoint else { return off() };
        match ExportThread::start(endpoint, config.sample_ratio, metrics) {
            Ok((tracer, export)) => {
                tracing::info!(
                    event = "telemetry.export_started",
                    telemetry.endpoint = endpoint.shown(),
                    telemetry.sample_ratio = config.sample_ratio.0,
                    "spans of sampled requests are exported"
                );
                Self { tracer, _export: Some(export) }
            }
            Err(error) => {
                tracing::error!(
                    event = "telemetry.export_not_started",
                    %error,
                    "export of traces not started; no spans are exported"
                );
                off()
            }
        }
    }
}
