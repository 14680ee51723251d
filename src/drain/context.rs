//! Dependencies that all workers share.

use std::sync::Arc;

use crate::drain::backpressure::Backpressure;
use crate::drain::metrics::Metrics;
use crate::drain::usage::ExtraRoom;
use crate::drain::value_resolver::ValueResolver;
use crate::status::Statuses;
use crate::telemetry::trace::Tracer;
use crate::wal::Log;

/// Dependencies that all workers share.
#[derive(Clone)]
pub(super) struct Context {
    pub(super) log: Arc<Log>,
    pub(super) statuses: Statuses,
    pub(super) metrics: Arc<Metrics>,
    pub(super) backpressure: Option<Arc<Backpressure>>,
    pub(super) resolver: Arc<dyn ValueResolver>,
    /// In-flight bytes beyond the workers' own limits, for oversized records.
    pub(super) extra_room: Arc<ExtraRoom>,
    pub(super) tracer: Tracer,
}

impl Context {
    pub(super) fn new(
        log: Arc<Log>,
        statuses: Statuses,
        metrics: Arc<Metrics>,
        backpressure: Option<Arc<Backpressure>>,
        resolver: Arc<dyn ValueResolver>,
    ) -> Self {
        let (extra, tracer) = (Arc::default(), Tracer::default());
        Self { log, statuses, metrics, backpressure, resolver, extra_room: extra, tracer }
    }

    /// Adds the tracer that receives the spans.
    pub(super) fn with_tracer(self, tracer: Tracer) -> Self {
        Self { tracer, ..self }
    }
}
