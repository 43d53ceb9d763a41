//! What does a batch know of a scope, and how does one come and go?

use std::sync::Arc;

use llmspell_core::{KeyValueWrite, ScopedBackend, StateScope, Timestamp};
use roaring::RoaringBitmap;

use super::quotas::Entries;
use super::{Batch, Fail, changing, looking};
use crate::base::ids::{PointId, ScopeId, Slot};
use crate::base::op::Op;
use crate::engine::request::{Removed, Scopes, Spaces};
use crate::engine::writer::{Dropped, Pending};
use crate::indexes::changes::Changes;
use crate::namespace::{Namespace, State};
use crate::spaces::registry::Space;
use crate::truth::ExpiredRow;

impl Batch<'_> {
    /// The namespace of a scope as this batch has changed it so far; none if there is no such scope.
    pub(super) fn pending(&mut self, space: &Arc<Space>, scope: &StateScope) -> Result<Option<&mut Pending>, Fail> {
        if space.is_dropped() || !self.routing.has(space.id) {
            return Ok(None);
        }
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
            let pending = Pending {
                space: Arc::clone(space),
                namespace,
                is_new: false,
                state,
                freed: RoaringBitmap::new(),
                changes: Changes::default(),
                taken: Vec::new(),
                spare: Vec::new(),
            };
            self.pending.insert(key.clone(), pending);
        }
        Ok(self.pending.get_mut(&key))
    }

    /// A scope; it must be followed by a mutation, as of which readers see it.
    pub(super) fn create_scope(&mut self, space: &Arc<Space>, scope: &StateScope) -> Result<(), Fail> {
        let id = self.new_scope_id();
        self.create_scope_as(space, scope, id)
    }

    /// A number that no scope has.
    pub(super) fn new_scope_id(&mut self) -> ScopeId {
        let id = ScopeId(self.head.next_scope_id);
        self.head.next_scope_id += 1;
        id
    }

    /// [`create_scope`](Self::create_scope) with a number that was kept for it.
    pub(super) fn create_scope_as(&mut self, space: &Arc<Space>, scope: &StateScope, id: ScopeId) -> Result<(), Fail> {
        self.rows.put_scope(space.id, scope, id).map_err(changing)?;
        let pending = Pending {
            space: Arc::clone(space),
            namespace: Arc::new(Namespace::new(id, State::default())),
            is_new: true,
            state: State::default(),
            freed: RoaringBitmap::new(),
            changes: Changes::default(),
            taken: Vec::new(),
            spare: Vec::new(),
        };
        self.pending.insert((space.id, scope.clone()), pending);
        self.is_changed = true;
        Ok(())
    }

    /// Removes everything of some scopes from these spaces: of all of them, or of none.
    pub(in crate::engine) fn drop_scopes(
        &mut self,
        spaces: &Spaces,
        scopes: &Scopes,
        with_keys: bool,
        now: i64,
    ) -> Result<Removed, Fail> {
        // Look at all of them before anything is changed.
        let mut found = Vec::new();
        for space in self.spaces(spaces)? {
            let scopes = match scopes {
                Scopes::Named(scopes) => scopes.clone(),
                Scopes::OfKind(kind) => {
                    let mut scopes = self.rows.scopes(space.id).map_err(looking)?;
                    scopes.retain(|scope| scope.kind() == *kind);
                    scopes
                }
            };
            for scope in scopes {
                for space in [Some(Arc::clone(&space)), self.staging_of(&space)?]
                    .into_iter()
                    .flatten()
                {
                    self.pending(&space, &scope)?;
                }
                self.prepare_to_count(&scope)?;
                found.push((Arc::clone(&space), scope));
            }
        }
        let keys = if with_keys {
            let writes = match scopes {
                Scopes::Named(scopes) => scopes.iter().map(ScopedBackend::prefix).map(delete_prefix).collect(),
                Scopes::OfKind(kind) => self.keys_of_kind(*kind)?.into_iter().map(delete).collect::<Vec<_>>(),
            };
            self.write_values(&writes)?
        } else {
            0
        };
        let mut vectors = 0;
        for (space, scope) in found {
            vectors += self.drop_with_copies(&space, &scope, now).map_err(Fail::of_batch)?;
        }
        Ok(Removed { vectors, keys })
    }

    /// Removes everything of a scope from a space, and from the one to which its entries are copied.
    fn drop_with_copies(&mut self, space: &Arc<Space>, scope: &StateScope, now: i64) -> Result<u64, Fail> {
        let count = self.drop_scope(space, scope, now)?;
        if let Some(staging) = self.staging_of(space)? {
            self.drop_scope(&staging, scope, now)?;
        }
        Ok(count)
    }

    /// The space to which the entries of this one are copied. One that this batch made holds nothing yet.
    fn staging_of(&self, space: &Space) -> Result<Option<Arc<Space>>, Fail> {
        let staging = self.routing.staging_of(space.id);
        let durable = staging.filter(|id| self.shared.has_space(*id));
        durable.map(|id| self.shared.space(id).map_err(looking)).transpose()
    }

    /// Drops the scopes that this batch has left without entries.
    pub(super) fn drop_ended(&mut self) -> Result<(), Fail> {
        let pending = self.pending.iter();
        let ended = pending.filter(|((space, _), pending)| self.routing.has(*space) && pending.state.live_count() == 0);
        let ended: Vec<_> = ended
            .map(|((_, scope), pending)| (Arc::clone(&pending.space), scope.clone()))
            .collect();
        let now = self.head.clock_ms;
        for (space, scope) in ended {
            self.drop_scope(&space, &scope, now)?;
        }
        Ok(())
    }

    /// Drops those of these scopes that have no entries.
    pub(in crate::engine) fn drop_if_ended(&mut self, scopes: &[(Arc<Space>, StateScope)]) -> Result<(), Fail> {
        for (space, scope) in scopes {
            self.pending(space, scope)?;
        }
        // `finish` drops them, as it does what this batch itself leaves without entries.
        self.set_changed();
        Ok(())
    }

    /// Removes expired entries of a scope: with the scope, if nothing else is in it.
    ///
    /// # Errors
    ///
    /// `Request` if one of them cannot be read; then nothing of the scope was changed.
    pub(in crate::engine) fn purge_expired(
        &mut self,
        scope_id: ScopeId,
        rows: &[ExpiredRow],
        now: i64,
    ) -> Result<(), Fail> {
        let read = self.shared.truth.read().map_err(changing)?;
        let name = read.scope_name(scope_id).map_err(looking)?;
        drop(read);
        // A space that was dropped goes as a whole.
        if let Some((space, scope)) = name.filter(|(space, _)| self.routing.has(*space)) {
            let space = self.shared.space(space).map_err(looking)?;
            self.remove_expired(&space, &scope, (scope_id, rows), now)?;
        }
        for row in rows {
            self.rows
                .remove_expiring(row.moment, scope_id, row.point)
                .map_err(changing)?;
        }
        self.is_changed = true;
        Ok(())
    }

    fn remove_expired(
        &mut self,
        space: &Arc<Space>,
        scope: &StateScope,
        (scope_id, rows): (ScopeId, &[ExpiredRow]),
        now: i64,
    ) -> Result<(), Fail> {
        // The rows may outlive the scope, if it was dropped.
        let pending = self.pending(space, scope)?;
        let Some(pending) = pending.filter(|pending| pending.namespace.scope_id == scope_id) else {
            return Ok(());
        };
        if pending.state.visible_count(now) == 0 {
            return self
                .drop_with_copies(space, scope, now)
                .map(drop)
                .map_err(Fail::of_batch);
        }
        let (next_point, dead) = (pending.state.next_point, Arc::clone(&pending.state.dead));
        let is_alive = |point: PointId| point.0 < next_point && !dead.contains(point.0);
        let mut found = Vec::with_capacity(rows.len());
        for row in rows.iter().filter(|row| is_alive(row.point)) {
            let record = self.rows.record(scope_id, row.point).map_err(looking)?;
            // A row that was left over may lead to another entry.
            if record.expires_at.map(Timestamp::as_millis) == Some(row.moment) {
                found.push((row.point, record));
            }
        }
        found.sort_by_key(|(point, _)| *point);
        self.remove(space, scope, &found, now).map_err(Fail::of_batch)
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
        let pending = self.pending.remove(&(space.id, scope.clone()));
        self.dropped.push(Dropped {
            space: Arc::clone(space),
            scope: scope.clone(),
            namespace,
            taken: pending.map_or_else(Vec::new, |pending| pending.taken),
        });
        self.is_changed = true;
        Ok(count)
    }

    /// Gives back the slots of dead points of a scope that nobody can see. False if it is another scope by now.
    pub(in crate::engine) fn return_slots(
        &mut self,
        space: &Arc<Space>,
        scope: &StateScope,
        namespace: &Arc<Namespace>,
        points: &RoaringBitmap,
    ) -> Result<bool, Fail> {
        let pending = self.pending(space, scope)?;
        let Some(pending) = pending.filter(|pending| Arc::ptr_eq(&pending.namespace, namespace)) else {
            return Ok(false);
        };
        namespace.reuse.lock().take_all(points);
        pending.taken.extend(points.iter().map(PointId));
        let slots: Vec<_> = points
            .iter()
            .filter_map(|point| pending.state.slot(PointId(point)))
            .collect();
        let op = Op {
            returned: points.iter().map(PointId).collect(),
            ..Op::default()
        };
        // It is no later than it was: nothing happened that depends on the time.
        let now = self.head.clock_ms;
        self.apply(space, scope, &op, now)?;
        self.give_back_slots(space, &runs_of(slots))?;
        Ok(true)
    }
}

fn delete(key: String) -> KeyValueWrite {
    KeyValueWrite::Delete { key }
}

fn delete_prefix(prefix: String) -> KeyValueWrite {
    KeyValueWrite::DeletePrefix { prefix }
}

/// Slots one after the other, as runs.
pub(in crate::engine) fn runs_of(slots: impl IntoIterator<Item = Slot>) -> Vec<(Slot, u32)> {
    let mut runs: Vec<(Slot, u32)> = Vec::new();
    for slot in slots {
        match runs.last_mut() {
            Some((first, len)) if first.0 + u64::from(*len) == slot.0 => *len += 1,
            _ => runs.push((slot, 1)),
        }
    }
    runs
}
