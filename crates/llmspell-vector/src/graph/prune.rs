//! Which of the candidates become neighbors?
//!
//! The heuristic of the HNSW paper (Malkov and Yashunin, arXiv 1603.09320, algorithm 4) with the slack of DiskANN
//! (Subramanya et al., NeurIPS 2019, algorithm 2): a candidate is left out if one that was taken is nearer to it, by
//! a little, than the point is; so of several equal ones only one is taken. What was left out fills the places that remain, nearest first.

use crate::graph::Rows;
use crate::graph::space::WalkSpace;
use crate::neighbor::PointId;

/// Everything that exact distances in the walk need.
#[derive(Clone, Copy)]
pub(crate) struct Exact<'a> {
    pub(crate) space: &'a WalkSpace,
    pub(crate) rows: &'a dyn Rows,
    pub(crate) points: &'a [PointId],
    /// [`WalkSpace::trait_of`] of each vertex, if they were computed before.
    pub(crate) traits: Option<&'a [f32]>,
}

impl<'a> Exact<'a> {
    pub(crate) fn row(&self, vertex: u32) -> (&'a [f32], f32) {
        let row = self.rows.row(self.points[vertex as usize]);
        let row_trait = match self.traits {
            Some(traits) => traits[vertex as usize],
            None => self.space.trait_of(row),
        };
        (row, row_trait)
    }
}

/// Orders `candidates` by distance and keeps at most `kept_max` of them, those worth a link first. None of them may be
/// the point itself, and none may stand there twice.
pub(crate) fn prune(exact: Exact<'_>, candidates: &mut Vec<(f32, u32)>, kept_max: usize) {
    candidates.sort_unstable_by(|a, b| a.0.total_cmp(&b.0).then(a.1.cmp(&b.1)));
    if candidates.len() <= kept_max / 2 {
        return;
    }
    let mut taken: Vec<(&[f32], f32)> = Vec::with_capacity(kept_max);
    let mut kept = Vec::with_capacity(kept_max);
    let mut left = Vec::new();
    for candidate in candidates.iter() {
        if kept.len() == kept_max {
            break;
        }
        let (distance, vertex) = *candidate;
        let (row, row_trait) = exact.row(vertex);
        let is_covered = taken.iter().any(|(other, other_trait)| {
            let to_taken = exact.space.distance(row, row_trait, other, *other_trait);
            exact.space.is_covered(to_taken, distance)
        });
        if is_covered {
            left.push(*candidate);
        } else {
            taken.push((row, row_trait));
            kept.push(*candidate);
        }
    }
    let room = kept_max - kept.len();
    kept.extend(left.into_iter().take(room));
    *candidates = kept;
}
