//! Searches by words, alone or beside a vector.

use std::sync::Arc;
use std::time::Instant;

use llmspell_core::{Result, SearchPlan, StateScope, VectorQuery, VectorResult};

use super::handle::Handle;
use crate::base::observe::SearchSpan;
use crate::engine::Shared;
use crate::namespace::Namespace;
use crate::search::{Trace, WordSearch};
use crate::spaces::registry::Space;

/// The answer to a valid query with words.
pub(super) async fn search(handle: &Handle, query: &VectorQuery, span: &SearchSpan) -> Result<Vec<VectorResult>> {
    let (shared, space, now) = (Arc::clone(handle.shared()), Arc::clone(&handle.space), handle.now());
    let (query, span) = (query.clone(), span.clone());
    handle
        .database
        .inner
        .run(move || super::traced::traced(&span, |trace| answer(&shared, &space, &query, now, trace)))
        .await
}

/// How a valid query with words, of one scope, is answered.
pub(super) async fn explain(handle: &Handle, query: VectorQuery) -> Result<SearchPlan> {
    let (shared, space, now) = (Arc::clone(handle.shared()), Arc::clone(&handle.space), handle.now());
    handle
        .database
        .inner
        .run(move || {
            let start = Instant::now();
            let clock = || start.elapsed();
            let mut trace = Trace::timed(&clock);
            let found = answer(&shared, &space, &query, now, &mut trace)?;
            trace.plan.results = found.len();
            Ok(trace.plan)
        })
        .await
}

fn answer(
    shared: &Shared,
    space: &Space,
    query: &VectorQuery,
    now: i64,
    trace: &mut Trace<'_>,
) -> Result<Vec<VectorResult>> {
    // Checked: the space indexes words, unless it was opened without since.
    let Some(rules) = space.texts() else {
        return Ok(Vec::new());
    };
    let mut namespaces: Vec<(StateScope, Arc<Namespace>)> = Vec::new();
    for scope in query.searched_scopes() {
        if let Some(namespace) = space.load(&shared.truth, scope)? {
            namespaces.push((scope.clone(), namespace));
        }
    }
    let search = WordSearch {
        truth: &shared.truth,
        space,
        query,
        rules,
        now,
    };
    search.answer(&namespaces, trace)
}
