//! Searches of several scopes.
//!
//! The namespaces are searched one after the other, each as of one of its mutations. The last of the best `k` so far is
//! the threshold of the next search: farther entries are not resolved, so ids and metadata are read about once.

use std::sync::Arc;

use llmspell_core::{Result, StateScope, VectorResult};

use super::handle::{Handle, cheap_namespace, search_in_place, search_loaded};
use crate::base::observe::SearchSpan;
use crate::search::{Question, Trace};

/// More scopes than this are not searched in place: each search may take 100 µs.
const IN_PLACE_MAX: usize = 4;

/// The answer to a question that is asked of several scopes.
pub(super) async fn search(handle: &Handle, question: Question<'static>) -> Result<Vec<VectorResult>> {
    let scopes: Vec<StateScope> = question.query().searched_scopes().into_iter().cloned().collect();
    if let Some(found) = all_in_place(handle, &scopes, &question)? {
        return Ok(found);
    }
    let (shared, space) = (Arc::clone(handle.shared()), Arc::clone(&handle.space));
    handle
        .database
        .inner
        .run(move || {
            let mut best = Best::new(question);
            for scope in &scopes {
                let found = search_loaded(&shared, &space, best.question_of(scope), &mut Trace::quiet())?;
                best.add(scope, found);
            }
            Ok(best.found)
        })
        .await
}

/// The answer, if all scopes can be searched in place.
fn all_in_place(
    handle: &Handle,
    scopes: &[StateScope],
    question: &Question<'static>,
) -> Result<Option<Vec<VectorResult>>> {
    if scopes.len() > IN_PLACE_MAX {
        return Ok(None);
    }
    let (shared, space) = (handle.shared(), &handle.space);
    let cheap = |scope: &StateScope| cheap_namespace(shared, space, scope, question);
    let namespaces: Option<Vec<_>> = scopes.iter().map(cheap).collect();
    let Some(namespaces) = namespaces else {
        return Ok(None);
    };
    let mut best = Best::new(question.clone());
    for (scope, namespace) in scopes.iter().zip(namespaces) {
        match search_in_place(
            shared,
            space,
            &namespace,
            best.question_of(scope),
            &SearchSpan::default(),
        )? {
            Some(found) => best.add(scope, found),
            None => return Ok(None),
        }
    }
    Ok(Some(best.found))
}

/// The best `k` of the scopes that were searched so far.
struct Best {
    question: Question<'static>,
    /// The least score that the query asks for.
    threshold: Option<f32>,
    found: Vec<VectorResult>,
}

impl Best {
    fn new(question: Question<'static>) -> Self {
        Self {
            threshold: question.query().threshold,
            question,
            found: Vec::new(),
        }
    }

    /// What to ask of the next scope.
    fn question_of(&mut self, scope: &StateScope) -> &Question<'static> {
        let mut threshold = self.threshold;
        if let Some(last) = self.found.get(self.question.k() - 1) {
            // A score never rises with the distance, nor with age, so nothing that could still come in is below this one.
            let lowest = last.recency_score.unwrap_or(last.score);
            threshold = Some(threshold.map_or(lowest, |threshold| threshold.max(lowest)));
        }
        self.question.ask(scope, threshold);
        &self.question
    }

    /// Takes in what the scope answered.
    fn add(&mut self, scope: &StateScope, found: Vec<VectorResult>) {
        self.found.extend(found.into_iter().map(|mut result| {
            result.scope = Some(scope.clone());
            result
        }));
        // Stable: of equals, those of the scope that came first stay first, in their order.
        self.found.sort_by(VectorResult::rank);
        self.found.truncate(self.question.k());
    }
}
