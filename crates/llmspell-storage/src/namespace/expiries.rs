//! The expiry times of points.
//!
//! By time, in buckets of about a minute. Buckets are shared with older states and copied when they change, so a write
//! copies the points of a minute, not all that ever expire.

use std::collections::BTreeMap;
use std::sync::Arc;

use roaring::RoaringBitmap;

use crate::base::ids::PointId;

/// 2¹⁶ ms to a bucket.
const BUCKET_SHIFT: u32 = 16;

/// Moments, in milliseconds since 1970, at which points expire.
#[derive(Debug, Clone, Default)]
pub(crate) struct Expiries {
    buckets: BTreeMap<i64, Arc<Vec<(i64, PointId)>>>,
    points: usize,
}

impl Expiries {
    /// Notes that a point expires at `moment`.
    pub(crate) fn insert(&mut self, moment: i64, point: PointId) {
        self.points += 1;
        Arc::make_mut(self.buckets.entry(moment >> BUCKET_SHIFT).or_default()).push((moment, point));
    }

    /// Removes the expiry of a point.
    pub(crate) fn remove(&mut self, moment: i64, point: PointId) {
        let bucket_key = moment >> BUCKET_SHIFT;
        let Some(bucket) = self.buckets.get_mut(&bucket_key) else {
            return;
        };
        let bucket = Arc::make_mut(bucket);
        if let Some(place) = bucket.iter().position(|entry| *entry == (moment, point)) {
            bucket.swap_remove(place);
            self.points -= 1;
        }
        if bucket.is_empty() {
            self.buckets.remove(&bucket_key);
        }
    }

    /// The points that have expired at `now`; usually few, because they are purged.
    pub(crate) fn expired(&self, now: i64) -> RoaringBitmap {
        self.buckets
            .range(..=now >> BUCKET_SHIFT)
            .flat_map(|(_, bucket)| bucket.iter())
            .filter(|(moment, _)| *moment <= now)
            .map(|(_, point)| point.0)
            .collect()
    }

    /// All of them, in order of time.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (i64, PointId)> + '_ {
        self.buckets.values().flat_map(|bucket| bucket.iter().copied())
    }

    /// Number of points that expire.
    pub(crate) fn len(&self) -> usize {
        self.points
    }

    /// Approximate bytes of RAM.
    pub(crate) fn bytes(&self) -> usize {
        let bucket = size_of::<(i64, Arc<Vec<(i64, PointId)>>, Vec<(i64, PointId)>)>() + 3 * size_of::<usize>();
        size_of::<Self>() + self.buckets.len() * bucket + self.points * size_of::<(i64, PointId)>()
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn the_expired_are_those_whose_moment_has_come(
            inserted in prop::collection::vec((-200_000..200_000_i64, 0..50_u32), 0..40),
            removed in prop::collection::vec(any::<prop::sample::Index>(), 0..10),
            now in -250_000..250_000_i64,
        ) {
            let mut expiries = Expiries::default();
            let mut model = BTreeSet::new();
            for (moment, point) in &inserted {
                if model.insert((*moment, *point)) {
                    expiries.insert(*moment, PointId(*point));
                }
            }
            for index in removed.iter().filter(|_| !inserted.is_empty()) {
                let (moment, point) = inserted[index.index(inserted.len())];
                model.remove(&(moment, point));
                expiries.remove(moment, PointId(point));
            }
            let expected: RoaringBitmap =
                model.iter().filter(|(moment, _)| *moment <= now).map(|(_, point)| *point).collect();
            prop_assert_eq!(expiries.expired(now), expected);
            prop_assert_eq!(expiries.len(), model.len());
        }
    }
}
