//! Requests that wait until a large batch is done.
//!
//! These are requests for one of its scopes, requests for whole spaces, and requests that must not overtake a waiting
//! one. All others are done meanwhile. So every caller sees what was answered before, and calls for one scope are done
//! in their order.

use std::collections::HashSet;

use llmspell_core::{KeyValueWrite, ScopeKind, ScopedBackend, StateScope};

use super::request::{Opening, Request, Scopes};

/// The scopes and spaces that a large batch and its waiting requests concern.
#[derive(Debug, Default)]
pub(super) struct Reach {
    scopes: HashSet<StateScope>,
    kinds: HashSet<ScopeKind>,
    keys: HashSet<String>,
    prefixes: Vec<String>,
    is_everything: bool,
    /// Keys of a scope count in its quota, so they must not be removed before its entries.
    with_keys: bool,
}

impl Reach {
    /// An empty reach; `has_quotas` tells whether any scope has a quota.
    pub(super) fn new(has_quotas: bool) -> Self {
        Self {
            with_keys: has_quotas,
            ..Self::default()
        }
    }

    pub(super) fn add_scope(&mut self, scope: StateScope) {
        self.scopes.insert(scope);
    }

    /// Whether a request must wait.
    pub(super) fn meets(&self, request: &Request) -> bool {
        if self.is_everything {
            return true;
        }
        match request {
            // What is durable before a flush includes the batch. One large batch at a time.
            Request::Flush { .. } | Request::Large(_) => true,
            Request::DropSpace { .. } | Request::Switch { .. } => true,
            Request::OpenSpace { opening, .. } => *opening != Opening::Plain,
            Request::Values { writes, .. } => writes.iter().any(|write| self.meets_write(write)),
            Request::Swap { key, .. } => self.meets_key(key),
            Request::DropScopes { scopes, with_keys, .. } => self.meets_scopes(scopes, *with_keys),
            // Indexes are named by the id of their scope. No reader sees a space that is being emptied.
            Request::NameFile { .. } | Request::Built(_) | Request::Empty { .. } => false,
            Request::Entries { .. }
            | Request::Metadata { .. }
            | Request::Touch { .. }
            | Request::Delete { .. }
            | Request::Copies { .. }
            | Request::SetQuota { .. } => request.scopes().any(|scope| self.meets_scope(scope)),
        }
    }

    fn meets_scope(&self, scope: &StateScope) -> bool {
        self.scopes.contains(scope) || self.kinds.contains(&scope.kind())
    }

    fn meets_scopes(&self, scopes: &Scopes, with_keys: bool) -> bool {
        match scopes {
            Scopes::Named(scopes) => scopes.iter().any(|scope| {
                self.meets_scope(scope) || (with_keys && self.meets_prefix(&ScopedBackend::prefix(scope)))
            }),
            Scopes::OfKind(kind) => {
                let has_keys = !self.keys.is_empty() || !self.prefixes.is_empty();
                let is_of_kind = |scope: &StateScope| scope.kind() == *kind;
                (with_keys && has_keys) || self.kinds.contains(kind) || self.scopes.iter().any(is_of_kind)
            }
        }
    }

    fn meets_write(&self, write: &KeyValueWrite) -> bool {
        match write {
            KeyValueWrite::Set { key, .. } | KeyValueWrite::SetExpiring { key, .. } | KeyValueWrite::Delete { key } => {
                self.meets_key(key)
            }
            KeyValueWrite::DeletePrefix { prefix } => self.meets_prefix(prefix),
        }
    }

    fn meets_key(&self, key: &str) -> bool {
        let is_counted =
            || self.with_keys && ScopedBackend::split_key(key).is_some_and(|(of, _)| self.meets_scope(&of));
        self.keys.contains(key) || self.prefixes.iter().any(|prefix| key.starts_with(prefix)) || is_counted()
    }

    fn meets_prefix(&self, prefix: &str) -> bool {
        let scopes = self.scopes.iter().filter(|_| self.with_keys);
        // Keys of one kind of scopes cannot be told from others by their prefix.
        let meets_kinds = self.with_keys && !self.kinds.is_empty();
        let meets = |other: &str| other.starts_with(prefix) || prefix.starts_with(other);
        meets_kinds
            || self.keys.iter().any(|key| key.starts_with(prefix))
            || self.prefixes.iter().any(|other| meets(other))
            || scopes.map(ScopedBackend::prefix).any(|other| meets(&other))
    }

    /// Adds a waiting request: later ones must not overtake it.
    pub(super) fn add(&mut self, request: &Request) {
        self.scopes.extend(request.scopes().cloned());
        match request {
            Request::Values { writes, .. } => writes.iter().for_each(|write| self.add_write(write)),
            Request::Swap { key, .. } => {
                self.keys.insert(key.clone());
            }
            Request::DropScopes { scopes, with_keys, .. } => self.add_scopes(scopes, *with_keys),
            Request::DropSpace { .. } | Request::Switch { .. } | Request::OpenSpace { .. } => self.is_everything = true,
            _ => {}
        }
    }

    fn add_write(&mut self, write: &KeyValueWrite) {
        match write {
            KeyValueWrite::Set { key, .. } | KeyValueWrite::SetExpiring { key, .. } | KeyValueWrite::Delete { key } => {
                self.keys.insert(key.clone());
            }
            KeyValueWrite::DeletePrefix { prefix } => self.prefixes.push(prefix.clone()),
        }
    }

    fn add_scopes(&mut self, scopes: &Scopes, with_keys: bool) {
        match scopes {
            Scopes::Named(scopes) => {
                self.scopes.extend(scopes.iter().cloned());
                if with_keys {
                    self.prefixes.extend(scopes.iter().map(ScopedBackend::prefix));
                }
            }
            Scopes::OfKind(kind) => {
                self.kinds.insert(*kind);
                self.is_everything |= with_keys;
            }
        }
    }
}

impl Request {
    /// The scopes whose entries it names, or whose quota.
    fn scopes(&self) -> Box<dyn Iterator<Item = &StateScope> + '_> {
        match self {
            Self::Entries { parts, .. } => {
                Box::new(parts.iter().flat_map(|part| &part.entries).map(|entry| &entry.scope))
            }
            Self::Large(large) => Box::new(large.groups.iter().map(|group| &group.scope)),
            Self::Copies { copies, .. } => Box::new(copies.iter().map(|copied| &copied.entry.scope)),
            Self::Metadata { scope, .. }
            | Self::Touch { scope, .. }
            | Self::Delete { scope, .. }
            | Self::SetQuota { scope, .. } => Box::new(std::iter::once(scope)),
            _ => Box::new(std::iter::empty()),
        }
    }
}
