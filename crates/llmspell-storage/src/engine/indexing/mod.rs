//! The work of the indexer's thread: what an index needs, and how it is done.
//!
//! ```text
//! snapshot   a state and the rows of the truth as of the same mutation: points and their ids
//! verify     the slots of the points: damaged vectors are never linked
//! build      a new graph, or the old one plus the points of the tail, or the old one with repaired links
//! hand over  the committer adopts it; the state is held until then, so none of its points meant another vector meanwhile
//! write      an index file, named by the committer; then the older file is removed, and the mapped graph is used
//! hold       `Speed`: a copy of the graph in large pages of our own replaces the mapped one
//! ```
//!
//! | file        | question                                               |
//! |-------------|--------------------------------------------------------|
//! | `mod.rs`    | what does a namespace need, and which caller waits for it? |
//! | `source.rs` | which points and ids are to be linked?                 |
//! | `repair.rs` | how are links around tombstones repaired?              |
//! | `files.rs`  | how is an index file written, named and removed?       |
//! | `texts.rs`  | how does the indexer index words?                      |
//! | `metadata.rs` | how does the indexer build metadata indexes?         |
//! | `tuning.rs` | how wide a beam do searches need to reach the recall target? |
//! | `ladder.rs` | … and which width is measured next?                    |
//!
//! No lock is held here that a search or a commit waits for. A failure leaves the namespace as it was: its points are
//! scanned, and the work is tried again later.

mod files;
mod ladder;
mod metadata;
mod repair;
mod source;
mod texts;
mod tuning;

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use llmspell_core::{Memory, Result, StateScope, StorageError};
use llmspell_vector::{BuildWatch, Graph, GraphConfig, PointId, ReadOrder, Rows as _};

use crate::base::failures::{Place, Task};
use crate::base::observe;
use crate::engine::committer::Submitter;
use crate::engine::indexer::IndexEngine;
use crate::engine::request::Request;
use crate::engine::shared::Shared;
use crate::indexes::files::{Ids, Kind};
use crate::indexes::graph::{Index, Step, graph_config};
use crate::indexes::queue::{Goal, IndexJob, Named};
use crate::namespace::{Namespace, State};
use crate::spaces::handover::{Answer, Built};
use crate::spaces::registry::Space;
use source::Source;
use tuning::Measuring;

/// How long a namespace is left alone after a failure; twice as long after each further one.
const RETRY: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(300));

/// The engine of the indexer's thread.
pub(crate) struct Indexing {
    shared: Arc<Shared>,
    committer: Submitter<Request>,
    failures: HashMap<Named, Failure>,
    /// The namespace whose searches are being measured.
    measuring: Option<Measuring>,
}

#[derive(Debug, Clone, Copy)]
struct Failure {
    delay: Duration,
    until: Instant,
}

/// The namespace being worked on, and how.
struct Work<'a> {
    indexing: &'a Indexing,
    space: &'a Arc<Space>,
    namespace: &'a Arc<Namespace>,
    /// None in the background.
    goal: Option<Goal>,
}

impl Indexing {
    pub(crate) fn new(shared: Arc<Shared>, committer: Submitter<Request>) -> Self {
        Self {
            shared,
            committer,
            failures: HashMap::new(),
            measuring: None,
        }
    }

    /// A namespace by its name, if it is loaded.
    fn loaded(&self, (space, scope): &Named) -> Option<(Arc<Space>, Arc<Namespace>)> {
        let space = self.shared.open_spaces().into_iter().find(|open| open.id == *space)?;
        let namespace = space.loaded(scope)?;
        Some((space, namespace))
    }

    fn work(&self, space: &Arc<Space>, namespace: &Arc<Namespace>, goal: Option<Goal>) -> Result<()> {
        let work = Work {
            indexing: self,
            space,
            namespace,
            goal,
        };
        self.shared.truth.guard(|| work.run())
    }

    /// Measures searches for a caller that waits.
    fn measure_for(&self, space: &Arc<Space>, scope: &StateScope, namespace: &Arc<Namespace>, goal: Goal) {
        let work = Work {
            indexing: self,
            space,
            namespace,
            goal: Some(goal),
        };
        let named = (space.id, scope.clone());
        // A failure of measuring does not fail the caller's job.
        let _ = self.shared.truth.guard(|| {
            work.measure_at_once(&named, goal == Goal::Rebuilt);
            work.name_measured();
            Ok(())
        });
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
            let done = self.work(&space, &namespace, Some(job.goal));
            let place = Place::Scope(job.space, scope.clone());
            self.shared.note_background(Task::Index, &place, &done);
            done?;
            self.measure_for(&space, scope, &namespace, job.goal);
            space.weigh(&namespace);
            // Some searches may remain to be measured.
            space.note(scope, &namespace);
            self.shared.make_room();
        }
        Ok(())
    }
}

impl IndexEngine for Indexing {
    fn tend(&mut self, named: &Named) {
        let Some((space, namespace)) = self.loaded(named) else {
            return;
        };
        let scope = &named.1;
        if let Some(failure) = self.failures.get(named) {
            let rest = failure.until.saturating_duration_since(Instant::now());
            if !rest.is_zero() {
                self.shared.queue.note_after(named.clone(), rest);
                return;
            }
        }
        let done = self.work(&space, &namespace, None);
        let place = Place::Scope(space.id, scope.clone());
        self.shared.note_background(Task::Index, &place, &done);
        space.weigh(&namespace);
        self.shared.make_room();
        match done {
            Ok(()) => {
                self.failures.remove(named);
                // It may have grown, or the work may have been interrupted by something urgent.
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

    fn index_metadata(&mut self, named: &Named) {
        self.index_wanted_metadata(named);
    }

    fn measure(&mut self, named: &Named) {
        self.measure_a_little(named);
    }

    fn run(&mut self, job: IndexJob) {
        let done = self.run_job(&job);
        // Measurements made meanwhile count; an older one must not replace them.
        self.measuring.take_if(|measuring| measuring.is_of(job.space));
        if done.is_ok() {
            self.failures.retain(|(space, _), _| *space != job.space);
        }
        // The caller may have dropped its future.
        let _ = job.reply.send(done);
    }

    fn stop(&mut self) {
        if !self.shared.queue.saves_when_stopped() {
            return;
        }
        for space in self.shared.open_spaces() {
            for (scope, namespace) in space.all_loaded() {
                let work = Work {
                    indexing: self,
                    space: &space,
                    namespace: &namespace,
                    goal: None,
                };
                // Without the file the next opening has a longer tail.
                let written = self.shared.truth.guard(|| work.write_file(&|| false));
                let saved = self.shared.truth.guard(|| work.save_metadata_at_the_end());
                let place = Place::Scope(space.id, scope);
                self.shared
                    .note_background(Task::WriteLastFiles, &place, &written.and(saved));
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
        if self.namespace.state().has_stale_graph_file() {
            self.name_file(Kind::Graph, None)?;
        }
        if !self.verify_file()? {
            return Ok(());
        }
        if self.goal.is_some() || self.space.is_text_work_due(&self.namespace.state()) {
            self.index_texts()?;
        }
        let Some(config) = graph_config(self.space.dim, &self.space.config.read()) else {
            return Ok(());
        };
        let step = self.step(&config);
        let watched = observe::IndexWork::begin(&self.space.name, &step, step != Step::Nothing);
        match step {
            Step::Nothing => {}
            Step::Forget => self.forget_index()?,
            Step::Build => self.build(&config)?,
            Step::Extend => self.extend()?,
            Step::Repair => {
                // First the step that shortens searches most.
                self.extend()?;
                self.repair()?;
            }
        }
        watched.end();
        if self.is_file_due() {
            self.write_file(&|| self.is_cancelled())?;
        }
        self.hold_graph()?;
        if step != Step::Nothing || self.goal.is_some() || self.namespace.is_metadata_behind() {
            self.index_metadata()?;
        }
        if self.space.is_metadata_file_due(self.namespace) {
            self.save_metadata(&|| self.is_cancelled())?;
        }
        Ok(())
    }

    fn step(&self, config: &GraphConfig) -> Step {
        let state = self.namespace.state();
        let is_large = state.vector_count() >= self.space.graph_points_min();
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

    fn build(&self, config: &GraphConfig) -> Result<()> {
        let Some(mut source) = Source::take(self, State::living_vectors)? else {
            return Ok(());
        };
        source.dim = config.dim;
        if source.points.is_empty() {
            return Ok(());
        }
        let points: Vec<PointId> = source.points.iter().map(PointId).collect();
        let graph = Graph::build(config, &points, &source, self.threads(), &Watch(self));
        source.will_read(ReadOrder::Given);
        let Some(graph) = graph else {
            return Ok(());
        };
        let ids = Ids::default().extended(source.ids_from(&graph, 0)?);
        // Without a file it stays where it is now.
        let graph = if self.indexing.shared.is_durable() {
            graph
        } else {
            self.in_large_pages(&graph)?
        };
        let index = Index::new(graph, ids, source.points.clone(), source.state.lsn);
        let before = source.state.index.as_ref();
        if before.is_none_or(|before| !before.matches(config)) {
            // Older measurements were made with another graph.
            self.namespace.set_measured(None);
        }
        self.hand_over(index, source.state)?;
        self.forget_pages();
        Ok(())
    }

    fn extend(&self) -> Result<()> {
        let Some(source) = Source::take(self, |state| (*state.tail).clone())? else {
            return Ok(());
        };
        let Some(old) = source.state.index.as_ref().filter(|_| !source.points.is_empty()) else {
            return Ok(());
        };
        if source.points.len() > old.graph.spare() {
            // More have come meanwhile than links have bits for: the next step builds a new graph.
            return Ok(());
        }
        let points: Vec<PointId> = source.points.iter().map(PointId).collect();
        source.will_read(ReadOrder::Random);
        let graph = old.graph.extended(&points, &source, &Watch(self));
        source.will_read(ReadOrder::Given);
        let Some(graph) = graph else {
            return Ok(());
        };
        let ids = source.ids_from(&graph, old.graph.len())?;
        let index = old.extended(graph, ids, &source.points, source.state.lsn);
        self.hand_over(index, source.state)?;
        Ok(())
    }

    /// Publishes a graph that was built from a state; searches use it when this returns. Does nothing and returns false
    /// if the scope was dropped.
    fn hand_over(&self, index: Index, of: Arc<State>) -> Result<bool> {
        let index = Arc::new(index);
        self.hand_over_built(Built::Graph { index, of })
    }

    fn hand_over_built(&self, built: Built) -> Result<bool> {
        let answer = self.space.door.hand_over(self.namespace, built, None)?;
        Ok(matches!(answer, Some(Answer::Adopted)))
    }

    /// Called during long work: builds the metadata indexes that filters need, which take less time.
    fn index_what_filters_want(&self) {
        if let Some(named) = self.indexing.shared.queue.take_wanted_metadata() {
            self.indexing.index_wanted_metadata(&named);
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
    fn advance(&self, _points: u64) {
        self.0.index_what_filters_want();
    }

    fn is_cancelled(&self) -> bool {
        self.0.is_cancelled()
    }
}
