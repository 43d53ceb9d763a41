//! Routed spaces, which share their ids.
//!
//! An id exists in at most one of the routed spaces of a scope. While entries are copied from one of them to a space
//! that will replace it, an entry that changes is removed from the copy, to be copied again.

use std::collections::BTreeMap;

use crate::base::ids::SpaceId;
use crate::truth::{Role, SpaceRecord};

/// The roles of all spaces, as of one transaction.
#[derive(Debug, Clone, Default)]
pub(crate) struct Routing {
    roles: BTreeMap<SpaceId, Role>,
}

impl Routing {
    pub(super) fn of<'r>(records: impl IntoIterator<Item = (SpaceId, &'r SpaceRecord)>) -> Self {
        let roles = records.into_iter().map(|(id, record)| (id, record.role));
        Self { roles: roles.collect() }
    }

    pub(super) fn set(&mut self, id: SpaceId, role: Role) {
        self.roles.insert(id, role);
    }

    /// Whether a space exists.
    pub(super) fn has(&self, id: SpaceId) -> bool {
        self.roles.get(&id).is_some_and(|role| *role != Role::Dropped)
    }

    pub(super) fn role(&self, id: SpaceId) -> Role {
        self.roles.get(&id).copied().unwrap_or_default()
    }

    /// The other spaces in which an id of this one must not exist.
    pub(super) fn others(&self, id: SpaceId) -> impl Iterator<Item = SpaceId> + '_ {
        let is_routed = self.role(id) == Role::Routed;
        let others = self
            .roles
            .iter()
            .filter(move |(other, role)| is_routed && **other != id && **role == Role::Routed);
        others.map(|(other, _)| *other)
    }

    /// The spaces of the router.
    pub(super) fn routed(&self) -> impl Iterator<Item = SpaceId> + '_ {
        let routed = self.roles.iter().filter(|(_, role)| **role == Role::Routed);
        routed.map(|(id, _)| *id)
    }

    /// The spaces with entries of users: neither copies nor the remains of a space that was replaced.
    pub(super) fn counted(&self) -> impl Iterator<Item = SpaceId> + '_ {
        let counted = self.roles.iter().filter(|(_, role)| role.counts());
        counted.map(|(id, _)| *id)
    }

    /// The space to which the entries of this one are copied.
    pub(super) fn staging_of(&self, id: SpaceId) -> Option<SpaceId> {
        let is_its = |(_, role): &(&SpaceId, &Role)| matches!(role, Role::Staging { of } if *of == id.0);
        self.roles.iter().find(is_its).map(|(staging, _)| *staging)
    }

    /// Whether entries in it count for the quota of their scope.
    pub(super) fn counts(&self, id: SpaceId) -> bool {
        self.role(id).counts()
    }
}
