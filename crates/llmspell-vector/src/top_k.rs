//! The `k` nearest of the items that are offered.

use std::collections::BinaryHeap;

use crate::neighbor::{Neighbor, PointId};

/// Memory reserved up front, in neighbors; beyond it, memory follows what is kept.
const RESERVED_MAX: usize = 1024;

/// The `k` nearest of all neighbors offered: by distance, at the same distance by [`PointId`].
///
/// The answer does not depend on the order of the offers, as long as no point is offered twice. Takes `O(k)` memory;
/// an offer that is too far costs one comparison, any other `O(log k)`.
///
/// ```
/// use llmspell_vector::{PointId, TiesDropped, TopK};
///
/// let mut top = TopK::new(2);
/// for (distance, point) in [(0.3, 0), (0.1, 1), (0.3, 2), (0.7, 3)] {
///     top.offer(distance, PointId(point));
/// }
/// assert_eq!(top.bound(), 0.3);
///
/// let (nearest, ties_dropped) = top.into_sorted();
/// assert_eq!(nearest.iter().map(|neighbor| neighbor.point.0).collect::<Vec<_>>(), [1, 0]);
/// // Point 2 is as near as point 0, and only its number spoke against it.
/// assert_eq!(ties_dropped, TiesDropped::At(0.3));
/// ```
#[derive(Debug, Clone)]
pub struct TopK {
    k: usize,
    /// At most `k`, the farthest on top.
    kept: BinaryHeap<Neighbor>,
    /// Distance of the nearest neighbor dropped although it was no farther than the bound at that time.
    ///
    /// Those beyond the bound need not be remembered: the bound only shrinks, so they cannot tie with the last one.
    nearest_dropped: Option<f32>,
    /// Distance of the `k`-th; kept beside the heap so that a refusal touches nothing else.
    bound: f32,
}

/// Whether an answer is one of several that are equally good.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum TiesDropped {
    /// Every neighbor left out is farther than the last one kept.
    No,
    /// At least one neighbor left out is exactly this far, which is the distance of the last one kept.
    At(f32),
}

impl TopK {
    /// Keeps the nearest `k`; none if `k` is zero.
    #[must_use]
    pub fn new(k: usize) -> Self {
        Self {
            k,
            kept: BinaryHeap::with_capacity(k.min(RESERVED_MAX)),
            nearest_dropped: None,
            bound: if k == 0 { f32::NEG_INFINITY } else { f32::INFINITY },
        }
    }

    /// Considers a neighbor.
    #[inline]
    pub fn offer(&mut self, distance: f32, point: PointId) {
        if distance > self.bound {
            return;
        }
        self.consider(Neighbor { distance, point });
    }

    fn consider(&mut self, neighbor: Neighbor) {
        if self.kept.len() < self.k {
            self.kept.push(neighbor);
        } else if let Some(mut farthest) = self.kept.peek_mut() {
            let dropped = if neighbor < *farthest {
                std::mem::replace(&mut *farthest, neighbor)
            } else {
                neighbor
            };
            self.nearest_dropped = match self.nearest_dropped {
                Some(nearest) if nearest.total_cmp(&dropped.distance).is_le() => Some(nearest),
                Some(_) | None => Some(dropped.distance),
            };
        }
        if self.kept.len() == self.k {
            self.bound = self.kept.peek().map_or(f32::NEG_INFINITY, |farthest| farthest.distance);
        }
    }

    /// Distance of the `k`-th nearest so far: what is farther need not be offered. Infinite while fewer than `k` are
    /// kept. It never grows. `O(1)`.
    #[inline]
    #[must_use]
    pub fn bound(&self) -> f32 {
        self.bound
    }

    /// Number of neighbors kept so far, at most `k`.
    #[must_use]
    pub fn len(&self) -> usize {
        self.kept.len()
    }

    /// Whether nothing was kept.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.kept.is_empty()
    }

    /// The nearest, in order, and whether others were just as near as the last of them. `O(k log k)`.
    #[must_use]
    pub fn into_sorted(self) -> (Vec<Neighbor>, TiesDropped) {
        let nearest = self.kept.into_sorted_vec();
        let ties_dropped = match (nearest.last(), self.nearest_dropped) {
            (Some(last), Some(dropped)) if last.distance.total_cmp(&dropped).is_eq() => TiesDropped::At(dropped),
            (Some(_) | None, Some(_) | None) => TiesDropped::No,
        };
        (nearest, ties_dropped)
    }
}

#[cfg(test)]
mod tests {
    use proptest::collection::vec;
    use proptest::prelude::*;

    use super::*;

    fn top_of(k: usize, distances: &[f32]) -> (Vec<Neighbor>, TiesDropped) {
        let mut top = TopK::new(k);
        for (point, distance) in (0..).zip(distances) {
            top.offer(*distance, PointId(point));
        }
        top.into_sorted()
    }

    /// Few different values, so that ties are common; and the values that comparisons of floats trip over.
    fn distance() -> impl Strategy<Value = f32> {
        let odd = [
            0.0,
            -0.0,
            f32::INFINITY,
            f32::NEG_INFINITY,
            f32::NAN,
            -f32::NAN,
            f32::from_bits(1),
        ];
        prop_oneof![8 => (-3i8..3).prop_map(f32::from), 1 => proptest::sample::select(odd.to_vec())]
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(2_000))]

        /// For any items in any order, the answer is that of sorting them and keeping the first.
        #[test]
        fn top_k_is_sort_and_truncate(
            neighbors in vec(distance(), 0..60).prop_map(|distances| {
                (0..).map(PointId).zip(distances).map(|(point, distance)| Neighbor { distance, point }).collect::<Vec<_>>()
            }).prop_shuffle(),
            k in 0..20_usize,
        ) {
            let mut top = TopK::new(k);
            let mut sorted: Vec<Neighbor> = Vec::new();
            for neighbor in &neighbors {
                top.offer(neighbor.distance, neighbor.point);

                sorted.push(*neighbor);
                sorted.sort();
                let bound = if k == 0 { f32::NEG_INFINITY } else { sorted.get(k - 1).map_or(f32::INFINITY, |kth| kth.distance) };
                prop_assert_eq!(top.bound().to_bits(), bound.to_bits());
            }

            let dropped = sorted.split_off(k.min(sorted.len()));
            let tie = sorted.last().zip(dropped.first()).map(|(last, first)| [last, first].map(|end| end.distance.to_bits()));
            let (nearest, ties_dropped) = top.into_sorted();
            prop_assert_eq!(nearest, sorted);
            match ties_dropped {
                TiesDropped::At(distance) => prop_assert_eq!(tie, Some([distance.to_bits(); 2])),
                TiesDropped::No => prop_assert!(tie.is_none_or(|[last, first]| last != first)),
            }
        }
    }

    #[test]
    fn an_evicted_neighbor_can_tie_with_the_last_one_kept() {
        // Of the three at 2.0, two are kept, then 1.0 pushes one of them out.
        assert_eq!(top_of(2, &[2.0, 2.0, 1.0]).1, TiesDropped::At(2.0));
        // 1.0 twice pushes both out: what was dropped is farther than the last one kept.
        assert_eq!(top_of(2, &[2.0, 2.0, 1.0, 1.0]).1, TiesDropped::No);
    }

    #[test]
    fn fewer_than_k_leave_the_bound_open() {
        let mut top = TopK::new(3);
        assert!(top.is_empty());
        top.offer(1.0, PointId(0));
        top.offer(f32::INFINITY, PointId(1));
        assert_eq!((top.len(), top.bound()), (2, f32::INFINITY));
        assert_eq!(top.into_sorted().1, TiesDropped::No);
    }

    #[test]
    fn ten_thousand_are_kept_in_order() {
        // Worst order: every offer is nearer than all before.
        let distances: Vec<f32> = (0..30_000_u16).rev().map(f32::from).collect();
        let (nearest, ties_dropped) = top_of(10_000, &distances);
        assert_eq!(ties_dropped, TiesDropped::No);
        assert!(
            nearest
                .iter()
                .map(|neighbor| neighbor.distance)
                .eq((0..10_000_u16).map(f32::from))
        );
    }
}
