//! Whether a text has what must be there, and its exact score.

use super::lists::{self, List, expansions};
use super::score::{Weights, saturate};
use crate::index::{Cursor, Index, Lengths};
use crate::query::{Excluded, Phrase, Query};
use crate::row::{Positions, RowKind};
use crate::varint;

/// Scores points of one index, asked for in rising order.
pub(crate) struct Judge<'a> {
    wanted: Vec<List<'a>>,
    required: Vec<Vec<PhraseList<'a>>>,
    excluded: Vec<Exclusion<'a>>,
}

impl<'a> Judge<'a> {
    /// None if no point of the index can be found.
    pub(crate) fn new(index: &'a Index, query: &'a Query, weights: &'a Weights) -> Option<Self> {
        let wanted = lists::wanted(index, query, weights);
        let mut required = Vec::with_capacity(query.required.len());
        for group in &query.required {
            let there = group
                .iter()
                .filter_map(|phrase| PhraseList::new(index, query, phrase, weights));
            let there: Vec<_> = there.collect();
            if there.is_empty() {
                return None;
            }
            required.push(there);
        }
        if wanted.is_empty() && required.is_empty() {
            return None;
        }
        let mut excluded = Vec::new();
        for exclusion in &query.excluded {
            match exclusion {
                Excluded::Phrase(phrase) => {
                    excluded.extend(PhraseList::new(index, query, phrase, weights).map(Exclusion::Phrase));
                }
                Excluded::Prefix(place) => {
                    let terms = expansions(index, &query.prefixes[*place]);
                    excluded.extend(
                        terms
                            .iter()
                            .filter_map(|(key, term)| index.cursor(key, term))
                            .map(|cursor| Exclusion::Term(Box::new(cursor))),
                    );
                }
            }
        }
        // The rarest first: it says which points are looked at.
        required.sort_by_key(|group| group.iter().map(PhraseList::count).sum::<usize>());
        Some(Self {
            wanted,
            required,
            excluded,
        })
    }

    pub(crate) fn has_required(&self) -> bool {
        !self.required.is_empty()
    }

    /// About how many postings a search reads.
    pub(crate) fn posting_count(&self) -> u64 {
        let count = match self.required.first() {
            Some(group) => group.iter().map(PhraseList::count).sum::<usize>(),
            None => self.wanted.iter().map(|list| list.cursor.count()).sum(),
        };
        count as u64
    }

    /// What is wanted, and what must not be there.
    pub(crate) fn parts(&mut self) -> (&mut Vec<List<'a>>, &mut Vec<Exclusion<'a>>) {
        (&mut self.wanted, &mut self.excluded)
    }

    /// The score of a point; none if the query does not find it.
    pub(crate) fn score(&mut self, point: u32) -> Option<f32> {
        let (mut score, mut is_found) = (0.0, false);
        for group in &mut self.required {
            let of_group = group.iter_mut().filter_map(|phrase| phrase.of(point));
            score += of_group.reduce(|sum, more| sum + more)?;
            is_found = true;
        }
        for list in &mut self.wanted {
            if let Some(more) = list.of(point) {
                score += f64::from(more);
                is_found = true;
            }
        }
        let is_found = is_found && !self.excluded.iter_mut().any(|excluded| excluded.has(point));
        is_found.then_some(score as f32)
    }

    /// Shows each point that may have what must be there, in order.
    pub(crate) fn each_candidate(&mut self, mut see: impl FnMut(&mut Self, u32)) {
        let mut target = Some(0);
        while let Some(from) = target {
            let Some(group) = self.required.first_mut() else {
                return;
            };
            let Some(point) = group.iter_mut().filter_map(|phrase| phrase.next(from)).min() else {
                return;
            };
            see(self, point);
            target = point.checked_add(1);
        }
    }
}

/// What must not be there.
pub(crate) enum Exclusion<'a> {
    Phrase(PhraseList<'a>),
    Term(Box<Cursor<'a>>),
}

impl Exclusion<'_> {
    pub(crate) fn has(&mut self, point: u32) -> bool {
        match self {
            Self::Phrase(phrase) => phrase.frequency(point) > 0,
            Self::Term(cursor) => cursor.seek(point) == Some(point),
        }
    }
}

/// The postings of the terms of a phrase.
pub(crate) struct PhraseList<'a> {
    /// With the position of each from that of the first.
    terms: Vec<(Cursor<'a>, u32)>,
    weight: f32,
    inverses: &'a [f32; 256],
    lengths: Lengths<'a>,
    has_positions: bool,
    /// Positions of one term.
    positions: Vec<u32>,
    /// Where the phrase may begin.
    starts: Vec<u32>,
}

impl<'a> PhraseList<'a> {
    /// None if the index lacks a term.
    fn new(index: &'a Index, query: &'a Query, phrase: &Phrase, weights: &'a Weights) -> Option<Self> {
        let mut terms = Vec::with_capacity(phrase.terms.len());
        let mut weight = 0.0;
        for (place, offset) in &phrase.terms {
            let key = &query.terms[*place].key;
            terms.push((index.cursor(key, &index.find(key)?)?, *offset));
            weight += weights.term(*place);
        }
        let first = &query.terms[phrase.terms.first()?.0].key;
        Some(Self {
            terms,
            weight: weight * phrase.boost,
            inverses: weights.inverses(first),
            lengths: index.lengths_of_key(first),
            has_positions: index.kind() == RowKind::Text(Positions::Kept),
            positions: Vec::new(),
            starts: Vec::new(),
        })
    }

    /// Points of the rarest term.
    fn count(&self) -> usize {
        self.terms.iter().map(|(cursor, _)| cursor.count()).min().unwrap_or(0)
    }

    /// The first point from `target` on that has all terms.
    fn next(&mut self, target: u32) -> Option<u32> {
        let mut point = target;
        let (mut agreed, all) = (0, self.terms.len());
        while agreed < all {
            for (cursor, _) in &mut self.terms {
                let found = cursor.seek(point)?;
                agreed = if found == point { agreed + 1 } else { 1 };
                point = found;
                if agreed >= all {
                    break;
                }
            }
        }
        Some(point)
    }

    /// What the phrase adds to the score of a point; none if it is not there.
    fn of(&mut self, point: u32) -> Option<f64> {
        let frequency = self.frequency(point);
        let inverse = self.inverses[usize::from(self.lengths.code(point))];
        (frequency > 0).then(|| f64::from(saturate(self.weight, inverse, frequency)))
    }

    /// How often the phrase occurs. Without positions, as often as its rarest term.
    fn frequency(&mut self, point: u32) -> u32 {
        if self
            .terms
            .iter_mut()
            .any(|(cursor, _)| cursor.seek(point) != Some(point))
        {
            return 0;
        }
        if let [(cursor, _)] = &mut self.terms[..] {
            return cursor.payload();
        }
        if !self.has_positions {
            return self
                .terms
                .iter_mut()
                .map(|(cursor, _)| cursor.payload())
                .min()
                .unwrap_or(0);
        }
        let mut is_first = true;
        for (cursor, offset) in &mut self.terms {
            let bytes = cursor.position_bytes().unwrap_or_default();
            read_positions(bytes, &mut self.positions);
            keep_starts(&self.positions, *offset, is_first, &mut self.starts);
            is_first = false;
        }
        u32::try_from(self.starts.len()).unwrap_or(u32::MAX)
    }
}

/// Reads distances as positions.
pub(crate) fn read_positions(bytes: &[u8], positions: &mut Vec<u32>) {
    positions.clear();
    let (mut at, mut position) = (0, 0_u32);
    while let Some(distance) = varint::get_u32(bytes, &mut at) {
        position = position.saturating_add(distance);
        positions.push(position);
    }
}

/// Keeps the starts of a phrase of which a term stands at `offset` behind them.
pub(crate) fn keep_starts(positions: &[u32], offset: u32, is_first: bool, starts: &mut Vec<u32>) {
    if is_first {
        starts.clear();
        starts.extend(positions.iter().filter_map(|position| position.checked_sub(offset)));
    } else {
        starts.retain(|start| {
            start
                .checked_add(offset)
                .is_some_and(|place| positions.binary_search(&place).is_ok())
        });
    }
}
