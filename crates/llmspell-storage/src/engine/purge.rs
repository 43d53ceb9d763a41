//! The purge: frees the space of dropped scopes and expired entries, one step at a time, between commits.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use llmspell_core::Result;
use roaring::RoaringBitmap;

use super::backlog::{Purge, Remains, STEP_ROWS, Turn};
use super::batch::{Fail, runs_of};
use super::writer::{Writer, slot_runs};
use crate::base::error::io_error;
use crate::base::failures::{Place, Task};
use crate::base::ids::{PointId, ScopeId, Slot, SpaceId};
use crate::base::observe;
use crate::indexes::files;
use crate::namespace::State;
use crate::slots::SlotStore;
use crate::spaces::registry::Space;
use crate::truth::ExpiredRow;

/// Dropped scopes whose slots one step frees.
const STEP_SCOPES: usize = 64;
/// On a nearly full disk a step takes fewer: the transaction itself needs space.
const STEP_SCOPES_IF_FULL: usize = 8;
pub(super) const STEP_ROWS_IF_FULL: usize = 32;
/// Free runs of slots from this size on are returned to the file system as well.
const PUNCH_BYTES_MIN: u64 = 64 << 10;

/// A living scope keeps slots of dead points for its next entries: up to this many bytes, and up to one in
/// `SHRINK_SHARE` of its slots. Smaller in tests.
const SHRINK_BYTES_MIN: u64 = if cfg!(test) { 64 } else { 64 << 10 };
const SHRINK_SHARE: u64 = 4;
/// It gives back runs of at least this many slots: each run is noted with the scope.
const RETURNED_RUN_MIN: usize = if cfg!(test) { 1 } else { 8 };
/// Approximate number of slots that one step gives back.
const RETURNED_MAX: u64 = 4096;

/// The work of a step for one dropped scope.
struct Work {
    scope: ScopeId,
    /// Whether its state exists and must be removed.
    has_state: bool,
    /// The slots to free, and their space.
    slots: Option<Slots>,
}

/// Slots of a space.
type Slots = (Arc<Space>, Vec<(Slot, u32)>);

impl Writer {
    /// How long housekeeping may wait; none if there is nothing to do.
    pub(super) fn purge_after(&mut self) -> Option<Duration> {
        self.shared.check_writable().ok()?;
        self.backlog.is_held = self.shared.floor.is_held();
        self.backlog.due_in(self.shared.clock.confirmed())
    }

    /// One step.
    pub(super) fn purge_step(&mut self) {
        self.drop_indexes();
        self.backlog.is_held = self.shared.floor.is_held();
        let turn = self.backlog.next_turn(self.shared.clock.confirmed());
        let done = match turn {
            Turn::Dropped => self.purge_dropped(),
            Turn::Expired => self.purge_expired(),
            Turn::Space => self.purge_space(),
            Turn::Keys => self.purge_keys(),
            Turn::Living => self.shrink(),
            Turn::Survey => self.look_at_scopes(),
            Turn::Again => {
                self.backlog.try_again();
                Ok(())
            }
        };
        self.backlog.set_failed(done.is_err());
        if let Some(task) = task_of(turn) {
            self.shared.note_background(task, &Place::Database, &done);
            observe::purged(task.name(), done.is_ok());
        }
    }

    /// Frees the indexes and index files of dropped scopes. A remaining file is removed when its space is opened.
    fn drop_indexes(&mut self) {
        for Purge {
            scope, space, remains, ..
        } in &mut self.backlog.purges
        {
            let Some(Remains { last, files }) = remains.take() else {
                continue;
            };
            drop(last);
            if let Some(disk) = &self.shared.disk {
                for (kind, row) in files {
                    files::remove(disk, *space, *scope, kind, &row);
                }
            }
        }
    }

    /// Slots first, of all scopes, so that new vectors need not wait until all rows are removed. The states are removed
    /// with them: after a crash no slots would be freed twice. Then rows, of several scopes if they are small.
    fn purge_dropped(&mut self) -> Result<()> {
        let is_full = self.shared.is_nearly_full();
        let works = self.next_works(if is_full { STEP_SCOPES_IF_FULL } else { STEP_SCOPES });
        let is_careful = self.backlog.is_careful;
        // Removing rows needs space before it frees any; freeing slots gives space back at once.
        let rows_max = match is_full {
            false => STEP_ROWS,
            true if works.iter().any(|work| work.slots.is_some()) => 0,
            true => STEP_ROWS_IF_FULL,
        };
        let done = self.transact(|batch| {
            let mut rows = BTreeMap::new();
            let mut limit = rows_max;
            for work in &works {
                if let Some((space, runs)) = &work.slots {
                    batch.give_back_slots(space, runs)?;
                }
                if work.has_state {
                    batch.rows.forget_state(work.scope).map_err(Fail::Batch)?;
                }
                if limit > 0 {
                    let removed = batch.rows.purge_entries(work.scope, limit).map_err(Fail::Batch)?;
                    let is_last = removed < limit;
                    limit -= removed;
                    if is_last {
                        batch.rows.finish_purge(work.scope).map_err(Fail::Batch)?;
                    }
                    rows.insert(work.scope, (removed as u64, is_last));
                }
            }
            batch.set_changed();
            Ok(rows)
        });
        let rows = match done {
            Ok(rows) => rows,
            Err(error) if is_careful => {
                let failed = works.iter().map(|work| work.scope).collect();
                self.set_aside(&failed);
                let done = Err(error);
                works.iter().for_each(|work| self.note_purged(work.scope, &done));
                return done;
            }
            Err(error) => {
                self.backlog.is_careful = true;
                return Err(error);
            }
        };
        self.backlog.is_careful = false;
        works.iter().for_each(|work| self.note_purged(work.scope, &Ok(())));
        let without_slots: BTreeSet<ScopeId> = works.iter().map(|work| work.scope).collect();
        self.backlog.purges.retain_mut(|purge| {
            if without_slots.contains(&purge.scope) {
                (purge.has_no_slots, purge.namespace) = (true, None);
            }
            let (removed, is_last) = rows.get(&purge.scope).copied().unwrap_or_default();
            purge.rows = purge.rows.saturating_sub(removed);
            !is_last
        });
        for (space, runs) in works.into_iter().filter_map(|work| work.slots) {
            self.punch(&space, &runs);
        }
        Ok(())
    }

    /// The dropped scopes of the next step. Scopes that cannot be read are set aside.
    fn next_works(&mut self, scopes_max: usize) -> Vec<Work> {
        let (mut works, mut unreadable, mut without_slots) = (Vec::new(), BTreeSet::new(), 0);
        let limit = if self.backlog.is_careful { 1 } else { scopes_max };
        for purge in self.backlog.purges.iter().filter(|purge| purge.is_quiet()) {
            if works.len() == limit {
                break;
            }
            if purge.has_no_slots {
                // Each of them has at least one row, so one step cannot finish more of them.
                without_slots += 1;
                if without_slots <= limit / 2 + 1 {
                    works.push(Work {
                        scope: purge.scope,
                        has_state: false,
                        slots: None,
                    });
                }
                continue;
            }
            match self.slots_of(purge) {
                Ok(slots) => works.push(Work {
                    scope: purge.scope,
                    has_state: true,
                    slots,
                }),
                Err(error) => {
                    self.note_purged(purge.scope, &Err(error));
                    unreadable.insert(purge.scope);
                }
            }
        }
        self.set_aside(&unreadable);
        works
    }

    fn note_purged(&self, scope: ScopeId, done: &Result<()>) {
        self.shared
            .note_background(Task::PurgeDropped, &Place::ScopeNumber(scope), done);
    }

    /// None if its space was dropped as well: then all slots of the space are freed together.
    fn slots_of(&self, purge: &Purge) -> Result<Option<Slots>> {
        if !self.shared.has_space(purge.space) {
            return Ok(None);
        }
        let state = self
            .shared
            .truth
            .guard(|| self.shared.truth.read()?.state(purge.scope))?;
        let space = self.shared.space(purge.space)?;
        Ok(Some((space, slot_runs(&state.extents).collect())))
    }

    fn set_aside(&mut self, scopes: &BTreeSet<ScopeId>) {
        if scopes.is_empty() {
            return;
        }
        let purges = std::mem::take(&mut self.backlog.purges);
        let (aside, rest): (Vec<_>, Vec<_>) = purges.into_iter().partition(|purge| scopes.contains(&purge.scope));
        self.backlog.purges.extend(rest);
        self.backlog.set_aside.extend(aside);
    }

    /// Returns free slots to the file system, with all free ones beside them: many small scopes make a large run.
    fn punch(&mut self, space: &Space, given: &[(Slot, u32)]) {
        let Some(allocator) = self.allocators.get(&space.id) else {
            return;
        };
        let runs: BTreeSet<_> = given
            .iter()
            .filter_map(|(first, _)| allocator.free_run(*first))
            .collect();
        for (first, len) in runs {
            if u64::from(len) * space.slots.stride() >= PUNCH_BYTES_MIN {
                // The slots are free either way; only the file system does not get them.
                let punched = space.slots.punch(first, len);
                self.shared
                    .note_background(Task::Punch, &Place::Space(space.id), &punched);
            }
        }
    }

    /// A scope whose entries cannot be read does not block the others.
    fn purge_expired(&mut self) -> Result<()> {
        // A clock that is ahead and not confirmed hides entries, but removes none.
        let shared = Arc::clone(&self.shared);
        let now = shared.clock.confirmed();
        let without = &self.backlog.unreadable | &self.large.scope_ids();
        let rows_max = match self.shared.is_nearly_full() {
            false => STEP_ROWS,
            true => STEP_ROWS_IF_FULL,
        };
        let (is_last, unreadable) = self.transact(|batch| {
            let expired = batch.rows.expired(now, rows_max, &without).map_err(Fail::Batch)?;
            let is_last = expired.len() < rows_max;
            let mut by_scope: BTreeMap<ScopeId, Vec<ExpiredRow>> = BTreeMap::new();
            for row in expired {
                by_scope.entry(row.scope).or_default().push(row);
            }
            let mut unreadable = Vec::new();
            for (scope, rows) in by_scope {
                match batch.purge_expired(scope, &rows, now) {
                    Err(Fail::Request(error)) => {
                        let place = Place::ScopeNumber(scope);
                        shared.note_background(Task::PurgeExpired, &place, &Err::<(), _>(error));
                        unreadable.push(scope);
                    }
                    done => {
                        done?;
                        shared.note_background(Task::PurgeExpired, &Place::ScopeNumber(scope), &Ok(()));
                    }
                }
            }
            Ok((is_last, unreadable))
        })?;
        self.backlog.unreadable.extend(unreadable);
        if is_last {
            self.backlog.full_steps = 0;
            self.backlog.first_expiry = self
                .shared
                .truth
                .read()?
                .first_expiry(&(&without | &self.backlog.unreadable))?;
        } else {
            self.backlog.full_steps = self.backlog.full_steps.saturating_add(1);
            self.backlog.first_expiry = Some(i64::MIN);
        }
        Ok(())
    }

    /// The files of a dropped space first: they are the largest part, and removing them needs no space. A reader that
    /// has them open can continue.
    fn purge_space(&mut self) -> Result<()> {
        let Some(space) = self.backlog.spaces.pop_front() else {
            return Ok(());
        };
        let done = self.remove_files(space).and_then(|()| {
            self.transact(|batch| {
                batch.set_changed();
                batch.rows.purge_space(space, STEP_ROWS).map_err(Fail::Batch)
            })
        });
        match done {
            Ok(false) => self.shared.forget_space(space),
            Ok(true) => self.backlog.spaces.push_front(space),
            // Another one is tried first.
            Err(_) => self.backlog.spaces.push_back(space),
        }
        done.map(drop)
    }

    fn remove_files(&self, space: SpaceId) -> Result<()> {
        let Some(disk) = &self.shared.disk else { return Ok(()) };
        let dir = SlotStore::dir(space);
        let remove = || {
            for dir in [&files::dir(space), &dir] {
                for name in disk.list(dir)? {
                    let path = format!("{dir}/{name}");
                    if path != files::dir(space) {
                        disk.remove(&path)?;
                    }
                }
                disk.remove_dir(dir)?;
            }
            Ok(())
        };
        remove().map_err(|source| io_error("remove", &disk.full_path(&dir), source))
    }

    /// Gives back slots of a living scope, if many of its points are dead.
    fn shrink(&mut self) -> Result<()> {
        let Some((space_id, scope)) = self.backlog.shrinking.pop_first() else {
            return Ok(());
        };
        if !self.shared.has_space(space_id) {
            return Ok(());
        }
        let space = self.shared.space(space_id)?;
        let Some(namespace) = space.load(&self.shared.truth, &scope)? else {
            return Ok(());
        };
        let state = namespace.state();
        let dead = state.dead_with_slot();
        if state.is_dropped || !is_wasteful(dead.len(), &state, &space) {
            return Ok(());
        }
        let free = namespace.reuse.lock().free().clone();
        let points = returnable(&state, &free);
        if points.is_empty() {
            if !returnable(&state, &dead).is_empty() {
                self.backlog.shrinking_later.insert((space_id, scope));
            }
            return Ok(());
        }
        let slots: Vec<Slot> = points.iter().filter_map(|point| state.slot(PointId(point))).collect();
        drop(state);
        self.transact(|batch| batch.return_slots(&space, &scope, &namespace, &points))?;
        self.punch(&space, &runs_of(slots));
        // There may be more than one step gives back.
        self.backlog.shrinking.insert((space_id, scope));
        Ok(())
    }
}

/// The kind of work that is reported after a failure.
fn task_of(turn: Turn) -> Option<Task> {
    match turn {
        Turn::Dropped => Some(Task::PurgeDropped),
        Turn::Expired => Some(Task::PurgeExpired),
        Turn::Space => Some(Task::PurgeSpace),
        Turn::Keys => Some(Task::PurgeKeys),
        Turn::Living => Some(Task::Shrink),
        Turn::Survey => Some(Task::Survey),
        Turn::Again => None,
    }
}

/// Whether a scope with this many dead points with slots should give some slots back.
pub(super) fn is_wasteful(dead: u64, state: &State, space: &Space) -> bool {
    dead * space.slots.stride() >= SHRINK_BYTES_MIN && dead * SHRINK_SHARE >= state.slot_count()
}

/// The dead points whose slots are worth giving back, because they are consecutive. As many as one step takes.
fn returnable(state: &State, points: &RoaringBitmap) -> RoaringBitmap {
    let mut chosen = RoaringBitmap::new();
    let mut run: Vec<u32> = Vec::new();
    let mut last_slot = None;
    let mut end_run = |run: &mut Vec<u32>| {
        if run.len() >= RETURNED_RUN_MIN {
            chosen.extend(run.iter().copied());
        }
        run.clear();
        chosen.len() >= RETURNED_MAX
    };
    for point in points {
        let slot = state.slot(PointId(point)).map(|slot| slot.0);
        let is_next_slot = slot.is_some_and(|slot| last_slot.is_some_and(|last: u64| last + 1 == slot));
        let goes_on = is_next_slot && run.last().is_some_and(|last| last + 1 == point);
        if (!goes_on || run.len() as u64 >= RETURNED_MAX) && end_run(&mut run) {
            return chosen;
        }
        if slot.is_some() {
            run.push(point);
        }
        last_slot = slot;
    }
    end_run(&mut run);
    chosen
}
