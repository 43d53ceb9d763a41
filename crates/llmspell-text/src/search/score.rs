//! How much a term adds to a score.
//!
//! BM25 (Robertson and Zaragoza, "The probabilistic relevance framework: BM25 and beyond", 2009), without the factor `k1 + 1`, which
//! changes no order, and with the inverse document frequency that is never below 0:
//!
//! ```text
//! score of a text = Σ over terms: boost × idf × tf / (tf + k1 × (1 - b + b × length / mean length))
//! idf             = ln(1 + (N - df + 0.5) / (df + 0.5))
//! ```
//!
//! `tf` is how often the term occurs in the field, `N` the number of texts of the field, `df` of those that have the term.
//! Lengths count as `length.rs` rounds them. All terms with the prefix of a query share one `df`, the sum of theirs, at most `N`.
//! A phrase is one term whose `idf` is the sum of those of its words.

use crate::index::{Bound, FieldStatistics, Lengths, Payload};
use crate::length;
use crate::query::Query;
use crate::row::RowKind;

/// `k1` unless it is chosen.
pub const DEFAULT_K1: f32 = 1.2;
/// `b` unless it is chosen.
pub const DEFAULT_B: f32 = 0.75;

/// How occurrences and lengths count.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Bm25 {
    k1: f32,
    b: f32,
}

/// A parameter out of range.
#[derive(Debug, Clone, Copy, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum Bm25Error {
    /// `k1` is below 0 or not finite.
    #[error("k1 of BM25 is {0}; it must be finite and at least 0")]
    K1(f32),
    /// `b` is not between 0 and 1.
    #[error("b of BM25 is {0}; it must be between 0 and 1")]
    B(f32),
}

impl Default for Bm25 {
    fn default() -> Self {
        Self {
            k1: DEFAULT_K1,
            b: DEFAULT_B,
        }
    }
}

impl Bm25 {
    /// `k1` says how much more a second occurrence counts, 0 not at all; `b` how much length counts, from 0 to 1.
    ///
    /// # Errors
    ///
    /// [`Bm25Error`] for what is out of range.
    pub fn new(k1: f32, b: f32) -> Result<Self, Bm25Error> {
        if !(k1 >= 0.0 && k1.is_finite()) {
            return Err(Bm25Error::K1(k1));
        }
        if !(0.0..=1.0).contains(&b) {
            return Err(Bm25Error::B(b));
        }
        Ok(Self { k1, b })
    }
}

/// What scores depend on besides a text: how many texts there are, how long, and how many have each term of a query.
///
/// Made of the texts of a scope by [`Texts::statistics`](crate::Texts::statistics); those of several scopes
/// [add up](Self::add), so that scores of all can be compared. Belongs to its query.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Statistics {
    /// By the number of the field.
    pub(crate) fields: Vec<(u8, FieldStatistics)>,
    /// Texts that have each term of the query.
    pub(crate) terms: Vec<u64>,
    /// Sums over the terms of each prefix.
    pub(crate) prefixes: Vec<u64>,
}

impl Statistics {
    pub(crate) fn new(query: &Query) -> Self {
        Self {
            fields: Vec::new(),
            terms: vec![0; query.terms.len()],
            prefixes: vec![0; query.prefixes.len()],
        }
    }

    /// Those of no texts: scores of sparse vectors depend on none.
    #[must_use]
    pub fn none(query: &Query) -> Self {
        Self::new(query)
    }

    /// Adds those of other texts, for the same query.
    pub fn add(&mut self, other: &Self) {
        for (field, more) in &other.fields {
            let statistics = self.field_mut(*field);
            statistics.texts += more.texts;
            statistics.words += more.words;
        }
        let sum = |mine: &mut Vec<u64>, others: &[u64]| {
            mine.resize(mine.len().max(others.len()), 0);
            mine.iter_mut().zip(others).for_each(|(mine, other)| *mine += other);
        };
        sum(&mut self.terms, &other.terms);
        sum(&mut self.prefixes, &other.prefixes);
    }

    /// Those of one field; none has none.
    #[must_use]
    pub fn field(&self, field: u8) -> FieldStatistics {
        let found = self.fields.iter().find(|(number, _)| *number == field);
        found.map(|(_, statistics)| *statistics).unwrap_or_default()
    }

    pub(crate) fn field_mut(&mut self, field: u8) -> &mut FieldStatistics {
        let place = self.fields.iter().position(|(number, _)| *number == field);
        let place = place.unwrap_or_else(|| {
            self.fields.push((field, FieldStatistics::default()));
            self.fields.len() - 1
        });
        &mut self.fields[place].1
    }
}

/// One divided by `k1 × (1 - b + b × length / mean length)`, by the code of the length.
type Inverses = [f32; 256];

/// What each term, prefix and field of a query counts.
#[derive(Debug)]
pub(crate) struct Weights {
    terms: Vec<f32>,
    prefixes: Vec<f32>,
    inverses: Vec<(u8, Box<Inverses>)>,
    none: Box<Inverses>,
}

impl Weights {
    pub(crate) fn new(kind: RowKind, query: &Query, statistics: &Statistics, bm25: Bm25) -> Self {
        let idf = |key: &[u8], count: Option<&u64>| {
            if kind == RowKind::Sparse {
                return 1.0;
            }
            let texts = statistics.field(key.first().copied().unwrap_or(0)).texts;
            let (texts, count) = (texts as f64, count.copied().unwrap_or(0).min(texts) as f64);
            (1.0 + (texts - count + 0.5) / (count + 0.5)).ln() as f32
        };
        let inverses = |(field, statistics): &(u8, FieldStatistics)| {
            let mean = statistics.words as f64 / statistics.texts.max(1) as f64;
            let (k1, b) = (f64::from(bm25.k1), f64::from(bm25.b));
            let of_code = |code| 1.0 / (k1 * (1.0 - b + b * f64::from(length::decode(code)) / mean.max(1.0)));
            (*field, Box::new(std::array::from_fn(|code| of_code(code as u8) as f32)))
        };
        Self {
            terms: query
                .terms
                .iter()
                .zip(&statistics.terms)
                .map(|(term, count)| idf(&term.key, Some(count)))
                .collect(),
            prefixes: query
                .prefixes
                .iter()
                .zip(&statistics.prefixes)
                .map(|(key, count)| idf(key, Some(count)))
                .collect(),
            inverses: statistics.fields.iter().map(inverses).collect(),
            none: Box::new([1.0; 256]),
        }
    }

    pub(crate) fn term(&self, term: usize) -> f32 {
        self.terms.get(term).copied().unwrap_or(0.0)
    }

    pub(crate) fn prefix(&self, prefix: usize) -> f32 {
        self.prefixes.get(prefix).copied().unwrap_or(0.0)
    }

    pub(crate) fn inverses(&self, key: &[u8]) -> &Inverses {
        let found = self.inverses.iter().find(|(field, _)| key.first() == Some(field));
        found.map_or(&self.none, |(_, inverses)| inverses)
    }
}

/// What a term adds with `tf` occurrences: `weight × tf / (tf + 1 / inverse)`, written so that rounding keeps it from falling when
/// occurrences or the inverse rise. Bounds rely on that.
#[inline]
pub(crate) fn saturate(weight: f32, inverse: f32, occurrences: u32) -> f32 {
    weight - weight / (1.0 + occurrences as f32 * inverse)
}

/// How the points of a list are scored.
pub(crate) enum Weigh<'a> {
    Bm25 {
        weight: f32,
        inverses: &'a Inverses,
        /// What one occurrence adds, which is most there are, by the code of the length.
        once: Box<Inverses>,
        lengths: Lengths<'a>,
    },
    Product {
        weight: f32,
    },
}

impl<'a> Weigh<'a> {
    pub(crate) fn new(payload: Payload, weight: f32, inverses: &'a Inverses, lengths: Lengths<'a>) -> Self {
        match payload {
            Payload::Weights => Self::Product { weight },
            Payload::Counts => Self::Bm25 {
                weight,
                inverses,
                once: Box::new(std::array::from_fn(|code| saturate(weight, inverses[code], 1))),
                lengths,
            },
        }
    }

    /// What a point adds.
    #[inline]
    pub(crate) fn of(&self, point: u32, payload: u32) -> f32 {
        match self {
            Self::Bm25 {
                weight,
                inverses,
                once,
                lengths,
            } => {
                let code = usize::from(lengths.code(point));
                match payload {
                    1 => once[code],
                    _ => saturate(*weight, inverses[code], payload),
                }
            }
            Self::Product { weight } => weight * f32::from_bits(payload),
        }
    }

    /// What a point of a bound adds at most.
    #[inline]
    pub(crate) fn bound(&self, bound: &Bound) -> f32 {
        match self {
            Self::Bm25 {
                weight, inverses, once, ..
            } => {
                let of_pair = |[occurrences, code]: &[u8; 2]| match occurrences {
                    0 => 0.0,
                    1 => once[usize::from(*code)],
                    255 => *weight,
                    _ => saturate(*weight, inverses[usize::from(*code)], u32::from(*occurrences)),
                };
                bound.as_chunks::<2>().0.iter().map(of_pair).fold(0.0, f32::max)
            }
            Self::Product { weight } => {
                let [a, b, c, d, ..] = *bound;
                weight * f32::from_le_bytes([a, b, c, d])
            }
        }
    }
}
