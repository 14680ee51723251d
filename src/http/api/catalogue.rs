//! The accepted kinds. They can be replaced while the daemon runs.

use std::sync::{Arc, OnceLock};

use bytes::Bytes;

use crate::kinds::Kinds;
use crate::sync::RwLock;

/// The current kinds. Clones share them. A request uses the version that was current when it began.
#[derive(Clone)]
pub struct Catalogue(Arc<RwLock<Arc<CatalogueVersion>>>);

/// One version of the catalogue.
pub(super) struct CatalogueVersion {
    pub(super) kinds: Kinds,
    /// The OpenAPI description, created by the first request for it.
    description: OnceLock<Bytes>,
}

impl Catalogue {
    /// A catalogue with these kinds.
    pub fn new(kinds: Kinds) -> Self {
        Self(Arc::new(RwLock::new(CatalogueVersion::new(kinds))))
    }

    /// Replaces the kinds for requests that begin after this call.
    pub fn replace(&self, kinds: Kinds) {
        *self.0.write() = CatalogueVersion::new(kinds);
    }

    /// The current topic for records of this kind. `None` if no such kind is configured.
    pub fn topic_of(&self, kind: &str) -> Option<Arc<str>> {
        self.current().kinds.get(kind).map(|kind| Arc::clone(kind.topic()))
    }

    pub(super) fn current(&self) -> Arc<CatalogueVersion> {
        Arc::clone(&self.0.read())
    }
}

impl CatalogueVersion {
    fn new(kinds: Kinds) -> Arc<Self> {
        Arc::new(Self { kinds, description: OnceLock::new() })
    }

    /// The OpenAPI description, which includes the kinds. The first call creates it with `describe`.
    pub(super) fn description(&self, describe: impl FnOnce(&Kinds) -> Bytes) -> Bytes {
        self.description.get_or_init(|| describe(&self.kinds)).clone()
    }
}
