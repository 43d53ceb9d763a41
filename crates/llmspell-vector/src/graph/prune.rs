//! The choice of neighbors among candidates.
//!
//! The heuristic of the HNSW paper (Malkov and Yashunin, arXiv 1603.09320, algorithm 4) with the slack of DiskANN
//! (Subramanya et al., NeurIPS 2019, algorithm 2): a candidate is left out if one that was taken is nearer to it, by
//! a little, than the point is; so of several equal ones only one is taken. What was left out fills the places that
//! remain, nearest first.

use crate::graph::Rows;
use crate::graph::space::WalkSpace;
use crate::neighbor::PointId;
use crate::quantize::Bytes;

/// Everything that exact distances in the walk need.
#[derive(Clone, Copy)]
pub(crate) struct Exact<'a> {
    pub(crate) space: &'a WalkSpace,
    pub(crate) rows: &'a dyn Rows,
    pub(crate) points: &'a [PointId],
    /// [`WalkSpace::norm_term`] of each vertex, if they were computed before.
    pub(crate) norm_terms: Option<&'a [f32]>,
    /// The vectors as bytes, if they were rounded before.
    pub(crate) bytes: Option<&'a Bytes>,
}

impl<'a> Exact<'a> {
    pub(crate) fn row(&self, vertex: u32) -> (&'a [f32], f32) {
        let row = self.rows.row(self.points[vertex as usize]);
        let row_norm = match self.norm_terms {
            Some(norm_terms) => norm_terms[vertex as usize],
            None => self.space.norm_term(row),
        };
        (row, row_norm)
    }

    /// How far two vertices are from each other: [`WalkSpace::distance`], as nearly as it matters.
    #[inline]
    pub(crate) fn distance(&self, a: u32, b: u32) -> f32 {
        if let Some(distance) = self.bytes.and_then(|bytes| bytes.distance(a, b)) {
            return distance;
        }
        let ((a, a_trait), (b, b_trait)) = (self.row(a), self.row(b));
        self.space.distance(a, a_trait, b, b_trait)
    }
}

/// Orders `candidates` by distance and keeps at most `kept_max` of them, those worth a link first. None of them may be
/// the point itself, and none may stand there twice.
pub(crate) fn prune(exact: Exact<'_>, candidates: &mut Vec<(f32, u32)>, kept_max: usize) {
    candidates.sort_unstable_by(|a, b| a.0.total_cmp(&b.0).then(a.1.cmp(&b.1)));
    if candidates.len() <= kept_max / 2 {
        return;
    }
    let mut kept: Vec<(f32, u32)> = Vec::with_capacity(kept_max);
    let mut left = Vec::new();
    for candidate in candidates.iter() {
        if kept.len() == kept_max {
            break;
        }
        let (distance, vertex) = *candidate;
        let is_covered = kept
            .iter()
            .any(|(_, other)| exact.space.is_covered(exact.distance(vertex, *other), distance));
        if is_covered {
            left.push(*candidate);
        } else {
            kept.push(*candidate);
        }
    }
    let room = kept_max - kept.len();
    kept.extend(left.into_iter().take(room));
    *candidates = kept;
}
