//! Dependencies of a worker, with and without transactions.

use std::sync::Arc;

use crate::drain::config::Config;
use crate::drain::context::Context;
use crate::drain::dispatch_state::DispatchState;
use crate::drain::handle::Handle;
use crate::drain::lane_reader::LaneReader;
use crate::drain::lanes::Lanes;
use crate::drain::monitor::WorkerMonitor;
use crate::drain::producer_settings::ProducerSettings;

pub(super) struct WorkerParts<'a> {
    pub(super) lanes: Lanes,
    pub(super) handle: Handle,
    pub(super) context: Context,
    pub(super) producer_settings: &'a Arc<ProducerSettings>,
    pub(super) config: &'a Config,
}

impl<'a> WorkerParts<'a> {
    pub(super) fn new(
        lanes: Lanes,
        handle: Handle,
        context: Context,
        producer_settings: &'a Arc<ProducerSettings>,
        config: &'a Config,
    ) -> Self {
        Self { lanes, handle, context, producer_settings, config }
    }

    pub(super) fn monitor(&self) -> &WorkerMonitor {
        self.handle.monitor(self.lanes)
    }

    /// The state of the worker before it has read any record.
    pub(super) fn state(&self) -> DispatchState {
        let context = self.context.clone();
        DispatchState::new(
            context,
            self.config,
            &self.producer_settings.config,
            self.monitor(),
            self.lanes.workers,
        )
    }

    /// The worker's main reader.
    pub(super) fn head(&self) -> LaneReader {
        let log = &self.context.log;
        LaneReader::new(log, self.handle.queues.head(self.lanes.index), log.watermark())
    }
}
