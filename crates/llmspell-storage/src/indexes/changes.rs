//! Changes of points during the build of a metadata index.

use std::collections::HashSet;

use llmspell_core::EntryTimes;
use roaring::RoaringBitmap;

use llmspell_metadata::MetadataIndex;

/// Most points whose earlier metadata is kept. For others, the whole index must be searched.
const KEPT_MAX: usize = 4_096;

/// Points that are another entry now, or have other metadata.
#[derive(Debug, Clone, Default)]
pub(crate) struct Changes {
    pub(crate) points: RoaringBitmap,
    /// What some of the points were before, the oldest first.
    before: Vec<Described>,
}

/// A point with its metadata in stored form, and its times.
#[derive(Debug, Clone)]
struct Described {
    point: u32,
    metadata: Vec<u8>,
    times: EntryTimes,
}

impl Changes {
    /// Changes of these points.
    #[cfg(test)]
    pub(crate) fn of(points: impl IntoIterator<Item = u32>) -> Self {
        Self {
            points: points.into_iter().collect(),
            ..Self::default()
        }
    }

    /// Keeps the earlier metadata of a point.
    pub(crate) fn keep(&mut self, point: u32, metadata: &[u8], times: EntryTimes) {
        if self.before.len() < KEPT_MAX {
            let metadata = metadata.to_vec();
            self.before.push(Described { point, metadata, times });
        }
    }

    /// Adds later changes.
    pub(crate) fn extend(&mut self, later: &Self) {
        let room = KEPT_MAX.saturating_sub(self.before.len());
        // For a point that had changed before, only its first metadata matters, kept or not.
        let firsts = later.before.iter().filter(|of| !self.points.contains(of.point));
        self.before.extend(firsts.take(room).cloned());
        self.points |= &later.points;
    }

    /// Takes the points out of an index that is older than all changes, if their earlier metadata is kept.
    pub(crate) fn take_out_of(&self, index: &mut MetadataIndex) {
        let mut done = HashSet::new();
        for Described { point, metadata, times } in &self.before {
            // The index knows the first metadata; a point that it does not have is new.
            if done.insert(*point)
                && index.has(*point)
                && let Ok(metadata) = serde_json::from_slice(metadata)
            {
                index.remove_with_times(*point, &metadata, times);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use llmspell_core::Metadata;
    use serde_json::json;

    use super::*;

    fn metadata(value: u8) -> Metadata {
        json!({"a": value}).as_object().unwrap().clone()
    }

    fn change(point: u32, before: Option<u8>) -> Changes {
        let mut changes = Changes::of([point]);
        if let Some(value) = before {
            let bytes = serde_json::to_vec(&metadata(value)).unwrap();
            changes.keep(point, &bytes, EntryTimes::default());
        }
        changes
    }

    #[test]
    fn points_are_taken_out_as_what_they_were_first_or_not_at_all() {
        let mut index = MetadataIndex::new(crate::MetadataIndexConfig::default());
        (0..3).for_each(|point| index.insert(point, &metadata(1)));
        let mut changes = Changes::default();
        // 0 was 1, then 2; the first metadata of 1 is not kept; 7 is new.
        for later in [
            change(0, Some(1)),
            change(1, None),
            change(7, None),
            change(0, Some(2)),
            change(1, Some(2)),
            change(7, Some(1)),
        ] {
            changes.extend(&later);
        }
        changes.take_out_of(&mut index);
        assert!(index.points().iter().eq([1, 2]));
        assert!(index.remains().iter().eq([1, 2]), "nothing of 0 is left");
        assert!(changes.points.iter().eq([0, 1, 7]));
    }
}
