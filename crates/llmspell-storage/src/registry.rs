//! Which namespaces of a space are loaded?
//!
//! A scope that nobody touches costs no RAM: it is read from the truth when it is first named.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use parking_lot::RwLock;

use llmspell_core::{DistanceMetric, HNSWConfig, Result, StateScope};

use crate::error::corrupted;
use crate::ids::SpaceId;
use crate::namespace::Namespace;
use crate::slots::SlotStore;
use crate::truth::Truth;

/// An open space.
#[derive(Debug)]
pub(crate) struct Space {
    pub(crate) id: SpaceId,
    pub(crate) name: String,
    pub(crate) dim: usize,
    pub(crate) metric: DistanceMetric,
    pub(crate) config: RwLock<HNSWConfig>,
    pub(crate) slots: SlotStore,
    loaded: RwLock<HashMap<StateScope, Arc<Namespace>>>,
    /// Grows with each removal: what was read before one must not be added after it.
    removals: AtomicU64,
}

impl Space {
    /// A space without loaded namespaces.
    pub(crate) fn new(id: SpaceId, name: String, dim: usize, config: HNSWConfig, slots: SlotStore) -> Self {
        Self {
            id,
            name,
            dim,
            metric: config.metric(),
            config: RwLock::new(config),
            slots,
            loaded: RwLock::default(),
            removals: AtomicU64::new(0),
        }
    }

    /// The namespace of a scope, if it is loaded.
    pub(crate) fn loaded(&self, scope: &StateScope) -> Option<Arc<Namespace>> {
        self.loaded.read().get(scope).cloned()
    }

    /// The namespace of a scope, read from the truth if need be; none if there is no such scope.
    pub(crate) fn load(&self, truth: &Truth, scope: &StateScope) -> Result<Option<Arc<Namespace>>> {
        loop {
            if let Some(namespace) = self.loaded(scope) {
                return Ok(Some(namespace));
            }
            let removals = self.removals.load(Ordering::SeqCst);
            let read = truth.read()?;
            let Some(scope_id) = read.scope_id(self.id, scope)? else {
                return Ok(None);
            };
            // The row that led here has no checksum of its own; a flipped bit must not lead into another scope.
            if read.scope_name(scope_id)? != Some((self.id, scope.clone())) {
                let detail = format!(
                    "table `scopes` leads `{scope}` to scope {}, which is another one",
                    scope_id.0
                );
                return Err(corrupted(truth.path(), detail));
            }
            let namespace = Arc::new(Namespace::new(scope_id, read.state(scope_id)?));
            let mut loaded = self.loaded.write();
            if self.removals.load(Ordering::SeqCst) == removals {
                // Whoever came first has the one that the committer changes.
                return Ok(Some(Arc::clone(loaded.entry(scope.clone()).or_insert(namespace))));
            }
        }
    }

    /// Adds a namespace that the committer made.
    pub(crate) fn add(&self, scope: StateScope, namespace: Arc<Namespace>) {
        self.loaded.write().insert(scope, namespace);
    }

    /// Forgets a namespace that was dropped.
    pub(crate) fn remove(&self, scope: &StateScope) {
        let mut loaded = self.loaded.write();
        self.removals.fetch_add(1, Ordering::SeqCst);
        loaded.remove(scope);
    }

    /// How many namespaces are loaded.
    pub(crate) fn loaded_count(&self) -> usize {
        self.loaded.read().len()
    }
}
