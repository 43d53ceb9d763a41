//! Which rows and slots do entries change?

use std::collections::HashMap;
use std::ops::Range;
use std::sync::Arc;

use llmspell_core::{EntryTimes, Metadata, OnExisting, StateScope, StorageError, Timestamp};

use super::pending::ScopeRef;
use super::quotas::Entries;
use super::{Batch, Fail, changing, looking};
use crate::base::error::corrupted;
use crate::base::ids::{Extent, PointId, ScopeId, SpaceId};
use crate::base::op::{Op, PointChange};
use crate::base::record::{Record, TextMark};
use crate::engine::request::{Part, PreparedEntry};
use crate::indexes::texts::Words;
use crate::namespace::State;
use crate::spaces::registry::Space;

/// A namespace gets slots for this share of its points at once, within bounds.
const EXTENT_SHARE: u32 = 16;
const EXTENT_SLOTS: (u32, u32) = (4, 512);

impl Batch<'_> {
    pub(in crate::engine) fn write_entries(
        &mut self,
        parts: &[Part],
        on_existing: OnExisting,
        now: i64,
    ) -> Result<(), Fail> {
        self.replace_expired(parts, now)?;
        // Look at all of them before anything is changed.
        let mut groups: Vec<Group<'_>> = Vec::new();
        for Part { space, entries } in parts {
            self.spaces.check_takes_entries(space)?;
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
        for moved in groups.iter_mut().flat_map(|group| &mut group.moved) {
            moved.gone.sort_by_key(|(point, _)| *point);
            self.remove(moved.at, &moved.gone, now).map_err(Fail::of_batch)?;
        }
        for group in groups {
            let at = self.write_group(&group, now)?;
            self.count_entries(at, group.come(), Entries::stored(&group.replaced));
            let replaced = group.replaced.iter().map(|(_, record)| record.id.as_str());
            self.remove_copies(at, replaced, now)?;
        }
        Ok(())
    }

    pub(super) fn group<'r>(&mut self, space: &'r Arc<Space>, scope: &'r StateScope) -> Result<Group<'r>, Fail> {
        let mut others = Vec::new();
        for space in self.spaces.routing.others(space.id) {
            if let Some(scope_id) = self.rows.scope_id(space, scope).map_err(looking)? {
                others.push(OtherScope {
                    space,
                    scope_id,
                    found: None,
                });
            }
        }
        Ok(Group {
            space,
            scope,
            at: self.find(space, scope)?,
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
        if let Some(at) = group.at
            && let Some((point, record)) = self.existing(at, &entry.id)?
        {
            meet(&record)?;
            group.replaced.push((point, record));
        }
        for other in &mut group.others {
            let Some(at) = self.find_other(other, group.scope, &entry.id)? else {
                continue;
            };
            if let Some((point, record)) = self.existing(at, &entry.id)? {
                meet(&record)?;
                match group.moved.iter_mut().find(|moved| moved.at == at) {
                    Some(moved) => moved.gone.push((point, record)),
                    None => group.moved.push(Moved {
                        at,
                        space: Arc::clone(&self.scopes[at].space),
                        gone: vec![(point, record)],
                    }),
                }
            }
        }
        group.entries.push((entry, created_at));
        Ok(())
    }

    /// A scope of another space, if an id may stand in it. Its namespace is loaded once there is such an id.
    pub(super) fn find_other(
        &mut self,
        other: &mut OtherScope,
        scope: &StateScope,
        id: &str,
    ) -> Result<Option<ScopeRef>, Fail> {
        if self.rows.point(other.scope_id, id).map_err(looking)?.is_none() {
            return Ok(None);
        }
        if other.found.is_none() {
            let space = self.shared.space(other.space).map_err(looking)?;
            other.found = self.find(&space, scope)?;
        }
        Ok(other.found)
    }

    /// The point that has an id now, and its record.
    pub(super) fn existing(&mut self, at: ScopeRef, id: &str) -> Result<Option<(PointId, Record)>, Fail> {
        let pending = &self.scopes[at];
        let scope_id = pending.namespace.scope_id;
        let point = self.rows.point(scope_id, id).map_err(looking)?;
        // What belongs to a batch that is not done does not live.
        let living = point.filter(|point| pending.state.lives(*point));
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

    /// Writes the entries of a scope, which is made if it is not there.
    pub(super) fn write_group(&mut self, group: &Group<'_>, now: i64) -> Result<ScopeRef, Fail> {
        let at = match group.at {
            Some(at) => at,
            None => {
                let id = self.head.new_scope_id();
                self.create_scope(group.space, group.scope, id)?
            }
        };
        let has_vector: Vec<bool> = group
            .entries
            .iter()
            .map(|(entry, _)| !entry.vector.is_empty())
            .collect();
        let Allocated {
            points,
            without_vector,
            extents,
        } = self.allocate(at, &has_vector)?;
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
            text_bytes_added: sum_bytes(
                group
                    .entries
                    .iter()
                    .map(|(entry, _)| TextMark::of(entry.text.as_ref()).bytes()),
            ),
            text_bytes_removed: sum_bytes(group.replaced.iter().map(|(_, record)| record.text.bytes())),
            without_vector,
        };
        let scope_id = self.apply(at, &op, now)?;
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
            (*point, entry.fields.as_ref(), times)
        });
        self.index_metadata(at, removed, put);
        let removed = group.replaced.iter().map(|(point, _)| *point);
        let put = points
            .iter()
            .zip(&group.entries)
            .map(|(point, (entry, _))| (*point, &entry.words));
        self.index_texts(at, removed, put);
        let pending = &self.scopes[at];
        let vectors = group.entries.iter().map(|(entry, _)| entry.vector.as_slice());
        let vectors = points.iter().copied().zip(vectors);
        let generations = self.slots.write(&pending.space, (scope_id, &pending.state), vectors)?;
        for ((point, (entry, created_at)), generation) in points.iter().zip(&group.entries).zip(generations) {
            let record = Record {
                generation,
                created_at: *created_at,
                updated_at: entry.updated_at,
                event_time: entry.event_time,
                expires_at: entry.expires_at,
                text: TextMark::of(entry.text.as_ref()),
                id: entry.id.clone(),
                metadata: entry.metadata.clone(),
            };
            self.rows
                .put_entry(group.space.id, scope_id, *point, &record)
                .map_err(changing)?;
            if let Some(text) = &entry.text {
                self.rows.put_text(scope_id, *point, text).map_err(changing)?;
            }
            self.note_expiry(expires(entry.expires_at));
        }
        Ok(at)
    }

    /// Points for entries, which have a vector or not. With one: first dead ones that no reader sees and that have a slot,
    /// then those that gave their slot back, then new ones. The latter two get new slots. Without: dead ones without a slot,
    /// then new ones behind all slots.
    fn allocate(&mut self, at: ScopeRef, has_vector: &[bool]) -> Result<Allocated, Fail> {
        let count = has_vector.iter().filter(|has_vector| **has_vector).count();
        // From here on there is something to give back, or to make durable.
        self.is_changed = true;
        // While a snapshot of the slots is copied, none is written over.
        let reusable = if self.shared.floor.is_held() { 0 } else { count };
        let pending = &mut self.scopes[at];
        let mut points = pending.taken.take(reusable);
        let spare = (pending.state.capacity / EXTENT_SHARE).clamp(EXTENT_SLOTS.0, EXTENT_SLOTS.1);
        // Runs of points that need slots.
        let (mut bare, mut surplus): (Vec<Range<u32>>, Vec<PointId>) = (Vec::new(), Vec::new());
        let left = |points: &[PointId]| u32::try_from(count - points.len()).expect("validate bounds the batch");
        for gap in pending.state.vacant() {
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
        // Other groups of the request may have been written: there is no way back but for the whole transaction.
        let end = first
            .checked_add(fresh)
            .ok_or_else(|| Fail::Batch(full(&pending.scope, first, fresh)))?;
        points.extend((first..end).map(PointId));
        let mut capacity = pending.state.capacity;
        if end > capacity {
            let wanted = (end - capacity).max(spare).min(u32::MAX - capacity);
            bare.push(capacity..capacity + wanted);
            capacity += wanted;
        }
        let slotless = slotless_points(&pending.state, &bare, capacity, has_vector.len() - count);
        let slotless = slotless.ok_or_else(|| Fail::Batch(full(&pending.scope, first, fresh)))?;
        if slotless.last().is_some_and(|last| last.0 >= capacity) {
            // Behind them no point has a slot: those before them that have one are for later vectors.
            surplus.extend((end..capacity).map(PointId));
        }
        pending.spare.append(&mut surplus);
        let extents = self.slots.take(&mut self.rows, &pending.space, bare)?;
        let (mut with_slot, mut without_slot) = (points.into_iter(), slotless.iter().copied());
        let chosen = has_vector.iter().map(|has_vector| match has_vector {
            true => with_slot.next(),
            false => without_slot.next(),
        });
        Ok(Allocated {
            points: chosen.map(|point| point.expect("there is one for each")).collect(),
            without_vector: slotless,
            extents,
        })
    }

    /// Logs a mutation and applies it to the pending state.
    pub(super) fn apply(&mut self, at: ScopeRef, op: &Op, now: i64) -> Result<ScopeId, Fail> {
        let lsn = self.head.next_lsn();
        self.set_clock(now);
        let pending = &mut self.scopes[at];
        let scope_id = pending.namespace.scope_id;
        self.rows.log(scope_id, lsn, op).map_err(changing)?;
        let had_vector = |point: &u32| !pending.state.without_vector.contains(*point);
        let freed: Vec<u32> = op
            .removed
            .iter()
            .map(|change| change.point.0)
            .filter(had_vector)
            .collect();
        pending.state.apply(lsn, op);
        pending.freed.extend(freed);
        let replaced = op.put.iter().chain(&op.removed).map(|change| change.point);
        let changed = replaced.chain(op.updated.iter().copied());
        pending.changes.points.extend(changed.map(|point| point.0));
        Ok(scope_id)
    }

    /// Brings the metadata index up to a mutation that was just applied: metadata as it was, then as it is. Of many points it
    /// is told only which they are, and so it is of a point whose new metadata is not at hand as fields.
    pub(super) fn index_metadata<'m>(
        &mut self,
        at: ScopeRef,
        removed: impl IntoIterator<Item = Described<'m>>,
        put: impl IntoIterator<Item = (PointId, Option<&'m Metadata>, EntryTimes)>,
    ) {
        let pending = &mut self.scopes[at];
        let Some(index) = &mut pending.state.metadata else {
            return;
        };
        let index = Arc::make_mut(index);
        let is_much = pending.changes.points.len() > self.shared.metadata_at_once_max;
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
        for (point, fields, times) in put {
            match fields.filter(|_| !is_much) {
                Some(fields) => index.insert_with_times(point.0, fields, &times),
                None => index.insert_unread(point.0),
            }
        }
    }

    /// Brings the index of words up to a mutation that was just applied. Words that are not at hand are read when they are
    /// searched for.
    pub(super) fn index_texts<'w>(
        &mut self,
        at: ScopeRef,
        removed: impl IntoIterator<Item = PointId>,
        put: impl IntoIterator<Item = (PointId, &'w Words)>,
    ) {
        if let Some(index) = &mut self.scopes[at].state.texts {
            let index = Arc::make_mut(index);
            removed.into_iter().for_each(|point| index.remove(point));
            put.into_iter().for_each(|(point, words)| index.put(point, words));
        }
    }

    /// [`index_metadata`](Self::index_metadata) of points whose metadata is read later.
    pub(super) fn index_unread(
        &mut self,
        at: ScopeRef,
        removed: impl IntoIterator<Item = PointId>,
        put: impl IntoIterator<Item = PointId>,
    ) {
        if let Some(index) = &mut self.scopes[at].state.metadata {
            let index = Arc::make_mut(index);
            removed.into_iter().for_each(|point| index.remove_unknown(point.0));
            put.into_iter().for_each(|point| index.insert_unread(point.0));
        }
    }
}

/// Points for entries that come.
struct Allocated {
    /// In the order of the entries.
    points: Vec<PointId>,
    /// Those of them that have no vector.
    without_vector: Vec<PointId>,
    extents: Vec<Extent>,
}

/// Points without a slot for `count` entries: dead ones that do not get a slot now, then those behind all slots. None if
/// there are no more numbers.
pub(super) fn slotless_points(
    state: &State,
    get_slots: &[Range<u32>],
    capacity: u32,
    count: usize,
) -> Option<Vec<PointId>> {
    let is_free = |point: &u32| get_slots.iter().all(|run| !run.contains(point));
    let mut points: Vec<PointId> = Vec::with_capacity(count);
    if count > 0 {
        points.extend(state.vacant().flatten().filter(is_free).take(count).map(PointId));
    }
    let fresh = u32::try_from(count - points.len()).ok()?;
    let end = capacity.checked_add(fresh).filter(|end| *end < u32::MAX)?;
    points.extend((capacity..end).map(PointId));
    Some(points)
}

/// The error of a scope that has no numbers left for `fresh` new points after the first `first`.
pub(super) fn full(scope: &StateScope, first: u32, fresh: u32) -> StorageError {
    StorageError::LimitExceeded {
        what: "scope",
        name: scope.to_string(),
        got: u64::from(first) + u64::from(fresh),
        limit: u64::from(u32::MAX),
        unit: "vectors",
    }
}

/// Entries that were found.
pub(super) type Stored = Vec<(PointId, Record)>;

/// The entries of a batch that belong to one scope of one space.
pub(super) struct Group<'r> {
    pub(super) space: &'r Arc<Space>,
    pub(super) scope: &'r StateScope,
    /// None: there is no such scope yet.
    pub(super) at: Option<ScopeRef>,
    pub(super) entries: Vec<(&'r PreparedEntry, Timestamp)>,
    pub(super) replaced: Stored,
    /// Other spaces of the router that have this scope.
    others: Vec<OtherScope>,
    /// Entries of those that have one of the ids.
    pub(super) moved: Vec<Moved>,
}

/// The same scope in another space.
pub(super) struct OtherScope {
    pub(super) space: SpaceId,
    pub(super) scope_id: ScopeId,
    /// Where it is, once one of its entries was looked at.
    pub(super) found: Option<ScopeRef>,
}

/// Entries that go from another space.
pub(super) struct Moved {
    at: ScopeRef,
    pub(super) space: Arc<Space>,
    pub(super) gone: Stored,
}

/// What the metadata index hears of a point that goes: its metadata as it is stored, and its times.
pub(super) type Described<'r> = (PointId, &'r [u8], EntryTimes);

pub(super) fn of_record(point: PointId, record: &Record) -> Described<'_> {
    (point, &record.metadata, record.times())
}

pub(super) fn sum_bytes(lens: impl IntoIterator<Item = usize>) -> u32 {
    u32::try_from(lens.into_iter().sum::<usize>()).unwrap_or(u32::MAX)
}
