//! What a worker is made of, however it sends.

use std::sync::Arc;

use crate::drain::board::Parts;
use crate::drain::board::Post;
use crate::drain::config::Config;
use crate::drain::dispatch_state::DispatchState;
use crate::drain::feed::Feed;
use crate::drain::handle::Handle;
use crate::drain::lanes::Lanes;
use crate::drain::link::Link;

pub(super) struct WorkerParts<'a> {
    pub(super) lanes: Lanes,
    pub(super) handle: Handle,
    pub(super) parts: Parts,
    pub(super) link: &'a Arc<Link>,
    pub(super) config: &'a Config,
}

impl<'a> WorkerParts<'a> {
    pub(super) fn new(
        lanes: Lanes,
        handle: Handle,
        parts: Parts,
        link: &'a Arc<Link>,
        config: &'a Config,
    ) -> Self {
        Self { lanes, handle, parts, link, config }
    }

    pub(super) fn post(&self) -> &Post {
        self.handle.post(self.lanes)
    }

    /// What the worker knows of its records before it has read any.
    pub(super) fn state(&self) -> DispatchState {
        let parts = self.parts.clone();
        DispatchState::new(parts, self.config, &self.link.config, self.post(), self.lanes.workers)
    }

    /// Its way through the log.
    pub(super) fn head(&self) -> Feed {
        let log = &self.parts.log;
        Feed::new(log, self.handle.queues.head(self.lanes.index), log.watermark())
    }
}
