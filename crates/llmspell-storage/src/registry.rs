//! Which namespaces of a space are loaded?
//!
//! A scope that nobody touches costs no RAM: it is read from the truth when it is first named.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use parking_lot::{Mutex, RwLock};

use llmspell_core::{DistanceMetric, HNSWConfig, Result, StateScope};
use llmspell_vector::Scratch as GraphScratch;

use crate::disk::Disk;
use crate::error::corrupted;
use crate::ids::{ScopeId, SpaceId};
use crate::index_files::{self, IndexRow};
use crate::index_queue::{Due, IndexQueue};
use crate::namespace::{Filed, Index, Namespace, Need, State, graph_config};
use crate::slots::SlotStore;
use crate::truth::Truth;

/// Memory of so many searches is kept for the next ones.
const SCRATCH_MAX: usize = 64;

/// What a search needs room for.
#[derive(Debug, Default)]
pub(crate) struct Scratch {
    pub(crate) graph: GraphScratch,
    /// Bytes of a slot.
    pub(crate) slot: Vec<u8>,
    /// Its vector.
    pub(crate) vector: Vec<f32>,
}

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
    /// Living points from which on a namespace gets a graph.
    graph_points_min: u64,
    /// Living points from which on filters get an index.
    metadata_points_min: u64,
    /// Who looks after the graphs.
    pub(crate) queue: Arc<IndexQueue>,
    /// Where index files are; none in RAM.
    disk: Option<Arc<dyn Disk>>,
    /// Memory of searches that have ended, for the next ones.
    scratch: Mutex<Vec<Scratch>>,
}

impl Space {
    /// A space without loaded namespaces.
    pub(crate) fn new(
        id: SpaceId,
        (name, dim, config): (String, usize, HNSWConfig),
        slots: SlotStore,
        disk: Option<Arc<dyn Disk>>,
        queue: Arc<IndexQueue>,
        (graph_points_min, metadata_points_min): (u64, u64),
    ) -> Self {
        Self {
            id,
            name,
            dim,
            metric: config.metric(),
            config: RwLock::new(config),
            slots,
            loaded: RwLock::default(),
            removals: AtomicU64::new(0),
            graph_points_min,
            metadata_points_min,
            queue,
            disk,
            scratch: Mutex::default(),
        }
    }

    /// How soon the indexer should look at a namespace.
    pub(crate) fn need(&self, namespace: &Namespace) -> Need {
        let state = namespace.state();
        if state.is_dropped {
            return Need::Nothing;
        }
        if namespace.has_stale_file() {
            return Need::Now;
        }
        let Some(config) = graph_config(self.dim, &self.config.read()) else {
            return Need::Nothing;
        };
        let memory = self.config.read().memory();
        match &state.index {
            // In RAM only, though there is a disk.
            Some(index) if index.file.is_none() && self.disk.is_some() => Need::Now,
            Some(index) if index.is_damaged() || !index.is_in_ram() || !index.matches(&config) => Need::Now,
            Some(index) if index.is_to_be_held(memory) => Need::Now,
            _ => state.counts().need(self.graph_points_min),
        }
    }

    /// Tells the indexer if a namespace has something for it.
    pub(crate) fn note(&self, scope: &StateScope, namespace: &Namespace) {
        match self.need(namespace) {
            Need::Nothing => {}
            Need::Soon => self.queue.note(self.id, scope, Due::WhenQuiet),
            Need::Now => self.queue.note(self.id, scope, Due::Now),
        }
    }

    /// Living points from which on a namespace gets a graph.
    pub(crate) fn graph_points_min(&self) -> u64 {
        self.graph_points_min
    }

    /// Living points from which on filters get an index of the metadata.
    pub(crate) fn metadata_points_min(&self) -> u64 {
        self.metadata_points_min
    }

    /// Memory for a search.
    pub(crate) fn take_scratch(&self) -> Scratch {
        self.scratch.lock().pop().unwrap_or_default()
    }

    /// Memory that a search does not need any more.
    pub(crate) fn give_scratch(&self, scratch: Scratch) {
        let mut pool = self.scratch.lock();
        if pool.len() < SCRATCH_MAX {
            pool.push(scratch);
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
            let state = read.state(scope_id)?;
            let row = read.index(scope_id);
            let (state, filed) = self.with_file(scope_id, state, row.as_ref().ok().copied());
            let namespace = Arc::new(Namespace::new(scope_id, state, (row.ok().flatten(), filed)));
            let mut loaded = self.loaded.write();
            if self.removals.load(Ordering::SeqCst) == removals {
                // Whoever came first has the one that the committer changes.
                let namespace = Arc::clone(loaded.entry(scope.clone()).or_insert(namespace));
                drop(loaded);
                self.note(scope, &namespace);
                return Ok(Some(namespace));
            }
        }
    }

    /// The state with the index of the file that the manifest names. At any doubt without it: the indexer makes another.
    /// `row` is none if it could not be read.
    fn with_file(&self, scope: ScopeId, state: State, row: Option<Option<IndexRow>>) -> (State, Filed) {
        let row = match row {
            Some(None) => return (state, Filed::Nothing),
            Some(Some(row)) => row,
            None => return (state, Filed::Unknown),
        };
        let opened = self
            .disk
            .as_ref()
            .and_then(|disk| index_files::open(disk, self.id, scope, row).ok());
        let Some(opened) = opened else {
            return (state, Filed::Unknown);
        };
        let index = Index::opened(opened);
        let is_usable = index.lsn <= state.lsn
            && index.points.max().is_none_or(|last| last < state.next_point)
            && graph_config(self.dim, &self.config.read()).is_some_and(|config| index.answers(&config));
        if !is_usable {
            return (state, Filed::Unknown);
        }
        let filed = Filed::Points(index.points.clone());
        (state.with_index(Some(Arc::new(index))), filed)
    }

    /// Adds a namespace that the committer made. If a reader found the new scope in the truth between the commit and its
    /// publication, that one stays: readers hold it, and must be told of what comes.
    pub(crate) fn add(&self, scope: StateScope, namespace: Arc<Namespace>) {
        self.loaded.write().entry(scope).or_insert(namespace);
    }

    /// Forgets a namespace that was dropped.
    pub(crate) fn remove(&self, scope: &StateScope) {
        let mut loaded = self.loaded.write();
        self.removals.fetch_add(1, Ordering::SeqCst);
        loaded.remove(scope);
    }

    /// All namespaces that are loaded.
    pub(crate) fn all_loaded(&self) -> Vec<(StateScope, Arc<Namespace>)> {
        let loaded = self.loaded.read();
        loaded
            .iter()
            .map(|(scope, namespace)| (scope.clone(), Arc::clone(namespace)))
            .collect()
    }

    /// How many namespaces are loaded.
    pub(crate) fn loaded_count(&self) -> usize {
        self.loaded.read().len()
    }
}
