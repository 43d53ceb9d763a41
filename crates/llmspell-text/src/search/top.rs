//! The best points so far.

use std::cmp::Ordering;
use std::collections::BinaryHeap;

/// A point that was found.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Hit {
    /// The point.
    pub point: u32,
    /// How well it answers, above 0; the larger, the better.
    pub score: f32,
}

impl Eq for Hit {}

impl PartialOrd for Hit {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

/// The better hit is less, so sorted hits begin with the best: by score, then by point.
impl Ord for Hit {
    fn cmp(&self, other: &Self) -> Ordering {
        other.score.total_cmp(&self.score).then(self.point.cmp(&other.point))
    }
}

/// Room against rounding of sums in another order.
const SLACK: f64 = 1.0 + 1e-12;

/// The best `k` points.
#[derive(Debug)]
pub(crate) struct Top {
    k: usize,
    /// The worst on top.
    heap: BinaryHeap<Hit>,
}

impl Top {
    pub(crate) fn new(k: usize) -> Self {
        Self {
            k,
            heap: BinaryHeap::with_capacity(k.min(1 << 10)),
        }
    }

    /// Whether a point with this score, or a later one with at most it, comes among the best.
    #[inline]
    pub(crate) fn competes(&self, score: f64, point: u32) -> bool {
        if self.heap.len() < self.k {
            return true;
        }
        let score = (score * SLACK) as f32;
        self.heap.peek().is_some_and(|worst| Hit { point, score } < *worst)
    }

    pub(crate) fn push(&mut self, score: f32, point: u32) {
        let hit = Hit { point, score };
        if self.heap.len() < self.k {
            self.heap.push(hit);
        } else if let Some(mut worst) = self.heap.peek_mut()
            && hit < *worst
        {
            *worst = hit;
        }
    }

    /// The best first.
    pub(crate) fn into_sorted(self) -> Vec<Hit> {
        self.heap.into_sorted_vec()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_best_come_first_and_ties_in_the_order_of_points() {
        let mut top = Top::new(3);
        for (score, point) in [(1.0, 5), (2.0, 9), (2.0, 3), (2.0, 7), (0.5, 1), (2.0, 10)] {
            assert_eq!(
                top.competes(f64::from(score), point),
                ![(0.5, 1), (2.0, 10)].contains(&(score, point))
            );
            top.push(score, point);
        }
        let points: Vec<_> = top.into_sorted().into_iter().map(|hit| hit.point).collect();
        assert_eq!(points, [3, 7, 9]);
        let mut none = Top::new(0);
        assert!(!none.competes(9.0, 0));
        none.push(1.0, 1);
        assert!(none.into_sorted().is_empty());
    }
}
