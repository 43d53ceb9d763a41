//! What is searched for: words, prefixes, phrases, and what must not be there.
//!
//! | file       | question                                          |
//! |------------|---------------------------------------------------|
//! | `mod.rs`   | what does a query ask for?                        |
//! | `parse.rs` | what does a text that somebody typed ask for?     |

mod parse;

pub use parse::{QUERY_BYTES_MAX, QUERY_PREFIXES_MAX, QUERY_TERMS_MAX, QueryFields};

use crate::row::{SparseError, hash_of, key_of, sparse_key};

/// What is searched for. The same for all scopes that it is searched in.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Query {
    /// Each key once.
    pub(crate) terms: Vec<QueryTerm>,
    /// Beginnings of keys, each once.
    pub(crate) prefixes: Vec<Vec<u8>>,
    /// What adds to the score where it is.
    pub(crate) wanted: Vec<Wanted>,
    /// Of each at least one must be there.
    pub(crate) required: Vec<Vec<Phrase>>,
    /// None must be there.
    pub(crate) excluded: Vec<Excluded>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct QueryTerm {
    pub(crate) key: Vec<u8>,
    pub(crate) hash: u32,
}

/// What adds to a score, and by how much more than others.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Wanted {
    pub(crate) subject: Subject,
    pub(crate) boost: f32,
}

/// Places in the terms and prefixes of a query.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Subject {
    Term(usize),
    Prefix(usize),
}

/// Terms of one field at distances from each other; one term is a phrase, too.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Phrase {
    /// Places in the terms of the query, and positions from that of the first.
    pub(crate) terms: Vec<(usize, u32)>,
    pub(crate) boost: f32,
}

#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Excluded {
    Phrase(Phrase),
    Prefix(usize),
}

impl Query {
    /// The query of a sparse vector: the score of a point is the sum of products of weights.
    ///
    /// # Errors
    ///
    /// [`SparseError`] as for a [row](crate::Row::of_sparse).
    pub fn of_sparse(components: impl IntoIterator<Item = (u32, f32)>) -> Result<Self, SparseError> {
        let mut components: Vec<_> = components.into_iter().collect();
        for (index, weight) in components.iter().copied() {
            if !(weight > 0.0 && weight.is_finite()) {
                return Err(SparseError::Weight { index, weight });
            }
        }
        components.sort_by_key(|(index, _)| *index);
        if let Some(pair) = components.windows(2).find(|pair| pair[0].0 == pair[1].0) {
            return Err(SparseError::Twice { index: pair[0].0 });
        }
        // Not by `term`, which looks for each key among those before: there may be thousands.
        let mut query = Self::default();
        for (place, (index, weight)) in components.into_iter().enumerate() {
            let key = sparse_key(index).to_vec();
            let hash = hash_of(&key);
            query.terms.push(QueryTerm { key, hash });
            query.wanted.push(Wanted {
                subject: Subject::Term(place),
                boost: weight,
            });
        }
        Ok(query)
    }

    /// Whether it asks for nothing, and finds nothing.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.wanted.is_empty() && self.required.is_empty()
    }

    /// How many different terms it asks for, each counted once in each field; those that begin in some way not.
    #[must_use]
    pub fn term_count(&self) -> usize {
        self.terms.len()
    }

    /// The place of a key, which is added unless it is there.
    pub(crate) fn term(&mut self, key: Vec<u8>) -> usize {
        let hash = hash_of(&key);
        let place = self.terms.iter().position(|term| term.hash == hash && term.key == key);
        place.unwrap_or_else(|| {
            self.terms.push(QueryTerm { key, hash });
            self.terms.len() - 1
        })
    }

    pub(crate) fn term_in(&mut self, field: u8, term: &str) -> usize {
        self.term(key_of(field, term))
    }

    pub(crate) fn prefix_in(&mut self, field: u8, prefix: &str) -> usize {
        let key = key_of(field, prefix);
        let place = self.prefixes.iter().position(|there| *there == key);
        place.unwrap_or_else(|| {
            self.prefixes.push(key);
            self.prefixes.len() - 1
        })
    }

    /// What is wanted twice counts twice.
    pub(crate) fn want(&mut self, subject: Subject, boost: f32) {
        match self.wanted.iter_mut().find(|wanted| wanted.subject == subject) {
            Some(wanted) => wanted.boost += boost,
            None => self.wanted.push(Wanted { subject, boost }),
        }
    }
}
