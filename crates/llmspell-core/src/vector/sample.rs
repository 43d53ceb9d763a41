//! Which entries are a random sample? [`SampleQuery`]

use std::collections::{BTreeMap, HashMap};

use llmspell_state_traits::StateScope;
use serde::{Deserialize, Serialize};

use super::entry::VectorEntry;
use super::storage::VectorStorage;
use super::{scopes, validate};
use crate::error::Result;
use crate::filter::Filter;
use crate::limits::PAGE_MAX;

/// A query for a random sample of the entries of a scope, or of several together. Each set of `size` entries is as likely as
/// any other, and no entry is taken twice.
///
/// The seed decides: the same query gives the same sample as long as nothing is written to the scopes and nothing
/// expires; another seed gives another sample. The entries come in random order, so the first `n` of them are the sample
/// that the same query of size `n` gives.
///
/// ```
/// # use llmspell_core::{Filter, Result, SampleQuery, StateScope, VectorStorage};
/// # async fn example(storage: &dyn VectorStorage) -> Result<()> {
/// let query = SampleQuery::new(StateScope::user("ada"), 100, 7).with_filter(Filter::eq("lang", "en"));
/// let entries = storage.sample(&query).await?;
/// assert!(entries.len() <= 100);
/// # Ok(())
/// # }
/// ```
///
/// # JSON
///
/// `size` and `seed` are required.
///
/// ```
/// # use llmspell_core::{SampleQuery, StateScope};
/// let query: SampleQuery = serde_json::from_str(r#"{"scope": "user:ada", "size": 100, "seed": 7}"#)?;
/// assert_eq!(query, SampleQuery::new(StateScope::user("ada"), 100, 7));
/// # Ok::<(), serde_json::Error>(())
/// ```
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct SampleQuery {
    /// The scope to sample; default [`StateScope::Global`].
    #[serde(default)]
    pub scope: StateScope,
    /// Several scopes to sample together; `scope` is then ignored. See [`with_scopes`](Self::with_scopes).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub scopes: Option<Vec<StateScope>>,
    /// Only entries that match are sampled; default all.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub filter: Option<Filter>,
    /// Number of entries, 1 to [`PAGE_MAX`](crate::limits::PAGE_MAX). If fewer match, the sample has all of them.
    pub size: usize,
    /// Any number; each gives its own sample.
    pub seed: u64,
}

impl SampleQuery {
    /// A sample of `size` entries of a scope.
    #[must_use]
    pub fn new(scope: StateScope, size: usize, seed: u64) -> Self {
        Self {
            scope,
            scopes: None,
            filter: None,
            size,
            seed,
        }
    }

    /// Samples several scopes together, 1 to [`QUERY_SCOPES_MAX`](crate::limits::QUERY_SCOPES_MAX) of them, as if they were
    /// one. A scope that is named twice counts once; a missing scope is empty. Each scope is read as of its own moment after
    /// the call began. The same scopes in another order give another sample.
    #[must_use]
    pub fn with_scopes(mut self, scopes: impl IntoIterator<Item = StateScope>) -> Self {
        self.scopes = Some(scopes.into_iter().collect());
        self
    }

    /// Only entries that match a filter.
    #[must_use]
    pub fn with_filter(mut self, filter: Filter) -> Self {
        self.filter = Some(filter);
        self
    }

    /// The scopes to sample, each once, in the order in which they were given.
    #[must_use]
    pub fn sampled_scopes(&self) -> Vec<&StateScope> {
        scopes::named(&self.scope, self.scopes.as_ref())
    }

    /// The sample before anything was seen. For implementers.
    #[must_use]
    pub fn sampling(&self) -> Sampling {
        Sampling {
            seed: self.seed,
            size: self.size,
            seen: 0,
            parts: 0,
        }
    }
}

/// How a sample is put together of parts that are counted one after the other: scopes, and spaces of them. For implementers.
#[derive(Debug, Clone, Copy)]
pub struct Sampling {
    seed: u64,
    size: usize,
    /// Entries of all parts so far.
    seen: u64,
    parts: u64,
}

/// What a sample takes of one part. For implementers.
#[derive(Debug)]
#[non_exhaustive]
pub struct Draw {
    /// Places among the entries of the part, each less than their number, in the order in which they were drawn.
    pub places: Vec<u64>,
    /// For each entry of the sample, whether it is of this part or of those before.
    is_new: Vec<bool>,
}

impl Sampling {
    /// What is taken of the next part, which has `total` entries.
    #[must_use]
    pub fn draw(&mut self, total: u64) -> Draw {
        // Two streams, so that how many are drawn of one does not change what is drawn of the other.
        let [mut order, mut within] = [0, 1].map(|stream| Random::new(self.seed, 2 * self.parts + stream));
        let (before, all) = (self.seen, self.seen.saturating_add(total));
        let is_new: Vec<bool> = ranks(&mut order, self.size, all)
            .into_iter()
            .map(|rank| rank >= before)
            .collect();
        let count = is_new.iter().filter(|is_new| **is_new).count();
        let places = ranks(&mut within, count, total);
        self.seen = all;
        self.parts += 1;
        Draw { places, is_new }
    }
}

impl Draw {
    /// The sample with this part: of what it was before, and of the entries at the [places](Self::places).
    #[must_use]
    pub fn merge<T>(&self, before: Vec<T>, new: Vec<T>) -> Vec<T> {
        let (mut before, mut new) = (before.into_iter(), new.into_iter());
        let next = |is_new: &bool| if *is_new { new.next() } else { before.next() };
        self.is_new.iter().filter_map(next).collect()
    }
}

/// The first `count` of the numbers below `total` in random order (Fisher and Yates, with only what was exchanged written down).
fn ranks(random: &mut Random, count: usize, total: u64) -> Vec<u64> {
    let count = (count as u64).min(total);
    let mut exchanged: HashMap<u64, u64> = HashMap::new();
    let mut ranks = Vec::new();
    for place in 0..count {
        let other = place + random.below(total - place);
        let here = exchanged.remove(&place).unwrap_or(place);
        let there = match other == place {
            true => here,
            false => exchanged.insert(other, here).unwrap_or(other),
        };
        ranks.push(there);
    }
    ranks
}

/// SplitMix64 (Steele, Lea and Flood, OOPSLA 2014).
#[derive(Debug)]
struct Random(u64);

const GAMMA: u64 = 0x9e37_79b9_7f4a_7c15;

impl Random {
    /// Streams of one seed are independent of each other.
    fn new(seed: u64, stream: u64) -> Self {
        let mut random = Self(seed);
        let begin = random.next();
        Self(begin ^ Self(stream.wrapping_mul(GAMMA)).next())
    }

    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(GAMMA);
        let mixed = (self.0 ^ self.0 >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ mixed >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ mixed >> 31
    }

    /// A number below a bound, which is not 0; each equally likely (Lemire, 2019).
    fn below(&mut self, bound: u64) -> u64 {
        loop {
            let product = u128::from(self.next()) * u128::from(bound);
            if product as u64 >= bound.wrapping_neg() % bound {
                return (product >> 64) as u64;
            }
        }
    }
}

/// The sample of a store that has only lists: each entry draws a number, and the smallest are taken.
pub(super) async fn sample<S: VectorStorage + ?Sized>(store: &S, query: &SampleQuery) -> Result<Vec<VectorEntry>> {
    validate::sample_query(query)?;
    let mut random = Random::new(query.seed, 0);
    let mut taken: BTreeMap<(u64, u64), VectorEntry> = BTreeMap::new();
    let mut seen = 0;
    for scope in query.sampled_scopes() {
        let mut after: Option<String> = None;
        loop {
            let page = scopes::list_after(store, scope, query.filter.as_ref(), after.as_deref(), PAGE_MAX).await?;
            let is_last = page.len() < PAGE_MAX;
            after = page.last().map(|last| last.id.clone());
            for entry in page {
                taken.insert((random.next(), seen), entry);
                seen += 1;
                if taken.len() > query.size {
                    taken.pop_last();
                }
            }
            if is_last {
                break;
            }
        }
    }
    Ok(taken.into_values().collect())
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn ranks_are_different_numbers_below_the_total() {
        for (count, total) in [(0, 5), (5, 5), (9, 5), (3, 1_000_000), (700, 1_000)] {
            let ranks = ranks(&mut Random::new(1, 2), count, total);
            assert_eq!(ranks.len() as u64, (count as u64).min(total));
            assert!(ranks.iter().all(|rank| *rank < total));
            assert_eq!(ranks.iter().collect::<HashSet<_>>().len(), ranks.len());
        }
    }

    #[test]
    fn the_first_of_a_sample_are_the_smaller_sample() {
        let of = |size| {
            let query = SampleQuery::new(StateScope::Global, size, 5);
            let (mut sampling, mut sample) = (query.sampling(), Vec::new());
            for (part, total) in [(0, 4), (1, 0), (2, 30), (3, 7)] {
                let draw = sampling.draw(total);
                let new = draw.places.iter().map(|place| (part, *place)).collect();
                sample = draw.merge(sample, new);
            }
            sample
        };
        let whole = of(99);
        assert_eq!(whole.len(), 41);
        assert_eq!(whole.iter().collect::<HashSet<_>>().len(), 41);
        for size in 1..41 {
            assert_eq!(of(size), whole[..size]);
        }
    }

    /// All orders of two of five, which lie in parts of 2, 0 and 3: each 1 in 20.
    #[test]
    fn every_sample_is_equally_likely_whatever_the_parts() {
        const SEEDS: u64 = 40_000;
        let mut counts: BTreeMap<Vec<u64>, u64> = BTreeMap::new();
        for seed in 0..SEEDS {
            let (mut sampling, mut sample) = (SampleQuery::new(StateScope::Global, 2, seed).sampling(), Vec::new());
            for (first, total) in [(0, 2), (2, 0), (2, 3)] {
                let draw = sampling.draw(total);
                let new = draw.places.iter().map(|place| first + place).collect();
                sample = draw.merge(sample, new);
            }
            *counts.entry(sample).or_default() += 1;
        }
        assert_eq!(counts.len(), 20, "{counts:?}");
        // 2,000 of each are expected, with a standard deviation of 44.
        assert!(
            counts.values().all(|count| count.abs_diff(SEEDS / 20) < 220),
            "{counts:?}"
        );
    }
}
