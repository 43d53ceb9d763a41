//! The width of the beam in a namespace, and the queries it is measured with.
//!
//! The indexer measures (`engine/indexing/tuning.rs`); searches read the width and leave a few of their queries here.
//! Queries are in RAM only, separate for each namespace, and are dropped with it.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use parking_lot::Mutex;

use super::Namespace;
use crate::base::memory_budget::QueryBudget;
use crate::indexes::files::Measured;

/// Most queries that a namespace remembers.
pub(crate) const QUERIES_MAX: usize = 256;
const QUERIES_BYTES_MAX: u64 = 2 << 20;
/// With this many different queries a namespace is measured with them; if fewer fit, with as many as fit.
const QUERIES_ENOUGH: usize = 200;
/// If fewer than this fit, none are remembered.
const QUERIES_MIN: usize = 64;
/// Once a namespace remembers as many as it may, at least one search in this many is considered, however many there
/// were.
const RARITY_MAX: u64 = 256;
/// Bytes of a query beside its components.
const QUERY_BYTES: u64 = 48;
/// A namespace is measured again once this share of its points has died, or the number of points has changed by it: one
/// half.
const DRIFT_SHARE: u64 = 2;

/// The choice of the width of the beam.
#[derive(Debug, Default)]
pub(super) struct Tuning {
    /// The target in millionths in the upper half, the width chosen for it in the lower one; 0 for none.
    in_use: AtomicU64,
    measured: Mutex<Option<Measured>>,
    /// Points that died since the namespace was measured, in this process.
    died: AtomicU64,
    /// Whether measuring failed for this index.
    has_failed: AtomicBool,
    is_remembering: AtomicBool,
    /// Number of searches whose query could have been remembered.
    searches: AtomicU64,
    queries: Mutex<Option<Queries>>,
}

/// Remembered queries, no two of them equal.
#[derive(Debug)]
struct Queries {
    budget: Arc<QueryBudget>,
    /// Bytes of one.
    bytes_each: u64,
    held: Vec<(u32, Arc<[f32]>)>,
}

impl Drop for Queries {
    fn drop(&mut self) {
        self.budget.give_back(self.bytes());
    }
}

impl Queries {
    fn bytes(&self) -> u64 {
        self.held.len() as u64 * self.bytes_each
    }

    /// How many queries of a dimension are enough to measure with, and how many are remembered at most; none if too few
    /// fit.
    fn limits(dim: usize) -> Option<(usize, usize)> {
        let fit = QUERIES_BYTES_MAX / (4 * dim as u64 + QUERY_BYTES);
        let most = QUERIES_MAX.min(usize::try_from(fit).unwrap_or(QUERIES_MAX));
        (most >= QUERIES_MIN).then_some((QUERIES_ENOUGH.min(most), most))
    }

    /// Remembers a query, replacing another one if necessary. Returns whether there are just enough now.
    fn put(&mut self, vector: &[f32], random: u64, (enough, most): (usize, usize)) -> bool {
        let hash = hash(vector);
        if self.held.iter().any(|(other, _)| *other == hash) {
            return false;
        }
        if self.held.len() < most && self.budget.take(self.bytes_each) {
            self.held.push((hash, vector.into()));
            return self.held.len() == enough;
        }
        if !self.held.is_empty() {
            let place = random % self.held.len() as u64;
            self.held[usize::try_from(place).expect("there are few")] = (hash, vector.into());
        }
        false
    }
}

impl Tuning {
    /// Remembers a query with some probability. Returns whether there are just enough now.
    fn offer(&self, vector: &[f32], budget: &Arc<QueryBudget>) -> bool {
        if !self.is_remembering.load(Ordering::Relaxed) {
            return false;
        }
        let number = self.searches.fetch_add(1, Ordering::Relaxed);
        let random = mixed(number);
        // Each search has about the same chance to be remembered, as with a reservoir (Vitter 1985), until there are so
        // many that the latest ones are favored.
        let rarity = (number / QUERIES_MAX as u64).clamp(1, RARITY_MAX);
        if !random.is_multiple_of(rarity) {
            return false;
        }
        let Some(limits) = Queries::limits(vector.len()) else {
            return false;
        };
        // A search never waits for a lock.
        let Some(mut queries) = self.queries.try_lock() else {
            return false;
        };
        if queries.is_none() && budget.is_tight() && self.is_by_queries() {
            return false;
        }
        let bytes_each = 4 * vector.len() as u64 + QUERY_BYTES;
        let queries = queries.get_or_insert_with(|| Queries {
            budget: Arc::clone(budget),
            bytes_each,
            held: Vec::new(),
        });
        queries.bytes_each == bytes_each && queries.put(vector, random >> 16, limits)
    }

    /// Whether it was measured with queries, and so needs no others yet.
    fn is_by_queries(&self) -> bool {
        self.measured.lock().is_some_and(|measured| measured.is_by_queries)
    }

    fn has_enough_queries(&self) -> bool {
        let queries = self.queries.lock();
        let first = queries.as_ref().and_then(|queries| queries.held.first());
        let limits = first.and_then(|(_, vector)| Queries::limits(vector.len()));
        let held = queries.as_ref().map_or(0, |queries| queries.held.len());
        limits.is_some_and(|(enough, _)| held >= enough)
    }

    /// Bytes of RAM beside its own.
    pub(super) fn bytes(&self) -> u64 {
        self.queries.lock().as_ref().map_or(0, Queries::bytes)
    }

    /// Notes that points died.
    pub(super) fn note_died(&self, points: u64) {
        self.died.fetch_add(points, Ordering::Relaxed);
    }

    /// Notes that there is another index.
    pub(super) fn note_index(&self) {
        self.has_failed.store(false, Ordering::Relaxed);
    }

    /// The scope was dropped: removes its queries.
    pub(super) fn end(&self) {
        self.is_remembering.store(false, Ordering::Relaxed);
        *self.queries.lock() = None;
    }
}

impl Namespace {
    /// The width that was chosen for a target, in millionths.
    pub(crate) fn measured_ef(&self, target: u32) -> Option<usize> {
        let in_use = self.tuning.in_use.load(Ordering::Relaxed);
        let (of, ef) = (in_use >> 32, in_use & u64::from(u32::MAX));
        (ef > 0 && of == u64::from(target)).then(|| usize::try_from(ef).unwrap_or(usize::MAX))
    }

    /// The last measurement, for whatever target.
    pub(crate) fn measured(&self) -> Option<Measured> {
        *self.tuning.measured.lock()
    }

    /// Sets the width of searches; with none, the one without a measurement.
    pub(crate) fn set_measured(&self, measured: Option<Measured>) {
        let mut current = self.tuning.measured.lock();
        *current = measured;
        let in_use = measured.map_or(0, |measured| u64::from(measured.target) << 32 | u64::from(measured.ef));
        self.tuning.in_use.store(in_use, Ordering::Relaxed);
        self.tuning.died.store(0, Ordering::Relaxed);
    }

    /// Measuring failed; it is not tried again with this index.
    pub(crate) fn set_measuring_failed(&self) {
        self.tuning.has_failed.store(true, Ordering::Relaxed);
    }

    /// Number of points that died since it was measured.
    pub(crate) fn died_since_measured(&self) -> u64 {
        self.tuning.died.load(Ordering::Relaxed)
    }

    /// Whether the width must be measured for a target, with `live` living points.
    pub(crate) fn is_measuring_due(&self, target: u32, live: u64) -> bool {
        let tuning = &self.tuning;
        if tuning.has_failed.load(Ordering::Relaxed) {
            return false;
        }
        let Some(measured) = self.measured().filter(|measured| measured.target == target) else {
            return true;
        };
        let drift = self.died_since_measured().max(live.abs_diff(measured.points));
        drift.saturating_mul(DRIFT_SHARE) >= measured.points.max(1)
            || (!measured.is_by_queries && tuning.has_enough_queries())
    }

    /// Sets whether queries are remembered. If not, remembered ones are removed.
    pub(crate) fn set_remembering(&self, is_remembering: bool) {
        if is_remembering == self.tuning.is_remembering.load(Ordering::Relaxed) {
            return;
        }
        match is_remembering {
            true => self.tuning.is_remembering.store(true, Ordering::Relaxed),
            false => self.tuning.end(),
        }
    }

    /// Remembers the vector of a query with some probability. Returns whether there are just enough now to measure
    /// with.
    pub(crate) fn remember_query(&self, vector: &[f32], budget: &Arc<QueryBudget>) -> bool {
        self.tuning.offer(vector, budget)
    }

    /// The remembered queries, if there are enough to measure with.
    pub(crate) fn remembered_queries(&self) -> Option<Vec<Arc<[f32]>>> {
        if !self.tuning.has_enough_queries() {
            return None;
        }
        let queries = self.tuning.queries.lock();
        let held = &queries.as_ref()?.held;
        Some(held.iter().map(|(_, vector)| Arc::clone(vector)).collect())
    }

    /// The namespace was measured with its queries. If other namespaces may lack room for theirs, these are dropped,
    /// and no others are remembered until there is more room.
    pub(crate) fn give_way_with_queries(&self, budget: &QueryBudget) {
        if budget.is_tight() {
            *self.tuning.queries.lock() = None;
        }
    }

    /// Number of remembered queries.
    #[cfg(test)]
    pub(crate) fn remembered_count(&self) -> usize {
        self.tuning
            .queries
            .lock()
            .as_ref()
            .map_or(0, |queries| queries.held.len())
    }
}

/// Maps each number to another one, without a noticeable pattern (the finalizer of SplitMix64).
pub(crate) fn mixed(number: u64) -> u64 {
    let mut mixed = number.wrapping_add(0x9e37_79b9_7f4a_7c15);
    mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    mixed ^ (mixed >> 31)
}

fn hash(vector: &[f32]) -> u32 {
    vector.iter().fold(0, |hash, component| {
        crc32c::crc32c_append(hash, &component.to_bits().to_le_bytes())
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::ids::ScopeId;
    use crate::namespace::{Publisher, State};

    fn namespace() -> Namespace {
        let namespace = Namespace::new(ScopeId(1), State::default());
        namespace.set_remembering(true);
        namespace
    }

    fn query(number: usize, dim: usize) -> Vec<f32> {
        (0..dim).map(|i| (number * dim + i) as f32).collect()
    }

    fn measured(points: u64, is_by_queries: bool) -> Measured {
        Measured {
            target: 980_000,
            ef: 64,
            recall: 990_000,
            queries: 256,
            is_by_queries,
            points,
        }
    }

    #[test]
    fn a_few_hundred_different_queries_are_remembered_from_the_whole_time() {
        let budget = Arc::new(QueryBudget::new(u64::MAX / 2));
        let namespace = namespace();
        let enough = (0..10_000).filter(|number| namespace.remember_query(&query(*number, 8), &budget));
        assert_eq!(enough.collect::<Vec<_>>(), [QUERIES_ENOUGH - 1], "it is said once");
        let numbers: Vec<f32> = namespace
            .remembered_queries()
            .unwrap()
            .iter()
            .map(|vector| vector[0] / 8.0)
            .collect();
        assert_eq!(numbers.len(), QUERIES_MAX);
        for third in 0..3 {
            let from = third as f32 * 10_000.0 / 3.0;
            let held = numbers.iter().filter(|number| (from..from + 3_334.0).contains(*number));
            // 85 are expected, with a deviation of about 8.
            assert!((45..125).contains(&held.count()), "third {third}");
        }
    }

    #[test]
    fn equal_queries_are_remembered_once_and_are_never_enough() {
        let budget = Arc::new(QueryBudget::new(1 << 20));
        let namespace = namespace();
        for number in 0..5_000 {
            assert!(!namespace.remember_query(&query(number % 50, 8), &budget));
        }
        assert_eq!(namespace.remembered_count(), 50);
        assert!(namespace.remembered_queries().is_none());
    }

    #[test]
    fn all_queries_together_keep_to_the_budget_and_give_back_what_they_took() {
        let bytes_each = 4 * 100 + QUERY_BYTES;
        let budget = Arc::new(QueryBudget::new(300 * bytes_each));
        let namespaces = [namespace(), namespace()];
        for number in 0..1_000 {
            for namespace in &namespaces {
                namespace.remember_query(&query(number, 100), &budget);
            }
        }
        let counts = namespaces.each_ref().map(Namespace::remembered_count);
        assert_eq!(counts.iter().sum::<usize>(), 300, "{counts:?}");
        assert!(!budget.take(bytes_each) && budget.is_tight());

        let [first, second] = namespaces;
        first.set_measured(Some(measured(1_000, true)));
        let held = first.remembered_count();
        first.give_way_with_queries(&budget);
        assert_eq!(first.remembered_count(), 0);
        assert!(budget.take(held as u64 * bytes_each), "another one takes its room");
        for number in 0..1_000 {
            first.remember_query(&query(number, 100), &budget);
        }
        assert_eq!(
            first.remembered_count(),
            0,
            "it needs none as long as there is little room"
        );
        budget.give_back(held as u64 * bytes_each);
        second.set_remembering(false);
        assert!(budget.take(300 * bytes_each), "all of it was given back");
        budget.give_back(300 * bytes_each);

        second.set_remembering(true);
        second.remember_query(&query(1, 100), &budget);
        second.show(
            &mut Publisher::new(),
            State::dropped(),
            Default::default(),
            &Default::default(),
        );
        assert_eq!(second.remembered_count(), 0, "a dropped scope leaves none");
        assert!(budget.take(300 * bytes_each));
    }

    #[test]
    fn a_namespace_takes_no_more_than_its_share_and_nothing_where_too_few_fit() {
        for dim in [1, 384, 1_536, 4_096, 8_000] {
            let (enough, most) = Queries::limits(dim).unwrap();
            assert!((QUERIES_MIN..=QUERIES_ENOUGH).contains(&enough) && enough <= most);
            assert!(most as u64 * (4 * dim as u64 + QUERY_BYTES) <= QUERIES_BYTES_MAX);
        }
        assert_eq!(Queries::limits(65_535), None);
    }

    #[test]
    fn it_is_measured_anew_for_another_target_after_much_change_and_once_there_are_queries() {
        let namespace = namespace();
        assert!(namespace.is_measuring_due(980_000, 1_000), "nothing was measured");
        namespace.set_measured(Some(measured(1_000, false)));
        assert_eq!(namespace.measured_ef(980_000), Some(64));
        assert_eq!(namespace.measured_ef(950_000), None);
        assert!(namespace.is_measuring_due(950_000, 1_000));
        for (live, is_due) in [(1_000, false), (1_499, false), (1_500, true), (501, false), (500, true)] {
            assert_eq!(namespace.is_measuring_due(980_000, live), is_due, "{live}");
        }
        namespace.tuning.note_died(499);
        assert!(!namespace.is_measuring_due(980_000, 1_000));
        namespace.tuning.note_died(1);
        assert!(namespace.is_measuring_due(980_000, 1_000), "half was replaced");
        namespace.set_measuring_failed();
        assert!(!namespace.is_measuring_due(980_000, 1_000), "in vain");
        namespace.tuning.note_index();

        let budget = Arc::new(QueryBudget::new(1 << 20));
        namespace.set_measured(Some(measured(1_000, false)));
        for number in 0..QUERIES_ENOUGH {
            assert!(!namespace.is_measuring_due(980_000, 1_000));
            namespace.remember_query(&query(number, 8), &budget);
        }
        assert!(namespace.is_measuring_due(980_000, 1_000));
        namespace.set_measured(Some(measured(1_000, true)));
        assert!(!namespace.is_measuring_due(980_000, 1_000));
        namespace.set_measured(None);
        assert_eq!(namespace.measured_ef(980_000), None);
    }
}
