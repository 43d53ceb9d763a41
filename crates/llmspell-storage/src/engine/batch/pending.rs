//! The scopes that a batch has looked at, each as the batch has changed it so far.

use std::collections::HashMap;
use std::ops::{Index, IndexMut};
use std::sync::Arc;

use llmspell_core::StateScope;
use roaring::RoaringBitmap;

use crate::base::ids::{PointId, SpaceId};
use crate::indexes::changes::Changes;
use crate::namespace::{Namespace, State};
use crate::spaces::registry::Space;

/// A scope of one space, and what a batch changes of it.
pub(in crate::engine) struct Pending {
    pub(in crate::engine) space: Arc<Space>,
    pub(in crate::engine) scope: StateScope,
    pub(in crate::engine) namespace: Arc<Namespace>,
    /// This batch made it.
    pub(in crate::engine) is_new: bool,
    /// This batch dropped it. Another scope may have its name now.
    pub(in crate::engine) is_dropped: bool,
    pub(in crate::engine) state: State,
    /// Points that lived before and are dead now.
    pub(in crate::engine) freed: RoaringBitmap,
    pub(in crate::engine) changes: Changes,
    pub(in crate::engine) taken: Taken,
    /// Dead points that have got a slot beyond those that were needed.
    pub(in crate::engine) spare: Vec<PointId>,
}

impl Pending {
    /// A scope that is there.
    pub(super) fn stored(space: &Arc<Space>, scope: &StateScope, namespace: Arc<Namespace>) -> Self {
        Self {
            space: Arc::clone(space),
            scope: scope.clone(),
            is_new: false,
            is_dropped: false,
            state: (*namespace.state()).clone(),
            freed: RoaringBitmap::new(),
            changes: Changes::default(),
            taken: Taken {
                namespace: Arc::clone(&namespace),
                points: Vec::new(),
            },
            spare: Vec::new(),
            namespace,
        }
    }

    /// A scope that this batch makes.
    pub(super) fn new(space: &Arc<Space>, scope: &StateScope, namespace: Namespace) -> Self {
        Self {
            is_new: true,
            ..Self::stored(space, scope, Arc::new(namespace))
        }
    }
}

/// Dead points, seen by no reader, that a batch took. They are given back when the batch ends without becoming durable.
pub(in crate::engine) struct Taken {
    namespace: Arc<Namespace>,
    points: Vec<PointId>,
}

impl Taken {
    /// Takes up to `count` points.
    pub(super) fn take(&mut self, count: usize) -> Vec<PointId> {
        let points = self.namespace.reuse.lock().take(count);
        self.points.extend_from_slice(&points);
        points
    }

    /// Takes these points, which no reader can see.
    pub(super) fn take_all(&mut self, points: &RoaringBitmap) {
        self.namespace.reuse.lock().take_all(points);
        self.points.extend(points.iter().map(PointId));
    }

    /// The batch is durable.
    pub(in crate::engine) fn keep(mut self) {
        self.points.clear();
    }
}

impl Drop for Taken {
    fn drop(&mut self) {
        if !self.points.is_empty() {
            self.namespace.reuse.lock().give_back(self.points.drain(..));
        }
    }
}

/// Names one of the [`PendingScopes`] of a batch. A step of the batch finds it once, and then has no more look-ups by name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::engine) struct ScopeRef(usize);

/// All scopes that a batch has looked at, in this order.
#[derive(Default)]
pub(in crate::engine) struct PendingScopes {
    scopes: Vec<Pending>,
    /// Where each scope is that the batch has not dropped, by its spaces.
    by_scope: HashMap<StateScope, Vec<(SpaceId, ScopeRef)>>,
}

impl PendingScopes {
    /// The scope of this name, if the batch has looked at it and not dropped it.
    pub(super) fn find(&self, space: SpaceId, scope: &StateScope) -> Option<ScopeRef> {
        let spaces = self.by_scope.get(scope)?;
        spaces.iter().find(|(of, _)| *of == space).map(|(_, at)| *at)
    }

    pub(super) fn add(&mut self, pending: Pending) -> ScopeRef {
        let (at, space) = (ScopeRef(self.scopes.len()), pending.space.id);
        match self.by_scope.get_mut(&pending.scope) {
            Some(spaces) => spaces.push((space, at)),
            None => drop(self.by_scope.insert(pending.scope.clone(), vec![(space, at)])),
        }
        self.scopes.push(pending);
        at
    }

    /// The batch drops a scope: its name leads to it no longer.
    pub(super) fn set_dropped(&mut self, at: ScopeRef) {
        let pending = &mut self.scopes[at.0];
        pending.is_dropped = true;
        if let Some(spaces) = self.by_scope.get_mut(&pending.scope) {
            spaces.retain(|(_, other)| *other != at);
        }
    }

    /// All of them, also those that the batch has dropped.
    pub(super) fn all(&self) -> &[Pending] {
        &self.scopes
    }

    /// Those that the batch has not dropped.
    pub(super) fn there(&self) -> impl Iterator<Item = (ScopeRef, &Pending)> {
        let scopes = self.scopes.iter().enumerate();
        let there = scopes.filter(|(_, pending)| !pending.is_dropped);
        there.map(|(at, pending)| (ScopeRef(at), pending))
    }

    /// [`there`](Self::there), to change them.
    pub(super) fn there_mut(&mut self) -> impl Iterator<Item = &mut Pending> {
        self.scopes.iter_mut().filter(|pending| !pending.is_dropped)
    }

    /// All of them, a scope before another of the same name that was made after it was dropped.
    pub(in crate::engine) fn into_all(self) -> Vec<Pending> {
        self.scopes
    }
}

impl Index<ScopeRef> for PendingScopes {
    type Output = Pending;

    fn index(&self, at: ScopeRef) -> &Pending {
        &self.scopes[at.0]
    }
}

impl IndexMut<ScopeRef> for PendingScopes {
    fn index_mut(&mut self, at: ScopeRef) -> &mut Pending {
        &mut self.scopes[at.0]
    }
}
