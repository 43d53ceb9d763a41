//! Searches by words alone, in all spaces that index words.

use std::sync::Arc;

use llmspell_core::{Result, StateScope, StorageError, VectorQuery, VectorResult};

use super::DimensionRouter;
use crate::api::vectors::{checked_query, traced};
use crate::base::observe::SearchSpan;
use crate::engine::Shared;
use crate::search::{SearchedScope, Trace, WordSearch, answer_together};
use crate::spaces::registry::Space;
use crate::spaces::snapshot::LookAgain;

/// Whether a query is for words alone and names no model, where there are several spaces.
pub(super) fn is_of_all_spaces(router: &DimensionRouter, query: &VectorQuery) -> bool {
    let is_of_words = query.text.is_some() && query.sides() == 1;
    is_of_words && query.model.is_none() && router.routes().all.len() > 1
}

/// That a search of words in several spaces cannot be asked for this.
pub(super) fn refused(feature: &'static str) -> StorageError {
    StorageError::Unsupported {
        backend: "a search for words in several spaces, which a model would make one of one space,",
        feature,
    }
}

/// The best texts of all spaces.
///
/// # Errors
///
/// `Unsupported` with diversity or groups; `NoTexts` if no space indexes words; those of a search.
pub(super) async fn search(router: &DimensionRouter, query: &VectorQuery) -> Result<Vec<VectorResult>> {
    if query.mmr.is_some() {
        return Err(refused("diversity: vectors of different models have no distance"));
    }
    if query.group_by.is_some() {
        return Err(refused("groups"));
    }
    let (query, now, span) = (query.clone(), router.now(), SearchSpan::current());
    let seen = span.clone();
    let found = router
        .read_spaces(move |shared, spaces, version| {
            traced(&seen, |trace| answer(shared, (spaces, version), &query, now, trace))
        })
        .await?;
    span.answered(found.len());
    Ok(found)
}

/// The answer; none if a space came or went meanwhile.
fn answer(
    shared: &Shared,
    (spaces, version): (&[Arc<Space>], u64),
    query: &VectorQuery,
    now: i64,
    trace: &mut Trace<'_>,
) -> Result<Option<Vec<VectorResult>>> {
    let mut with_words = Vec::with_capacity(spaces.len());
    let mut refusal = None;
    for space in spaces {
        match checked_query(space, query, true) {
            Ok(_) => with_words.push(space),
            Err(error @ StorageError::NoTexts { .. }) => refusal = Some(error),
            Err(error) => return Err(error),
        }
    }
    if let Some(error) = refusal.filter(|_| with_words.is_empty()) {
        return Err(error);
    }
    // What is passed over is known once all answers are one.
    let mut of_each = query.clone();
    (of_each.k, of_each.offset) = (query.k.saturating_add(query.offset), 0);
    let mut searches = Vec::with_capacity(with_words.len());
    for space in &with_words {
        let Some(rules) = space.texts() else { continue };
        searches.push(WordSearch {
            truth: &shared.truth,
            space,
            query: &of_each,
            rules,
            now,
        });
    }
    let mut looks = LookAgain::default();
    let mut found = loop {
        if let Some(found) = together(shared, &searches, query, trace)? {
            break found;
        }
        looks.pause()?;
    };
    if shared.spaces_version() != version {
        return Ok(None);
    }
    let place = |result: &VectorResult| {
        let mut scopes = query.searched_scopes().into_iter();
        scopes.position(|scope| Some(scope) == result.scope.as_ref())
    };
    found.sort_by(|one, other| {
        let by_scope = || place(one).cmp(&place(other));
        one.rank(other).then_with(by_scope).then_with(|| one.id.cmp(&other.id))
    });
    found.drain(..query.offset.min(found.len()));
    found.truncate(query.k);
    Ok(Some(found))
}

/// The answers of all spaces as of one commit; none if there was none to be seen.
fn together(
    shared: &Shared,
    searches: &[WordSearch<'_>],
    query: &VectorQuery,
    trace: &mut Trace<'_>,
) -> Result<Option<Vec<VectorResult>>> {
    let mut scopes = Vec::new();
    let mut absent: Vec<(&Space, &StateScope)> = Vec::new();
    for scope in query.searched_scopes() {
        for (at, search) in searches.iter().enumerate() {
            match search.space.load(&shared.truth, scope)? {
                Some(namespace) => scopes.push(SearchedScope {
                    search: at,
                    scope,
                    namespace,
                }),
                None => absent.push((search.space, scope)),
            }
        }
    }
    let is_whole = |read: &crate::truth::Read| {
        for (space, scope) in &absent {
            if read.scope_id(space.id, scope)?.is_some() {
                return Ok(false);
            }
        }
        Ok(true)
    };
    let found = answer_together(searches, &scopes, is_whole, trace)?;
    Ok(found.map(|found| {
        let named = found.into_iter().map(|(at, mut result)| {
            result.space = Some(searches[at].space.name.clone());
            result
        });
        named.collect()
    }))
}
