//! The rows that are searched, the queries, and the rows that should be found.

use std::collections::HashSet;
use std::path::Path;

use llmspell_storage::{VectorEntry, VectorResult};

use llmspell_cli_base::errors::CliError;
use llmspell_cli_base::input::npy::NpyReader;

/// Queries and the true neighbors of each.
pub(crate) struct Queries {
    pub(crate) vectors: Vec<Vec<f32>>,
    /// The `k` nearest rows of the base, for each query.
    truth: Vec<HashSet<String>>,
    k: usize,
    /// The model that they are of, where a router is asked.
    pub(super) model: Option<String>,
}

impl Queries {
    /// Queries, and for each the nearest rows; the first `k` of these count.
    pub(crate) fn of(vectors: Vec<Vec<f32>>, nearest: &[Vec<u32>], k: usize) -> Self {
        let ids = |rows: &Vec<u32>| rows.iter().take(k).map(ToString::to_string).collect();
        Self {
            vectors,
            truth: nearest.iter().map(ids).collect(),
            k,
            model: None,
        }
    }

    /// As vectors of a model.
    #[must_use]
    pub(crate) fn of_model(mut self, model: &str) -> Self {
        self.model = Some(model.to_string());
        self
    }

    /// Of entries whose ids are this and the number of a row.
    #[must_use]
    pub(crate) fn with_prefix(mut self, prefix: &str) -> Self {
        let prefixed = |ids: HashSet<String>| ids.into_iter().map(|id| format!("{prefix}{id}")).collect();
        self.truth = self.truth.into_iter().map(prefixed).collect();
        self
    }

    /// Refuses arrays that do not belong together.
    pub(crate) fn open(queries: &Path, truth: &Path, k: usize, dim: usize, base_rows: u64) -> Result<Self, CliError> {
        let mut query_rows = NpyReader::open(queries)?;
        let mut truth_rows = NpyReader::open(truth)?;
        let (query_shape, truth_shape) = (query_rows.header(), truth_rows.header());
        let mismatch = |message: String| Err(CliError::usage(message, "name arrays that were made together"));
        if query_shape.columns != dim {
            return mismatch(format!(
                "queries have {} components, the base has {dim}",
                query_shape.columns
            ));
        }
        if truth_shape.rows != query_shape.rows {
            return mismatch(format!(
                "the truth has {} rows for {} queries",
                truth_shape.rows, query_shape.rows
            ));
        }
        if truth_shape.columns < k {
            return mismatch(format!(
                "the truth has {} neighbors per query, fewer than k = {k}",
                truth_shape.columns
            ));
        }
        if query_shape.rows == 0 {
            return mismatch("there are no queries".into());
        }

        let mut vectors = Vec::new();
        while let Some(vector) = query_rows.next_row()? {
            vectors.push(vector);
        }
        let mut true_ids = Vec::new();
        while let Some(rows) = truth_rows.next_integers()? {
            let nearest = &rows[..k];
            if let Some(row) = nearest
                .iter()
                .find(|row| u64::try_from(**row).map_or(true, |row| row >= base_rows))
            {
                return mismatch(format!("the truth names row {row}, the base has {base_rows}"));
            }
            true_ids.push(nearest.iter().map(ToString::to_string).collect());
        }
        Ok(Self {
            vectors,
            truth: true_ids,
            k,
            model: None,
        })
    }

    /// How many of the true neighbors of a query were found; their order does not count.
    pub(crate) fn found(&self, query: usize, results: &[VectorResult]) -> usize {
        results
            .iter()
            .take(self.k)
            .filter(|result| self.truth[query].contains(&result.id))
            .count()
    }
}

/// Rows of the base as entries; ids are the numbers of the rows.
pub(crate) fn next_batch(base: &mut NpyReader, limit: usize) -> Result<Vec<VectorEntry>, CliError> {
    let mut entries = Vec::with_capacity(limit);
    while entries.len() < limit {
        let row = base.rows_read();
        let Some(vector) = base.next_row()? else { break };
        entries.push(VectorEntry::new(row.to_string(), vector));
    }
    Ok(entries)
}
