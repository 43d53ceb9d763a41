//! How does the truth name the file of an index?

use std::sync::Arc;

use llmspell_core::StateScope;

use super::{Batch, Fail, changing};
use crate::indexes::files::{IndexRow, Kind};
use crate::indexes::named::{NamedFile, NewFile};
use crate::namespace::Namespace;
use crate::spaces::registry::Space;

impl Batch<'_> {
    /// Names the files of the indexes of words that searches of a namespace use now, with the points for which they are out of
    /// date, and says which these are. None if the scope was dropped, or is another one by now.
    pub(in crate::engine) fn name_texts(
        &mut self,
        space: &Arc<Space>,
        scope: &StateScope,
        namespace: &Arc<Namespace>,
    ) -> Result<Option<Vec<IndexRow>>, Fail> {
        let Some(at) = self.find(space, scope)? else {
            return Ok(None);
        };
        let pending = &mut self.scopes[at];
        if !Arc::ptr_eq(&pending.namespace, namespace) {
            return Ok(None);
        }
        let rows: Vec<IndexRow> = pending.state.texts.iter().flat_map(|index| index.rows()).collect();
        let named = rows.split_first().map(|(first, others)| NamedFile {
            row: Some(*first),
            others: Arc::new(others.to_vec()),
            is_bad: false,
            held: Arc::default(),
            changed: Arc::new(
                pending
                    .state
                    .texts
                    .as_ref()
                    .map(|index| index.out_of_files())
                    .unwrap_or_default(),
            ),
        });
        let is_any = named.is_some();
        pending.state.files.set(Kind::Texts, named);
        if is_any {
            // Now, not in a while: what has changed is stored as of the checkpoint.
            pending.state.ops_since_checkpoint = 0;
            self.rows.checkpoint(namespace.scope_id, &pending.state)
        } else {
            self.rows.set_index_file(namespace.scope_id, Kind::Texts, None)
        }
        .map_err(changing)?;
        self.is_changed = true;
        Ok(Some(rows))
    }

    /// Names the file that an index of a namespace has from now on, with the points that have changed since, or none. False
    /// if the scope was dropped, or is another one by now.
    pub(in crate::engine) fn name_file(
        &mut self,
        space: &Arc<Space>,
        scope: &StateScope,
        namespace: &Arc<Namespace>,
        (kind, file): (Kind, Option<&NewFile>),
    ) -> Result<bool, Fail> {
        let Some(at) = self.find(space, scope)? else {
            return Ok(false);
        };
        let pending = &mut self.scopes[at];
        if !Arc::ptr_eq(&pending.namespace, namespace) {
            return Ok(false);
        }
        let changed = |file: &NewFile| {
            let noted = file.noted.as_ref().map(|noted| noted.so_far().points);
            noted.map(|points| points | &pending.changes.points).unwrap_or_default()
        };
        let named = file.map(|file| NamedFile {
            row: Some(file.row),
            others: Arc::default(),
            is_bad: false,
            held: Arc::clone(&file.held),
            changed: Arc::new(changed(file)),
        });
        pending.state.files.set(kind, named.clone());
        if kind.notes_changes() && named.is_some() {
            // Now, not in a while: what has changed is stored as of the checkpoint.
            pending.state.ops_since_checkpoint = 0;
            self.rows.checkpoint(namespace.scope_id, &pending.state)
        } else {
            self.rows.set_index_file(namespace.scope_id, kind, named.as_ref())
        }
        .map_err(changing)?;
        self.is_changed = true;
        Ok(true)
    }
}
