//! Queries for diverse or grouped results.

use llmspell_core::{Result, SelectionPlan, VectorQuery, VectorResult};

use super::handle::{Handle, search_loaded};
use crate::engine::Shared;
use crate::search::{Question, Selection, Trace};
use crate::spaces::registry::Space;

/// The answer to a valid query, by one search or several.
pub(super) async fn search(
    handle: &Handle,
    query: &VectorQuery,
    mut selection: Selection,
) -> Result<Vec<VectorResult>> {
    let offset = query.offset;
    loop {
        let found = Box::pin(handle.search(selection.next())).await?;
        let is_further;
        (selection, is_further) = match selection.is_quick() {
            true => taken(selection, found),
            false => handle.database.inner.run(move || Ok(taken(selection, found))).await?,
        };
        if !is_further {
            return Ok(selection.into_results(offset));
        }
    }
}

fn taken(mut selection: Selection, found: Vec<VectorResult>) -> (Selection, bool) {
    let is_further = selection.take(found);
    (selection, is_further)
}

/// The number of results of a valid query of one scope, and how they were chosen; `trace` makes the trace of each search and
/// keeps that of the last. May wait for the disk.
pub(super) fn explain<'t>(
    shared: &Shared,
    space: &Space,
    mut selection: Selection,
    now: i64,
    trace: &mut Trace<'t>,
    new_trace: impl Fn() -> Trace<'t>,
) -> Result<(usize, SelectionPlan)> {
    loop {
        *trace = new_trace();
        let question = Question::new(selection.next(), space, now)?;
        let found = search_loaded(shared, space, &question, trace)?;
        let is_further = selection.take(found);
        trace.choose();
        if !is_further {
            let plan = selection.plan();
            return Ok((selection.into_results(0).len(), plan));
        }
    }
}
