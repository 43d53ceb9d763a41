//! Where the postings of a query are in an index.

use roaring::RoaringBitmap;

use super::score::{Weigh, Weights};
use crate::index::{Cursor, Index, Term};
use crate::query::{Query, Subject};

/// Terms that a prefix stands for in an index: the most frequent ones.
pub(crate) const PREFIX_TERMS_MAX: usize = 64;
/// Terms that are looked at for that, in the order of the dictionary.
const PREFIX_LOOKED_AT_MAX: usize = 10_000;

/// The postings of a term, and what they add to scores.
pub(crate) struct List<'a> {
    pub(crate) cursor: Cursor<'a>,
    pub(crate) weigh: Weigh<'a>,
    /// What a point adds at most.
    pub(crate) bound: f32,
}

impl<'a> List<'a> {
    fn new(index: &'a Index, key: &[u8], term: &Term, weight: f32, weights: &'a Weights) -> Option<Self> {
        let cursor = index.cursor(key, term)?;
        let weigh = Weigh::new(
            index.payload(),
            weight,
            weights.inverses(key),
            index.lengths_of_key(key),
        );
        let bound = weigh.bound(cursor.bound());
        Some(Self { cursor, weigh, bound })
    }

    /// What a point, not before those asked for so far, adds.
    #[inline]
    pub(crate) fn of(&mut self, point: u32) -> Option<f32> {
        if self.cursor.seek(point) != Some(point) {
            return None;
        }
        let payload = self.cursor.payload();
        Some(self.weigh.of(point, payload))
    }
}

/// The lists of all that a query wants and the index has.
pub(crate) fn wanted<'a>(index: &'a Index, query: &Query, weights: &'a Weights) -> Vec<List<'a>> {
    let mut lists = Vec::with_capacity(query.wanted.len());
    for wanted in &query.wanted {
        match wanted.subject {
            Subject::Term(place) => {
                let key = &query.terms[place].key;
                let term = index.find(key);
                let weight = weights.term(place) * wanted.boost;
                lists.extend(term.and_then(|term| List::new(index, key, &term, weight, weights)));
            }
            Subject::Prefix(place) => {
                let weight = weights.prefix(place) * wanted.boost;
                let terms = expansions(index, &query.prefixes[place]);
                lists.extend(
                    terms
                        .iter()
                        .filter_map(|(key, term)| List::new(index, key, term, weight, weights)),
                );
            }
        }
    }
    lists
}

/// The terms that a prefix stands for: of all, or of the first ten thousand, those with most points.
pub(crate) fn expansions(index: &Index, prefix: &[u8]) -> Vec<(Vec<u8>, Term)> {
    let (mut terms, mut seen) = (Vec::new(), 0);
    index.with_prefix(prefix, |key, term| {
        terms.push((key.to_vec(), term));
        seen += 1;
        seen < PREFIX_LOOKED_AT_MAX
    });
    terms.sort_by(|a, b| b.1.count.cmp(&a.1.count).then_with(|| a.0.cmp(&b.0)));
    terms.truncate(PREFIX_TERMS_MAX);
    terms
}

/// How many of some points a term has.
pub(crate) fn removed_among(index: &Index, key: &[u8], term: &Term, points: &RoaringBitmap) -> u64 {
    if points.is_empty() {
        return 0;
    }
    let Some(mut cursor) = index.cursor(key, term) else {
        return 0;
    };
    let mut count = 0;
    for point in points {
        match cursor.seek(point) {
            Some(found) => count += u64::from(found == point),
            None => break,
        }
    }
    count
}
