//! How does a scope come and go?

use std::sync::Arc;

use llmspell_core::{KeyValueWrite, ScopedBackend, StateScope, Timestamp};
use roaring::RoaringBitmap;

use super::pending::{Pending, ScopeRef};
use super::quotas::Entries;
use super::slots::runs_of;
use super::{Batch, Fail, changing, looking};
use crate::base::ids::{PointId, ScopeId};
use crate::base::op::Op;
use crate::engine::request::{Removed, Scopes, Spaces};
use crate::namespace::{Namespace, State};
use crate::spaces::registry::Space;
use crate::truth::ExpiredRow;

impl Batch<'_> {
    /// The scope of a space as this batch has changed it so far; none if there is no such scope.
    pub(super) fn find(&mut self, space: &Arc<Space>, scope: &StateScope) -> Result<Option<ScopeRef>, Fail> {
        if space.is_dropped() || !self.spaces.routing.has(space.id) {
            return Ok(None);
        }
        if let Some(at) = self.scopes.find(space.id, scope) {
            return Ok(Some(at));
        }
        // Not by the registry: this batch may have dropped the scope.
        if self.rows.scope_id(space.id, scope).map_err(looking)?.is_none() {
            return Ok(None);
        }
        let namespace = space.load(&self.shared.truth, scope).map_err(looking)?;
        Ok(namespace.map(|namespace| self.scopes.add(Pending::stored(space, scope, namespace))))
    }

    /// A scope; it must be followed by a mutation, as of which readers see it.
    pub(super) fn create_scope(
        &mut self,
        space: &Arc<Space>,
        scope: &StateScope,
        id: ScopeId,
    ) -> Result<ScopeRef, Fail> {
        self.rows.put_scope(space.id, scope, id).map_err(changing)?;
        self.is_changed = true;
        let namespace = Namespace::new(id, State::default());
        Ok(self.scopes.add(Pending::new(space, scope, namespace)))
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
        let (mut found, mut copies) = (Vec::new(), Vec::new());
        for space in self.spaces.of_write(spaces)? {
            let staging = self.spaces.staging_of(space.id)?;
            let scopes = match scopes {
                Scopes::Named(scopes) => scopes.clone(),
                Scopes::OfKind(kind) => {
                    let mut scopes = self.rows.scopes(space.id).map_err(looking)?;
                    scopes.retain(|scope| scope.kind() == *kind);
                    scopes
                }
            };
            for scope in scopes {
                if let Some(at) = self.find(&space, &scope)? {
                    self.prepare_to_count(at)?;
                    found.push(at);
                }
                if let Some(staging) = &staging {
                    copies.extend(self.find(staging, &scope)?);
                }
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
        for at in found {
            vectors += self.drop_scope(at, now).map_err(Fail::of_batch)?;
        }
        for at in copies {
            self.drop_scope(at, now).map_err(Fail::of_batch)?;
        }
        Ok(Removed { vectors, keys })
    }

    /// The same scope in the space to which entries of this one are copied.
    fn find_copies(&mut self, at: ScopeRef) -> Result<Option<ScopeRef>, Fail> {
        let Some(staging) = self.spaces.staging_of(self.scopes[at].space.id)? else {
            return Ok(None);
        };
        let scope = self.scopes[at].scope.clone();
        self.find(&staging, &scope)
    }

    /// Drops the scopes that this batch has left without entries.
    pub(super) fn drop_ended(&mut self) -> Result<(), Fail> {
        let has_ended =
            |pending: &Pending| self.spaces.routing.has(pending.space.id) && pending.state.live_count() == 0;
        let there = self.scopes.there();
        let ended: Vec<ScopeRef> = there
            .filter(|(_, pending)| has_ended(pending))
            .map(|(at, _)| at)
            .collect();
        let now = self.head.now.clock_ms;
        for at in ended {
            self.drop_scope(at, now)?;
        }
        Ok(())
    }

    /// Drops those of these scopes that have no entries.
    pub(in crate::engine) fn drop_if_ended(&mut self, scopes: &[(Arc<Space>, StateScope)]) -> Result<(), Fail> {
        for (space, scope) in scopes {
            self.find(space, scope)?;
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
        if let Some((space, scope)) = name.filter(|(space, _)| self.spaces.routing.has(*space)) {
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
        let at = self.find(space, scope)?;
        let Some(at) = at.filter(|at| self.scopes[*at].namespace.scope_id == scope_id) else {
            return Ok(());
        };
        if self.scopes[at].state.visible_count(now) == 0 {
            let copies = self.find_copies(at)?;
            self.drop_scope(at, now).map_err(Fail::of_batch)?;
            if let Some(copies) = copies {
                self.drop_scope(copies, now).map_err(Fail::of_batch)?;
            }
            return Ok(());
        }
        let mut found = Vec::with_capacity(rows.len());
        for row in rows {
            if !self.scopes[at].state.lives(row.point) {
                continue;
            }
            let record = self.rows.record(scope_id, row.point).map_err(looking)?;
            // A row that was left over may lead to another entry.
            if record.expires_at.map(Timestamp::as_millis) == Some(row.moment) {
                found.push((row.point, record));
            }
        }
        found.sort_by_key(|(point, _)| *point);
        self.remove(at, &found, now).map_err(Fail::of_batch)
    }

    /// Drops a scope of one space. Says how many of its entries could be seen.
    pub(super) fn drop_scope(&mut self, at: ScopeRef, now: i64) -> Result<u64, Fail> {
        if self.scopes[at].is_dropped {
            return Ok(0);
        }
        self.prepare_to_count(at)?;
        let pending = &self.scopes[at];
        let count = pending.state.visible_count(now);
        let gone = Entries::all(&pending.state);
        self.rows
            .drop_scope(pending.space.id, &pending.scope, pending.namespace.scope_id)
            .map_err(changing)?;
        self.count_entries(at, Entries::default(), gone);
        self.scopes.set_dropped(at);
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
        let at = self.find(space, scope)?;
        let Some(at) = at.filter(|at| Arc::ptr_eq(&self.scopes[*at].namespace, namespace)) else {
            return Ok(false);
        };
        let pending = &mut self.scopes[at];
        pending.taken.take_all(points);
        let slots: Vec<_> = points
            .iter()
            .filter_map(|point| pending.state.slot(PointId(point)))
            .collect();
        let op = Op {
            returned: points.iter().map(PointId).collect(),
            ..Op::default()
        };
        // It is no later than it was: nothing happened that depends on the time.
        let now = self.head.now.clock_ms;
        self.apply(at, &op, now)?;
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
