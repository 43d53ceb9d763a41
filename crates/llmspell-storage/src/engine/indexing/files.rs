//! Writing, naming and removing of index files.

use std::sync::Arc;

use llmspell_core::{Result, StateScope, StorageError};
use llmspell_vector::Graph;
use tokio::sync::oneshot;

use super::Work;
use crate::base::error::corrupted;
use crate::base::observe;
use crate::engine::calls::NameFile;
use crate::engine::request::Request;
use crate::indexes::files::{self, Content, IndexRow, Kind};
use crate::indexes::graph::Index;
use crate::indexes::named::NewFile;
use crate::namespace::State;
use crate::slots::FrozenBytes;
use crate::spaces::handover::Built;

/// A file is written again when this share of the vertices has changed since: one tenth.
const FILE_CHANGED_SHARE: u64 = 10;

impl Work<'_> {
    /// Checks a file that was just opened, and drops an index that is damaged. False if that was cancelled.
    pub(super) fn verify_file(&self) -> Result<bool> {
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
        if index.is_to_be_held(self.space.config.read().memory()) {
            self.hold_graph()?;
            if file.is_verified() || self.namespace.state().index.is_none() {
                return Ok(true);
            }
        }
        match file.verify(&|| self.is_cancelled()) {
            Ok(is_done) => Ok(is_done),
            Err(_) => self.forget_index().map(|()| true),
        }
    }

    /// If the tier requires the graph in memory and it lies in a file: copies it, checking the file on the way. An
    /// index of a damaged file is dropped; a cancelled copy stays mapped until the next look at the namespace.
    pub(super) fn hold_graph(&self) -> Result<()> {
        let state = self.namespace.state();
        let Some(index) = &state.index else { return Ok(()) };
        let Some(file) = index
            .file
            .as_ref()
            .filter(|_| index.is_to_be_held(self.space.config.read().memory()))
        else {
            return Ok(());
        };
        let is_cancelled = || self.is_cancelled();
        let Ok(graph) = file.verify_into_memory(&is_cancelled) else {
            return self.forget_index();
        };
        if index.is_damaged() || (graph.is_none() && is_cancelled()) {
            return Ok(());
        }
        self.hand_over(index.held(graph), Arc::clone(&state))?;
        file.forget_pages();
        Ok(())
    }

    /// Searches compare everything from now on, also after a restart.
    pub(super) fn forget_index(&self) -> Result<()> {
        if self.hand_over_built(Built::Nothing(Kind::Graph))? && self.namespace.state().has_stale_graph_file() {
            self.name_file(Kind::Graph, None)?;
        }
        Ok(())
    }

    /// Whether the file is too far behind the index.
    pub(super) fn is_file_due(&self) -> bool {
        let state = self.namespace.state();
        let Some(index) = &state.index else { return false };
        let is_urgent = self.goal.is_some() && self.indexing.shared.is_durable();
        let changed = index.graph.changed() * FILE_CHANGED_SHARE > u64::from(index.graph.len());
        let is_wanted = self.namespace.must_save_index();
        index.is_changed()
            && (is_urgent || changed || is_wanted || (index.file.is_none() && self.indexing.shared.is_durable()))
    }

    /// Writes the index to a new file, and continues with the content of that file.
    pub(super) fn write_file(&self, is_cancelled: &dyn Fn() -> bool) -> Result<()> {
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
            return self.gather(&state, index);
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
        let Some(row) = files::write(disk, self.space.id, &content, is_cancelled)? else {
            return Ok(());
        };
        let measured = self.namespace.measured();
        let row = IndexRow { measured, ..row };
        let opened = files::open(disk, self.space.id, content.scope, row)
            .map_err(|unusable| corrupted(disk.full_path(&row.name(content.scope, Kind::Graph)), unusable.0))
            .inspect_err(|_| self.remove_file(Kind::Graph, &row))?;
        opened.file.trust();
        let file = NewFile {
            row,
            held: Arc::new(index.points.clone()),
            noted: None,
        };
        if !self.name_file(Kind::Graph, Some(file))? {
            return Ok(());
        }
        observe::file_written(&self.space.name, row.bytes);
        // An index that was built in RAM need not stay there.
        self.hand_over(Index::opened(opened).in_place_of(index), Arc::clone(&state))?;
        self.namespace.set_must_save_index(false);
        shared.budget.look_again();
        self.forget_pages();
        Ok(())
    }

    /// In RAM: replaces the graph by one without patches.
    fn gather(&self, state: &Arc<State>, index: &Index) -> Result<()> {
        if index.graph.changed() == 0 {
            return Ok(());
        }
        let graph = self.in_large_pages(&index.graph)?;
        let gathered = Index::new(graph, index.ids.clone(), index.points.clone(), index.lsn);
        self.hand_over(gathered.in_place_of(index), Arc::clone(state)).map(drop)
    }

    /// The same graph in one piece of large pages.
    pub(super) fn in_large_pages(&self, graph: &Graph) -> Result<Graph> {
        let damaged = |detail: String| corrupted(self.indexing.shared.path(), format!("a graph in memory: {detail}"));
        let bytes = FrozenBytes::filled(graph.bytes(), |mut bytes| graph.write_to(&mut bytes).map(drop));
        let bytes = bytes.map_err(|error| damaged(error.to_string()))?;
        Graph::open(Arc::new(bytes)).map_err(|damage| damaged(damage.0))
    }

    /// Asks the committer to name a new file, or none; then removes the previous one. If the scope was dropped
    /// meanwhile, removes the new one and returns false.
    pub(super) fn name_file(&self, kind: Kind, file: Option<NewFile>) -> Result<bool> {
        let namespace = self.namespace;
        let truth = &self.indexing.shared.truth;
        let (before, row) = (namespace.state().files.row(kind), file.as_ref().map(|file| file.row));
        let is_named = match truth.read()?.scope_name(namespace.scope_id)? {
            Some((_, scope)) => self.request_name(scope, kind, file)?,
            None => false,
        };
        // If the scope is dropped in the same batch, that does not know of the new file; if it is dropped later, that
        // does not know of the previous one.
        let is_gone = !is_named || namespace.state().is_dropped;
        let is_other = |before: &IndexRow| row.is_none_or(|row| (row.lsn, row.number) != (before.lsn, before.number));
        let before = before.filter(|before| is_named && is_other(before));
        for row in before.into_iter().chain(row.filter(|_| is_gone)) {
            self.remove_file(kind, &row);
        }
        Ok(is_named)
    }

    fn request_name(&self, scope: StateScope, kind: Kind, file: Option<NewFile>) -> Result<bool> {
        let (reply, answer) = oneshot::channel();
        let call = NameFile {
            space: Arc::clone(self.space),
            scope,
            namespace: Arc::clone(self.namespace),
            kind,
            file,
        };
        self.indexing.committer.submit(Request::new(call, reply))?;
        answer.blocking_recv().unwrap_or(Err(StorageError::Closed))
    }

    fn remove_file(&self, kind: Kind, row: &IndexRow) {
        if let Some(disk) = &self.indexing.shared.disk {
            files::remove(disk, self.space.id, self.namespace.scope_id, kind, row);
        }
    }
}
