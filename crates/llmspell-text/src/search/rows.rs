//! The score of a row, as an index would give it.

use super::judge::{keep_starts, read_positions};
use super::score::{Weights, saturate};
use crate::length;
use crate::query::{Excluded, Phrase, Query, Subject};
use crate::row::{Positions, Row, RowEntry, RowKind};

/// The score of a row; none if the query does not find it.
pub(crate) fn score_of_row(row: &Row, query: &Query, weights: &Weights) -> Option<f32> {
    let found: Vec<Option<&RowEntry>> = query.terms.iter().map(|term| row.find(term.hash, &term.key)).collect();
    let (mut score, mut is_found) = (0.0, false);
    for group in &query.required {
        let of_group = group
            .iter()
            .filter_map(|phrase| of_phrase(row, &found, phrase, query, weights));
        score += of_group.reduce(|sum, more| sum + more)?;
        is_found = true;
    }
    for wanted in &query.wanted {
        match wanted.subject {
            Subject::Term(place) => {
                if let Some(entry) = found[place] {
                    score += of_entry(row, entry, weights.term(place) * wanted.boost, weights);
                    is_found = true;
                }
            }
            Subject::Prefix(place) => {
                for entry in row.with_prefix(&query.prefixes[place]) {
                    score += of_entry(row, entry, weights.prefix(place) * wanted.boost, weights);
                    is_found = true;
                }
            }
        }
    }
    let is_excluded = |excluded: &Excluded| match excluded {
        Excluded::Phrase(phrase) => frequency(row, &found, phrase) > 0,
        Excluded::Prefix(place) => row.with_prefix(&query.prefixes[*place]).next().is_some(),
    };
    (is_found && !query.excluded.iter().any(is_excluded)).then_some(score as f32)
}

fn of_entry(row: &Row, entry: &RowEntry, weight: f32, weights: &Weights) -> f64 {
    f64::from(match row.kind {
        RowKind::Sparse => weight * f32::from_bits(entry.payload),
        RowKind::Text(_) => saturate(weight, inverse(row, row.key(entry), weights), entry.payload),
    })
}

fn inverse(row: &Row, key: &[u8], weights: &Weights) -> f32 {
    let length = row.lengths.iter().find(|(field, _)| key.first() == Some(field));
    let code = length::encode(length.map_or(0, |(_, length)| *length));
    weights.inverses(key)[usize::from(code)]
}

fn of_phrase(row: &Row, found: &[Option<&RowEntry>], phrase: &Phrase, query: &Query, weights: &Weights) -> Option<f64> {
    let frequency = frequency(row, found, phrase);
    if frequency == 0 {
        return None;
    }
    let weight: f32 = phrase.terms.iter().map(|(place, _)| weights.term(*place)).sum();
    let inverse = inverse(row, &query.terms[phrase.terms.first()?.0].key, weights);
    Some(f64::from(saturate(weight * phrase.boost, inverse, frequency)))
}

/// How often a phrase occurs.
fn frequency(row: &Row, found: &[Option<&RowEntry>], phrase: &Phrase) -> u32 {
    let entries: Option<Vec<_>> = phrase
        .terms
        .iter()
        .map(|(place, offset)| Some((found[*place]?, *offset)))
        .collect();
    let Some(entries) = entries else {
        return 0;
    };
    let rarest = entries.iter().map(|(entry, _)| entry.payload).min().unwrap_or(0);
    if entries.len() == 1 || row.kind == RowKind::Text(Positions::Dropped) {
        return rarest;
    }
    let (mut positions, mut starts) = (Vec::new(), Vec::new());
    for (number, (entry, offset)) in entries.into_iter().enumerate() {
        read_positions(row.positions(entry), &mut positions);
        keep_starts(&positions, offset, number == 0, &mut starts);
    }
    u32::try_from(starts.len()).unwrap_or(u32::MAX)
}
