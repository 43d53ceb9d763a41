//! The scopes of a query: one, or several, each once.

use std::collections::HashSet;

use llmspell_state_traits::StateScope;

use super::entry::VectorEntry;
use super::storage::VectorStorage;
use crate::error::Result;
use crate::filter::Filter;

/// The scopes that a query names: `scopes` if there are some, each once, in the given order; else `scope`.
pub(super) fn named<'q>(scope: &'q StateScope, scopes: Option<&'q Vec<StateScope>>) -> Vec<&'q StateScope> {
    scopes.map_or_else(|| vec![scope], |scopes| each_once(scopes))
}

/// Each of the scopes once, where it stands first.
pub(super) fn each_once(scopes: &[StateScope]) -> Vec<&StateScope> {
    let mut seen = HashSet::with_capacity(scopes.len());
    scopes.iter().filter(|scope| seen.insert(*scope)).collect()
}

/// The entries of one scope after an id, by id, those that match a filter if there is one.
pub(super) async fn list_after<S: VectorStorage + ?Sized>(
    store: &S,
    scope: &StateScope,
    filter: Option<&Filter>,
    after: Option<&str>,
    limit: usize,
) -> Result<Vec<VectorEntry>> {
    match filter {
        None => store.list(scope, after, limit).await,
        Some(filter) => store.list_matching(scope, filter, after, limit).await,
    }
}
