//! How are several scopes searched at once?
//!
//! One namespace after the other, by the search that each has alone, and as of one mutation of each. The last of the best
//! `k` so far bounds the next search: what is farther away is not resolved, so ids and metadata are read about once.

use std::sync::Arc;

use llmspell_core::{Result, StateScope, VectorQuery, VectorResult};

use super::handle::{Handle, search_loaded};
use crate::namespace::Namespace;
use crate::search::{self, Answer, Trace};
use crate::slots::Waiting;

/// More scopes than this are not searched in place: each search may take 100 µs.
const IN_PLACE_MAX: usize = 4;

/// The answer to a valid query of several scopes at `now`, in milliseconds since 1970.
pub(super) async fn search(handle: &Handle, query: &VectorQuery, now: i64) -> Result<Vec<VectorResult>> {
    if let Some(found) = search_in_place(handle, query, now)? {
        return Ok(found);
    }
    let (shared, space, query) = (Arc::clone(handle.shared()), Arc::clone(&handle.space), query.clone());
    handle
        .database
        .inner
        .run(move || {
            let mut best = Best::new(&query);
            for scope in query.searched_scopes() {
                let found = search_loaded(&shared, &space, best.query_in(scope), now, &mut Trace::quiet())?;
                best.add(scope, found);
            }
            Ok(best.found)
        })
        .await
}

/// The answer, if all scopes are loaded and cheap to search.
fn search_in_place(handle: &Handle, query: &VectorQuery, now: i64) -> Result<Option<Vec<VectorResult>>> {
    let (space, shared) = (&handle.space, handle.shared());
    let scopes = query.searched_scopes();
    if scopes.len() > IN_PLACE_MAX {
        return Ok(None);
    }
    let cheap = |scope: &&StateScope| {
        let is_cheap = |namespace: &Arc<Namespace>| search::is_cheap(query, space, namespace, shared.is_durable());
        space.loaded(scope).filter(is_cheap)
    };
    let namespaces: Option<Vec<Arc<Namespace>>> = scopes.iter().map(cheap).collect();
    let Some(namespaces) = namespaces else {
        return Ok(None);
    };
    let mut best = Best::new(query);
    for (scope, namespace) in scopes.into_iter().zip(namespaces) {
        let query = best.query_in(scope);
        space.remember_query(scope, &namespace, query);
        let search = || {
            search::search(
                &shared.truth,
                space,
                &namespace,
                query,
                (now, Waiting::Never),
                &mut Trace::quiet(),
            )
        };
        match shared.truth.guard(search)? {
            Answer::Found(found) => best.add(scope, found),
            Answer::WouldWait => return Ok(None),
        }
    }
    Ok(Some(best.found))
}

/// The best `k` of the scopes that were searched so far.
struct Best {
    query: VectorQuery,
    found: Vec<VectorResult>,
}

impl Best {
    fn new(query: &VectorQuery) -> Self {
        let mut query = query.clone();
        query.scopes = None;
        Self {
            query,
            found: Vec::new(),
        }
    }

    /// What to ask of the next scope.
    fn query_in(&mut self, scope: &StateScope) -> &VectorQuery {
        self.query.scope = scope.clone();
        if let Some(last) = self.found.get(self.query.k - 1) {
            // A score never rises with the distance, nor with age, so nothing that could still come in is below this one.
            let lowest = last.recency_score.unwrap_or(last.score);
            self.query.threshold = Some(self.query.threshold.map_or(lowest, |threshold| threshold.max(lowest)));
        }
        &self.query
    }

    /// Takes in what the scope answered.
    fn add(&mut self, scope: &StateScope, found: Vec<VectorResult>) {
        self.found.extend(found.into_iter().map(|mut result| {
            result.scope = Some(scope.clone());
            result
        }));
        // Stable: of equals, those of the scope that came first stay first, in their order.
        self.found.sort_by(VectorResult::rank);
        self.found.truncate(self.query.k);
    }
}
