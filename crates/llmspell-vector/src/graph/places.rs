//! The map from points to vertices.
//!
//! Points come into a graph in their order, and nearly every point follows the one before, so a few runs hold the map.

use crate::neighbor::PointId;

/// Points one after the other whose vertices are one after the other.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Run {
    point: u32,
    vertex: u32,
    len: u32,
}

/// The vertices of all points of a graph: 12 bytes per run.
#[derive(Debug, Clone, Default)]
pub(crate) struct Places {
    /// Ascending by point.
    runs: Vec<Run>,
}

impl Places {
    /// Those of the points of the vertices 0, 1, 2 … . Linear, and sorts the runs.
    pub(crate) fn of(points: impl Iterator<Item = PointId>) -> Self {
        Self::default().and(0, points)
    }

    /// These, and those of `points`, whose vertices begin at `first`.
    pub(crate) fn and(&self, first: u32, points: impl Iterator<Item = PointId>) -> Self {
        let mut runs = self.runs.clone();
        let known = runs.len();
        for (vertex, PointId(point)) in (first..).zip(points) {
            match runs[known..].last_mut() {
                Some(run) if run.point.checked_add(run.len) == Some(point) => run.len += 1,
                Some(_) | None => runs.push(Run { point, vertex, len: 1 }),
            }
        }
        runs.sort_unstable_by_key(|run| run.point);
        runs.dedup_by(|next, run| {
            let is_one = next.point - run.point == run.len && next.vertex.wrapping_sub(run.vertex) == run.len;
            run.len += if is_one { next.len } else { 0 };
            is_one
        });
        Self { runs }
    }

    /// The vertex of a point; none if it is not there.
    pub(crate) fn vertex(&self, PointId(point): PointId) -> Option<u32> {
        let after = self.runs.partition_point(|run| run.point <= point);
        let run = self.runs[..after].last()?;
        (point - run.point < run.len).then(|| run.vertex + (point - run.point))
    }

    /// The vertices of those of `points` that are there. Fast for points in ascending order.
    pub(crate) fn vertices(&self, points: impl Iterator<Item = PointId>) -> impl Iterator<Item = u32> {
        let mut run = Run {
            point: 0,
            vertex: 0,
            len: 0,
        };
        points.filter_map(move |PointId(point)| {
            if point.wrapping_sub(run.point) >= run.len {
                let after = self.runs.partition_point(|run| run.point <= point);
                run = *self.runs[..after].last()?;
            }
            (point - run.point < run.len).then(|| run.vertex + (point - run.point))
        })
    }

    /// The point of the first vertex, if those of all others follow it in order.
    pub(crate) fn only_run(&self) -> Option<u32> {
        match &self.runs[..] {
            [run] => Some(run.point),
            _ => None,
        }
    }

    /// Bytes of RAM.
    pub(crate) fn bytes(&self) -> u64 {
        (self.runs.capacity() * size_of::<Run>()) as u64
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::collection::vec;
    use proptest::prelude::*;

    use super::*;

    proptest! {
        /// Points that come in any order have their own vertices, and no other point has one.
        #[test]
        fn places_are_a_map(runs in vec((0..60_u32, 1..6_u32), 1..14), cut in 0..60_usize) {
            let mut model = BTreeMap::new();
            let mut points = Vec::new();
            for point in runs.into_iter().flat_map(|(first, len)| first..first + len) {
                if let std::collections::btree_map::Entry::Vacant(entry) = model.entry(point) {
                    entry.insert(points.len() as u32);
                    points.push(PointId(point));
                }
            }
            let (first, later) = points.split_at(cut.min(points.len()));
            let places = Places::of(first.iter().copied()).and(first.len() as u32, later.iter().copied());
            for point in 0..70 {
                prop_assert_eq!(places.vertex(PointId(point)), model.get(&point).copied());
            }
            let asked = || (0..70).chain([3, 60, 2]).map(PointId);
            let expected: Vec<u32> = asked().filter_map(|point| model.get(&point.0).copied()).collect();
            prop_assert_eq!(places.vertices(asked()).collect::<Vec<_>>(), expected);
            prop_assert!(places.runs.windows(2).all(|pair| {
                let [a, b] = pair else { unreachable!("windows of two") };
                b.point > a.point && (b.point - a.point != a.len || b.vertex.wrapping_sub(a.vertex) != a.len)
            }), "{:?}", places.runs);
        }
    }
}
