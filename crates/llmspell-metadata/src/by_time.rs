//! The order of points by a time of their entries.

use std::ops::Bound;

use llmspell_core::OwnTime;
use roaring::RoaringBitmap;

use super::MetadataIndex;
use super::field::{Field, Part};
use super::key;
use super::page::Points;
use super::postings::KeyRange;

/// The order of points by a time of their entries, as far as the index knows it.
#[derive(Debug)]
pub struct ByTime<'a> {
    field: &'a Field,
    unknown: RoaringBitmap,
}

/// The points of one time.
#[derive(Debug)]
pub struct TimeGroup<'a> {
    /// Milliseconds since 1970.
    pub millis: i64,
    points: Points<'a>,
}

impl TimeGroup<'_> {
    /// Number of points with this time.
    #[must_use]
    pub fn len(&self) -> u64 {
        self.points.len()
    }

    /// Always `false`: a time without points has no group.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The points, ascending.
    pub fn points(&self) -> impl Iterator<Item = u32> + '_ {
        self.points.iter()
    }

    /// The points as a set.
    #[must_use]
    pub fn to_bitmap(&self) -> RoaringBitmap {
        self.points.to_bitmap()
    }
}

impl MetadataIndex {
    /// The points in the order of a time of their entries. None if the time is not indexed or was given up.
    ///
    /// ```
    /// # use llmspell_core::{EntryTimes, Metadata, OwnTime, Timestamp};
    /// # use llmspell_metadata::{MetadataIndex, MetadataIndexConfig};
    /// let mut index = MetadataIndex::new(MetadataIndexConfig::default());
    /// index.index_time(OwnTime::Created);
    /// for (point, millis) in [(0, 30), (1, 10), (2, 30)] {
    ///     let mut times = EntryTimes::default();
    ///     times.created_at = Some(Timestamp::from_millis(millis));
    ///     index.insert_with_times(point, &Metadata::new(), &times);
    /// }
    /// let order = index.by_time(OwnTime::Created).unwrap();
    /// let latest = order.latest_first(None).next().unwrap();
    /// assert_eq!((latest.millis, latest.points().collect::<Vec<_>>()), (30, vec![0, 2]));
    /// assert!(order.unknown().is_empty());
    /// ```
    #[must_use]
    pub fn by_time(&self, time: OwnTime) -> Option<ByTime<'_>> {
        let field = self.field(&time.into())?;
        let times = field.part(Part::Scalars);
        times.is_indexed.then(|| ByTime {
            field,
            unknown: &self.distrusted | &self.unread | times.missing.to_bitmap(),
        })
    }
}

impl ByTime<'_> {
    /// The points whose time has to be looked up, whatever groups they are in; some may not be there any more.
    #[must_use]
    pub fn unknown(&self) -> &RoaringBitmap {
        &self.unknown
    }

    /// The times from the earliest on, or from `first` on if it is given, each with its points. A step takes less than a
    /// microsecond.
    pub fn earliest_first(&self, first: Option<i64>) -> impl Iterator<Item = TimeGroup<'_>> {
        let (all_low, all_high) = all();
        let low = first.map_or(all_low, |first| Bound::Included(key::of_integer(first)));
        groups(self.field.postings.entries_within((low, all_high)))
    }

    /// The times from the latest back, or from `last` back if it is given, each with its points. A step takes less than a
    /// microsecond.
    pub fn latest_first(&self, last: Option<i64>) -> impl Iterator<Item = TimeGroup<'_>> {
        let (all_low, all_high) = all();
        let high = last.map_or(all_high, |last| Bound::Included(key::of_integer(last)));
        groups(self.field.postings.entries_backwards((all_low, high)))
    }
}

fn all() -> KeyRange {
    key::all_of(key::NUMBER, key::NUMBER)
}

fn groups<'a>(entries: impl Iterator<Item = (Vec<u8>, Points<'a>)>) -> impl Iterator<Item = TimeGroup<'a>> {
    entries.filter_map(|(key, points)| {
        let millis = key::integer_of(&key)?;
        Some(TimeGroup { millis, points })
    })
}

#[cfg(test)]
mod tests {
    use std::collections::{BTreeMap, BTreeSet};

    use llmspell_core::{EntryTimes, Metadata, Timestamp};
    use proptest::prelude::*;

    use super::*;
    use crate::MetadataIndexConfig;

    fn millis() -> impl Strategy<Value = i64> {
        prop_oneof![
            4 => 0..400_i64,
            2 => 1_900_000_000_000..1_900_000_100_000_i64,
            1 => any::<i64>(),
            1 => prop::sample::select(vec![i64::MIN, -1, 0, 1, i64::MAX]),
        ]
    }

    fn times(millis: i64) -> EntryTimes {
        EntryTimes {
            created_at: Some(Timestamp::from_millis(millis)),
            ..EntryTimes::default()
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        #[test]
        fn the_order_by_time_is_that_of_a_sorted_map(
            steps in prop::collection::vec((0..600_u32, prop::option::weighted(0.8, millis())), 1..900),
            bounds in prop::collection::vec(millis(), 3),
        ) {
            let mut index = MetadataIndex::new(MetadataIndexConfig::default());
            index.index_time(OwnTime::Created);
            let mut model = BTreeMap::new();
            for (point, millis) in steps {
                if let Some(before) = model.remove(&point) {
                    index.remove_with_times(point, &Metadata::new(), &times(before));
                }
                if let Some(millis) = millis {
                    index.insert_with_times(point, &Metadata::new(), &times(millis));
                    model.insert(point, millis);
                }
            }
            let mut sorted = BTreeMap::<i64, BTreeSet<u32>>::new();
            for (point, millis) in model {
                sorted.entry(millis).or_default().insert(point);
            }
            let order = index.by_time(OwnTime::Created).unwrap();
            prop_assert!(order.unknown().is_empty());
            let known = |group: TimeGroup<'_>| {
                let points: BTreeSet<u32> = group.points().collect();
                assert_eq!(group.len(), points.len() as u64);
                assert!(group.to_bitmap().iter().eq(points.iter().copied()));
                (group.millis, points)
            };
            let owned = |(millis, points): (&i64, &BTreeSet<u32>)| (*millis, points.clone());
            for bound in bounds.into_iter().map(Some).chain([None]) {
                let from = bound.unwrap_or(i64::MIN);
                let later: Vec<_> = order.earliest_first(bound).map(known).collect();
                prop_assert_eq!(later, sorted.range(from..).map(owned).collect::<Vec<_>>());
                let to = bound.unwrap_or(i64::MAX);
                let earlier: Vec<_> = order.latest_first(bound).map(known).collect();
                prop_assert_eq!(earlier, sorted.range(..=to).rev().map(owned).collect::<Vec<_>>());
            }
        }
    }

    #[test]
    fn a_time_that_is_not_indexed_has_no_order_and_what_was_there_before_is_unknown() {
        let mut index = MetadataIndex::new(MetadataIndexConfig::default());
        index.insert_with_times(0, &Metadata::new(), &times(5));
        assert!(index.by_time(OwnTime::Created).is_none());
        index.index_time(OwnTime::Created);
        index.insert_with_times(1, &Metadata::new(), &times(6));
        let order = index.by_time(OwnTime::Created).unwrap();
        assert!(order.unknown().iter().eq([0]));
        assert!(
            order
                .latest_first(None)
                .flat_map(|group| group.points().collect::<Vec<_>>())
                .eq([1])
        );
    }
}
