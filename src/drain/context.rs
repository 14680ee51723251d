//! What every worker works with.

use std::sync::Arc;

use crate::drain::lead::Lead;
use crate::drain::metrics::Metrics;
use crate::drain::usage::Extra;
use crate::drain::value_resolver::ValueResolver;
use crate::status::Statuses;
use crate::telemetry::trace::Tracer;
use crate::wal::Log;

/// The same for all of them.
#[derive(Clone)]
pub(super) struct Context {
    pub(super) log: Arc<Log>,
    pub(super) statuses: Statuses,
    pub(super) metrics: Arc<Metrics>,
    pub(super) lead: Option<Arc<Lead>>,
    pub(super) resolver: Arc<dyn ValueResolver>,
    /// Room in flight beside the workers' windows.
    pub(super) extra: Arc<Extra>,
    pub(super) tracer: Tracer,
}

impl Context {
    pub(super) fn new(
        log: Arc<Log>,
        statuses: Statuses,
        metrics: Arc<Metrics>,
        lead: Option<Arc<Lead>>,
        prepare: Arc<dyn ValueResolver>,
    ) -> Self {
        let (extra, tracer) = (Arc::default(), Tracer::default());
        Self { log, statuses, metrics, lead, resolver: prepare, extra, tracer }
    }

    /// With somebody who takes spans.
    pub(super) fn with_tracer(self, tracer: Tracer) -> Self {
        Self { tracer, ..self }
    }
}
