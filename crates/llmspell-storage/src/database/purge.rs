//! How is the space of dropped scopes and expired entries given back? A step at a time, between commits.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use llmspell_core::{Result, StateScope};

use super::batch::Fail;
use super::writer::{Purge, Remains, Writer, slot_runs};
use crate::ids::{PointId, ScopeId, SpaceId};
use crate::index_files;
use crate::record::Record;
use crate::truth::ExpiredRow;

/// Rows of one step; a few milliseconds.
pub(super) const STEP_ROWS: usize = 512;
/// How long to wait for searches that still hold a dropped scope, or after a failure.
const RETRY: Duration = Duration::from_millis(200);
/// Expired entries are invisible at once; their space is given back at this pace.
pub(super) const EXPIRY_DELAY_MS: i64 = 1_000;
/// Runs of free slots from this size on are given back to the file system as well.
const PUNCH_BYTES_MIN: u64 = 64 << 10;

impl Writer {
    /// How long housekeeping may wait; none if there is nothing to do.
    pub(super) fn purge_after(&mut self) -> Option<Duration> {
        if self.shared.check_writable().is_err() {
            return None;
        }
        if self
            .purges
            .iter()
            .any(|purge| purge.remains.is_some() || purge.is_quiet())
        {
            return Some(Duration::ZERO);
        }
        let expiry = self.first_expiry.map(|moment| {
            let due_ms = moment
                .saturating_add(EXPIRY_DELAY_MS)
                .saturating_sub(self.shared.clock.now());
            Duration::from_millis(u64::try_from(due_ms).unwrap_or(0))
        });
        let retry = (!self.purges.is_empty()).then_some(RETRY);
        let keys = self.expiring_keys.due_after(self.shared.clock.now());
        expiry.into_iter().chain(retry).chain(keys).min()
    }

    /// One step.
    pub(super) fn purge_step(&mut self) -> Result<()> {
        if self.keys_have_a_turn() {
            return self.purge_keys();
        }
        self.let_go();
        let done = match self.purges.iter().position(Purge::is_quiet) {
            Some(index) => self.purge_scope(index),
            None => self.purge_expired(),
        };
        if done.is_err() {
            // Whatever it was, it will be there again after the next start.
            self.purges.clear();
            self.first_expiry = None;
        }
        done
    }

    /// Of the graphs of dropped scopes, and their files. A file that is left over is removed when its space is opened.
    fn let_go(&mut self) {
        for Purge {
            scope, space, remains, ..
        } in &mut self.purges
        {
            let Some(Remains { last, files }) = remains.take() else {
                continue;
            };
            drop(last);
            if let Some(disk) = &self.shared.disk {
                for (kind, row) in files {
                    index_files::remove(disk, *space, *scope, kind, &row);
                }
            }
        }
    }

    fn purge_scope(&mut self, index: usize) -> Result<()> {
        if !self.purges[index].has_no_slots {
            return self.purge_slots(index);
        }
        let scope = self.purges[index].scope;
        let has_more = self.transact(|batch| {
            batch.set_changed();
            batch.rows.purge_entries(scope, STEP_ROWS).map_err(Fail::Batch)
        })?;
        if has_more {
            return Ok(());
        }
        self.transact(|batch| {
            batch.set_changed();
            batch.rows.finish_purge(scope).map_err(Fail::Batch)
        })?;
        self.purges.swap_remove(index);
        Ok(())
    }

    /// First of all, so that new vectors need not wait until all rows are gone. The state goes with them: whoever begins
    /// anew after a crash finds no slots to give back.
    fn purge_slots(&mut self, index: usize) -> Result<()> {
        let Purge { scope, space, .. } = self.purges[index];
        let state = self.shared.truth.read()?.state(scope)?;
        let space = self.shared.space(space)?;
        let runs: Vec<_> = slot_runs(&state.extents).collect();
        self.transact(|batch| {
            batch.give_back_slots(&space, &runs)?;
            batch.rows.forget_state(scope).map_err(Fail::Batch)
        })?;
        let purge = &mut self.purges[index];
        (purge.has_no_slots, purge.namespace) = (true, None);
        for (first, len) in runs {
            if u64::from(len) * space.slots.stride() >= PUNCH_BYTES_MIN {
                // The slots are free either way; only the disk is not told.
                let _ = space.slots.punch(first, len);
            }
        }
        Ok(())
    }

    fn purge_expired(&mut self) -> Result<()> {
        let now = self.shared.clock.now();
        let shared = Arc::clone(&self.shared);
        let is_last = self.transact(|batch| {
            let expired = batch.rows.expired(now, STEP_ROWS).map_err(Fail::Batch)?;
            let is_last = expired.len() < STEP_ROWS;
            let mut by_scope: BTreeMap<ScopeId, Vec<ExpiredRow>> = BTreeMap::new();
            for row in expired {
                by_scope.entry(row.scope).or_default().push(row);
            }
            let read = shared.truth.read().map_err(Fail::Batch)?;
            for (scope_id, rows) in by_scope {
                let name: Option<(SpaceId, StateScope)> = read.scope_name(scope_id).map_err(Fail::Batch)?;
                let mut found: Vec<(PointId, Record)> = Vec::new();
                for row in &rows {
                    // The row may outlive its entry if the entry's scope was dropped.
                    batch
                        .rows
                        .remove_expiring(row.moment, scope_id, row.point)
                        .map_err(Fail::Batch)?;
                }
                if let Some((space_id, scope)) = &name {
                    let space = shared.space(*space_id).map_err(Fail::Batch)?;
                    for row in &rows {
                        if let Some(record) = batch.record(&space, scope, scope_id, row.point)? {
                            found.push((row.point, record));
                        }
                    }
                    found.sort_by_key(|(point, _)| *point);
                    batch.remove(&space, scope, &found, now)?;
                }
                batch.set_changed();
            }
            Ok(is_last)
        })?;
        self.first_expiry = if is_last {
            self.shared.truth.read()?.first_expiry()?
        } else {
            Some(i64::MIN)
        };
        Ok(())
    }
}

impl Purge {
    /// Whether no search can see the scope any more.
    fn is_quiet(&self) -> bool {
        self.namespace
            .as_ref()
            .is_none_or(|namespace| namespace.reuse.lock().is_quiet())
    }
}
