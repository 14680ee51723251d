//! The kinds that may enter, exchanged while the daemon runs.

use std::sync::{Arc, OnceLock};

use bytes::Bytes;

use crate::kinds::Kinds;
use crate::sync::RwLock;

/// What counts now. Clones share it; a request goes on with what counted when it began.
#[derive(Clone)]
pub struct Catalogue(Arc<RwLock<Arc<CatalogueVersion>>>);

/// One state of it.
pub(super) struct CatalogueVersion {
    pub(super) kinds: Kinds,
    /// Made when it is first asked for.
    description: OnceLock<Bytes>,
}

impl Catalogue {
    /// These kinds.
    pub fn new(kinds: Kinds) -> Self {
        Self(Arc::new(RwLock::new(CatalogueVersion::new(kinds))))
    }

    /// From now on these kinds.
    pub fn replace(&self, kinds: Kinds) {
        *self.0.write() = CatalogueVersion::new(kinds);
    }

    /// The topic that records of this kind go to now.
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

    /// The description of the interface, which names the kinds. `describe` makes it when it is first asked for.
    pub(super) fn description(&self, describe: impl FnOnce(&Kinds) -> Bytes) -> Bytes {
        self.description.get_or_init(|| describe(&self.kinds)).clone()
    }
}
