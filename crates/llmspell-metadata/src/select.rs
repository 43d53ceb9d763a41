//! Selection: the points that match, or may match, a filter.

use std::ops::Bound;

use llmspell_core::filter::terms;
use llmspell_core::{FieldPath, Filter, Scalar};
use roaring::RoaringBitmap;

use super::MetadataIndex;
use super::field::{Field, Part};
use super::key::{self, Key};
use super::page::Points;
use super::postings::KeyRange;

/// Terms are searched for in the values of a field, if the field has at most this many different values.
const SEARCHED_VALUES_MAX: u64 = 65_536;

/// The index's answer to a filter.
#[derive(Debug, Clone, Default)]
pub(super) struct Hits {
    /// All points that match, and possibly others.
    pub(super) possible: RoaringBitmap,
    /// The points among them whose metadata must be read; the others match.
    pub(super) unsure: RoaringBitmap,
}

impl Hits {
    fn sure(points: RoaringBitmap) -> Self {
        Self {
            possible: points,
            unsure: RoaringBitmap::new(),
        }
    }

    fn unsure(points: RoaringBitmap) -> Self {
        Self {
            unsure: points.clone(),
            possible: points,
        }
    }

    fn and(self, other: &Self) -> Self {
        let possible = self.possible & &other.possible;
        let unsure = (self.unsure | &other.unsure) & &possible;
        Self { possible, unsure }
    }

    fn or(self, other: Self) -> Self {
        let unsure = if self.unsure.is_empty() && other.unsure.is_empty() {
            RoaringBitmap::new()
        } else {
            let sure = (&self.possible - &self.unsure) | (&other.possible - &other.unsure);
            (self.unsure | other.unsure) - sure
        };
        Self {
            possible: self.possible | other.possible,
            unsure,
        }
    }
}

impl MetadataIndex {
    /// The filter is valid, so its depth is bounded.
    pub(super) fn select(&self, filter: &Filter) -> Hits {
        match filter {
            Filter::All => Hits::sure(self.points.to_bitmap()),
            Filter::And(conditions) => {
                let mut ordered: Vec<&Filter> = conditions.iter().collect();
                ordered.sort_by_cached_key(|condition| self.count_max(condition));
                let mut ordered = ordered.into_iter();
                let mut hits = ordered.next().map(|first| self.select(first)).unwrap_or_default();
                for condition in ordered {
                    if hits.possible.is_empty() {
                        break;
                    }
                    hits = hits.and(&self.select(condition));
                }
                hits
            }
            Filter::Or(conditions) => conditions
                .iter()
                .fold(Hits::default(), |hits, condition| hits.or(self.select(condition))),
            Filter::Not(condition) => self.complement(self.select(condition)),
            Filter::Ne { field, value } => self.complement(self.of(field, |field| self.equal(field, value))),
            Filter::Eq { field, value } => self.of(field, |field| self.equal(field, value)),
            Filter::In { field, values } => self.of(field, |field| {
                let each = values.iter().map(|value| self.equal(field, value));
                each.fold(Hits::default(), Hits::or)
            }),
            Filter::Contains { field, value } => self.of(field, |field| {
                let Some(mut key) = field.strings.of_scalar(value) else {
                    return Hits::default();
                };
                let (Key::Exact(bytes) | Key::Beginning(bytes)) = &mut key;
                bytes[0] += key::ELEMENT;
                self.covered(field, Part::Elements, lookup(field, &key))
            }),
            Filter::Lt { field, value } => self.range(field, Bound::Unbounded, Bound::Excluded(value)),
            Filter::Le { field, value } => self.range(field, Bound::Unbounded, Bound::Included(value)),
            Filter::Gt { field, value } => self.range(field, Bound::Excluded(value), Bound::Unbounded),
            Filter::Ge { field, value } => self.range(field, Bound::Included(value), Bound::Unbounded),
            Filter::Between { field, low, high } => self.range(field, Bound::Included(low), Bound::Included(high)),
            Filter::Exists { field } => self.of(field, |field| {
                let there = field.postings.get(&[key::EXISTS]);
                let hits = there.map_or_else(RoaringBitmap::new, |points| points.to_bitmap());
                self.covered(field, Part::Exists, Hits::sure(hits))
            }),
            Filter::IsNull { field } => self.of(field, |field| self.equal(field, &Scalar::Null)),
            Filter::StartsWith { field, prefix } => self.of(field, |field| self.starting(field, prefix)),
            Filter::MatchesText { field, text } => self.of(field, |field| self.matching(field, text)),
            _ => Hits::unsure(self.points.to_bitmap()),
        }
    }

    /// An upper bound of the number of matches. Takes no longer than finding the keys.
    fn count_max(&self, filter: &Filter) -> u64 {
        let all = self.points.len();
        let count_of = |path: &FieldPath, part: Part, count: &dyn Fn(&Field) -> u64| match self.field(path) {
            Some(field) if field.part(part).is_indexed => count(field) + field.part(part).missing.len(),
            None if !self.is_unknown(path) => 0,
            _ => all,
        };
        let equal = |field: &FieldPath, value: &Scalar| {
            let part = part_of(value);
            count_of(field, part, &|field| match field.strings.of_scalar(value) {
                Some(key) => field.postings.get(key.bytes()).map_or(0, |points| points.len()),
                None => 0,
            })
        };
        match filter {
            Filter::Eq { field, value } => equal(field, value),
            Filter::IsNull { field } => equal(field, &Scalar::Null),
            Filter::In { field, values } => values.iter().map(|value| equal(field, value)).sum(),
            Filter::And(conditions) => conditions.iter().map(|one| self.count_max(one)).min().unwrap_or(0),
            Filter::Or(conditions) => conditions.iter().map(|one| self.count_max(one)).sum(),
            Filter::Contains { field, value } => count_of(field, Part::Elements, &|field| {
                let Some(key) = field.strings.of_scalar(value) else {
                    return 0;
                };
                let mut bytes = key.bytes().to_vec();
                bytes[0] += key::ELEMENT;
                field.postings.get(&bytes).map_or(0, |points| points.len())
            }),
            Filter::Lt { field, value } => self.range_count(field, Bound::Unbounded, Bound::Excluded(value)),
            Filter::Le { field, value } => self.range_count(field, Bound::Unbounded, Bound::Included(value)),
            Filter::Gt { field, value } => self.range_count(field, Bound::Excluded(value), Bound::Unbounded),
            Filter::Ge { field, value } => self.range_count(field, Bound::Included(value), Bound::Unbounded),
            Filter::Between { field, low, high } => {
                self.range_count(field, Bound::Included(low), Bound::Included(high))
            }
            // The other conditions either match nearly everything or need several keys.
            _ => all,
        }
    }

    /// An upper bound of the number of points to combine when the matches are found. Takes no longer than finding the
    /// keys.
    #[must_use]
    pub fn effort_max(&self, filter: &Filter) -> u64 {
        match filter {
            Filter::And(conditions) | Filter::Or(conditions) => conditions.iter().map(|one| self.effort_max(one)).sum(),
            Filter::Not(condition) => self.points.len() + self.effort_max(condition),
            _ => self.count_max(filter),
        }
    }

    fn range_count(&self, path: &FieldPath, low: Bound<&Scalar>, high: Bound<&Scalar>) -> u64 {
        let Some(field) = self.field(path) else {
            return if self.is_unknown(path) { self.points.len() } else { 0 };
        };
        let part = part_of(bound_of(low, high));
        if !field.part(part).is_indexed {
            return self.points.len();
        }
        let borders = [low, high].map(|bound| match bound {
            Bound::Included(value) | Bound::Excluded(value) => field.strings.of_scalar(value),
            Bound::Unbounded => None,
        });
        let [from, to] = borders;
        let tag = from.as_ref().or(to.as_ref()).map_or(key::NUMBER, |key| key.bytes()[0]);
        let (first, last) = key::all_of(tag, tag);
        let range = (
            from.map_or(first, |key| Bound::Included(key.bytes().to_vec())),
            to.map_or(last, |key| Bound::Included(key.bytes().to_vec())),
        );
        field.postings.point_count(&range) + field.part(part).missing.len()
    }

    fn complement(&self, hits: Hits) -> Hits {
        let sure = hits.possible - &hits.unsure;
        Hits {
            possible: self.points.to_bitmap() - sure,
            unsure: hits.unsure,
        }
    }

    /// The matches in a field. A field that no entry has matches nothing.
    fn of(&self, path: &FieldPath, find: impl FnOnce(&Field) -> Hits) -> Hits {
        match self.field(path) {
            Some(field) => find(field),
            None if self.is_unknown(path) => Hits::unsure(self.points.to_bitmap()),
            None => Hits::default(),
        }
    }

    /// The matches found in a part, and as unsure those that are missing in the part.
    fn covered(&self, field: &Field, part: Part, found: Hits) -> Hits {
        let coverage = field.part(part);
        if !coverage.is_indexed {
            return self.anywhere(field);
        }
        if coverage.missing.is_empty() {
            return found;
        }
        found.or(Hits::unsure(coverage.missing.to_bitmap()))
    }

    /// Every point with the field, unsure.
    fn anywhere(&self, field: &Field) -> Hits {
        let coverage = field.part(Part::Exists);
        if !coverage.is_indexed {
            return Hits::unsure(self.points.to_bitmap());
        }
        let mut there = coverage.missing.to_bitmap();
        if let Some(points) = field.postings.get(&[key::EXISTS]) {
            there |= points.to_bitmap();
        }
        Hits::unsure(there)
    }

    fn equal(&self, field: &Field, value: &Scalar) -> Hits {
        let Some(key) = field.strings.of_scalar(value) else {
            return Hits::default();
        };
        let hits = self.covered(field, part_of(value), lookup(field, &key));
        let Scalar::Text(text) = value else {
            return hits;
        };
        // The same text has the same terms.
        let has_terms = terms(text).next().is_some() && !field.strings.are_dates;
        if hits.unsure.is_empty() || !has_terms || !field.part(Part::Terms).is_indexed {
            return hits;
        }
        let unsure = hits.unsure & (with_terms(field, text).possible | field.part(Part::Terms).missing.to_bitmap());
        let sure = lookup(field, &key);
        sure.or(Hits::unsure(unsure))
    }

    fn range(&self, path: &FieldPath, low: Bound<&Scalar>, high: Bound<&Scalar>) -> Hits {
        self.of(path, |field| {
            let part = part_of(bound_of(low, high));
            let tag = match bound_of(low, high) {
                Scalar::Text(_) if field.strings.are_dates => key::INSTANT,
                Scalar::Text(_) => key::STRING,
                _ => key::NUMBER,
            };
            // Among the keys that stand for several strings, only those of the bounds are in doubt.
            let mut doubtful = Hits::default();
            let mut border = |bound: Bound<&Scalar>, otherwise: Bound<Vec<u8>>| {
                let (Bound::Included(value) | Bound::Excluded(value)) = bound else {
                    return Some(otherwise);
                };
                match (field.strings.of_scalar(value)?, bound) {
                    (Key::Exact(key), Bound::Included(_)) => Some(Bound::Included(key)),
                    (Key::Exact(key), _) => Some(Bound::Excluded(key)),
                    (Key::Beginning(key), _) => {
                        let hits = lookup(field, &Key::Beginning(key.clone()));
                        doubtful = std::mem::take(&mut doubtful).or(hits);
                        Some(Bound::Excluded(key))
                    }
                }
            };
            let (first, last) = key::all_of(tag, tag);
            let (Some(from), Some(to)) = (border(low, first), border(high, last)) else {
                return self.anywhere(field);
            };
            let found = match is_empty(&from, &to) {
                true => Hits::default(),
                false => Hits::sure(field.postings.collect(&(from, to))),
            };
            self.covered(field, part, found.or(doubtful))
        })
    }

    fn starting(&self, field: &Field, prefix: &str) -> Hits {
        if field.strings.are_dates {
            return self.anywhere(field);
        }
        let found = if prefix.len() <= field.strings.bytes_max {
            Hits::sure(field.postings.collect(&key::beginning_with(prefix)))
        } else {
            match field.strings.of_scalar(&prefix.into()) {
                Some(key) => lookup(field, &key),
                None => Hits::default(),
            }
        };
        self.covered(field, Part::Strings, found)
    }

    fn matching(&self, field: &Field, text: &str) -> Hits {
        let terms = field.part(Part::Terms);
        if terms.is_indexed && terms.missing.is_empty() {
            return with_terms(field, text);
        }
        let in_values = if field.strings.are_dates || !field.part(Part::Strings).is_indexed {
            self.anywhere(field)
        } else {
            self.covered(field, Part::Strings, values_with_terms(field, text))
        };
        if !terms.is_indexed {
            return in_values;
        }
        let missing = terms.missing.to_bitmap();
        let others = Hits {
            possible: in_values.possible & &missing,
            unsure: in_values.unsure & &missing,
        };
        with_terms(field, text).or(others)
    }
}

fn part_of(value: &Scalar) -> Part {
    match value {
        Scalar::Null | Scalar::Bool(_) | Scalar::Number(_) => Part::Scalars,
        Scalar::Text(_) => Part::Strings,
    }
}

fn bound_of<'a>(low: Bound<&'a Scalar>, high: Bound<&'a Scalar>) -> &'a Scalar {
    match (low, high) {
        (Bound::Included(value) | Bound::Excluded(value), _) | (_, Bound::Included(value) | Bound::Excluded(value)) => {
            value
        }
        (Bound::Unbounded, Bound::Unbounded) => &Scalar::Null,
    }
}

fn is_empty(from: &Bound<Vec<u8>>, to: &Bound<Vec<u8>>) -> bool {
    match (from, to) {
        (Bound::Included(from), Bound::Included(to)) => from > to,
        (Bound::Included(from) | Bound::Excluded(from), Bound::Included(to) | Bound::Excluded(to)) => from >= to,
        _ => false,
    }
}

fn lookup(field: &Field, key: &Key) -> Hits {
    let points = field.postings.get(key.bytes());
    let points = points.map_or_else(RoaringBitmap::new, |points: Points<'_>| points.to_bitmap());
    match key {
        Key::Exact(_) => Hits::sure(points),
        Key::Beginning(_) => Hits::unsure(points),
    }
}

/// By the indexed terms.
fn with_terms(field: &Field, text: &str) -> Hits {
    let mut keys: Vec<(u64, Key)> = terms(text)
        .map(|term| key::of_term(&term))
        .map(|key| (field.postings.get(key.bytes()).map_or(0, |points| points.len()), key))
        .collect();
    keys.sort_by_key(|(count, _)| *count);
    let mut keys = keys.into_iter();
    let Some((_, first)) = keys.next() else {
        return Hits::default();
    };
    let mut hits = lookup(field, &first);
    for (_, key) in keys {
        if hits.possible.is_empty() {
            break;
        }
        hits = hits.and(&lookup(field, &key));
    }
    hits
}

/// By the terms of the indexed values.
fn values_with_terms(field: &Field, text: &str) -> Hits {
    let range: KeyRange = key::all_of(key::STRING, key::STRING);
    if field.postings.key_count(&range) > SEARCHED_VALUES_MAX {
        return Hits::unsure(field.postings.collect(&range));
    }
    let wanted: Vec<_> = terms(text).collect();
    let mut hits = Hits::default();
    for (key, points) in field.postings.entries(&range) {
        match key::value_of(&key, field.strings.bytes_max) {
            Some(Scalar::Text(value)) => {
                if wanted.iter().all(|wanted| terms(&value).any(|term| term == *wanted)) {
                    hits.possible |= points.to_bitmap();
                }
            }
            _ => {
                let points = points.to_bitmap();
                hits.unsure |= &points;
                hits.possible |= points;
            }
        }
    }
    hits
}
