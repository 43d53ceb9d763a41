//! A valid query at one moment, prepared once for every namespace and every attempt that answers it.

use std::borrow::Cow;
use std::sync::Arc;

use llmspell_core::{Result, StateScope, VectorQuery};

use super::metadata::Condition;
use super::ranking::Ranking;
use crate::spaces::registry::Space;

/// A query whose filter is compiled and whose ranking is fixed.
#[derive(Debug, Clone)]
pub(crate) struct Question<'q> {
    /// Its `k` is the length of the shortlist.
    query: Cow<'q, VectorQuery>,
    condition: Option<Arc<Condition>>,
    ranking: Ranking,
    now: i64,
}

impl<'q> Question<'q> {
    /// Prepares a valid query of a space at `now`, in milliseconds since 1970.
    ///
    /// # Errors
    ///
    /// The first problem of the filter.
    pub(crate) fn new(query: &'q VectorQuery, space: &Space, now: i64) -> Result<Self> {
        let ranking = Ranking::new(query, now);
        let condition = match query.whole_filter() {
            Some(filter) => Some(Arc::new(Condition::new(&filter, space.dates())?)),
            None => None,
        };
        let query = match ranking.shortlist() {
            k if k == query.k => Cow::Borrowed(query),
            k => Cow::Owned(query.clone().with_k(k)),
        };
        Ok(Self {
            query,
            condition,
            ranking,
            now,
        })
    }

    /// The same question, independent of the caller's query.
    pub(crate) fn into_owned(self) -> Question<'static> {
        Question {
            query: Cow::Owned(self.query.into_owned()),
            condition: self.condition,
            ranking: self.ranking,
            now: self.now,
        }
    }

    /// Sets the scope, and the lowest score of a result.
    pub(crate) fn ask(&mut self, scope: &StateScope, threshold: Option<f32>) {
        let query = self.query.to_mut();
        query.scopes = None;
        query.scope = scope.clone();
        query.threshold = threshold;
    }

    /// Number of results wanted.
    pub(crate) fn k(&self) -> usize {
        self.ranking.k
    }

    /// The query; its `k` is the length of the shortlist.
    pub(crate) fn query(&self) -> &VectorQuery {
        &self.query
    }

    /// The condition on entries; none if all may be found.
    pub(super) fn condition(&self) -> Option<&Condition> {
        self.condition.as_deref()
    }

    pub(super) fn ranking(&self) -> Ranking {
        self.ranking
    }

    /// The time of the search, in milliseconds since 1970.
    pub(super) fn now(&self) -> i64 {
        self.now
    }

    /// Whether every result needs its record: for metadata, for its text, or for the age by which it is ranked.
    pub(super) fn needs_records(&self) -> bool {
        self.query.include_metadata || self.query.include_texts || self.ranking.needs_times()
    }
}
