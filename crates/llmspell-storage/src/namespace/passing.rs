//! Cached matches of filters.
//!
//! Applications use few filters repeatedly. The matches of a filter are cached in the state in which they were found;
//! the next state begins with an empty cache, so cached matches always belong to the mutation that is searched.

use std::sync::{Arc, OnceLock};

use llmspell_core::{DateFields, Filter};
use llmspell_vector::{Graph, Grouped, PointId};
use parking_lot::Mutex;
use roaring::RoaringBitmap;

/// Most cached filter results per state.
const FILTERS_MAX: usize = 32;
/// Most bytes of RAM for them: for each living point, and a minimum.
const BYTES_PER_POINT: u64 = 4;
const BYTES_MIN: u64 = 64 << 10;

/// The living points that match a filter.
#[derive(Debug)]
pub(crate) struct Passing {
    /// The matches in the graph.
    pub(crate) vertices: RoaringBitmap,
    /// The other matches, which are compared one by one.
    pub(crate) tail: RoaringBitmap,
    /// The matches in the graph, by groups of near vertices, once they are needed.
    grouped: OnceLock<Arc<Grouped>>,
}

impl Passing {
    /// `tail` are all living points that are not in the graph.
    pub(crate) fn new(points: &RoaringBitmap, tail: &RoaringBitmap) -> Self {
        let tail = points & tail;
        Self {
            vertices: points - &tail,
            tail,
            grouped: OnceLock::new(),
        }
    }

    /// All of them.
    pub(crate) fn points(&self) -> RoaringBitmap {
        &self.vertices | &self.tail
    }

    pub(crate) fn len(&self) -> u64 {
        self.vertices.len() + self.tail.len()
    }

    /// The same without some points.
    fn without(&self, points: &RoaringBitmap) -> Self {
        Self {
            vertices: &self.vertices - points,
            tail: &self.tail - points,
            grouped: OnceLock::new(),
        }
    }

    pub(crate) fn grouped(&self, graph: &Graph) -> Arc<Grouped> {
        let grouped = || Arc::new(graph.grouped(self.vertices.iter().map(PointId)));
        Arc::clone(self.grouped.get_or_init(grouped))
    }

    /// Whether the groups are known.
    pub(crate) fn is_grouped(&self) -> bool {
        self.grouped.get().is_some()
    }

    fn bytes(&self) -> u64 {
        let groups = self.grouped.get().map_or(0, |grouped| grouped.bytes());
        (self.vertices.serialized_size() + self.tail.serialized_size() + groups) as u64
    }
}

/// Filters, each with the date fields it was compiled with, and their matches, as of one state. A clone is empty,
/// because it is for another state.
#[derive(Debug, Default)]
pub(crate) struct PassingCache(Mutex<Vec<Known>>);

/// A filter with cached matches.
#[derive(Debug)]
struct Known {
    filter: Filter,
    dates: DateFields,
    passing: Arc<Passing>,
}

impl Known {
    fn is(&self, (filter, dates): (&Filter, &DateFields)) -> bool {
        self.filter == *filter && self.dates == *dates
    }
}

impl Clone for PassingCache {
    fn clone(&self) -> Self {
        Self::default()
    }
}

impl PassingCache {
    /// The matches of a filter without those in `expired`, if they are cached.
    pub(crate) fn get(&self, filter: (&Filter, &DateFields), expired: &RoaringBitmap) -> Option<Arc<Passing>> {
        let mut known = self.0.lock();
        let place = known.iter().position(|known| known.is(filter))?;
        // The most recently used are last.
        known[place..].rotate_left(1);
        let passing = known.last().map(|known| Arc::clone(&known.passing))?;
        drop(known);
        let is_hidden = !passing.vertices.is_disjoint(expired) || !passing.tail.is_disjoint(expired);
        Some(if is_hidden {
            Arc::new(passing.without(expired))
        } else {
            passing
        })
    }

    /// Whether the matches of a filter are cached.
    pub(crate) fn has(&self, filter: (&Filter, &DateFields)) -> bool {
        self.0.lock().iter().any(|known| known.is(filter))
    }

    /// Caches the matches of a filter, for `live` points; evicts the least recently used.
    pub(crate) fn put(&self, filter: (&Filter, &DateFields), passing: &Arc<Passing>, live: u64) {
        let mut known = self.0.lock();
        known.retain(|other| !other.is(filter));
        known.push(Known {
            filter: filter.0.clone(),
            dates: filter.1.clone(),
            passing: Arc::clone(passing),
        });
        drop(known);
        self.measure_again(live);
    }

    /// Bytes of RAM of the cache.
    pub(super) fn bytes(&self) -> u64 {
        self.0.lock().iter().map(|known| known.passing.bytes()).sum()
    }

    /// Evicts entries for which there is no room, for `live` points.
    pub(crate) fn measure_again(&self, live: u64) {
        let bytes_max = BYTES_MIN.max(BYTES_PER_POINT * live);
        let mut known = self.0.lock();
        known.retain(|known| known.passing.bytes() <= bytes_max);
        let mut bytes = 0;
        let kept = known.iter().rev().take(FILTERS_MAX).take_while(|known| {
            bytes += known.passing.bytes();
            bytes <= bytes_max
        });
        let dropped = known.len() - kept.count();
        known.drain(..dropped);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn filter(number: u32) -> Filter {
        Filter::eq("n", u64::from(number))
    }

    fn put(cache: &PassingCache, number: u32, passing: &Arc<Passing>, live: u64) {
        cache.put((&filter(number), &DateFields::none()), passing, live);
    }

    fn get(cache: &PassingCache, number: u32, expired: &RoaringBitmap) -> Option<Arc<Passing>> {
        cache.get((&filter(number), &DateFields::none()), expired)
    }

    fn passing(points: impl IntoIterator<Item = u32>) -> Arc<Passing> {
        Arc::new(Passing::new(&points.into_iter().collect(), &RoaringBitmap::new()))
    }

    fn known(cache: &PassingCache, numbers: std::ops::Range<u32>) -> Vec<u32> {
        let is_known = |number: &u32| cache.has((&filter(*number), &DateFields::none()));
        numbers.filter(is_known).collect()
    }

    #[test]
    fn what_was_not_asked_for_for_long_goes_first() {
        let cache = PassingCache::default();
        let max = FILTERS_MAX as u32;
        (0..max).for_each(|number| put(&cache, number, &passing([number]), 1));
        assert!(get(&cache, 0, &RoaringBitmap::new()).is_some());
        put(&cache, max, &passing([max]), 1);
        assert_eq!(known(&cache, 0..max + 1), [vec![0], (2..=max).collect()].concat());
    }

    #[test]
    fn it_stays_within_its_bytes() {
        let cache = PassingCache::default();
        // Two bytes each, far apart: 64 KiB have room for one of the first two.
        put(&cache, 0, &passing((0..20_000).map(|point| point * 100)), 1);
        put(&cache, 1, &passing((0..20_000).map(|point| point * 100)), 1);
        assert_eq!(known(&cache, 0..9), [1]);
        put(&cache, 2, &passing((0..40_000).map(|point| point * 100)), 1);
        assert_eq!(known(&cache, 0..9), [1], "it has no room at all");
        put(&cache, 3, &passing(0..10), 1);
        assert_eq!(known(&cache, 0..9), [1, 3]);
        put(&cache, 4, &passing((0..40_000).map(|point| point * 100)), 100_000);
        assert_eq!(known(&cache, 0..9), [1, 3, 4], "more points have more room");
    }

    #[test]
    fn who_has_expired_meanwhile_is_left_out_and_another_state_knows_nothing() {
        let cache = PassingCache::default();
        put(&cache, 0, &passing(0..10), 100);
        let expired: RoaringBitmap = (5..20).collect();
        let found = get(&cache, 0, &expired).unwrap();
        assert!(found.points().iter().eq(0..5) && found.len() == 5);
        assert_eq!(get(&cache, 0, &RoaringBitmap::new()).unwrap().len(), 10);
        assert!(get(&cache.clone(), 0, &expired).is_none());
    }
}
