//! Building of metadata indexes by the indexer, and their files.
//!
//! The indexer builds it for a filter that needs it, for a caller that waits for indexes, and once the graph of a scope
//! with metadata has caught up after a load: then it takes little time beside the graph, and the first filter finds it
//! ready.

use std::sync::Arc;

use llmspell_core::Result;

use super::{Indexing, Work};
use crate::base::failures::{Place, Task};
use crate::indexes::files::{self, Kind};
use crate::indexes::named::NewFile;
use crate::indexes::queue::Named;
use crate::spaces::metadata;
use llmspell_metadata::MetadataIndex;

/// At the end a file is written again when one in this many entries has changed since.
const CHANGED_SHARE_AT_THE_END: u64 = 100;
/// But not if more than one in this many is unread.
const UNREAD_SHARE_AT_THE_END: u64 = 4;
/// Stored bytes of empty metadata.
const NO_METADATA_BYTES: u64 = 2;

impl Indexing {
    /// Builds the index that a filter needs, perhaps during a graph build.
    pub(super) fn index_wanted_metadata(&self, named: &Named) {
        let Some((space, namespace)) = self.loaded(named) else {
            return;
        };
        let shared = &self.shared;
        let is_cancelled = || shared.queue.is_stopping() || namespace.state().is_dropped;
        let made = shared
            .truth
            .guard(|| metadata::index_in_background(&shared.truth, &space, &namespace, &is_cancelled));
        let place = Place::Scope(named.0, named.1.clone());
        shared.note_background(Task::MetadataIndex, &place, &made);
        if made.is_ok() {
            space.note(&named.1, &namespace);
        }
        // After other errors the filter gets the same error, and returns it.
    }
}

impl Work<'_> {
    /// Builds the index if there is none, there is metadata, and no points are being linked; or inserts the unread
    /// points.
    pub(super) fn index_metadata(&self) -> Result<()> {
        let state = self.namespace.state();
        let has_metadata = state.metadata_bytes > NO_METADATA_BYTES * state.live_count();
        let is_wanted = match &state.metadata {
            Some(index) => index.distrusted_count() > 0,
            None => has_metadata && state.index.is_some() && state.tail.is_empty(),
        };
        if !is_wanted {
            return Ok(());
        }
        drop(state);
        let truth = &self.indexing.shared.truth;
        metadata::index_in_background(truth, self.space, self.namespace, &|| self.is_cancelled())
    }

    /// Writes a last file, if there is time.
    pub(super) fn save_metadata_at_the_end(&self) -> Result<()> {
        let state = self.namespace.state();
        let is_read = |index: &MetadataIndex| index.distrusted_count() * UNREAD_SHARE_AT_THE_END <= state.live_count();
        let is_worth_it = state.metadata.as_deref().is_some_and(is_read);
        match is_worth_it && state.is_metadata_file_due(CHANGED_SHARE_AT_THE_END) {
            true => self.save_metadata(&|| false),
            false => Ok(()),
        }
    }

    /// Writes the index to a new file, which the truth names from then on.
    pub(super) fn save_metadata(&self, is_cancelled: &dyn Fn() -> bool) -> Result<()> {
        let shared = &self.indexing.shared;
        let Some(disk) = &shared.disk else { return Ok(()) };
        shared.check_writable()?;
        shared.check_free_space()?;
        let (state, noted) = self.namespace.look();
        let Some(index) = &state.metadata else { return Ok(()) };
        let scope = self.namespace.scope_id;
        let content = (scope, state.lsn);
        let Some(row) = files::write_metadata(disk, self.space.id, content, index, is_cancelled)? else {
            return Ok(());
        };
        let file = NewFile {
            row,
            held: Arc::default(),
            noted: Some(noted),
        };
        self.name_file(Kind::Metadata, Some(file)).map(drop)
    }
}
