//! What became of points, for an index of their metadata that was made meanwhile?

use std::collections::HashSet;
use std::sync::Arc;

use llmspell_core::EntryTimes;
use roaring::RoaringBitmap;

use crate::metadata_index::MetadataIndex;

/// Of so many points it is kept what their metadata was. Of others an index has to be searched for them.
const KEPT_MAX: usize = 4_096;

/// Points that are another entry now, or have other metadata.
#[derive(Debug, Clone, Default)]
pub(crate) struct Changes {
    pub(crate) points: RoaringBitmap,
    /// What some of them were before, the oldest first.
    before: Vec<Described>,
    /// The metadata index before them.
    pub(super) index: Option<Arc<MetadataIndex>>,
}

/// A point with its metadata, as it is stored, and its times.
#[derive(Debug, Clone)]
struct Described {
    point: u32,
    metadata: Vec<u8>,
    times: EntryTimes,
}

impl Changes {
    /// None yet, of a state with this metadata index.
    pub(crate) fn after(index: Option<Arc<MetadataIndex>>) -> Self {
        Self {
            index,
            ..Self::default()
        }
    }

    /// Changes of these points.
    #[cfg(test)]
    pub(crate) fn of(points: impl IntoIterator<Item = u32>) -> Self {
        Self {
            points: points.into_iter().collect(),
            ..Self::default()
        }
    }

    /// Keeps what a point was.
    pub(crate) fn keep(&mut self, point: u32, metadata: &[u8], times: EntryTimes) {
        if self.before.len() < KEPT_MAX {
            let metadata = metadata.to_vec();
            self.before.push(Described { point, metadata, times });
        }
    }

    /// Adds what has changed after it.
    pub(super) fn extend(&mut self, later: &Self) {
        self.points |= &later.points;
        let room = KEPT_MAX.saturating_sub(self.before.len());
        self.before.extend(later.before.iter().take(room).cloned());
    }

    /// Takes the points out of an index of a time before all changes, as far as it is kept what they were.
    pub(super) fn take_out_of(&self, index: &mut MetadataIndex) {
        let mut done = HashSet::new();
        for Described { point, metadata, times } in &self.before {
            // What it was first is what the index knows; a point that it does not have is new.
            if done.insert(*point)
                && index.has(*point)
                && let Ok(metadata) = serde_json::from_slice(metadata)
            {
                index.remove_with_times(*point, &metadata, times);
            }
        }
    }
}
