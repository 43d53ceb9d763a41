//! The slots that a snapshot names: whose vectors they hold, and whether they are undamaged.

use std::ops::Range;

use llmspell_core::{Result, StorageError};
use roaring::RoaringTreemap;

use crate::base::ids::{PointId, ScopeId, Slot, SpaceId};
use crate::truth::Read;

/// The slots of the living points of one space.
#[derive(Debug, Default)]
pub(super) struct LiveSlots {
    /// First slot, length, whose; in the order of the slots.
    runs: Vec<(u64, u32, ScopeId)>,
    /// Slots in these runs whose points are dead.
    dead: RoaringTreemap,
}

impl LiveSlots {
    /// Of all scopes of a space, loaded or not. `damaged` is told about scopes that cannot be read, and says whether to go
    /// on without them.
    pub(super) fn of(read: &Read, space: SpaceId, damaged: &mut dyn FnMut(StorageError) -> Result<()>) -> Result<Self> {
        let mut live = Self::default();
        let scopes = match read.scopes(space) {
            Ok(scopes) => scopes,
            Err(error) => {
                damaged(error)?;
                return Ok(live);
            }
        };
        for (_, scope) in scopes {
            let state = match read.state(scope) {
                Ok(state) => state,
                Err(error) => {
                    damaged(error)?;
                    continue;
                }
            };
            for extent in state.extents.iter() {
                let PointId(first) = extent.first_point;
                let len = extent.len.min(state.next_point.saturating_sub(first));
                if len == 0 {
                    continue;
                }
                live.runs.push((extent.first_slot.0, len, scope));
                let dead = state.dead.range(first..first + len);
                live.dead
                    .extend(dead.map(|point| extent.first_slot.0 + u64::from(point - first)));
            }
        }
        live.runs.sort_unstable_by_key(|(first, ..)| *first);
        Ok(live)
    }

    /// One past the last slot that is named.
    pub(super) fn end(&self) -> u64 {
        self.runs.last().map_or(0, |(first, len, _)| first + u64::from(*len))
    }

    /// Number of slots of living points.
    pub(super) fn count(&self) -> u64 {
        let all: u64 = self.runs.iter().map(|(_, len, _)| u64::from(*len)).sum();
        all.saturating_sub(self.dead.len())
    }

    /// The slots of living points in a range, and whose they are.
    pub(super) fn within(&self, slots: Range<u64>) -> impl Iterator<Item = (Slot, ScopeId)> + '_ {
        let after = self.runs.partition_point(|(first, ..)| *first <= slots.start);
        let runs = self.runs[after.saturating_sub(1)..].iter();
        let runs = runs.take_while(move |(first, ..)| *first < slots.end);
        let each = runs.flat_map(move |(first, len, scope)| {
            let run = (*first).max(slots.start)..(first + u64::from(*len)).min(slots.end);
            run.map(|slot| (Slot(slot), *scope))
        });
        each.filter(|(slot, _)| !self.dead.contains(slot.0))
    }
}
