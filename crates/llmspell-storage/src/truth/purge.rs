//! Removal of the rows of dropped scopes and spaces.

use std::collections::HashSet;

use llmspell_core::Result;
use redb::ReadableTable;

use super::table_error;
use super::tables;
use super::write::{Rows, table};
use crate::base::ids::{PointId, ScopeId, SpaceId};

/// A row of `expiring`.
#[derive(Debug, Clone, Copy)]
pub(crate) struct ExpiredRow {
    pub(crate) moment: i64,
    pub(crate) scope: ScopeId,
    pub(crate) point: PointId,
}

impl Rows<'_> {
    /// Entries that have expired at `now`, at most `limit`, in the order of time; without those of some scopes.
    pub(crate) fn expired(&mut self, now: i64, limit: usize, without: &HashSet<ScopeId>) -> Result<Vec<ExpiredRow>> {
        let failed = self.failed();
        let rows = table!(self.expiring, EXPIRING)
            .range(..=(now, u64::MAX, u32::MAX))
            .map_err(&failed)?;
        let rows = rows.map(|row| {
            let (key, _) = row.map_err(&failed)?;
            let (moment, scope, point) = key.value();
            Ok(ExpiredRow {
                moment,
                scope: ScopeId(scope),
                point: PointId(point),
            })
        });
        let is_wanted = |row: &Result<ExpiredRow>| row.as_ref().map_or(true, |row| !without.contains(&row.scope));
        rows.filter(is_wanted).take(limit).collect()
    }

    /// Removes the row of an expiring point, whatever it says.
    pub(crate) fn remove_expiring(&mut self, moment: i64, scope: ScopeId, point: PointId) -> Result<()> {
        let failed = self.failed();
        table!(self.expiring, EXPIRING)
            .remove((moment, scope.0, point.0))
            .map_err(failed)?;
        Ok(())
    }

    /// Removes at most `limit` entries of a dropped scope. Says how many rows went; fewer than `limit` were the last.
    pub(crate) fn purge_entries(&mut self, scope: ScopeId, limit: usize) -> Result<usize> {
        let failed = self.failed();
        let start: (u64, &[u8]) = (scope.0, &[]);
        let end: (u64, &[u8]) = (scope.0 + 1, &[]);
        let mut ids = Vec::with_capacity(limit);
        for row in table!(self.ids, IDS).range(start..end).map_err(&failed)?.take(limit) {
            ids.push(row.map_err(&failed)?.0.value().1.to_vec());
        }
        for id in &ids {
            table!(self.ids, IDS)
                .remove((scope.0, id.as_slice()))
                .map_err(&failed)?;
        }
        let mut points = Vec::with_capacity(limit);
        for row in table!(self.entries, ENTRIES)
            .range((scope.0, 0)..=(scope.0, u32::MAX))
            .map_err(&failed)?
            .take(limit)
        {
            let (key, record) = row.map_err(&failed)?;
            let point = PointId(key.value().1);
            // A damaged record is removed too; its row in `expiring` is removed at its time.
            let expires_at = crate::base::record::Record::decode(scope, point, record.value())
                .ok()
                .and_then(|record| record.expires_at);
            points.push((point, expires_at));
        }
        for (point, expires_at) in &points {
            table!(self.entries, ENTRIES)
                .remove((scope.0, point.0))
                .map_err(&failed)?;
            if let Some(moment) = expires_at {
                self.remove_expiring(moment.as_millis(), scope, *point)?;
            }
        }
        let texts = self.purge_texts(scope, limit)?;
        Ok(ids.len().max(points.len()).max(texts))
    }

    /// Removes the state of a dropped scope, whose slots are given back.
    pub(crate) fn forget_state(&mut self, scope: ScopeId) -> Result<()> {
        let failed = self.failed();
        table!(self.checkpoints, CHECKPOINTS).remove(scope.0).map_err(&failed)?;
        table!(self.log, LOG)
            .retain_in((scope.0, 0)..=(scope.0, u64::MAX), |_, _| false)
            .map_err(&failed)
    }

    /// Removes the remaining rows of a dropped scope after its entries.
    pub(crate) fn finish_purge(&mut self, scope: ScopeId) -> Result<()> {
        let failed = self.failed();
        table!(self.scope_names, SCOPE_NAMES).remove(scope.0).map_err(&failed)?;
        table!(self.dropped, DROPPED).remove(scope.0).map_err(&failed)?;
        Ok(())
    }

    /// Removes at most `limit` rows of a dropped space. Says whether there are more.
    pub(crate) fn purge_space(&mut self, space: SpaceId, limit: usize) -> Result<bool> {
        let failed = self.failed();
        let mut left = limit;
        while left > 0 {
            let no_bytes: &[u8] = &[];
            let first = {
                let scopes = table!(self.scopes, SCOPES);
                let mut rows = scopes.range((space.0, no_bytes)..).map_err(&failed)?;
                let row = rows.next().transpose().map_err(&failed)?;
                row.filter(|(key, _)| key.value().0 == space.0)
                    .map(|(key, id)| (key.value().1.to_vec(), ScopeId(id.value())))
            };
            let Some((name, scope)) = first else {
                return self.purge_space_itself(space, left);
            };
            let removed = self.purge_entries(scope, left)?;
            if removed == left {
                return Ok(true);
            }
            // The scope itself is a row, too.
            left -= removed + 1;
            self.forget_state(scope)?;
            self.forget_index_files(scope)?;
            table!(self.scope_names, SCOPE_NAMES).remove(scope.0).map_err(&failed)?;
            table!(self.scopes, SCOPES)
                .remove((space.0, name.as_slice()))
                .map_err(&failed)?;
        }
        Ok(true)
    }

    fn purge_space_itself(&mut self, space: SpaceId, limit: usize) -> Result<bool> {
        let failed = self.failed();
        let mut runs = Vec::with_capacity(limit);
        let free = table!(self.free_slots, FREE_SLOTS);
        for row in free
            .range((space.0, 0)..=(space.0, u64::MAX))
            .map_err(&failed)?
            .take(limit)
        {
            runs.push(row.map_err(&failed)?.0.value());
        }
        for run in &runs {
            free.remove(run).map_err(&failed)?;
        }
        if runs.len() == limit {
            return Ok(true);
        }
        table!(self.slot_ends, SLOT_ENDS).remove(space.0).map_err(&failed)?;
        table!(self.spaces, SPACES).remove(space.0).map_err(&failed)?;
        Ok(false)
    }
}
