//! The registry of a space: its loaded namespaces.
//!
//! A scope that is not used takes no RAM: it is read from the truth when it is first used.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::ops::{Deref, DerefMut};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use parking_lot::{Mutex, RwLock};
use roaring::RoaringBitmap;

use llmspell_core::{DateFields, DistanceMetric, EmbeddingModel, HNSWConfig, Result, StateScope, VectorQuery};
use llmspell_vector::Scratch as GraphScratch;

use crate::base::error::corrupted;
use crate::base::gate::Gate;
use crate::base::ids::{ScopeId, SpaceId};
use crate::base::memory_budget::MemoryBudget;
use crate::disk::Disk;
use crate::indexes::changes::Changes;
use crate::indexes::files::{self, Kind, Trust, Unusable, millionths};
use crate::indexes::graph::{Index, Need, graph_config};
use crate::indexes::named::NamedFile;
use crate::indexes::queue::{Due, IndexQueue};
use crate::indexes::texts::{TextIndex, TextRules};
use crate::namespace::{Namespace, Publisher, State};
use crate::slots::SlotStore;
use crate::spaces::handover::Door;
use crate::truth::{Role, SpaceRecord, Truth};
use llmspell_metadata::Restored;

/// The metadata index of a scope is written to a file again when one in this many entries has changed since: reading
/// these takes the first filter after a restart a quarter of the time without a file.
const METADATA_CHANGED_SHARE: u64 = 4;
/// Number of searches whose memory is kept for the next ones.
const SCRATCH_MAX: usize = 64;

/// Number of namespaces that are unloaded while searches wait: some ten microseconds.
const UNLOADED_AT_ONCE: usize = 64;

/// Whether a namespace may be unloaded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Eviction {
    /// It is in use, or work on it is pending.
    Busy,
    /// It may be once its index is in a file.
    Unsaved,
    Ready,
}

/// The memory that a search needs.
#[derive(Debug, Default)]
pub(crate) struct Scratch {
    pub(crate) graph: GraphScratch,
    pub(crate) row: Row,
}

/// A vector that was read from a file.
#[derive(Debug, Default)]
pub(crate) struct Row {
    /// Bytes of the slot.
    pub(crate) slot: Vec<u8>,
    /// Its vector.
    pub(crate) vector: Vec<f32>,
}

/// A scratch that goes back to its space when it is dropped.
#[derive(Debug)]
pub(crate) struct LentScratch<'a> {
    scratch: Scratch,
    pool: &'a Mutex<Vec<Scratch>>,
}

impl Deref for LentScratch<'_> {
    type Target = Scratch;

    fn deref(&self) -> &Scratch {
        &self.scratch
    }
}

impl DerefMut for LentScratch<'_> {
    fn deref_mut(&mut self) -> &mut Scratch {
        &mut self.scratch
    }
}

impl Drop for LentScratch<'_> {
    fn drop(&mut self) {
        let mut pool = self.pool.lock();
        if pool.len() < SCRATCH_MAX {
            pool.push(std::mem::take(&mut self.scratch));
        }
    }
}

/// The rules for the texts of a space. A database from a build with more choices has texts that this one cannot search.
fn rules_of(config: &HNSWConfig) -> Option<Arc<TextRules>> {
    config
        .texts()
        .and_then(|texts| TextRules::new(texts).ok())
        .map(Arc::new)
}

/// An open space.
#[derive(Debug)]
pub(crate) struct Space {
    pub(crate) id: SpaceId,
    pub(crate) name: String,
    pub(crate) dim: usize,
    pub(crate) metric: DistanceMetric,
    pub(crate) config: RwLock<HNSWConfig>,
    /// How its texts become terms, if it indexes words.
    texts: RwLock<Option<Arc<TextRules>>>,
    /// The model of the vectors, as far as known.
    model: RwLock<Option<Arc<EmbeddingModel>>>,
    /// Whether another space has replaced it, or it was dropped.
    is_retired: AtomicBool,
    is_dropped: AtomicBool,
    /// Closed for writes of applications while the last entries are copied to another space.
    pub(crate) gate: Gate,
    pub(crate) slots: SlotStore,
    loaded: RwLock<HashMap<StateScope, Arc<Namespace>>>,
    /// Incremented with each removal, also by unloading: a namespace that was read before a removal must not be added
    /// after it.
    removals: AtomicU64,
    /// From this many living points on a namespace gets a graph.
    graph_points_min: u64,
    /// From this many living points on filters get an index.
    metadata_points_min: u64,
    /// Most rows of texts that are in no index.
    text_rows_max: usize,
    /// The queue of the indexer.
    pub(crate) queue: Arc<IndexQueue>,
    /// The budget for loaded namespaces of all spaces.
    budget: Arc<MemoryBudget>,
    /// The builders' way to the committer.
    pub(crate) door: Arc<Door>,
    /// The disk of index files; none in RAM.
    disk: Option<Arc<dyn Disk>>,
    /// Memory of finished searches, for the next ones.
    scratch: Mutex<Vec<Scratch>>,
}

impl Space {
    /// A space without loaded namespaces.
    pub(crate) fn new(
        id: SpaceId,
        record: SpaceRecord,
        slots: SlotStore,
        disk: Option<Arc<dyn Disk>>,
        (queue, budget, door): (Arc<IndexQueue>, Arc<MemoryBudget>, Arc<Door>),
        (graph_points_min, metadata_points_min, text_rows_max): (u64, u64, usize),
    ) -> Self {
        Self {
            id,
            name: record.name,
            dim: record.dim,
            metric: record.config.metric(),
            texts: RwLock::new(rules_of(&record.config)),
            config: RwLock::new(record.config),
            model: RwLock::new(record.model.map(Arc::new)),
            gate: Gate::default(),
            is_retired: AtomicBool::new(record.role == Role::Retired),
            is_dropped: AtomicBool::new(false),
            slots,
            loaded: RwLock::default(),
            removals: AtomicU64::new(0),
            graph_points_min,
            metadata_points_min,
            text_rows_max,
            queue,
            budget,
            door,
            disk,
            scratch: Mutex::default(),
        }
    }

    /// Sets the record of the space.
    pub(crate) fn set_record(&self, record: &SpaceRecord) {
        if self.texts.read().as_ref().map(|rules| &rules.config) != record.config.texts() {
            *self.texts.write() = rules_of(&record.config);
        }
        *self.config.write() = record.config.clone();
        *self.model.write() = record.model.clone().map(Arc::new);
        let is_retired = matches!(record.role, Role::Retired | Role::Dropped);
        self.is_retired.store(is_retired, Ordering::SeqCst);
        self.is_dropped.store(record.role == Role::Dropped, Ordering::SeqCst);
    }

    /// Whether it was dropped: it must not be read or written any more.
    pub(crate) fn is_dropped(&self) -> bool {
        self.is_dropped.load(Ordering::SeqCst)
    }

    /// The model of the vectors, as far as known.
    pub(crate) fn model(&self) -> Option<Arc<EmbeddingModel>> {
        self.model.read().clone()
    }

    /// Whether another space has replaced it, or it was dropped: then the call must be repeated with the current space.
    pub(crate) fn is_retired(&self) -> bool {
        self.is_retired.load(Ordering::SeqCst)
    }

    /// How soon the indexer should look at a namespace.
    pub(crate) fn need(&self, namespace: &Namespace) -> Need {
        let state = namespace.state();
        if state.is_dropped {
            return Need::Nothing;
        }
        if state.has_stale_graph_file() {
            return Need::Now;
        }
        let Some(config) = graph_config(self.dim, &self.config.read()) else {
            return if self.is_text_work_due(&state) {
                Need::Soon
            } else {
                Need::Nothing
            };
        };
        let memory = self.config.read().memory();
        let need = match &state.index {
            // In RAM only, although there is a disk.
            Some(index) if index.file.is_none() && self.disk.is_some() => Need::Now,
            Some(index) if index.is_damaged() || !index.is_in_ram() || !index.matches(&config) => Need::Now,
            Some(index) if index.is_to_be_held(memory) => Need::Now,
            Some(index) if index.is_changed() && namespace.must_save_index() => Need::Now,
            _ => state.counts().need(self.graph_points_min),
        };
        match need {
            Need::Nothing if namespace.is_metadata_behind() || self.is_metadata_file_due(namespace) => Need::Soon,
            Need::Nothing if self.is_text_work_due(&state) => Need::Soon,
            need => need,
        }
    }

    /// Whether the words of too many entries are in no index, or an index has lost too much.
    pub(crate) fn is_text_work_due(&self, state: &State) -> bool {
        let rows_max = self.text_rows_max as u64;
        let Some(rules) = self.texts() else {
            return state.texts.is_some() || state.files.get(Kind::Texts).is_some();
        };
        match (&state.texts, state.files.get(Kind::Texts)) {
            (Some(index), _) => {
                let rows = index.unread.len() + index.tail_len() as u64;
                let is_named = self.disk.is_none()
                    || state.files.rows_of(Kind::Texts).eq(index.rows())
                        && !state.files.is_bad(Kind::Texts)
                        && !self.is_text_naming_behind(state)
                        && !self.is_worth_saying_nothing(state, index);
                rows > rows_max || !index.is_by(&rules) || index.is_merge_due(self.text_rows_max) || !is_named
            }
            // In RAM it is made when words are searched for.
            (None, _) if self.disk.is_none() => false,
            (None, Some(file)) => file.is_bad || file.changed.len() > rows_max,
            (None, None) => state.live_count() > rows_max,
        }
    }

    /// Whether the named files of words are out of date for many entries by what is named, and for few by what is known.
    pub(crate) fn is_text_naming_behind(&self, state: &State) -> bool {
        let (Some(index), Some(file)) = (&state.texts, state.files.get(Kind::Texts)) else {
            return false;
        };
        let changed = file.changed.len();
        changed > self.text_rows_max as u64 && index.out_of_files().len() < changed / 2
    }

    /// Whether many entries have nothing to index, and no file says so: each time the scope is loaded they would be read.
    pub(crate) fn is_worth_saying_nothing(&self, state: &State, index: &TextIndex) -> bool {
        self.disk.is_some() && index.is_of_nothing() && state.live_count() > self.text_rows_max as u64
    }

    /// Opens the indexes of words of a scope from their files, without the points that changed since; none of it if one of them
    /// is of no use.
    pub(crate) fn open_texts(
        &self,
        scope: ScopeId,
        state: &State,
        rules: &Arc<TextRules>,
    ) -> Result<Option<TextIndex>, Unusable> {
        let Some((disk, file)) = self.disk.as_ref().zip(state.files.get(Kind::Texts)) else {
            return Ok(None);
        };
        if file.is_bad {
            return Err(Unusable("it was found to be so before".to_string()));
        }
        let mut index = TextIndex::new(rules, &*file.changed & state.living());
        for row in file.rows() {
            let opened = files::open_texts(disk, self.id, scope, &row, &rules.encoded(), Trust::Nothing)?;
            index.add(opened, row, &file.changed);
        }
        Ok(Some(index))
    }

    /// Whether too much of the metadata of a namespace has changed since its index was written to a file.
    pub(crate) fn is_metadata_file_due(&self, namespace: &Namespace) -> bool {
        self.disk.is_some() && namespace.state().is_metadata_file_due(METADATA_CHANGED_SHARE)
    }

    /// Reads the metadata index of a scope from its file, without the points that changed since. None if that was
    /// cancelled.
    ///
    /// # Errors
    ///
    /// Why the file is useless; the index can be built from the rows.
    pub(crate) fn read_metadata(
        &self,
        scope: ScopeId,
        file: &NamedFile,
        is_cancelled: &dyn Fn() -> bool,
    ) -> Result<Option<Restored>, Unusable> {
        let disk = self
            .disk
            .as_ref()
            .ok_or_else(|| Unusable("there is no disk".to_string()))?;
        let row = file.row.ok_or_else(|| Unusable("nothing names it".to_string()))?;
        files::read_metadata(disk, self.id, scope, &row, &file.changed, is_cancelled)
    }

    /// Notifies the indexer if a namespace has work for it.
    pub(crate) fn note(&self, scope: &StateScope, namespace: &Namespace) {
        let has_index = namespace.state().index.is_some();
        namespace.set_remembering(has_index && self.recall_target().is_some());
        match self.need(namespace) {
            // All other work comes first, and leads here again.
            Need::Nothing if self.is_measuring_due(namespace) => self.queue.want_measuring((self.id, scope.clone())),
            Need::Nothing => {}
            Need::Soon => self.queue.note(self.id, scope, Due::WhenQuiet),
            Need::Now => self.queue.note(self.id, scope, Due::Now),
        }
    }

    /// The recall that searches should reach, in millionths; none if the configuration sets the width of the beam, or
    /// if there are no graphs.
    pub(crate) fn recall_target(&self) -> Option<u32> {
        let config = self.config.read();
        let is_chosen = config.named_ef_search().is_none() && graph_config(self.dim, &config).is_some();
        is_chosen.then(|| millionths(config.recall_target()))
    }

    /// Whether the searches of a namespace must be measured: it has a graph, and no current measurement.
    pub(crate) fn is_measuring_due(&self, namespace: &Namespace) -> bool {
        let state = namespace.state();
        let has_index = state.index.as_ref().is_some_and(|index| !index.is_damaged());
        has_index
            && self
                .recall_target()
                .is_some_and(|target| namespace.is_measuring_due(target, state.live_count()))
    }

    /// Remembers a query of a namespace with some probability, so that its searches can be measured with it.
    pub(crate) fn remember_query(&self, scope: &StateScope, namespace: &Namespace, query: &VectorQuery) {
        let is_whole = query.vector.len() == self.dim;
        let is_enough = is_whole && !query.exact && namespace.remember_query(&query.vector, &self.budget.queries);
        if is_enough && self.is_measuring_due(namespace) {
            self.queue.want_measuring((self.id, scope.clone()));
        }
    }

    /// The fields of the metadata whose strings are dates.
    pub(crate) fn dates(&self) -> DateFields {
        self.config.read().date_fields().clone()
    }

    /// How its texts become terms; none if it does not index words.
    pub(crate) fn texts(&self) -> Option<Arc<TextRules>> {
        self.texts.read().clone()
    }

    /// From this many living points on a namespace gets a graph.
    pub(crate) fn graph_points_min(&self) -> u64 {
        self.graph_points_min
    }

    /// From this many living points on filters get an index of the metadata.
    pub(crate) fn metadata_points_min(&self) -> u64 {
        self.metadata_points_min
    }

    /// Most entries whose words are in no index.
    pub(crate) fn text_rows_max(&self) -> usize {
        self.text_rows_max
    }

    /// Memory for a search, which is returned when it is dropped.
    pub(crate) fn scratch(&self) -> LentScratch<'_> {
        LentScratch {
            scratch: self.scratch.lock().pop().unwrap_or_default(),
            pool: &self.scratch,
        }
    }

    /// The namespace of a scope, if it is loaded; notes its use.
    pub(crate) fn loaded(&self, scope: &StateScope) -> Option<Arc<Namespace>> {
        let namespace = self.loaded.read().get(scope).cloned()?;
        self.budget.touch(&namespace.usage);
        Some(namespace)
    }

    /// The namespace of a scope, read from the truth if necessary; none if there is no such scope.
    pub(crate) fn load(&self, truth: &Truth, scope: &StateScope) -> Result<Option<Arc<Namespace>>> {
        loop {
            if let Some(namespace) = self.loaded(scope) {
                return Ok(Some(namespace));
            }
            let removals = self.removals.load(Ordering::SeqCst);
            if self.is_dropped() {
                // Its rows exist until they are purged.
                return Ok(None);
            }
            let read = truth.read()?;
            let Some(scope_id) = read.scope_id(self.id, scope)? else {
                return Ok(None);
            };
            // The row with the scope id has no checksum of its own; a flipped bit must not lead into another scope.
            if read.scope_name(scope_id)? != Some((self.id, scope.clone())) {
                let detail = format!(
                    "table `scopes` leads `{scope}` to scope {}, which is another one",
                    scope_id.0
                );
                return Err(corrupted(truth.path(), detail));
            }
            let state = self.with_file(scope_id, read.state(scope_id)?);
            let row = state.files.row(Kind::Graph).filter(|_| state.index.is_some());
            let measured = row.and_then(|row| row.measured);
            let namespace = Arc::new(Namespace::new(scope_id, state));
            namespace.set_measured(measured);
            let mut loaded = self.loaded.write();
            if self.removals.load(Ordering::SeqCst) == removals {
                let namespace = self.insert(&mut loaded, scope, namespace);
                drop(loaded);
                self.note(scope, &namespace);
                return Ok(Some(namespace));
            }
        }
    }

    /// The state with the graph of the file that the truth names. At any doubt without it: the indexer builds another,
    /// and no existing point is reused until then.
    fn with_file(&self, scope: ScopeId, mut state: State) -> State {
        let Some(file) = state.files.get(Kind::Graph).cloned() else {
            return state;
        };
        let opened = self
            .disk
            .as_ref()
            .zip(file.row)
            .and_then(|(disk, row)| files::open(disk, self.id, scope, row).ok());
        let is_usable = |index: &Index| {
            index.lsn <= state.lsn
                && index.points.max().is_none_or(|last| last < state.next_point)
                && graph_config(self.dim, &self.config.read()).is_some_and(|config| index.answers(&config))
        };
        let index = opened.map(Index::opened).filter(is_usable);
        let held = match &index {
            Some(index) => index.points.clone(),
            None => {
                let mut all = RoaringBitmap::new();
                all.insert_range(0..state.next_point);
                all
            }
        };
        let file = NamedFile {
            is_bad: index.is_none(),
            held: Arc::new(held),
            ..file
        };
        state.files.set(Kind::Graph, Some(file));
        state.with_index(index.map(Arc::new))
    }

    /// Adds a namespace that the committer made.
    pub(crate) fn add(&self, scope: &StateScope, namespace: Arc<Namespace>) {
        self.insert(&mut self.loaded.write(), scope, namespace);
    }

    /// The first namespace inserted wins: the committer must publish into that one, even if a reader loaded it between
    /// a commit and its publication.
    fn insert(
        &self,
        loaded: &mut HashMap<StateScope, Arc<Namespace>>,
        scope: &StateScope,
        namespace: Arc<Namespace>,
    ) -> Arc<Namespace> {
        match loaded.entry(scope.clone()) {
            Entry::Occupied(entry) => Arc::clone(entry.get()),
            Entry::Vacant(entry) => {
                self.budget.enter(&namespace.usage, namespace.resident_bytes());
                Arc::clone(entry.insert(namespace))
            }
        }
    }

    /// Counts the bytes of a namespace again after a change.
    pub(crate) fn weigh(&self, namespace: &Namespace) {
        self.budget.weigh(&namespace.usage, namespace.resident_bytes());
    }

    /// Removes a namespace that was dropped.
    pub(crate) fn remove(&self, scope: &StateScope) {
        let mut loaded = self.loaded.write();
        self.removals.fetch_add(1, Ordering::SeqCst);
        if let Some(namespace) = loaded.remove(scope) {
            self.budget.leave(&namespace.usage);
        }
    }

    /// Removes all namespaces, after the space was dropped; their holders find nothing in them.
    pub(crate) fn forget_all(&self, publisher: &mut Publisher) {
        let loaded = {
            let mut loaded = self.loaded.write();
            self.removals.fetch_add(1, Ordering::SeqCst);
            std::mem::take(&mut *loaded)
        };
        for namespace in loaded.into_values() {
            self.budget.leave(&namespace.usage);
            namespace.show(publisher, State::dropped(), RoaringBitmap::new(), &Changes::default());
        }
    }

    /// For each loaded namespace that may be unloaded: the turn of its last use, and its bytes.
    pub(crate) fn evictable(&self) -> Vec<(u64, u64)> {
        let loaded = self.loaded.read();
        let evictable = loaded
            .values()
            .filter(|namespace| self.eviction(namespace) != Eviction::Busy);
        evictable
            .map(|namespace| (namespace.usage.turn(), namespace.usage.bytes()))
            .collect()
    }

    /// Unloads namespaces that were not used since a turn, until `excess` bytes are free. If an index must be written
    /// to a file first, notifies the indexer. Returns the bytes that were, or will be, freed.
    pub(crate) fn unload(&self, last_turn: u64, excess: u64) -> u64 {
        let mut freed = 0;
        let is_old = |namespace: &Namespace| namespace.usage.turn() <= last_turn;
        let old: Vec<StateScope> = {
            let loaded = self.loaded.read();
            let old = loaded
                .iter()
                .filter(|(_, namespace)| is_old(namespace) && self.eviction(namespace) != Eviction::Busy);
            let enough = old.take_while(|(_, namespace)| {
                let is_needed = freed < excess;
                freed += namespace.usage.bytes();
                is_needed
            });
            enough.map(|(scope, _)| scope.clone()).collect()
        };
        for scopes in old.chunks(UNLOADED_AT_ONCE) {
            let mut unloaded = Vec::with_capacity(scopes.len());
            let mut loaded = self.loaded.write();
            for scope in scopes {
                let Some(namespace) = loaded.get(scope).filter(|namespace| is_old(namespace)) else {
                    continue;
                };
                match self.eviction(namespace) {
                    Eviction::Busy => {}
                    Eviction::Unsaved => {
                        namespace.set_must_save_index(true);
                        self.note(scope, namespace);
                    }
                    Eviction::Ready => {
                        let is_alone = loaded
                            .get_mut(scope)
                            .and_then(Arc::get_mut)
                            .is_some_and(Namespace::is_alone);
                        if is_alone && let Some(namespace) = loaded.remove(scope) {
                            self.budget.unload(&namespace.usage);
                            unloaded.push(namespace);
                        }
                    }
                }
            }
            if !unloaded.is_empty() {
                self.removals.fetch_add(1, Ordering::SeqCst);
            }
            drop(loaded);
        }
        freed
    }

    /// Whether a loaded namespace may be unloaded. The map is locked, so no new call can reach it; earlier calls hold a
    /// reference. A reference count of one says that the last call has ended, but does not order its reads before this:
    /// [`Namespace::is_alone`] does both, and decides.
    fn eviction(&self, namespace: &Arc<Namespace>) -> Eviction {
        let is_busy =
            Arc::strong_count(namespace) > 1 || !namespace.is_quiet() || self.need(namespace) != Need::Nothing;
        match &namespace.state().index {
            _ if is_busy => Eviction::Busy,
            Some(index) if index.is_changed() && self.disk.is_none() => Eviction::Busy,
            Some(index) if index.is_changed() => Eviction::Unsaved,
            _ => Eviction::Ready,
        }
    }

    /// All loaded namespaces.
    pub(crate) fn all_loaded(&self) -> Vec<(StateScope, Arc<Namespace>)> {
        let loaded = self.loaded.read();
        loaded
            .iter()
            .map(|(scope, namespace)| (scope.clone(), Arc::clone(namespace)))
            .collect()
    }

    /// Number of loaded namespaces.
    pub(crate) fn loaded_count(&self) -> usize {
        self.loaded.read().len()
    }
}
