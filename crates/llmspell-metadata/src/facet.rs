//! Facets: the values of a field, with the number of points of each.

use std::cmp::Reverse;

use llmspell_core::{FacetValue, FieldPath};
use roaring::RoaringBitmap;

use super::MetadataIndex;
use super::field::{Field, Part};
use super::key::{self, ELEMENT};

impl MetadataIndex {
    /// The values of a field among `points`, or among all of them, with their counts: most frequent first, equal counts
    /// in the order of the values, at most `limit`. An array counts once for each different element; nested arrays and
    /// objects do not count.
    ///
    /// None if the index does not know all values: the field was given up, or is text, or holds dates or long strings.
    /// Takes time in proportion to the number of different values of the field.
    #[must_use]
    pub fn facet(&self, path: &FieldPath, points: Option<&RoaringBitmap>, limit: usize) -> Option<Vec<FacetValue>> {
        let is_whole = self.distrusted.is_empty() && self.unread.is_empty();
        if self.is_unknown(path) && self.field(path).is_none() || !is_whole {
            return None;
        }
        let Some(field) = self.field(path) else {
            return Some(Vec::new());
        };
        let is_known = |part: Part| field.part(part).is_indexed && field.part(part).missing.is_empty();
        if field.strings.are_dates || ![Part::Scalars, Part::Strings, Part::Elements].into_iter().all(is_known) {
            return None;
        }
        let mut counts = counts_of(field, points)?;
        counts.sort_by_key(|(key, count)| (Reverse(*count), key.clone()));
        counts.truncate(limit);
        counts
            .into_iter()
            .map(|(key, count)| {
                let value = key::value_of(&key, field.strings.bytes_max)?;
                Some(FacetValue { value, count })
            })
            .collect()
    }
}

/// The count of each value and element. None if a key stands for several values.
fn counts_of(field: &Field, within: Option<&RoaringBitmap>) -> Option<Vec<(Vec<u8>, u64)>> {
    let mut counts = std::collections::BTreeMap::<Vec<u8>, u64>::new();
    for range in [Part::Scalars.keys(), Part::Strings.keys(), Part::Elements.keys()] {
        for (mut key, points) in field.postings.entries(&range) {
            let count = within.map_or_else(|| points.len(), |within| points.intersection_len(within));
            if count == 0 {
                continue;
            }
            if key[0] >= ELEMENT {
                key[0] -= ELEMENT;
            }
            key::value_of(&key, field.strings.bytes_max)?;
            *counts.entry(key).or_default() += count;
        }
    }
    Some(counts.into_iter().collect())
}
