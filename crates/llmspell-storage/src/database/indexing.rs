//! What does an index need, and how does it get it? The work of the indexer's thread.
//!
//! ```text
//! snapshot   a state and the rows of the truth as of the same mutation: points and their ids
//! verify     the slots of the points: damaged vectors are never linked
//! build      a new graph, or the old one and the points of the tail
//! publish    searches use it; the state is held until now, so none of its points meant another vector meanwhile
//! write      an index file, named by the committer; then the older file goes
//! ```
//!
//! Nothing here holds a lock that a search or a commit waits for. Whatever fails leaves the namespace as it was: it is
//! found by scanning, and tried again later.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use llmspell_core::{Memory, Result, StorageError};
use llmspell_vector::{BuildWatch, Graph, GraphConfig, PointId, Rows};
use roaring::RoaringBitmap;
use tokio::sync::oneshot;

use super::request::Request;
use super::shared::Shared;
use crate::committer::Submitter;
use crate::error::corrupted;
use crate::ids::{Generation, ScopeId};
use crate::index_files::{self, Content, IdList, Ids, IndexRow};
use crate::index_queue::{Goal, IndexJob, Named};
use crate::indexer::IndexEngine;
use crate::namespace::{Filed, Index, Namespace, State, Step, damaged_slot, graph_config};
use crate::registry::Space;
use crate::search::Snapshot;
use crate::slots::{MemoryBytes, SlotView};
use crate::truth::Read;

/// A file is written anew when this share of the vertices has changed since: one tenth.
const FILE_CHANGED_SHARE: u64 = 10;
/// How long a namespace is left alone after a failure; twice as long after each further one.
const RETRY: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(300));

/// The engine of the indexer's thread.
pub(super) struct Indexing {
    shared: Arc<Shared>,
    committer: Submitter<Request>,
    failures: HashMap<Named, Failure>,
}

#[derive(Debug, Clone, Copy)]
struct Failure {
    delay: Duration,
    until: Instant,
}

/// A namespace that is worked on, and how.
struct Work<'a> {
    indexing: &'a Indexing,
    space: &'a Space,
    namespace: &'a Namespace,
    /// None in the background.
    goal: Option<Goal>,
}

impl Indexing {
    pub(super) fn new(shared: Arc<Shared>, committer: Submitter<Request>) -> Self {
        Self {
            shared,
            committer,
            failures: HashMap::new(),
        }
    }

    fn work(&self, space: &Space, namespace: &Namespace, goal: Option<Goal>) -> Result<()> {
        let work = Work {
            indexing: self,
            space,
            namespace,
            goal,
        };
        self.shared.truth.guard(|| work.run())
    }

    fn run_job(&self, job: &IndexJob) -> Result<()> {
        let space = self.shared.space(job.space)?;
        self.shared.queue.set_busy_with(Some(job.space));
        for scope in &job.scopes {
            let Some(namespace) = space.load(&self.shared.truth, scope)? else {
                continue;
            };
            if self.shared.queue.is_stopping() {
                return Err(StorageError::Closed);
            }
            self.work(&space, &namespace, Some(job.goal))?;
        }
        Ok(())
    }
}

impl IndexEngine for Indexing {
    fn tend(&mut self, named: &Named) {
        let (space_id, scope) = named;
        let Some(space) = self
            .shared
            .open_spaces()
            .into_iter()
            .find(|space| space.id == *space_id)
        else {
            return;
        };
        let Some(namespace) = space.loaded(scope) else {
            return;
        };
        if let Some(failure) = self.failures.get(named) {
            let rest = failure.until.saturating_duration_since(Instant::now());
            if !rest.is_zero() {
                self.shared.queue.note_after(named.clone(), rest);
                return;
            }
        }
        match self.work(&space, &namespace, None) {
            Ok(()) => {
                self.failures.remove(named);
                // It may have grown, or the work may have been put off for something urgent.
                space.note(scope, &namespace);
            }
            Err(_) => {
                let delay = self
                    .failures
                    .get(named)
                    .map_or(RETRY.0, |last| (2 * last.delay).min(RETRY.1));
                let failure = Failure {
                    delay,
                    until: Instant::now() + delay,
                };
                self.failures.insert(named.clone(), failure);
                self.shared.queue.note_after(named.clone(), delay);
            }
        }
    }

    fn run(&mut self, job: IndexJob) {
        let done = self.run_job(&job);
        if done.is_ok() {
            self.failures.retain(|(space, _), _| *space != job.space);
        }
        // Whoever dropped the future does not want to know.
        let _ = job.reply.send(done);
    }

    fn stop(&mut self) {
        if !self.shared.queue.saves_when_stopped() {
            return;
        }
        for space in self.shared.open_spaces() {
            for (_, namespace) in space.all_loaded() {
                let work = Work {
                    indexing: self,
                    space: &space,
                    namespace: &namespace,
                    goal: None,
                };
                // Without the file the next opening has a longer tail.
                let _ = self.shared.truth.guard(|| work.write_file(&|| false));
            }
        }
    }
}

impl Work<'_> {
    fn is_cancelled(&self) -> bool {
        let queue = &self.indexing.shared.queue;
        queue.is_stopping() || (self.goal.is_none() && queue.is_urgent()) || self.namespace.state().is_dropped
    }

    fn threads(&self) -> usize {
        match self.goal {
            None => 1,
            Some(_) => std::thread::available_parallelism().map_or(1, usize::from),
        }
    }

    fn run(&self) -> Result<()> {
        if self.namespace.has_stale_file() {
            self.forget_file()?;
        }
        if !self.verify_file()? {
            return Ok(());
        }
        let Some(config) = graph_config(self.space.dim, &self.space.config.read()) else {
            return Ok(());
        };
        match self.step(&config) {
            Step::Nothing => {}
            Step::Forget => self.forget_index()?,
            Step::Build => self.build(&config)?,
            Step::Extend => self.extend()?,
        }
        if self.is_file_due() {
            self.write_file(&|| self.is_cancelled())?;
        }
        Ok(())
    }

    fn step(&self, config: &GraphConfig) -> Step {
        let state = self.namespace.state();
        let is_large = state.live_count() >= self.space.graph_points_min();
        let matches = state.index.as_ref().is_none_or(|index| index.matches(config));
        match self.goal {
            _ if state.is_dropped => Step::Nothing,
            Some(Goal::Rebuilt) if is_large => Step::Build,
            Some(Goal::Rebuilt) if state.index.is_some() => Step::Forget,
            _ if !matches && is_large => Step::Build,
            _ if !matches => Step::Forget,
            _ => state
                .counts()
                .step(self.space.graph_points_min(), self.threads() as u64),
        }
    }

    /// Checks a file that was just opened, and drops an index that is damaged. False if that was cancelled.
    fn verify_file(&self) -> Result<bool> {
        let state = self.namespace.state();
        let Some(index) = &state.index else { return Ok(true) };
        if index.is_damaged() {
            return self.forget_index().map(|()| true);
        }
        let Some(file) = index.file.as_ref().filter(|file| !file.is_verified()) else {
            return Ok(true);
        };
        let view = self.space.slots.view();
        self.namespace
            .verify_points(&*state.tail, &state, &self.space.slots, &view)?;
        match file.verify(&|| self.is_cancelled()) {
            Ok(is_done) => Ok(is_done),
            Err(_) => self.forget_index().map(|()| true),
        }
    }

    /// Searches compare everything from now on, and so they do after a restart.
    fn forget_index(&self) -> Result<()> {
        if self.namespace.publish_index(None) && self.namespace.has_stale_file() {
            self.forget_file()?;
        }
        Ok(())
    }

    /// The manifest names no file any more.
    fn forget_file(&self) -> Result<()> {
        if self.name_file(None)? {
            self.namespace.set_filed(Filed::Nothing);
            if let Some(row) = self.namespace.named_file.lock().take() {
                self.remove_file(&row);
            }
        }
        Ok(())
    }

    fn build(&self, config: &GraphConfig) -> Result<()> {
        let Some(source) = Source::take(self, State::living)? else {
            return Ok(());
        };
        if source.points.is_empty() {
            return Ok(());
        }
        let points: Vec<PointId> = source.points.iter().map(PointId).collect();
        let Some(graph) = Graph::build(config, &points, &source, self.threads(), &Watch(self)) else {
            return Ok(());
        };
        let ids = Ids::default().extended(source.ids_from(&graph, 0)?);
        let index = Index::new(graph, ids, source.points.clone(), source.state.lsn, None);
        self.namespace.publish_index(Some(Arc::new(index)));
        self.forget_pages();
        Ok(())
    }

    fn extend(&self) -> Result<()> {
        let Some(source) = Source::take(self, |state| (*state.tail).clone())? else {
            return Ok(());
        };
        let Some(old) = &source.state.index else { return Ok(()) };
        let points: Vec<PointId> = source.points.iter().map(PointId).collect();
        let Some(graph) = old.graph.extended(&points, &source, &Watch(self)) else {
            return Ok(());
        };
        let ids = source.ids_from(&graph, old.graph.len())?;
        let index = old.extended(graph, ids, &source.points, source.state.lsn);
        self.namespace.publish_index(Some(Arc::new(index)));
        Ok(())
    }

    /// Whether the file is too far behind the index.
    fn is_file_due(&self) -> bool {
        let state = self.namespace.state();
        let Some(index) = &state.index else { return false };
        let is_urgent = self.goal.is_some() && self.indexing.shared.is_durable();
        let changed = index.graph.changed() * FILE_CHANGED_SHARE > u64::from(index.graph.len());
        index.is_changed() && (is_urgent || changed || (index.file.is_none() && self.indexing.shared.is_durable()))
    }

    /// Writes the index to a file of its own, and goes on with what is in that.
    fn write_file(&self, is_cancelled: &dyn Fn() -> bool) -> Result<()> {
        let shared = &self.indexing.shared;
        let state = self.namespace.state();
        let Some(index) = state
            .index
            .as_ref()
            .filter(|index| index.is_changed() && !index.is_damaged())
        else {
            return Ok(());
        };
        let Some(disk) = &shared.disk else {
            return self.gather(index);
        };
        shared.check_writable()?;
        shared.check_free_space()?;
        let content = Content {
            scope: self.namespace.scope_id,
            lsn: index.lsn,
            graph: &index.graph,
            ids: &index.ids,
            points: &index.points,
        };
        let Some(row) = index_files::write(disk, self.space.id, &content, is_cancelled)? else {
            return Ok(());
        };
        let opened = index_files::open(disk, self.space.id, content.scope, row)
            .map_err(|unusable| corrupted(disk.full_path(&row.name(content.scope)), unusable.0))
            .inspect_err(|_| self.remove_file(&row))?;
        opened.file.trust();
        if !self.name_file(Some(row))? {
            self.remove_file(&row);
            return Ok(());
        }
        if let Some(older) = self.namespace.named_file.lock().replace(row) {
            self.remove_file(&older);
        }
        self.namespace.set_filed(Filed::Points(index.points.clone()));
        // What was built in RAM may stay there; what changed since it was mapped is gathered in the new file.
        let filed = if index.graph.changed() == 0 {
            Index::new(
                index.graph.clone(),
                opened.ids,
                opened.points,
                opened.lsn,
                Some(opened.file),
            )
        } else {
            Index::opened(opened)
        };
        self.namespace.publish_index(Some(Arc::new(filed)));
        self.forget_pages();
        Ok(())
    }

    /// In RAM: a graph without the patches of its changes.
    fn gather(&self, index: &Index) -> Result<()> {
        if index.graph.changed() == 0 {
            return Ok(());
        }
        let damaged = |detail: String| corrupted(self.indexing.shared.path(), format!("a graph in memory: {detail}"));
        let mut bytes = Vec::new();
        let written = index.graph.write_to(&mut bytes);
        written.map_err(|error| damaged(error.to_string()))?;
        let bytes = MemoryBytes::copy(&bytes).map_err(|error| damaged(error.to_string()))?;
        let graph = Graph::open(Arc::new(bytes)).map_err(|damage| damaged(damage.0))?;
        let gathered = Index::new(graph, index.ids.clone(), index.points.clone(), index.lsn, None);
        self.namespace.publish_index(Some(Arc::new(gathered)));
        Ok(())
    }

    /// Names a file in the manifest, or none. False if the scope was dropped meanwhile.
    fn name_file(&self, row: Option<IndexRow>) -> Result<bool> {
        let (reply, answer) = oneshot::channel();
        let scope = self.namespace.scope_id;
        self.indexing
            .committer
            .submit(Request::NameIndex { scope, row, reply })?;
        answer.blocking_recv().unwrap_or(Err(StorageError::Closed))
    }

    fn remove_file(&self, row: &IndexRow) {
        if let Some(disk) = &self.indexing.shared.disk {
            index_files::remove(disk, self.space.id, self.namespace.scope_id, row);
        }
    }

    /// Building has read all vectors through memory; they need not stay there unless searches read them there.
    fn forget_pages(&self) {
        if self.space.config.read().memory() != Memory::Speed {
            self.space.slots.forget_pages();
        }
    }
}

struct Watch<'a>(&'a Work<'a>);

impl BuildWatch for Watch<'_> {
    fn advance(&self, _points: u64) {}

    fn is_cancelled(&self) -> bool {
        self.0.is_cancelled()
    }
}

/// Points that are to be linked, as of one mutation. Holding the state keeps their slots as they are.
struct Source {
    state: Arc<State>,
    view: Arc<SlotView>,
    points: RoaringBitmap,
    /// In the order of the points.
    ids: IdList,
}

impl Source {
    /// The points that `choose` chooses of the current state; none if the scope was dropped.
    fn take(work: &Work<'_>, choose: impl FnOnce(&State) -> RoaringBitmap) -> Result<Option<Self>> {
        let (space, namespace) = (work.space, work.namespace);
        let Some(snapshot) = Snapshot::take(&work.indexing.shared.truth, &space.slots, namespace)? else {
            return Ok(None);
        };
        let (state, view, read) = snapshot.into_parts();
        let points = choose(&state);
        let ids = read_ids(&read, namespace.scope_id, &points)?;
        drop(read);
        namespace.verify_points(&points, &state, &space.slots, &view)?;
        for (place, point) in (0..).zip(&points) {
            let slot = state.slot(PointId(point)).expect("living points have slots");
            let expected = ids.get(place).map(|(generation, _)| generation);
            if expected != Some(view.stated_generation(slot)) {
                let problem = "its generation is not that of the entry";
                return Err(damaged_slot(&space.slots, PointId(point), slot, problem));
            }
        }
        Ok(Some(Self {
            state,
            view,
            points,
            ids,
        }))
    }

    /// The ids of the vertices of a graph from `first` on.
    fn ids_from(&self, graph: &Graph, first: u32) -> Result<IdList> {
        let mut list = IdList::default();
        for vertex in first..graph.len() {
            let PointId(point) = graph.point(vertex);
            let place = self
                .points
                .rank(point)
                .checked_sub(1)
                .filter(|_| self.points.contains(point));
            let place = place.expect("a graph has the vertices that it was given");
            let place = u32::try_from(place).expect("points are u32");
            let (generation, id) = self.ids.get(place).expect("every point has an id");
            push(&mut list, generation, id)?;
        }
        Ok(list)
    }
}

impl Rows for Source {
    fn row(&self, point: PointId) -> &[f32] {
        let slot = self.state.slot(point).expect("vertices have slots");
        self.view.vector(slot)
    }
}

/// The ids of points that live, in their order.
fn read_ids(read: &Read, scope: ScopeId, points: &RoaringBitmap) -> Result<IdList> {
    let records = read.records(scope)?;
    let mut list = IdList::default();
    // Rows in their order are cheaper than as many look-ups, if most of them are wanted.
    if points.len() >= 1_000 {
        let mut wanted = points.iter().peekable();
        records.visit(|point, record| {
            if wanted.next_if_eq(&point.0).is_some() {
                push(&mut list, record.generation, record.id.as_bytes())?;
            }
            Ok(())
        })?;
        if let Some(missing) = wanted.next() {
            records.get(PointId(missing))?;
        }
    } else {
        for point in points {
            let record = records.get(PointId(point))?;
            push(&mut list, record.generation, record.id.as_bytes())?;
        }
    }
    Ok(list)
}

fn push(list: &mut IdList, generation: Generation, id: &[u8]) -> Result<()> {
    if list.push(generation, id) {
        return Ok(());
    }
    Err(StorageError::LimitExceeded {
        what: "index of",
        name: "a scope".to_string(),
        got: u64::from(u32::MAX) + 1,
        limit: u64::from(u32::MAX),
        unit: "bytes of ids",
    })
}
