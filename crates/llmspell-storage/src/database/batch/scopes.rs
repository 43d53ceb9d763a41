//! What does a batch know of a scope, and how does one come and go?

use std::sync::Arc;

use llmspell_core::StateScope;
use roaring::RoaringBitmap;

use super::quotas::Entries;
use super::{Batch, Fail, changing, looking};
use crate::database::request::Spaces;
use crate::database::writer::{Dropped, Pending};
use crate::ids::ScopeId;
use crate::index_files::IndexRow;
use crate::namespace::{Changes, Filed, MetadataFile, Namespace, State};
use crate::registry::Space;

impl Batch<'_> {
    /// The namespace of a scope as this batch has changed it so far; none if there is no such scope.
    pub(super) fn pending(&mut self, space: &Arc<Space>, scope: &StateScope) -> Result<Option<&mut Pending>, Fail> {
        let key = (space.id, scope.clone());
        if !self.pending.contains_key(&key) {
            // Not by the registry: this batch may have dropped the scope.
            if self.rows.scope_id(space.id, scope).map_err(looking)?.is_none() {
                return Ok(None);
            }
            let Some(namespace) = space.load(&self.shared.truth, scope).map_err(looking)? else {
                return Ok(None);
            };
            let state = (*namespace.state()).clone();
            let changes = Changes::after(state.metadata.clone());
            let pending = Pending {
                space: Arc::clone(space),
                namespace,
                is_new: false,
                state,
                freed: RoaringBitmap::new(),
                changes,
                taken: Vec::new(),
            };
            self.pending.insert(key.clone(), pending);
        }
        Ok(self.pending.get_mut(&key))
    }

    /// A scope; it must be followed by a mutation, as of which readers see it.
    pub(super) fn create_scope(&mut self, space: &Arc<Space>, scope: &StateScope) -> Result<(), Fail> {
        let id = ScopeId(self.head.next_scope_id);
        self.head.next_scope_id += 1;
        self.rows.put_scope(space.id, scope, id).map_err(changing)?;
        let pending = Pending {
            space: Arc::clone(space),
            namespace: Arc::new(Namespace::new(id, State::default(), (None, Filed::Nothing))),
            is_new: true,
            state: State::default(),
            freed: RoaringBitmap::new(),
            changes: Changes::default(),
            taken: Vec::new(),
        };
        self.pending.insert((space.id, scope.clone()), pending);
        self.is_changed = true;
        Ok(())
    }

    /// Removes everything of a scope from these spaces. Says how many entries could be seen.
    pub(super) fn drop_scopes(&mut self, spaces: &Spaces, scope: &StateScope, now: i64) -> Result<u64, Fail> {
        let mut count = 0;
        for space in self.spaces(spaces)? {
            count += self.drop_scope(&space, scope, now)?;
            let staging = self.routing.staging_of(space.id);
            // One that this batch made holds nothing yet.
            if let Some(staging) = staging.filter(|id| self.shared.has_space(*id)) {
                let staging = self.shared.space(staging).map_err(changing)?;
                self.drop_scope(&staging, scope, now)?;
            }
        }
        Ok(count)
    }

    pub(super) fn drop_scope(&mut self, space: &Arc<Space>, scope: &StateScope, now: i64) -> Result<u64, Fail> {
        let Some(pending) = self.pending(space, scope)? else {
            return Ok(0);
        };
        let count = pending.state.visible_count(now);
        let gone = Entries {
            count: pending.state.live_count(),
            metadata_bytes: pending.state.metadata_bytes,
        };
        let namespace = Arc::clone(&pending.namespace);
        self.prepare_to_count(scope)?;
        self.count_entries(space, scope, Entries::default(), gone);
        self.rows
            .drop_scope(space.id, scope, namespace.scope_id)
            .map_err(changing)?;
        self.pending.remove(&(space.id, scope.clone()));
        self.dropped.push(Dropped {
            space: Arc::clone(space),
            scope: scope.clone(),
            namespace,
        });
        self.is_changed = true;
        Ok(count)
    }

    /// Names the file of the metadata index of a namespace in its checkpoint, with the points that have changed since.
    /// False if the scope was dropped, or is another one by now.
    pub(super) fn name_metadata(
        &mut self,
        space: &Arc<Space>,
        scope: &StateScope,
        namespace: &Arc<Namespace>,
        row: &IndexRow,
    ) -> Result<bool, Fail> {
        let Some(pending) = self.pending(space, scope)? else {
            return Ok(false);
        };
        let Some(unsaved) = namespace
            .unsaved()
            .filter(|_| Arc::ptr_eq(&pending.namespace, namespace))
        else {
            return Ok(false);
        };
        pending.state.metadata_file = Some(MetadataFile {
            row: *row,
            changed: Arc::new(unsaved | &pending.changes.points),
        });
        pending.state.ops_since_checkpoint = 0;
        let state = pending.state.clone();
        // Now, not in a while: the log before says nothing of this file.
        self.rows.checkpoint(namespace.scope_id, &state).map_err(changing)?;
        self.is_changed = true;
        Ok(true)
    }
}
