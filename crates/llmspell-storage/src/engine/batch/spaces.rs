//! What does a space become, and whose place does it take?
//!
//! A space that will take the place of another gets copies of its entries, with vectors of another model. It never holds
//! anything but true copies: whatever changes an entry removes its copy in the same transaction. So all of it was copied
//! when both hold equally many, and what is left to copy is what has no copy, after a crash too.

use std::collections::BTreeMap;
use std::sync::Arc;

use llmspell_core::{EmbeddingModel, StateScope, StorageError};

use super::entries::{Group, OtherScope};
use super::pending::ScopeRef;
use super::quotas::Entries;
use super::{Batch, Fail, changing, looking};
use crate::base::ids::{ScopeId, SpaceId};
use crate::engine::request::{Copied, Opening, Spaces};
use crate::engine::routing::Routing;
use crate::engine::shared::Shared;
use crate::spaces::registry::Space;
use crate::truth::{Role, Rows, SpaceRecord};

/// The spaces that there are, as a batch has changed them so far.
pub(super) struct SpaceChanges<'a> {
    shared: &'a Shared,
    pub(super) changed: Vec<(SpaceId, SpaceRecord)>,
    pub(super) routing: Routing,
}

impl<'a> SpaceChanges<'a> {
    pub(super) fn new(shared: &'a Shared) -> Self {
        Self {
            shared,
            changed: Vec::new(),
            routing: shared.routing(),
        }
    }

    /// A space that is there.
    fn record(&self, is_it: impl Fn(SpaceId, &SpaceRecord) -> bool) -> Option<(SpaceId, SpaceRecord)> {
        let mut records: BTreeMap<SpaceId, SpaceRecord> = self.shared.space_records().into_iter().collect();
        records.extend(self.changed.iter().cloned());
        let mut there = records.into_iter().filter(|(_, space)| space.role != Role::Dropped);
        there.find(|(id, space)| is_it(*id, space))
    }

    fn unknown(&self, name: &str) -> Fail {
        Fail::Request(self.shared.unknown_space(name))
    }

    /// The spaces that a write is about. One that this batch made is left out: nothing is in it yet.
    pub(super) fn of_write(&self, spaces: &Spaces) -> Result<Vec<Arc<Space>>, Fail> {
        match spaces {
            Spaces::One(space) => {
                self.check_takes_entries(space)?;
                Ok(vec![Arc::clone(space)])
            }
            Spaces::All => {
                let all = self.routing.counted().filter(|id| self.shared.has_space(*id));
                all.map(|id| self.shared.space(id).map_err(looking)).collect()
            }
            Spaces::Routed => {
                let durable = self.routing.routed().filter(|id| self.shared.has_space(*id));
                durable.map(|id| self.shared.space(id).map_err(looking)).collect()
            }
        }
    }

    /// That applications may change what a space holds.
    pub(super) fn check_takes_entries(&self, space: &Space) -> Result<(), Fail> {
        match self.routing.role(space.id) {
            // One that was dropped long ago is unknown to the routing too.
            Role::Plain | Role::Routed if !space.is_dropped() => Ok(()),
            _ => Err(self.unknown(&space.name)),
        }
    }

    /// The space to which the entries of this one are copied. One that this batch made holds nothing yet.
    pub(super) fn staging_of(&self, space: SpaceId) -> Result<Option<Arc<Space>>, Fail> {
        let staging = self.routing.staging_of(space);
        let durable = staging.filter(|id| self.shared.has_space(*id));
        durable.map(|id| self.shared.space(id).map_err(looking)).transpose()
    }

    /// That another space may take the place of this one: the router has it, and there is no such space yet.
    fn check_is_replaceable(&self, id: SpaceId) -> Result<(), Fail> {
        let Some((_, record)) = self.record(|other, _| other == id) else {
            return Err(self.unknown(&format!("number {}", id.0)));
        };
        if let Some(staging) = self.routing.staging_of(id) {
            let (_, staging) = self
                .record(|other, _| other == staging)
                .expect("the routing knows only spaces that are there");
            return Err(Fail::Request(StorageError::SpaceMismatch {
                space: record.name,
                what: "successor",
                stored: format!("`{}`", staging.name),
                requested: "another one".to_string(),
            }));
        }
        match record.role {
            Role::Routed => Ok(()),
            _ => Err(self.unknown(&record.name)),
        }
    }

    /// Adds or replaces a space.
    fn put(&mut self, rows: &mut Rows<'_>, id: SpaceId, record: SpaceRecord) -> Result<(), Fail> {
        rows.put_space(id, &record).map_err(changing)?;
        self.routing.set(id, record.role);
        self.changed.push((id, record));
        Ok(())
    }
}

impl Batch<'_> {
    pub(in crate::engine) fn open_space(&mut self, record: &SpaceRecord, opening: Opening) -> Result<SpaceId, Fail> {
        let stored = self.spaces.record(|_, space| space.name == record.name);
        let (id, record) = match stored {
            Some((id, stored)) => {
                stored.check_matches(record).map_err(looking)?;
                let record = self.reopened(&stored, record, opening)?;
                if record == stored {
                    return Ok(id);
                }
                self.check_room()?;
                if stored.role == Role::Plain && record.role == Role::Routed {
                    self.check_ids_are_new(id)?;
                }
                (id, record)
            }
            None => {
                let role = match opening {
                    Opening::Plain => Role::Plain,
                    Opening::Routed => Role::Routed,
                    Opening::Adopted => return Err(self.spaces.unknown(&record.name)),
                    Opening::StagingOf(of) => {
                        self.spaces.check_is_replaceable(of)?;
                        Role::Staging { of: of.0 }
                    }
                };
                self.check_room()?;
                let id = self.head.next_space_id();
                self.shared.create_space_dir(id).map_err(looking)?;
                self.head.use_space_id();
                (id, SpaceRecord { role, ..record.clone() })
            }
        };
        self.put_space(id, record)?;
        Ok(id)
    }

    /// What becomes of a space that is opened again.
    fn reopened(&mut self, stored: &SpaceRecord, asked: &SpaceRecord, opening: Opening) -> Result<SpaceRecord, Fail> {
        let mismatch = |stored_as: &str, requested: &str| {
            Fail::Request(StorageError::SpaceMismatch {
                space: stored.name.clone(),
                what: "use",
                stored: stored_as.to_string(),
                requested: requested.to_string(),
            })
        };
        let mut record = SpaceRecord {
            config: asked.config.clone(),
            ..stored.clone()
        };
        match (opening, stored.role) {
            (Opening::Plain, Role::Plain | Role::Routed) => {}
            (Opening::Routed | Opening::Adopted, Role::Routed) | (Opening::Adopted, Role::Plain) => {
                record.role = Role::Routed;
                record.model = joined(stored, asked)?;
            }
            (Opening::Routed, Role::Plain) => return Err(mismatch("a plain space", "one of a router; adopt it first")),
            (Opening::Routed | Opening::StagingOf(_), Role::Retired) => {
                // No reader sees the rest of it, and none of it may be seen again.
                self.check_is_empty(stored)?;
                record.role = match opening {
                    Opening::StagingOf(of) => Role::Staging { of: of.0 },
                    _ => Role::Routed,
                };
                record.model = asked.model.clone();
            }
            (Opening::StagingOf(of), Role::Staging { of: other }) if of.0 == other => {
                record.model = joined(stored, asked)?;
            }
            (_, Role::Staging { .. }) => return Err(mismatch("one that entries are being copied to", "another one")),
            (_, Role::Dropped) => unreachable!("it has no name any more"),
            (_, Role::Retired) => return Err(mismatch("one that another has replaced", "a plain space")),
            (Opening::StagingOf(_), _) => return Err(mismatch("one that is in use", "a new one")),
        }
        Ok(record)
    }

    fn put_space(&mut self, id: SpaceId, record: SpaceRecord) -> Result<(), Fail> {
        self.spaces.put(&mut self.rows, id, record)?;
        self.is_changed = true;
        Ok(())
    }

    fn check_is_empty(&self, stored: &SpaceRecord) -> Result<(), Fail> {
        let (id, _) = self
            .spaces
            .record(|_, space| space.name == stored.name)
            .expect("it was just found");
        let scopes = self
            .shared
            .truth
            .read()
            .and_then(|read| read.scopes(id))
            .map_err(looking)?;
        if scopes.is_empty() {
            return Ok(());
        }
        Err(Fail::Request(StorageError::SpaceMismatch {
            space: stored.name.clone(),
            what: "use",
            stored: "one that another has replaced, and that is not removed yet".to_string(),
            requested: "a new one".to_string(),
        }))
    }

    /// That no id of a plain space stands in one of the router.
    fn check_ids_are_new(&mut self, id: SpaceId) -> Result<(), Fail> {
        let others: Vec<SpaceId> = self.spaces.routing.routed().collect();
        let read = self.shared.truth.read().map_err(looking)?;
        let mut scopes = read.scopes(id).map_err(looking)?;
        let there = self.scopes.there();
        let new = there.filter(|(_, pending)| pending.space.id == id && pending.is_new);
        scopes.extend(new.map(|(_, pending)| (pending.scope.clone(), pending.namespace.scope_id)));
        for (scope, scope_id) in scopes {
            for other in &others {
                let Some(other) = self.rows.scope_id(*other, &scope).map_err(looking)? else {
                    continue;
                };
                if let Some(id) = self.rows.common_id(scope_id, other).map_err(looking)? {
                    return Err(Fail::Request(StorageError::IdExists { id }));
                }
            }
        }
        Ok(())
    }

    /// Drops a space with everything in it, and the one to which its entries are copied. Its name is free at once.
    pub(in crate::engine) fn drop_space(&mut self, name: &str, now: i64) -> Result<(), Fail> {
        let Some((id, record)) = self.spaces.record(|_, space| space.name == name) else {
            return Err(self.spaces.unknown(name));
        };
        // Look at all of it before anything is changed.
        let mut gone = Vec::new();
        if self.quotas.is_any && record.role.counts() {
            let space = self.shared.space(id).map_err(looking)?;
            for scope in self.rows.scopes_with_quota().map_err(looking)? {
                if let Some(at) = self.find(&space, &scope)? {
                    self.prepare_to_count(at)?;
                    gone.push(at);
                }
            }
        }
        for at in gone {
            let entries = Entries::all(&self.scopes[at].state);
            self.count_entries(at, Entries::default(), entries);
        }
        self.set_clock(now);
        let staging = self.spaces.routing.staging_of(id);
        let staging = staging.and_then(|staging| self.spaces.record(|other, _| other == staging));
        for (id, record) in staging.into_iter().chain([(id, record)]) {
            let role = Role::Dropped;
            self.put_space(id, SpaceRecord { role, ..record })?;
            self.slots.forget(id);
        }
        Ok(())
    }

    // ---- copies ----

    /// Writes copies of entries that are still what was copied. Says how many.
    pub(in crate::engine) fn write_copies(
        &mut self,
        from: &Arc<Space>,
        to: &Arc<Space>,
        copies: &[Copied],
        now: i64,
    ) -> Result<u64, Fail> {
        if self.spaces.routing.staging_of(from.id) != Some(to.id) {
            return Ok(0);
        }
        let mut groups: Vec<(Group<'_>, Option<ScopeRef>)> = Vec::new();
        let mut count = 0;
        for Copied { entry, original } in copies {
            let group = match groups.iter().position(|(group, _)| *group.scope == entry.scope) {
                Some(group) => group,
                None => {
                    let originals = self.find(from, &entry.scope)?;
                    groups.push((self.group(to, &entry.scope)?, originals));
                    groups.len() - 1
                }
            };
            let (group, originals) = &mut groups[group];
            let is_true = match originals {
                Some(at) => (self.existing(*at, &entry.id)?).is_some_and(|(_, record)| record == *original),
                None => false,
            };
            let is_copied = match group.at {
                Some(at) => self.existing(at, &entry.id)?.is_some(),
                None => false,
            };
            if is_true && !is_copied {
                group.entries.push((entry, original.created_at));
                count += 1;
            }
        }
        for (group, _) in groups.iter().filter(|(group, _)| !group.entries.is_empty()) {
            self.write_group(group, now)?;
        }
        Ok(count)
    }

    /// Removes the copies of entries that have changed.
    pub(super) fn remove_copies<'i>(
        &mut self,
        at: ScopeRef,
        ids: impl IntoIterator<Item = &'i str>,
        now: i64,
    ) -> Result<(), Fail> {
        let Some(staging) = self
            .spaces
            .staging_of(self.scopes[at].space.id)
            .map_err(Fail::of_batch)?
        else {
            return Ok(());
        };
        let scope = self.scopes[at].scope.clone();
        let Some(scope_id) = self.rows.scope_id(staging.id, &scope).map_err(changing)? else {
            return Ok(());
        };
        let mut other = OtherScope {
            space: staging.id,
            scope_id,
            found: None,
        };
        let mut copies = Vec::new();
        for id in ids {
            if let Some(at) = self.find_other(&mut other, &scope, id).map_err(Fail::of_batch)? {
                copies.extend(self.existing(at, id).map_err(Fail::of_batch)?);
            }
        }
        copies.sort_by_key(|(point, _)| *point);
        match other.found {
            Some(at) => self.remove(at, &copies, now).map_err(Fail::of_batch),
            None => Ok(()),
        }
    }

    /// Puts a space in the place of the one that it holds copies of. False if something has no copy yet.
    pub(in crate::engine) fn switch(&mut self, from: SpaceId, to: SpaceId, now: i64) -> Result<bool, Fail> {
        let is_changed = |id| self.scopes.all().iter().any(|pending| pending.space.id == id);
        // What this batch changed is not in the rows that are counted here; it is asked again.
        if self.spaces.routing.staging_of(from) != Some(to) || is_changed(from) || is_changed(to) {
            return Ok(false);
        }
        let read = self.shared.truth.read().map_err(looking)?;
        let scopes = read.scopes(from).map_err(looking)?;
        let mut copied = BTreeMap::new();
        for (scope, copy_id) in read.scopes(to).map_err(looking)? {
            let count = self.visible_count(to, &scope, copy_id, now)?;
            copied.insert(scope, count);
        }
        let (mut is_complete, mut strays) = (true, Vec::new());
        for (scope, scope_id) in &scopes {
            let originals = self.visible_count(from, scope, *scope_id, now)?;
            let copies = copied.remove(scope).unwrap_or(0);
            is_complete &= copies == originals;
            if copies > originals {
                strays.push(scope.clone());
            }
        }
        strays.extend(
            copied
                .into_iter()
                .filter(|(_, copies)| *copies > 0)
                .map(|(scope, _)| scope),
        );
        let to_space = self.shared.space(to).map_err(looking)?;
        // More copies than originals: there are none unless something was damaged, and none may be seen. What had an
        // original is copied again.
        let mut dropped = Vec::with_capacity(strays.len());
        for scope in &strays {
            dropped.extend(self.find(&to_space, scope)?);
        }
        for at in dropped {
            self.drop_scope(at, now).map_err(Fail::of_batch)?;
        }
        if !is_complete || !strays.is_empty() {
            return Ok(false);
        }
        for (id, role) in [(from, Role::Retired), (to, Role::Routed)] {
            let (_, record) = self
                .spaces
                .record(|other, _| other == id)
                .expect("the routing knows only spaces that are there");
            self.put_space(id, SpaceRecord { role, ..record })?;
        }
        for (scope, _) in &scopes {
            self.recount(scope).map_err(Fail::of_batch)?;
        }
        Ok(true)
    }

    /// Removes scopes of a space that another has replaced. Says how many.
    pub(in crate::engine) fn empty(&mut self, space: &Arc<Space>, limit: usize, now: i64) -> Result<u64, Fail> {
        if self.spaces.routing.role(space.id) != Role::Retired {
            return Ok(0);
        }
        let read = self.shared.truth.read().map_err(looking)?;
        let scopes = read.scopes(space.id).map_err(looking)?;
        let count = scopes.len().min(limit);
        // Look at all of them before anything is changed.
        let mut found = Vec::with_capacity(count);
        for (scope, _) in &scopes[..count] {
            if let Some(at) = self.find(space, scope)? {
                self.prepare_to_count(at)?;
                found.push(at);
            }
        }
        for at in found {
            self.drop_scope(at, now).map_err(Fail::of_batch)?;
        }
        Ok(count as u64)
    }

    /// How many entries of a scope can be seen, which this batch has not changed.
    fn visible_count(&self, space: SpaceId, scope: &StateScope, scope_id: ScopeId, now: i64) -> Result<u64, Fail> {
        let loaded = self.shared.space(space).map_err(looking)?.loaded(scope);
        match loaded.filter(|namespace| namespace.scope_id == scope_id) {
            Some(namespace) => Ok(namespace.state().visible_count(now)),
            None => {
                let read = self.shared.truth.read().map_err(looking)?;
                Ok(read.state(scope_id).map_err(looking)?.visible_count(now))
            }
        }
    }
}

/// The model of a space whose model is named again: it may learn where its vectors may be cut.
fn joined(stored: &SpaceRecord, asked: &SpaceRecord) -> Result<Option<EmbeddingModel>, Fail> {
    let mismatch = |what, stored_as: String, requested: String| {
        Err(Fail::Request(StorageError::SpaceMismatch {
            space: stored.name.clone(),
            what,
            stored: stored_as,
            requested,
        }))
    };
    match (&stored.model, &asked.model) {
        (None, asked) if stored.role == Role::Plain => Ok(asked.clone()),
        (None, None) => Ok(None),
        (Some(known), Some(asked)) if known.name != asked.name => {
            mismatch("model", format!("`{}`", known.name), format!("`{}`", asked.name))
        }
        (Some(known), Some(asked)) if known.dim != asked.dim => {
            mismatch("dimension of the model", known.dim.to_string(), asked.dim.to_string())
        }
        (Some(_), Some(asked)) => Ok(Some(asked.clone())),
        (Some(known), None) => mismatch("model", format!("`{}`", known.name), "none".to_string()),
        (None, Some(asked)) => mismatch("model", "none".to_string(), format!("`{}`", asked.name)),
    }
}
