//! The path of a call to the entries of a scope.

use std::sync::Arc;

use tokio::sync::oneshot;

use llmspell_core::{Filter, Result, StateScope, StorageError, VectorResult};

use super::traced::traced;
use crate::base::observe::SearchSpan;
use crate::engine::calls::DeleteEntries;
use crate::engine::{Database, Shared, Spaces};
use crate::indexes::files::Kind;
use crate::indexes::graph::graph_config;
use crate::indexes::queue::{Goal, IndexJob};
use crate::namespace::{Namespace, State};
use crate::search::{self, Answer, Condition, Question, Search, Trace};
use crate::slots::Waiting;
use crate::spaces::registry::Space;
use crate::spaces::snapshot::Snapshot;
use crate::truth::Truth;

/// An open space of an open database.
#[derive(Debug, Clone)]
pub(crate) struct Handle {
    pub(crate) database: Database,
    pub(crate) space: Arc<Space>,
}

impl Handle {
    /// The space, as writes name it.
    pub(super) fn spaces(&self) -> Spaces {
        Spaces::One(Arc::clone(&self.space))
    }

    pub(super) fn shared(&self) -> &Arc<Shared> {
        &self.database.inner.shared
    }

    pub(super) fn now(&self) -> i64 {
        self.shared().clock.now()
    }

    /// The namespace of a scope; none if there is no such scope.
    pub(super) async fn namespace(&self, scope: &StateScope) -> Result<Option<Arc<Namespace>>> {
        self.database.inner.check_open()?;
        if let Some(namespace) = self.space.loaded(scope) {
            return Ok(Some(namespace));
        }
        let (shared, space, scope) = (Arc::clone(self.shared()), Arc::clone(&self.space), scope.clone());
        self.database.inner.run(move || space.load(&shared.truth, &scope)).await
    }

    /// Runs `read` on a snapshot of a scope, on a thread of the database; none if there is no such scope.
    pub(crate) async fn read<T, F>(&self, scope: &StateScope, read: F) -> Result<Option<T>>
    where
        T: Send + 'static,
        F: FnOnce(&Snapshot<'_>, &Space) -> Result<T> + Send + 'static,
    {
        self.read_after(scope, |_, _, _, _| Ok(()), read).await
    }

    /// [`read`](Self::read) for what asks a filter.
    pub(super) async fn read_filtered<T, F>(
        &self,
        scope: &StateScope,
        condition: Condition,
        read: F,
    ) -> Result<Option<T>>
    where
        T: Send + 'static,
        F: FnOnce(&Snapshot<'_>, &Condition) -> Result<T> + Send + 'static,
    {
        let condition = Arc::new(condition);
        let asked = Arc::clone(&condition);
        let prepare = move |truth: &Truth, space: &Space, scope: &StateScope, namespace: &Arc<Namespace>| {
            search::index_metadata(truth, space, scope, namespace, &asked)
        };
        self.read_after(scope, prepare, move |snapshot, _| read(snapshot, &condition))
            .await
    }

    /// [`read`](Self::read) on a snapshot that is taken after `prepare`.
    pub(super) async fn read_after<T, F>(
        &self,
        scope: &StateScope,
        prepare: impl FnOnce(&Truth, &Space, &StateScope, &Arc<Namespace>) -> Result<()> + Send + 'static,
        read: F,
    ) -> Result<Option<T>>
    where
        T: Send + 'static,
        F: FnOnce(&Snapshot<'_>, &Space) -> Result<T> + Send + 'static,
    {
        let (shared, space, scope) = (Arc::clone(self.shared()), Arc::clone(&self.space), scope.clone());
        self.database
            .inner
            .run(move || {
                let Some(namespace) = space.load(&shared.truth, &scope)? else {
                    return Ok(None);
                };
                prepare(&shared.truth, &space, &scope, &namespace)?;
                let snapshot = Snapshot::take(&shared.truth, &space.slots, &namespace)?;
                snapshot.map(|snapshot| read(&snapshot, &space)).transpose()
            })
            .await
    }

    /// Removes entries; of those that match, where `only` says so.
    pub(super) async fn delete(
        &self,
        scope: &StateScope,
        ids: &[String],
        only: Option<Filter>,
        now: i64,
    ) -> Result<u64> {
        let (spaces, scope, ids) = (self.spaces(), scope.clone(), ids.to_vec());
        let call = DeleteEntries {
            spaces,
            scope,
            ids,
            only,
            now,
        };
        self.database.inner.write([&self.space], call).await
    }

    /// Brings the indexes of all scopes that are large enough to a goal, and waits for it.
    pub(super) async fn index(&self, goal: Goal) -> Result<()> {
        let (shared, space) = (Arc::clone(self.shared()), Arc::clone(&self.space));
        let answer = self
            .database
            .inner
            .run(move || {
                let (reply, answer) = oneshot::channel();
                let job = IndexJob {
                    space: space.id,
                    scopes: large_scopes(&shared, &space)?,
                    goal,
                    reply,
                };
                shared.queue.submit(job).map_err(|_| StorageError::Closed)?;
                Ok(answer)
            })
            .await?;
        answer.await.unwrap_or(Err(StorageError::Closed))
    }
}

/// The answer of the one scope that is asked, which is loaded if it must be. May wait for the disk.
pub(super) fn search_loaded(
    shared: &Shared,
    space: &Space,
    question: &Question<'_>,
    trace: &mut Trace<'_>,
) -> Result<Vec<VectorResult>> {
    let query = question.query();
    let Some(namespace) = space.load(&shared.truth, &query.scope)? else {
        return Ok(Vec::new());
    };
    space.remember_query(&query.scope, &namespace, query);
    let search = Search {
        truth: &shared.truth,
        space,
        namespace: &namespace,
        question,
        waiting: Waiting::Allowed,
    };
    match search.answer(trace)? {
        Answer::Found(found) => Ok(found),
        Answer::WouldWait => unreachable!("this search may wait"),
    }
}

/// The namespace of a scope, if it is loaded, cheap to search, and probably needs nothing from the disk.
pub(super) fn cheap_namespace(
    shared: &Shared,
    space: &Space,
    scope: &StateScope,
    question: &Question<'_>,
) -> Option<Arc<Namespace>> {
    let is_cheap =
        |namespace: &Arc<Namespace>| in_place(shared, space, namespace, question).is_cheap(shared.is_durable());
    space.loaded(scope).filter(is_cheap)
}

/// The answer of a namespace, which is that of the one scope that is asked; none if it needs something from the disk.
pub(super) fn search_in_place(
    shared: &Shared,
    space: &Space,
    namespace: &Arc<Namespace>,
    question: &Question<'_>,
    span: &SearchSpan,
) -> Result<Option<Vec<VectorResult>>> {
    let query = question.query();
    space.remember_query(&query.scope, namespace, query);
    let search = in_place(shared, space, namespace, question);
    match shared.truth.guard(|| traced(span, |trace| search.answer(trace)))? {
        Answer::Found(found) => Ok(Some(found)),
        Answer::WouldWait => Ok(None),
    }
}

fn in_place<'a>(
    shared: &'a Shared,
    space: &'a Space,
    namespace: &'a Arc<Namespace>,
    question: &'a Question<'_>,
) -> Search<'a> {
    Search {
        truth: &shared.truth,
        space,
        namespace,
        question,
        waiting: Waiting::Never,
    }
}

/// The scopes whose entries are worth a graph, or were, or an index of words, or wait for the index of their metadata.
fn large_scopes(shared: &Shared, space: &Space) -> Result<Vec<StateScope>> {
    let texts_min = space.text_rows_max() as u64;
    let has_texts = |state: &State| space.texts().is_some() && state.live_count() >= texts_min;
    if graph_config(space.dim, &space.config.read()).is_none() && space.texts().is_none() {
        return Ok(Vec::new());
    }
    let read = shared.truth.read()?;
    let mut large = Vec::new();
    for (scope, scope_id) in read.scopes(space.id)? {
        let is_large = match space.loaded(&scope) {
            Some(namespace) => {
                let state = namespace.state();
                let is_large = state.index.is_some() || state.vector_count() >= space.graph_points_min();
                is_large || namespace.is_metadata_behind() || has_texts(&state)
            }
            None => {
                let state = read.state(scope_id)?;
                state.vector_count() >= space.graph_points_min()
                    || state.files.get(Kind::Graph).is_some()
                    || has_texts(&state)
            }
        };
        if is_large {
            large.push(scope);
        }
    }
    Ok(large)
}
