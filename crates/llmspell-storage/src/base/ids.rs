//! Newtypes for internal numbers, so that no two of them are swapped.

pub(crate) use llmspell_vector::PointId;

/// One scope within one space: a namespace. Never reused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct ScopeId(pub(crate) u64);

/// One embedding space. Never reused. Zero is the key-value data.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct SpaceId(pub(crate) u32);

/// Number of a mutation; only grows.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Lsn(pub(crate) u64);

/// A place for one vector in the slot files of a space.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Slot(pub(crate) u64);

/// How often a slot was used. A record and a slot that belong together agree on it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct Generation(pub(crate) u32);

/// A run of points of one namespace and the equally many slots that hold their vectors.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Extent {
    pub(crate) first_point: PointId,
    pub(crate) first_slot: Slot,
    pub(crate) len: u32,
}

/// Where an entry belongs, as checksums cover it: an undamaged one in the place of another is refused.
pub(crate) fn place(scope: ScopeId, point: PointId) -> [u8; 12] {
    let mut place = [0; 12];
    place[..8].copy_from_slice(&scope.0.to_le_bytes());
    place[8..].copy_from_slice(&point.0.to_le_bytes());
    place
}
