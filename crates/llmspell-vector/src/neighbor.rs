//! A result of a search: a point and its distance.

use std::cmp::Ordering;

/// A vector inside one namespace: dense, and meaningless outside of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PointId(pub u32);

/// A point, and how far it is from the query.
///
/// Neighbors are ordered: the nearer comes first, at the same distance the smaller [`PointId`]. Distances are compared
/// with [`f32::total_cmp`], so that no number can break the order; those of
/// [`ExactDistance`](crate::ExactDistance) are never NaN and never `-0.0`.
#[derive(Debug, Clone, Copy)]
pub struct Neighbor {
    /// Smaller is nearer.
    pub distance: f32,
    /// The point.
    pub point: PointId,
}

impl Ord for Neighbor {
    fn cmp(&self, other: &Self) -> Ordering {
        self.distance
            .total_cmp(&other.distance)
            .then(self.point.cmp(&other.point))
    }
}

impl PartialOrd for Neighbor {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Neighbor {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other).is_eq()
    }
}

impl Eq for Neighbor {}
