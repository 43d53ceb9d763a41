//! Lists and samples the entries of one scope or of several, each as of one of its mutations.

use std::sync::Arc;

use llmspell_core::{Filter, ListPage, ListQuery, Result, SampleQuery, StateScope, VectorEntry};

use super::calls::of_model;
use super::handle::Handle;
use crate::engine::Shared;
use crate::search::{Condition, index_for_list};
use crate::spaces::registry::Space;
use crate::spaces::snapshot::Snapshot;

/// The page that a valid query asks for.
pub(super) async fn list_page(handle: &Handle, query: &ListQuery) -> Result<ListPage> {
    let (query, now) = (query.clone(), handle.now());
    each(handle, move |shared, space| {
        let condition = condition_of(space, query.filter.as_ref())?;
        let mut found: Vec<VectorEntry> = Vec::new();
        for scope in query.listed_scopes() {
            let page = read(shared, space, scope, Some(&query), condition.as_ref(), |snapshot| {
                snapshot.list_page(scope, &query, condition.as_ref(), now)
            })?;
            found.extend(page.unwrap_or_default());
            query.keep_first(&mut found, query.limit + 1);
        }
        Ok(query.page(of_model(space, found)))
    })
    .await
}

/// The sample that a valid query asks for.
pub(super) async fn sample(handle: &Handle, query: &SampleQuery) -> Result<Vec<VectorEntry>> {
    let (query, now) = (query.clone(), handle.now());
    each(handle, move |shared, space| {
        let condition = condition_of(space, query.filter.as_ref())?;
        let (mut sampling, mut sample) = (query.sampling(), Vec::new());
        for scope in query.sampled_scopes() {
            let drawn = read(shared, space, scope, None, condition.as_ref(), |snapshot| {
                snapshot.draw(scope, &mut sampling, condition.as_ref(), now)
            })?;
            if let Some((draw, entries)) = drawn {
                sample = draw.merge(sample, entries);
            }
        }
        Ok(of_model(space, sample))
    })
    .await
}

async fn each<T: Send + 'static>(
    handle: &Handle,
    read: impl FnOnce(&Shared, &Space) -> Result<T> + Send + 'static,
) -> Result<T> {
    handle.database.inner.check_open()?;
    let (shared, space) = (Arc::clone(handle.shared()), Arc::clone(&handle.space));
    handle.database.inner.run(move || read(&shared, &space)).await
}

fn condition_of(space: &Space, filter: Option<&Filter>) -> Result<Option<Condition>> {
    filter.map(|filter| Condition::new(filter, space.dates())).transpose()
}

/// Runs `read` on a snapshot of a scope; none if there is no such scope.
fn read<T>(
    shared: &Shared,
    space: &Space,
    scope: &StateScope,
    query: Option<&ListQuery>,
    condition: Option<&Condition>,
    read: impl FnOnce(&Snapshot<'_>) -> Result<T>,
) -> Result<Option<T>> {
    let Some(namespace) = space.load(&shared.truth, scope)? else {
        return Ok(None);
    };
    index_for_list(
        &shared.truth,
        space,
        scope,
        &namespace,
        (query.and_then(ListQuery::ordering_time), condition),
    )?;
    let snapshot = Snapshot::take(&shared.truth, &space.slots, &namespace)?;
    snapshot.map(|snapshot| read(&snapshot)).transpose()
}
