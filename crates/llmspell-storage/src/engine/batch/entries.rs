//! Which rows and slots do entries change?

use std::collections::HashMap;
use std::ops::Range;
use std::sync::Arc;

use llmspell_core::{EntryTimes, OnExisting, StateScope, StorageError, Timestamp};

use super::quotas::Entries;
use super::{Batch, Fail, changing, looking};
use crate::base::error::corrupted;
use crate::base::ids::{Extent, Generation, Lsn, PointId, ScopeId, Slot, SpaceId};
use crate::base::op::{Op, PointChange};
use crate::base::record::Record;
use crate::engine::request::{Part, PreparedEntry};
use crate::engine::writer::Writer;
use crate::namespace::State;
use crate::slots::layout;
use crate::spaces::registry::Space;

/// A namespace gets slots for this share of its points at once, within bounds.
const EXTENT_SHARE: u32 = 16;
const EXTENT_SLOTS: (u32, u32) = (4, 512);
/// Slots are written in pieces of about this size.
const WRITE_BYTES: usize = 4 << 20;

impl Batch<'_> {
    pub(in crate::engine) fn write_entries(&mut self, parts: &[Part], on_existing: OnExisting, now: i64) -> Result<(), Fail> {
        self.replace_expired(parts, now)?;
        // Look at all of them before anything is changed.
        let mut groups: Vec<Group<'_>> = Vec::new();
        for Part { space, entries } in parts {
            self.check_takes_entries(space)?;
            let mut group_of: HashMap<&StateScope, usize> = HashMap::new();
            for entry in entries {
                let index = match group_of.get(&entry.scope) {
                    Some(index) => *index,
                    None => {
                        groups.push(self.group(space, &entry.scope)?);
                        group_of.insert(&entry.scope, groups.len() - 1);
                        groups.len() - 1
                    }
                };
                self.add_to(&mut groups[index], entry, on_existing, now)?;
            }
        }
        self.admit_entries(&groups, now)?;
        for (other, scope, gone) in groups.iter_mut().flat_map(Group::take_moved) {
            self.remove(&other, scope, &gone, now)?;
        }
        for group in groups {
            self.write_group(&group, now)?;
            self.count_entries(group.space, group.scope, group.come(), Entries::stored(&group.replaced));
            let replaced = group.replaced.iter().map(|(_, record)| record.id.as_str());
            self.remove_copies(group.space, group.scope, replaced, now)?;
        }
        Ok(())
    }

    pub(super) fn group<'r>(&mut self, space: &'r Arc<Space>, scope: &'r StateScope) -> Result<Group<'r>, Fail> {
        let mut others = Vec::new();
        for other in self.routing.others(space.id) {
            if let Some(scope_id) = self.rows.scope_id(other, scope).map_err(looking)? {
                others.push((other, scope_id));
            }
        }
        Ok(Group {
            space,
            scope,
            is_new: self.pending(space, scope)?.is_none(),
            entries: Vec::new(),
            replaced: Vec::new(),
            others,
            moved: Vec::new(),
        })
    }

    fn add_to<'r>(
        &mut self,
        group: &mut Group<'r>,
        entry: &'r PreparedEntry,
        on_existing: OnExisting,
        now: i64,
    ) -> Result<(), Fail> {
        let mut created_at = entry.created_at.unwrap_or(entry.updated_at);
        let mut meet = |record: &Record| {
            if record.is_expired(Timestamp::from_millis(now)) {
                return Ok(());
            }
            if on_existing == OnExisting::Refuse {
                return Err(Fail::Request(StorageError::IdExists { id: entry.id.clone() }));
            }
            created_at = entry.created_at.unwrap_or(record.created_at);
            Ok(())
        };
        if !group.is_new
            && let Some((point, record)) = self.existing(group.space, group.scope, &entry.id)?
        {
            meet(&record)?;
            group.replaced.push((point, record));
        }
        for (other, scope_id) in &group.others {
            if self.rows.point(*scope_id, &entry.id).map_err(looking)?.is_none() {
                continue;
            }
            let other = self.shared.space(*other).map_err(looking)?;
            if let Some((point, record)) = self.existing(&other, group.scope, &entry.id)? {
                meet(&record)?;
                match group.moved.iter_mut().find(|(space, _)| space.id == other.id) {
                    Some((_, gone)) => gone.push((point, record)),
                    None => group.moved.push((other, vec![(point, record)])),
                }
            }
        }
        group.entries.push((entry, created_at));
        Ok(())
    }

    /// The point that has an id now, and its record.
    pub(super) fn existing(
        &mut self,
        space: &Arc<Space>,
        scope: &StateScope,
        id: &str,
    ) -> Result<Option<(PointId, Record)>, Fail> {
        let Some(pending) = self.pending(space, scope)? else {
            return Ok(None);
        };
        let (scope_id, next_point) = (pending.namespace.scope_id, pending.state.next_point);
        let dead = Arc::clone(&pending.state.dead);
        // What belongs to a batch that is not done does not live.
        let point = self.rows.point(scope_id, id).map_err(looking)?;
        let living = point.filter(|point| point.0 < next_point && !dead.contains(point.0));
        living.map(|point| self.record_of(scope_id, id, point)).transpose()
    }

    /// The record of a living point, and that it has this id.
    pub(super) fn record_of(&mut self, scope_id: ScopeId, id: &str, point: PointId) -> Result<(PointId, Record), Fail> {
        let record = self.rows.record(scope_id, point).map_err(looking)?;
        if record.id != id {
            let detail = format!(
                "id `{id}` leads to entry {} of scope {}, which has another id",
                point.0, scope_id.0
            );
            return Err(Fail::Request(corrupted(self.shared.truth.path(), detail)));
        }
        Ok((point, record))
    }

    pub(super) fn write_group(&mut self, group: &Group<'_>, now: i64) -> Result<(), Fail> {
        let space = group.space;
        if group.is_new {
            self.create_scope(space, group.scope)?;
        }
        let (points, extents) = self.allocate(space, group.scope, group.entries.len())?;
        let expires = |moment: Option<Timestamp>| moment.map(Timestamp::as_millis);
        let op = Op {
            put: points
                .iter()
                .zip(&group.entries)
                .map(|(point, (entry, _))| PointChange {
                    point: *point,
                    expires_at: expires(entry.expires_at),
                })
                .collect(),
            removed: group
                .replaced
                .iter()
                .map(|(point, record)| PointChange {
                    point: *point,
                    expires_at: expires(record.expires_at),
                })
                .collect(),
            updated: Vec::new(),
            touched: Vec::new(),
            extents,
            returned: Vec::new(),
            metadata_bytes_added: sum_bytes(group.entries.iter().map(|(entry, _)| entry.metadata.len())),
            metadata_bytes_removed: sum_bytes(group.replaced.iter().map(|(_, record)| record.metadata.len())),
        };
        let scope_id = self.apply(space, group.scope, &op, now)?;
        for (point, record) in &group.replaced {
            self.rows.remove_entry(scope_id, *point, record).map_err(changing)?;
        }
        let removed = group.replaced.iter().map(|(point, record)| of_record(*point, record));
        let put = points.iter().zip(&group.entries).map(|(point, (entry, created_at))| {
            let times = EntryTimes {
                event_time: entry.event_time,
                created_at: Some(*created_at),
                updated_at: Some(entry.updated_at),
            };
            (*point, &*entry.metadata, times)
        });
        self.index_metadata(space, group.scope, removed, put);
        let generations = self.write_slots(space, group.scope, &points, &group.entries)?;
        for ((point, generation), (entry, created_at)) in points.iter().zip(generations).zip(&group.entries) {
            let record = Record {
                generation,
                created_at: *created_at,
                updated_at: entry.updated_at,
                event_time: entry.event_time,
                expires_at: entry.expires_at,
                id: entry.id.clone(),
                metadata: entry.metadata.clone(),
            };
            self.rows
                .put_entry(space.id, scope_id, *point, &record)
                .map_err(changing)?;
            if let Some(moment) = entry.expires_at.map(Timestamp::as_millis) {
                self.first_expiry = Some(self.first_expiry.map_or(moment, |first| first.min(moment)));
            }
        }
        Ok(())
    }

    /// Points for `count` entries: dead ones that nobody can see, then those that gave their slot back, then those that
    /// have a slot, then new ones; with new slots for what has none.
    fn allocate(
        &mut self,
        space: &Arc<Space>,
        scope: &StateScope,
        count: usize,
    ) -> Result<(Vec<PointId>, Vec<Extent>), Fail> {
        let pending = self
            .pending
            .get_mut(&(space.id, scope.clone()))
            .expect("the scope was just looked up");
        // From here on there is something to give back, or to make durable.
        self.is_changed = true;
        let mut points = pending.namespace.reuse.lock().take(count);
        pending.taken.extend_from_slice(&points);
        let spare = (pending.state.capacity / EXTENT_SHARE).clamp(EXTENT_SLOTS.0, EXTENT_SLOTS.1);
        // Runs of points that need slots.
        let (mut bare, mut surplus): (Vec<Range<u32>>, Vec<PointId>) = (Vec::new(), Vec::new());
        let left = |points: &[PointId]| u32::try_from(count - points.len()).expect("validate bounds the batch");
        for gap in pending.state.gaps() {
            let missing = left(&points);
            if missing == 0 {
                break;
            }
            let end = gap.end.min(gap.start + missing.max(spare));
            let used = end.min(gap.start + missing);
            points.extend((gap.start..used).map(PointId));
            surplus.extend((used..end).map(PointId));
            bare.push(gap.start..end);
        }
        let first = pending.state.next_point;
        let fresh = left(&points);
        let full = || {
            Fail::Request(StorageError::LimitExceeded {
                what: "scope",
                name: scope.to_string(),
                got: u64::from(first) + u64::from(fresh),
                limit: u64::from(u32::MAX),
                unit: "vectors",
            })
        };
        let end = first.checked_add(fresh).ok_or_else(full)?;
        points.extend((first..end).map(PointId));
        let capacity = pending.state.capacity;
        if end > capacity {
            let wanted = (end - capacity).max(spare).min(u32::MAX - capacity);
            bare.push(capacity..capacity + wanted);
        }
        pending.spare.append(&mut surplus);
        let extents = self.new_extents(space, bare)?;
        Ok((points, extents))
    }

    /// Slots for runs of points.
    pub(super) fn new_extents(&mut self, space: &Arc<Space>, runs: Vec<Range<u32>>) -> Result<Vec<Extent>, Fail> {
        let mut extents = Vec::with_capacity(runs.len());
        for run in runs {
            self.note_written(space);
            let allocator = Writer::load_allocator(self.shared, self.allocators, space.id).map_err(changing)?;
            let (pieces, changes) = allocator.take(run.end - run.start, space.slots.slots_per_file());
            let slot_end = allocator.end();
            space.slots.extend(slot_end).map_err(changing)?;
            self.rows.change_free_slots(space.id, &changes).map_err(changing)?;
            self.slot_ends.insert(space.id, slot_end);
            let mut next = run.start;
            extents.extend(pieces.into_iter().map(|(first_slot, len)| {
                let extent = Extent {
                    first_point: PointId(next),
                    first_slot,
                    len,
                };
                next += len;
                extent
            }));
        }
        Ok(extents)
    }

    /// Logs a mutation and applies it to the pending state.
    pub(super) fn apply(&mut self, space: &Arc<Space>, scope: &StateScope, op: &Op, now: i64) -> Result<ScopeId, Fail> {
        let pending = self
            .pending
            .get_mut(&(space.id, scope.clone()))
            .expect("the scope was just looked up");
        let lsn = Lsn(self.head.lsn.0 + 1);
        self.head.lsn = lsn;
        // Only what is confirmed: a clock that is ahead for a moment must not stop time for good.
        let confirmed = now.min(self.shared.clock.latest());
        self.head.clock_ms = self.head.clock_ms.max(confirmed);
        self.is_changed = true;
        let scope_id = pending.namespace.scope_id;
        self.rows.log(scope_id, lsn, op).map_err(changing)?;
        pending.state.apply(lsn, op);
        pending.freed.extend(op.removed.iter().map(|change| change.point.0));
        let replaced = op.put.iter().chain(&op.removed).map(|change| change.point);
        let changed = replaced.chain(op.updated.iter().copied());
        pending.changes.points.extend(changed.map(|point| point.0));
        Ok(scope_id)
    }

    /// Brings the metadata index up to a mutation that was just applied: metadata as it was, then as it is. Of many points it
    /// is told only which they are.
    pub(super) fn index_metadata<'m>(
        &mut self,
        space: &Arc<Space>,
        scope: &StateScope,
        removed: impl IntoIterator<Item = Described<'m>>,
        put: impl IntoIterator<Item = Described<'m>>,
    ) {
        let at_once_max = self.shared.metadata_at_once_max;
        let pending = self
            .pending
            .get_mut(&(space.id, scope.clone()))
            .expect("the scope was just changed");
        let Some(index) = &mut pending.state.metadata else {
            return;
        };
        let index = Arc::make_mut(index);
        let is_much = pending.changes.points.len() > at_once_max;
        for (point, metadata, times) in removed {
            if is_much {
                index.remove_unknown(point.0);
                continue;
            }
            pending.changes.keep(point.0, metadata, times);
            match serde_json::from_slice(metadata) {
                Ok(metadata) => index.remove_with_times(point.0, &metadata, &times),
                // Damaged: what it had is not known.
                Err(_) => index.remove_unknown(point.0),
            }
        }
        for (point, metadata, times) in put {
            if is_much {
                index.insert_unread(point.0);
                continue;
            }
            match serde_json::from_slice(metadata) {
                Ok(metadata) => index.insert_with_times(point.0, &metadata, &times),
                Err(_) => index.insert_unread(point.0),
            }
        }
    }

    /// [`index_metadata`](Self::index_metadata) of points whose metadata is read later.
    pub(super) fn index_unread(
        &mut self,
        space: &Arc<Space>,
        scope: &StateScope,
        removed: impl IntoIterator<Item = PointId>,
        put: impl IntoIterator<Item = PointId>,
    ) {
        let pending = self
            .pending
            .get_mut(&(space.id, scope.clone()))
            .expect("the scope was just changed");
        if let Some(index) = &mut pending.state.metadata {
            let index = Arc::make_mut(index);
            removed.into_iter().for_each(|point| index.remove_unknown(point.0));
            put.into_iter().for_each(|point| index.insert_unread(point.0));
        }
    }

    /// Writes the vectors of points that were just applied. Returns the generations of their slots.
    fn write_slots(
        &mut self,
        space: &Arc<Space>,
        scope: &StateScope,
        points: &[PointId],
        entries: &[(&PreparedEntry, Timestamp)],
    ) -> Result<Vec<Generation>, Fail> {
        let pending = &self.pending[&(space.id, scope.clone())];
        let (scope_id, state) = (pending.namespace.scope_id, pending.state.clone());
        let vectors = entries.iter().map(|(entry, _)| entry.vector.as_slice());
        self.write_vectors(space, scope_id, &state, points.iter().copied().zip(vectors))
    }

    /// Writes vectors into the slots that a state has for their points. Returns the generations of the slots.
    pub(super) fn write_vectors<'v>(
        &mut self,
        space: &Arc<Space>,
        scope_id: ScopeId,
        state: &State,
        vectors: impl Iterator<Item = (PointId, &'v [f32])>,
    ) -> Result<Vec<Generation>, Fail> {
        self.note_written(space);
        let mut generations = Vec::with_capacity(vectors.size_hint().0);
        let mut first: Option<Slot> = None;
        let mut bytes = Vec::new();
        let mut next = None;
        for (point, vector) in vectors {
            let slot = state.slot(point).expect("a point that was given out has a slot");
            let is_next = next == Some(slot) && !slot.0.is_multiple_of(space.slots.slots_per_file());
            if let Some(start) = first
                && (!is_next || bytes.len() >= WRITE_BYTES)
            {
                space.slots.write(start, &bytes).map_err(changing)?;
                bytes.clear();
                first = None;
            }
            first.get_or_insert(slot);
            next = Some(Slot(slot.0 + 1));
            let generation = space.slots.next_generation(slot).map_err(changing)?;
            layout::encode(slot, generation, scope_id, vector, &mut bytes);
            generations.push(generation);
        }
        if let Some(start) = first {
            space.slots.write(start, &bytes).map_err(changing)?;
        }
        Ok(generations)
    }

    /// Its slot files are synced with this transaction, or let go.
    fn note_written(&mut self, space: &Arc<Space>) {
        if !self.written_spaces.iter().any(|written| written.id == space.id) {
            self.written_spaces.push(Arc::clone(space));
        }
    }
}

/// Entries that were found.
pub(super) type Stored = Vec<(PointId, Record)>;

/// The entries of a batch that belong to one scope of one space.
pub(super) struct Group<'r> {
    pub(super) space: &'r Arc<Space>,
    pub(super) scope: &'r StateScope,
    /// There is no such scope yet.
    pub(super) is_new: bool,
    pub(super) entries: Vec<(&'r PreparedEntry, Timestamp)>,
    pub(super) replaced: Stored,
    /// Other spaces of the router that have this scope.
    others: Vec<(SpaceId, ScopeId)>,
    /// Entries of those that have one of the ids.
    pub(super) moved: Vec<(Arc<Space>, Stored)>,
}

impl<'r> Group<'r> {
    /// What goes from other spaces.
    fn take_moved(&mut self) -> impl Iterator<Item = (Arc<Space>, &'r StateScope, Stored)> + use<'r> {
        let scope = self.scope;
        let in_order = move |(space, mut gone): (Arc<Space>, Stored)| {
            gone.sort_by_key(|(point, _)| *point);
            (space, scope, gone)
        };
        std::mem::take(&mut self.moved).into_iter().map(in_order)
    }
}

/// What the metadata index hears of a point: its metadata and its times.
pub(super) type Described<'r> = (PointId, &'r [u8], EntryTimes);

pub(super) fn of_record(point: PointId, record: &Record) -> Described<'_> {
    (point, &record.metadata, record.times())
}

pub(super) fn sum_bytes(lens: impl IntoIterator<Item = usize>) -> u32 {
    u32::try_from(lens.into_iter().sum::<usize>()).unwrap_or(u32::MAX)
}
