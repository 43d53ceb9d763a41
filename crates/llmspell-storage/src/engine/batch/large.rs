//! The rows and slots that a large batch changes, a few entries at a time.
//!
//! Its entries are written where they will stay: at points of their scope that do not live yet, so no reader sees them. The
//! last transaction makes all of them live by one mutation for each scope. Replacements are made only then, entry by entry:
//! until that moment an id leads to the old entry.

use std::sync::Arc;

use llmspell_core::{OnExisting, StateScope, Timestamp};

use super::entries::{OtherScope, Stored, full, slotless_points, sum_bytes};
use super::pending::ScopeRef;
use super::quotas::{Counted, Entries};
use super::{Batch, Fail, changing, looking};
use crate::base::error::corrupted;
use crate::base::ids::{Lsn, PointId, ScopeId};
use crate::base::op::{Op, PointChange};
use crate::base::record::{EntrySize, Record, TextMark};
use crate::engine::request::{LargeGroup, PreparedEntry};
use crate::indexes::texts::Words;
use crate::namespace::State;
use crate::spaces::registry::Space;
use crate::truth::Staged;

/// Entries that are written before somebody looks at the time.
const CHUNK: usize = 32;

/// The entries of a large batch that belong to one scope of one space, as far as they are written.
pub(in crate::engine) struct Growing {
    space: Arc<Space>,
    scope: StateScope,
    /// There is no such scope yet.
    is_new: bool,
    pub(in crate::engine) staged: Staged,
    /// What lives in the scope, and where the slots of the staged points are.
    state: State,
    /// Other spaces of the router that have this scope.
    others: Vec<(Arc<Space>, ScopeId)>,
    left: std::vec::IntoIter<(usize, PreparedEntry)>,
    came: Vec<Came>,
    /// Those of the staged points that get no vector.
    without_vector: Vec<PointId>,
    /// Dead points with a slot that nothing is written to.
    spare: Vec<PointId>,
    /// Ids that lead to what is replaced, and where they will lead.
    renamed: Vec<(String, PointId)>,
    replaced: Stored,
    moved: Vec<(Arc<Space>, Stored)>,
}

/// An entry that is written: when it ends, and how long its metadata and its text are.
#[derive(Debug, Clone, Copy)]
struct Came {
    end: Option<Timestamp>,
    metadata_len: usize,
    text_len: usize,
    has_vector: bool,
}

/// The first entry of a batch that must not be there yet, and is: its place in the batch, and its id.
pub(in crate::engine) type Conflict = Option<(usize, String)>;

impl Growing {
    pub(in crate::engine) fn is_staged(&self) -> bool {
        self.left.len() == 0
    }

    /// The scopes in which no entry may go until the batch is done.
    pub(in crate::engine) fn scope_ids(&self) -> impl Iterator<Item = ScopeId> + '_ {
        let others = self.others.iter().map(|(_, scope)| *scope);
        others.chain([self.staged.scope])
    }
}

impl Batch<'_> {
    /// Finds points and slots for the entries of a scope, and notes that they will be written.
    pub(in crate::engine) fn begin_group(&mut self, group: LargeGroup) -> Result<Growing, Fail> {
        let LargeGroup { space, scope, entries } = group;
        self.spaces.check_takes_entries(&space)?;
        let mut others = Vec::new();
        for other in self.spaces.routing.others(space.id) {
            if let Some(scope_id) = self.rows.scope_id(other, &scope).map_err(looking)? {
                others.push((self.shared.space(other).map_err(looking)?, scope_id));
            }
        }
        let known = self.find(&space, &scope)?;
        let is_new = known.is_none();
        let (scope_id, mut state) = match known {
            Some(at) => (self.scopes[at].namespace.scope_id, self.scopes[at].state.clone()),
            None => (self.head.new_scope_id(), State::default()),
        };
        let has_vector: Vec<bool> = entries.iter().map(|(_, entry)| !entry.vector.is_empty()).collect();
        let count = has_vector.iter().filter(|has_vector| **has_vector).count();
        let (with_slot, bare) = dead_points(&state, &scope, count)?;
        let first_unused = with_slot
            .iter()
            .map(|point| point.0 + 1)
            .max()
            .unwrap_or(0)
            .max(state.next_point);
        let capacity = state.capacity.max(first_unused);
        let slotless = slotless_points(&state, &bare, capacity, entries.len() - count);
        let without_vector = slotless.ok_or_else(|| Fail::Request(full(&scope, state.next_point, u32::MAX)))?;
        let spare = match without_vector.last() {
            Some(last) if last.0 >= capacity => (first_unused..capacity).map(PointId).collect(),
            _ => Vec::new(),
        };
        let (mut with_slot, mut without_slot) = (with_slot.into_iter(), without_vector.iter().copied());
        let chosen = has_vector.iter().map(|has_vector| match has_vector {
            true => with_slot.next(),
            false => without_slot.next(),
        });
        let points = chosen.map(|point| point.expect("there is one for each")).collect();
        let extents = self.slots.take(&mut self.rows, &space, bare)?;
        let staged = Staged {
            space: space.id,
            scope: scope_id,
            points,
            extents,
        };
        self.rows.put_staged(&staged).map_err(changing)?;
        self.is_changed = true;
        let op = Op {
            extents: staged.extents.clone(),
            ..Op::default()
        };
        // Where slots are; which points live stays as it is.
        state.apply(Lsn(state.lsn.0 + 1), &op);
        Ok(Growing {
            space,
            scope,
            is_new,
            staged,
            state,
            others,
            came: Vec::with_capacity(entries.len()),
            without_vector,
            spare,
            left: entries.into_iter(),
            renamed: Vec::new(),
            replaced: Vec::new(),
            moved: Vec::new(),
        })
    }

    /// Writes some of the entries that are left. Once one of them must not be there, the others are only looked at: the
    /// first one by its place in the batch is told.
    pub(in crate::engine) fn stage(
        &mut self,
        growing: &mut Growing,
        conflict: &mut Conflict,
        (on_existing, now): (OnExisting, i64),
    ) -> Result<(), Fail> {
        let other = |(space, scope_id): &(Arc<Space>, ScopeId)| OtherScope {
            space: space.id,
            scope_id: *scope_id,
            found: None,
        };
        let mut others: Vec<OtherScope> = growing.others.iter().map(other).collect();
        let mut entries = Vec::with_capacity(CHUNK);
        for (place, entry) in growing.left.by_ref().take(CHUNK).collect::<Vec<_>>() {
            let found = self.meet(growing, &mut others, &entry.id)?;
            let now = Timestamp::from_millis(now);
            let visible = found.iter().find(|(_, _, record)| !record.is_expired(now));
            let is_first = || conflict.as_ref().is_none_or(|(first, _)| place < *first);
            if on_existing == OnExisting::Refuse && visible.is_some() {
                if is_first() {
                    *conflict = Some((place, entry.id));
                }
                continue;
            }
            let before = visible.map(|(_, _, record)| record.created_at);
            let created_at = entry.created_at.or(before).unwrap_or(entry.updated_at);
            entries.push((entry, created_at, found));
        }
        match conflict {
            Some(_) => Ok(()),
            None => self.stage_rows(growing, entries),
        }
    }

    /// What has an id now, in the space of the batch and in others of the router.
    fn meet(&mut self, growing: &Growing, others: &mut [OtherScope], id: &str) -> Result<Vec<Found>, Fail> {
        let mut found = Vec::new();
        if !growing.is_new {
            let scope_id = growing.staged.scope;
            let point = self.rows.point(scope_id, id).map_err(looking)?;
            if let Some(point) = point.filter(|point| growing.state.lives(*point)) {
                let (point, record) = self.record_of(scope_id, id, point)?;
                found.push((None, point, record));
            }
        }
        for other in others {
            let Some(at) = self.find_other(other, &growing.scope, id)? else {
                continue;
            };
            if let Some((point, record)) = self.existing(at, id)? {
                found.push((Some(Arc::clone(&self.scopes[at].space)), point, record));
            }
        }
        Ok(found)
    }

    fn stage_rows(
        &mut self,
        growing: &mut Growing,
        entries: Vec<(PreparedEntry, Timestamp, Vec<Found>)>,
    ) -> Result<(), Fail> {
        let scope_id = growing.staged.scope;
        let first = growing.came.len();
        let points = growing.staged.points[first..first + entries.len()].to_vec();
        let vectors = entries.iter().map(|(entry, ..)| entry.vector.as_slice());
        let vectors = points.iter().copied().zip(vectors);
        let generations = self.slots.write(&growing.space, (scope_id, &growing.state), vectors)?;
        for ((point, (entry, created_at, found)), generation) in points.into_iter().zip(entries).zip(generations) {
            let text = TextMark::of(entry.text.as_ref());
            growing.came.push(Came {
                end: entry.expires_at,
                metadata_len: entry.metadata.len(),
                text_len: text.bytes(),
                has_vector: generation.is_some(),
            });
            let record = Record {
                generation,
                created_at,
                updated_at: entry.updated_at,
                event_time: entry.event_time,
                expires_at: entry.expires_at,
                text,
                id: entry.id,
                metadata: entry.metadata,
            };
            let rows = &mut self.rows;
            rows.put_record(growing.space.id, scope_id, point, &record)
                .map_err(changing)?;
            if let Some(text) = &entry.text {
                rows.put_text(scope_id, point, text).map_err(changing)?;
            }
            if found.iter().all(|(other, ..)| other.is_some()) {
                rows.put_id(scope_id, &record.id, point).map_err(changing)?;
            } else {
                growing.renamed.push((record.id, point));
            }
            for (other, point, record) in found {
                growing.replace(other, point, record);
            }
        }
        self.is_changed = true;
        Ok(())
    }

    /// Makes the entries of all groups live, and removes what they replace.
    pub(in crate::engine) fn adopt(&mut self, groups: &mut [Growing], now: i64) -> Result<(), Fail> {
        for group in groups.iter() {
            self.spaces.check_takes_entries(&group.space)?;
        }
        self.admit_entries(groups, now)?;
        for group in groups.iter_mut() {
            for (other, mut gone) in std::mem::take(&mut group.moved) {
                gone.sort_by_key(|(point, _)| *point);
                if let Some(at) = self.find(&other, &group.scope)? {
                    self.remove(at, &gone, now)?;
                }
            }
        }
        for group in groups {
            let at = self.adopt_group(group, now)?;
            let came = Entries::of(group.coming().map(|(_, size)| size));
            self.count_entries(at, came, Entries::stored(&group.replaced));
            let replaced = group.replaced.iter().map(|(_, record)| record.id.as_str());
            self.remove_copies(at, replaced, now)?;
        }
        Ok(())
    }

    fn adopt_group(&mut self, group: &mut Growing, now: i64) -> Result<ScopeRef, Fail> {
        let (space, scope, scope_id) = (&group.space, &group.scope, group.staged.scope);
        let found = match group.is_new {
            true => Some(self.create_scope(space, scope, scope_id)?),
            false => self.find(space, scope)?,
        };
        let Some(at) = found.filter(|at| self.scopes[*at].namespace.scope_id == scope_id) else {
            let detail = format!("scope {} went while entries were written for it", scope_id.0);
            return Err(Fail::Batch(corrupted(self.shared.truth.path(), detail)));
        };
        group.replaced.sort_by_key(|(point, _)| *point);
        let op = group.op();
        self.apply(at, &op, now)?;
        self.scopes[at].spare.append(&mut group.spare);
        self.rows.forget_staged(&group.staged).map_err(changing)?;
        for (id, point) in &group.renamed {
            self.rows.put_id(scope_id, id, *point).map_err(changing)?;
        }
        for (point, record) in &group.replaced {
            self.rows.remove_entry(scope_id, *point, record).map_err(changing)?;
        }
        let removed = group.replaced.iter().map(|(point, _)| *point);
        self.index_unread(at, removed, group.staged.points.iter().copied());
        let removed = group.replaced.iter().map(|(point, _)| *point);
        self.index_texts(
            at,
            removed,
            group.staged.points.iter().map(|point| (*point, &Words::Later)),
        );
        let ends = group.came.iter().filter_map(|came| came.end);
        self.note_expiry(ends.map(Timestamp::as_millis).min());
        Ok(at)
    }

    /// Gives back the slots of a batch that will not be completed, and removes the note of them.
    pub(in crate::engine) fn forget_staged(&mut self, staged: &Staged) -> Result<(), Fail> {
        // A space that was dropped goes as a whole.
        if self.shared.has_space(staged.space) {
            // One that is damaged keeps its slots and the note until it is opened again.
            let Ok(space) = self.shared.space(staged.space) else {
                return Ok(());
            };
            let runs: Vec<_> = crate::engine::writer::slot_runs(&staged.extents).collect();
            self.give_back_slots(&space, &runs)?;
        }
        self.rows.forget_staged(staged).map_err(changing)
    }
}

/// What an id leads to: in another space, if that is named.
type Found = (Option<Arc<Space>>, PointId, Record);

impl Growing {
    fn replace(&mut self, other: Option<Arc<Space>>, point: PointId, record: Record) {
        let Some(other) = other else {
            self.replaced.push((point, record));
            return;
        };
        match self.moved.iter_mut().find(|(space, _)| space.id == other.id) {
            Some((_, gone)) => gone.push((point, record)),
            None => self.moved.push((other, vec![(point, record)])),
        }
    }

    fn op(&self) -> Op {
        let put = self.staged.points.iter().zip(&self.came);
        let change = |point: PointId, end: Option<Timestamp>| PointChange {
            point,
            expires_at: end.map(Timestamp::as_millis),
        };
        let removed = self.replaced.iter();
        Op {
            put: put.map(|(point, came)| change(*point, came.end)).collect(),
            removed: removed
                .map(|(point, record)| change(*point, record.expires_at))
                .collect(),
            extents: self.staged.extents.clone(),
            metadata_bytes_added: sum_bytes(self.came.iter().map(|came| came.metadata_len)),
            without_vector: self.without_vector.clone(),
            text_bytes_added: sum_bytes(self.came.iter().map(|came| came.text_len)),
            text_bytes_removed: sum_bytes(self.replaced.iter().map(|(_, record)| record.text.bytes())),
            metadata_bytes_removed: sum_bytes(self.replaced.iter().map(|(_, record)| record.metadata.len())),
            ..Op::default()
        }
    }
}

impl Counted for Growing {
    fn space(&self) -> &Arc<Space> {
        &self.space
    }

    fn scope(&self) -> &StateScope {
        &self.scope
    }

    fn coming(&self) -> impl Iterator<Item = (Option<Timestamp>, EntrySize)> {
        self.came.iter().map(|came| {
            let size = EntrySize {
                bytes: came.metadata_len + came.text_len,
                has_vector: came.has_vector,
            };
            (came.end, size)
        })
    }

    fn replaced(&self) -> &Stored {
        &self.replaced
    }

    fn moved(&self) -> impl Iterator<Item = (&Space, &Stored)> {
        self.moved.iter().map(|(space, gone)| (&**space, gone))
    }
}

/// Points of a scope for `count` entries, none of which lives, and those of them that have no slot: points that gave their
/// slot back, then new ones. Dead points with a slot are left to small batches.
fn dead_points(
    state: &State,
    scope: &StateScope,
    count: usize,
) -> Result<(Vec<PointId>, Vec<std::ops::Range<u32>>), Fail> {
    let mut points = Vec::with_capacity(count);
    let mut bare = Vec::new();
    let left = |points: &[PointId]| u32::try_from(count - points.len()).expect("validate bounds the batch");
    for gap in state.vacant() {
        if left(&points) == 0 {
            break;
        }
        let end = gap.end.min(gap.start + left(&points));
        points.extend((gap.start..end).map(PointId));
        bare.push(gap.start..end);
    }
    let (first, fresh) = (state.next_point, left(&points));
    let end = first
        .checked_add(fresh)
        .ok_or_else(|| Fail::Request(full(scope, first, fresh)))?;
    points.extend((first..end).map(PointId));
    if end > state.capacity {
        bare.push(state.capacity..end);
    }
    Ok((points, bare))
}
