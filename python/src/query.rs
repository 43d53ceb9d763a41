//! How a search is asked for: the arguments that all searches share.

use llmspell_storage::{StateScope, VectorQuery};
use pyo3::prelude::*;

use crate::arguments::{optional_filter, scope_or, scopes, time_range};
use crate::times::optional_duration;

/// The settings of a search.
#[derive(Default)]
pub(crate) struct Settings<'a, 'py> {
    pub(crate) scope: Option<&'a str>,
    pub(crate) scopes: Option<Vec<String>>,
    pub(crate) filter: Option<&'a Bound<'py, PyAny>>,
    pub(crate) threshold: Option<f32>,
    pub(crate) offset: usize,
    pub(crate) ef_search: Option<usize>,
    pub(crate) exact: bool,
    pub(crate) recency: Option<&'a Bound<'py, PyAny>>,
    pub(crate) event_time: Option<&'a Bound<'py, PyAny>>,
    pub(crate) ingested: Option<&'a Bound<'py, PyAny>>,
    pub(crate) mmr: Option<f32>,
    pub(crate) group_by: Option<(String, usize)>,
    pub(crate) model: Option<String>,
    pub(crate) include_metadata: bool,
    pub(crate) include_vectors: bool,
}

impl Settings<'_, '_> {
    /// The query for a vector.
    pub(crate) fn query(self, vector: Vec<f32>, k: usize, default: &StateScope) -> PyResult<VectorQuery> {
        let mut query = VectorQuery::new(vector, k);
        query.scope = scope_or(self.scope, default)?;
        query.scopes = self.scopes.map(|texts| scopes(&texts)).transpose()?;
        query.filter = optional_filter(self.filter)?;
        query.threshold = self.threshold;
        query.offset = self.offset;
        query.ef_search = self.ef_search;
        query.exact = self.exact;
        query.recency = optional_duration(self.recency)?;
        query.event_time = self.event_time.map(time_range).transpose()?;
        query.ingested = self.ingested.map(time_range).transpose()?;
        query.mmr = self.mmr;
        query.model = self.model;
        query.include_metadata = self.include_metadata;
        query.include_vectors = self.include_vectors;
        if let Some((field, per_group)) = self.group_by {
            query = query.with_group_by(field.as_str(), per_group);
        }
        Ok(query)
    }
}
