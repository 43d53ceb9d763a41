//! Which points that pass a filter lie together, so that a scan begins where the query is?
//!
//! Every code is seen from one of at most 256 centroids. Points by their centroid are the lists of an inverted file
//! (Jégou et al., "Product quantization for nearest neighbor search", 2011), which the graph has already: here they hold
//! only what passes a filter. A scan of the nearest lists first may end long before the last.

use std::sync::Arc;

use crate::graph::walk::Nodes;
use crate::graph::{Candidate, Graph, Scratch};
use crate::neighbor::PointId;
use crate::top_k::TopK;

/// Codes that are compared in any case, and the share of all that are.
const CODES_MIN: usize = 1_024;
const SHARE_MIN: usize = 12;
/// A scan ends when it has compared so many times as many codes as until the last one that was among the nearest; and
/// this share of all since.
const PATIENCE: usize = 3;
const PATIENCE_SHARE_OF_ALL: usize = 24;
/// The same where hardly anything near the query passes: then many are at about the same distance, in many groups.
const PATIENCE_FAR: usize = 6;
/// The same where most that passes is near the query: what comes next is farther.
const PATIENCE_NEAR: usize = 2;
/// That is so where of this share of all vertices, those nearest to the query, fewer pass than one in so many that would
/// by chance.
const NEAR_SHARE: u64 = 16;
const FAR_BELOW: u64 = 3;
/// Most is near where so many times as many pass there.
const NEAR_ABOVE: u64 = 3;
/// Codes that are compared before it is asked again whether that was enough.
const ROUND: usize = 256;

/// Vertices that pass a filter, by their centroid: about four bytes each.
#[derive(Debug, Clone, Default)]
pub struct Grouped {
    vertices: Vec<u32>,
    /// Where the vertices of each centroid end.
    ends: Vec<u32>,
}

/// Which centroid the code of each vertex is seen from.
#[derive(Debug, Default)]
pub(crate) struct Memberships {
    /// By vertex.
    of: Vec<u8>,
    /// Vertices of each centroid.
    sizes: Vec<u32>,
}

impl Memberships {
    /// These, and those of the vertices after them; there are `count` centroids.
    pub(crate) fn and(&self, later: &[u8], count: usize) -> Self {
        let of = [&self.of, later].concat();
        let mut sizes = self.sizes.clone();
        sizes.resize(count, 0);
        later.iter().for_each(|centroid| sizes[usize::from(*centroid)] += 1);
        Self { of, sizes }
    }

    /// Bytes of RAM.
    pub(crate) fn bytes(&self) -> u64 {
        (self.of.capacity() + 4 * self.sizes.capacity()) as u64
    }
}

impl Grouped {
    /// How many vertices there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.vertices.len()
    }

    /// Whether nobody passes.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.vertices.is_empty()
    }

    /// Bytes of RAM.
    #[must_use]
    pub fn bytes(&self) -> usize {
        4 * (self.vertices.capacity() + self.ends.capacity())
    }

    fn group(&self, number: usize) -> &[u32] {
        let start = number.checked_sub(1).map_or(0, |before| self.ends[before] as usize);
        &self.vertices[start..self.ends[number] as usize]
    }
}

impl Graph {
    /// Those of `points` that the graph holds, in groups that lie together, for [`scan_grouped`](Self::scan_grouped).
    /// Some nanoseconds per point; the first call reads a few bytes of every vertex, and keeps one.
    #[must_use]
    pub fn grouped(&self, points: impl Iterator<Item = PointId>) -> Grouped {
        let centroids = self.centroids();
        let vertices: Vec<u32> = self.places().vertices(points).collect();
        let group = |vertex: u32| usize::from(centroids.of[vertex as usize]);
        let mut ends = vec![0_u32; self.base.head.encoder.codec.centroids.len()];
        vertices.iter().for_each(|vertex| ends[group(*vertex)] += 1);
        let mut start = 0;
        for end in &mut ends {
            start += std::mem::replace(end, start);
        }
        let mut ordered = vec![0; vertices.len()];
        for vertex in vertices {
            let place = &mut ends[group(vertex)];
            ordered[*place as usize] = vertex;
            *place += 1;
        }
        Grouped {
            vertices: ordered,
            ends,
        }
    }

    /// Like [`scan`](Self::scan), but group after group, those nearest to the query first, until for long no code was
    /// among the nearest any more. Also says how many were compared.
    ///
    /// # Panics
    ///
    /// If `query` has not `dim` components, or `grouped` is of another graph.
    pub fn scan_grouped<'s>(
        &self,
        query: &[f32],
        k: usize,
        grouped: &Grouped,
        scratch: &'s mut Scratch,
    ) -> (&'s [Candidate], u64) {
        let Scratch { memory, found } = scratch;
        self.prepare(query, memory);
        let codec = &self.base.head.encoder.codec;
        let far_to_near = |a: &(f32, usize), b: &(f32, usize)| b.0.total_cmp(&a.0);
        let mut groups: Vec<(f32, usize)> = (0..grouped.ends.len())
            .map(|number| (codec.to_centroid(&mut memory.query.code, number), number))
            .collect();
        groups.sort_unstable_by(far_to_near);
        let patience = self.patience(grouped, &groups);

        let all = grouped.len();
        let enough = CODES_MIN.max(all / SHARE_MIN);
        let mut nearest = TopK::new(self.wanted(k));
        let (mut compared, mut last_near) = (0, 0);
        let mut scan = self.begin_scan(k, found);
        let fresh = &mut memory.fresh;
        while !groups.is_empty() {
            fresh.clear();
            while fresh.len() < ROUND
                && let Some((_, number)) = groups.pop()
            {
                fresh.extend_from_slice(grouped.group(number));
            }
            scan.compare(&mut memory.query.code, fresh.iter().copied(), |estimate, vertex| {
                compared += 1;
                if estimate < nearest.bound() {
                    nearest.offer(estimate, PointId(vertex));
                    last_near = compared;
                }
            });
            let since = (all / PATIENCE_SHARE_OF_ALL).max(CODES_MIN / 2);
            if compared >= enough && compared >= patience * last_near && compared - last_near >= since {
                break;
            }
        }
        scan.end();
        (found, compared as u64)
    }

    /// How long a scan goes on, by how many of those near the query pass; its nearest group is the last of `groups`.
    fn patience(&self, grouped: &Grouped, groups: &[(f32, usize)]) -> usize {
        let all = u64::from(self.len());
        let (mut near, mut passing) = (0, 0);
        for (_, number) in groups.iter().rev() {
            near += u64::from(self.centroids().sizes[*number]);
            passing += grouped.group(*number).len() as u64;
            if near * NEAR_SHARE >= all {
                break;
            }
        }
        let by_chance = near * grouped.len() as u64;
        if passing * all * FAR_BELOW < by_chance {
            PATIENCE_FAR
        } else if passing * all > by_chance * NEAR_ABOVE {
            PATIENCE_NEAR
        } else {
            PATIENCE
        }
    }

    /// The centroids of all vertices.
    fn centroids(&self) -> &Memberships {
        let count = self.base.head.encoder.codec.centroids.len();
        let memberships = || Arc::new(Memberships::default().and(&self.centroids_from(0), count));
        self.memberships.get_or_init(memberships)
    }

    /// Those of the vertices from `first` on.
    pub(crate) fn centroids_from(&self, first: u32) -> Vec<u8> {
        let codec = &self.base.head.encoder.codec;
        (first..self.len())
            .map(|vertex| codec.centroid_of(self.record(vertex)))
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn groups_end_where_the_next_begin() {
        let grouped = Grouped {
            vertices: vec![7, 9, 1, 4],
            ends: vec![2, 2, 4],
        };
        let groups: Vec<&[u32]> = (0..3).map(|number| grouped.group(number)).collect();
        assert_eq!(groups, [&[7, 9][..], &[], &[1, 4]]);
        assert_eq!((grouped.len(), grouped.is_empty()), (4, false));
    }
}
