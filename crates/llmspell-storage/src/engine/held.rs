//! Requests that wait until a large batch is done.
//!
//! These are requests for one of its scopes, requests for whole spaces, and requests that must not overtake a waiting
//! one. All others are done meanwhile. So every caller sees what was answered before, and calls for one scope are done
//! in their order.

use std::collections::HashSet;

use llmspell_core::{ScopeKind, ScopedBackend, StateScope};

use super::request::{Request, Subject};

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
        let mut meets = self.is_everything;
        request.visit_subjects(&mut |subject| meets = meets || self.meets_subject(&subject));
        meets
    }

    fn meets_subject(&self, subject: &Subject<'_>) -> bool {
        match subject {
            Subject::Everything | Subject::AllBefore => true,
            Subject::Scope(scope) => self.meets_scope(scope),
            Subject::Kind { kind, with_keys } => self.meets_kind(*kind, *with_keys),
            Subject::Key(key) => self.meets_key(key),
            Subject::Prefix(prefix) => self.meets_prefix(prefix),
        }
    }

    fn meets_scope(&self, scope: &StateScope) -> bool {
        self.scopes.contains(scope) || self.kinds.contains(&scope.kind())
    }

    fn meets_kind(&self, kind: ScopeKind, with_keys: bool) -> bool {
        let has_keys = !self.keys.is_empty() || !self.prefixes.is_empty();
        let is_of_kind = |scope: &StateScope| scope.kind() == kind;
        (with_keys && has_keys) || self.kinds.contains(&kind) || self.scopes.iter().any(is_of_kind)
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
        request.visit_subjects(&mut |subject| self.add_subject(&subject));
    }

    fn add_subject(&mut self, subject: &Subject<'_>) {
        match subject {
            Subject::Everything => self.is_everything = true,
            Subject::AllBefore => {}
            Subject::Scope(scope) => {
                if !self.scopes.contains(*scope) {
                    self.scopes.insert((*scope).clone());
                }
            }
            Subject::Kind { kind, with_keys } => {
                self.kinds.insert(*kind);
                self.is_everything |= *with_keys;
            }
            Subject::Key(key) => drop(self.keys.insert((*key).to_string())),
            Subject::Prefix(prefix) => self.prefixes.push((*prefix).to_string()),
        }
    }
}
