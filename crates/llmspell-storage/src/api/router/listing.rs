//! Lists and samples the entries of one scope or of several, each in all spaces as of one commit.

use std::sync::Arc;

use llmspell_core::{ListPage, ListQuery, Result, SampleQuery, VectorEntry};

use super::DimensionRouter;

/// The page that a valid query asks for.
pub(super) async fn list_page(router: &DimensionRouter, query: &ListQuery) -> Result<ListPage> {
    let (query, now) = (Arc::new(query.clone()), router.now());
    let mut found: Vec<VectorEntry> = Vec::new();
    for scope in query.listed_scopes() {
        if let Some(filter) = &query.filter {
            router.check_filter(scope, filter)?;
        }
        let (asked, owner) = (Arc::clone(&query), scope.clone());
        let of_scope = router.read_ordered(scope, query.ordering_time(), query.filter.as_ref(), move |members| {
            let mut found = Vec::new();
            for member in members {
                let page = member.snapshot.list_page(&owner, &asked, member.filter(), now)?;
                found.extend(member.named(page));
            }
            Ok(found)
        });
        found.extend(of_scope.await?);
        query.keep_first(&mut found, query.limit + 1);
    }
    Ok(query.page(found))
}

/// The sample that a valid query asks for.
pub(super) async fn sample(router: &DimensionRouter, query: &SampleQuery) -> Result<Vec<VectorEntry>> {
    let now = router.now();
    let (mut sampling, mut sample) = (query.sampling(), Vec::new());
    for scope in query.sampled_scopes() {
        if let Some(filter) = &query.filter {
            router.check_filter(scope, filter)?;
        }
        let (before, owner) = (sampling, scope.clone());
        let of_scope = router.read_ordered(scope, None, query.filter.as_ref(), move |members| {
            let (mut sampling, mut drawn) = (before, Vec::new());
            for member in members {
                let (draw, entries) = member.snapshot.draw(&owner, &mut sampling, member.filter(), now)?;
                drawn.push((draw, member.named(entries)));
            }
            Ok((sampling, drawn))
        });
        let (after, drawn) = of_scope.await?;
        sampling = after;
        for (draw, entries) in drawn {
            sample = draw.merge(sample, entries);
        }
    }
    Ok(sample)
}
