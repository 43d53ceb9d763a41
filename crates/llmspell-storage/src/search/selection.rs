//! Selection of diverse or grouped results, by exact distances between candidates.

use llmspell_core::{DistancesFrom, SelectionPlan, VectorQuery, VectorResult};
use llmspell_vector::{ExactDistance, Metric};

use crate::indexes::graph::kernel_metric;
use crate::spaces::registry::Space;

/// [`llmspell_core::Selection`], for a space of this engine.
pub(crate) struct Selection {
    selection: llmspell_core::Selection,
    metric: Metric,
}

impl Selection {
    /// For a valid query; none if it simply takes the nearest.
    pub(crate) fn of(query: &VectorQuery, space: &Space) -> Option<Self> {
        let selection = llmspell_core::Selection::of(query, space.metric, &space.dates())?;
        Some(Self {
            selection,
            metric: kernel_metric(space.metric),
        })
    }

    /// Chooses among all candidates of a query with words, which are in their order, with what decides. Also says what was
    /// done.
    pub(crate) fn of_words(
        query: &VectorQuery,
        space: &Space,
        found: Vec<VectorResult>,
    ) -> (Vec<VectorResult>, SelectionPlan) {
        let metric = kernel_metric(space.metric);
        llmspell_core::Selection::of_words(query, space.metric, found, &|own| distances(metric, own))
    }

    /// The next search to do.
    pub(crate) fn next(&self) -> &VectorQuery {
        self.selection.next()
    }

    /// Whether selecting takes so little time that it can be done in place.
    pub(crate) fn is_quick(&self) -> bool {
        self.selection.is_quick()
    }

    /// Selects from all candidates, after a search. Returns whether another search is needed.
    pub(crate) fn take(&mut self, found: Vec<VectorResult>) -> bool {
        let metric = self.metric;
        self.selection.take(found, &|own| distances(metric, own))
    }

    /// What was done, for `explain`.
    pub(crate) fn plan(&self) -> SelectionPlan {
        self.selection.plan()
    }

    /// The results, each with the parts that the query asked for.
    pub(crate) fn into_results(self, offset: usize) -> Vec<VectorResult> {
        self.selection.into_results(offset)
    }
}

/// The distances of a vector from others.
fn distances(metric: Metric, own: &[f32]) -> DistancesFrom<'static> {
    let own = ExactDistance::new(metric, own);
    Box::new(move |other| own.distance(other))
}
