//! Points that pass a filter, grouped by their centroids, so that a scan begins near the query.
//!
//! Every code is seen from one of at most 256 centroids. Points by their centroid are the lists of an inverted file
//! (Jégou et al., "Product quantization for nearest neighbor search", 2011), which the graph has already: here they hold
//! only what passes a filter. A scan of the nearest lists first may end long before the last.

use std::sync::{Arc, OnceLock};

use crate::graph::shortlist::{Shortlist, Yardstick};
use crate::graph::sketches::{Masks, Sketches};
use crate::graph::walk::{Memory, Nodes};
use crate::graph::{Graph, GraphLayout, Scratch};
use crate::neighbor::PointId;
use crate::top_k::TopK;

/// Members that are looked at in any case, and the share of all that are.
const LOOKED_MIN: usize = 1_024;
const SHARE_MIN: usize = 24;
/// From this factor on hardly anything near the query passes.
const FAR: f64 = 3.0;
/// One vertex in this many, those of the nearest groups, counts as near the query.
const NEAR_SHARE: u64 = 16;

/// When a scan ends. A hit is a member that was among the nearest when it was compared.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Patience {
    /// The scan ends once it has inspected this many times as many members as before the last hit,
    times: usize,
    /// and one in `share` of all members since that hit.
    share: usize,
}

impl Patience {
    /// Where less passes near the query than would by chance, many are at about the same distance, in many groups.
    const FAR: Self = Self { times: 12, share: 12 };
    const USUAL: Self = Self { times: 2, share: 48 };
    /// From which factor on.
    const FAR_ABOVE: f64 = 1.5;

    fn new(farness: f64) -> Self {
        if farness > Self::FAR_ABOVE {
            Self::FAR
        } else {
            Self::USUAL
        }
    }
}

/// Codes compared between two checks of whether enough were compared.
const ROUND: usize = 128;
/// Members whose signs are compared between two such checks.
const LOOKED_PER_ROUND: usize = 4_096;

/// From one passing vertex per 128 vertices on, the passing vertices are kept as bit masks over the groups, whose signs are
/// then compared first; below that they are kept as lists.
const VERTICES_PER_MARKED: usize = 128;
/// Vertices that may have come since signs were put in order, as a share of those that were there.
const LATER_SHARE_MAX: usize = 16;

/// Vertices that pass a filter, by their centroid: four bytes each where few pass, and else a bit for each vertex.
#[derive(Debug, Clone, Default)]
pub struct Grouped {
    len: usize,
    listed: Lists,
    marked: Option<(Arc<Sketches>, Masks)>,
}

/// Vertices by their centroid.
#[derive(Debug, Clone, Default)]
struct Lists {
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
    /// Of those vertices that were there when a filter first asked.
    sketches: OnceLock<Arc<Sketches>>,
}

impl Memberships {
    /// These, and those of the vertices after them; there are `count` centroids.
    pub(crate) fn and(&self, later: &[u8], count: usize) -> Self {
        let of = [&self.of, later].concat();
        let mut sizes = self.sizes.clone();
        sizes.resize(count, 0);
        later.iter().for_each(|centroid| sizes[usize::from(*centroid)] += 1);
        let known = self.sketches.get();
        let kept = known.filter(|sketches| (of.len() - sketches.len()) * LATER_SHARE_MAX <= sketches.len());
        Self {
            sketches: kept.map_or_else(OnceLock::new, |sketches| OnceLock::from(Arc::clone(sketches))),
            of,
            sizes,
        }
    }

    fn sketches(&self) -> &Arc<Sketches> {
        let sketches = || Arc::new(Sketches::new(&self.of, self.sizes.len()));
        self.sketches.get_or_init(sketches)
    }

    /// Bytes of RAM.
    pub(crate) fn bytes(&self) -> u64 {
        let sketches = self.sketches.get().map_or(0, |sketches| sketches.bytes());
        (self.of.capacity() + 4 * self.sizes.capacity()) as u64 + sketches
    }
}

impl Grouped {
    /// How many vertices there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether no vertex passes.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Bytes of RAM.
    #[must_use]
    pub fn bytes(&self) -> usize {
        let Lists { vertices, ends } = &self.listed;
        let marked = self.marked.as_ref().map_or(0, |(_, masks)| masks.bytes());
        4 * (vertices.capacity() + ends.capacity()) + marked
    }

    /// Vertices of a centroid that pass.
    fn count(&self, number: usize) -> usize {
        let marked = self.marked.as_ref().map_or(0, |(_, masks)| masks.count(number));
        self.listed.group(number).len() + marked
    }
}

impl Lists {
    /// `of` says the centroid of each vertex, below `count`.
    fn new(vertices: &[u32], of: &[u8], count: usize) -> Self {
        let group = |vertex: u32| usize::from(of[vertex as usize]);
        let mut ends = vec![0_u32; count];
        vertices.iter().for_each(|vertex| ends[group(*vertex)] += 1);
        let mut start = 0;
        for end in &mut ends {
            start += std::mem::replace(end, start);
        }
        let mut ordered = vec![0; vertices.len()];
        for vertex in vertices {
            let place = &mut ends[group(*vertex)];
            ordered[*place as usize] = *vertex;
            *place += 1;
        }
        Self {
            vertices: ordered,
            ends,
        }
    }

    fn group(&self, number: usize) -> &[u32] {
        let start = number.checked_sub(1).map_or(0, |before| self.ends[before] as usize);
        &self.vertices[start..self.ends[number] as usize]
    }
}

impl Graph {
    /// Those of `points` that the graph holds, in groups that lie together, for [`scan_grouped`](Self::scan_grouped).
    /// Some nanoseconds per point; the first call reads a few bytes of every vertex, and keeps one, or five of each where
    /// many pass.
    #[must_use]
    pub fn grouped(&self, points: impl Iterator<Item = PointId>) -> Grouped {
        let memberships = self.memberships();
        let count = memberships.sizes.len();
        let mut vertices: Vec<u32> = self.places().vertices(points).collect();
        let len = vertices.len();
        // The signs of all vertices would be more than a lean graph takes itself.
        let is_lean = self.config().layout == GraphLayout::Lean;
        let marked = (!is_lean && len * VERTICES_PER_MARKED >= self.len() as usize).then(|| {
            let sketches = memberships.sketches();
            let mut passing = vec![0_u64; sketches.len().div_ceil(64)];
            vertices.retain(|vertex| {
                let is_later = *vertex as usize >= sketches.len();
                if !is_later {
                    passing[*vertex as usize / 64] |= 1 << (vertex % 64);
                }
                is_later
            });
            (Arc::clone(sketches), sketches.masks(&passing))
        });
        Grouped {
            len,
            listed: Lists::new(&vertices, &memberships.of, count),
            marked,
        }
    }

    /// Like [`scan`](Self::scan), but group after group, the nearest group first, until no code has been among the nearest
    /// for long. Where many vertices pass, their signs rule most of them out before their codes are compared; at the border of
    /// what is found, signs rule out one of 15 vertices wrongly. Also returns the number of codes that were compared.
    ///
    /// # Panics
    ///
    /// If `query` has not `dim` components, or `grouped` is of another graph.
    pub fn scan_grouped<'s>(
        &'s self,
        query: &[f32],
        (k, compared_max): (usize, usize),
        grouped: &Grouped,
        scratch: &'s mut Scratch,
    ) -> (Shortlist<'s>, u64) {
        self.scan_groups(query, (k, compared_max), (grouped, true), scratch)
            .expect("it makes the signs that it needs")
    }

    /// Like [`scan_grouped`](Self::scan_grouped), but returns nothing if the scan comes to a group whose signs are not in
    /// order yet, since putting them in order takes milliseconds.
    ///
    /// # Panics
    ///
    /// As [`scan_grouped`](Self::scan_grouped).
    pub fn scan_grouped_if_ready<'s>(
        &'s self,
        query: &[f32],
        (k, compared_max): (usize, usize),
        grouped: &Grouped,
        scratch: &'s mut Scratch,
    ) -> Option<(Shortlist<'s>, u64)> {
        self.scan_groups(query, (k, compared_max), (grouped, false), scratch)
    }

    fn scan_groups<'s>(
        &'s self,
        query: &[f32],
        (k, compared_max): (usize, usize),
        (grouped, makes_signs): (&Grouped, bool),
        scratch: &'s mut Scratch,
    ) -> Option<(Shortlist<'s>, u64)> {
        let Scratch { memory, found } = scratch;
        self.prepare(query, memory);
        let mut groups = self.groups_far_to_near(memory);
        let patience = Patience::new(self.farness(grouped, &groups));

        let all = grouped.len();
        let enough = LOOKED_MIN.max(all / SHARE_MIN);
        let mut nearest = TopK::new(k);
        // Members that were looked at, and how many when one was last among the nearest.
        let (mut looked, mut last_near, mut compared) = (0, 0, 0);
        let yardstick = Yardstick::new(&self.base.head.encoder, query, memory.query.code.step());
        let mut scan = self.begin_scan(k, compared_max, yardstick, found);
        while !groups.is_empty() {
            memory.sifted.clear();
            let looked_before = looked;
            while memory.sifted.len() < ROUND
                && looked - looked_before < LOOKED_PER_ROUND
                && let Some((_, number)) = groups.pop()
            {
                looked += grouped.count(number);
                let listed = grouped.listed.group(number);
                memory
                    .sifted
                    .extend(listed.iter().map(|vertex| (f32::NEG_INFINITY, *vertex)));
                if let Some((sketches, masks)) = &grouped.marked {
                    if !makes_signs && !sketches.is_ready(masks, number) {
                        return None;
                    }
                    sketches.sift(self, (masks, number), scan.bound(), memory);
                }
            }
            let Memory { query, sifted, .. } = &mut *memory;
            let mut first = ROUND;
            while !sifted.is_empty() {
                first = sifted.len().min(first);
                sifted.select_nth_unstable_by(first - 1, |a, b| a.0.total_cmp(&b.0));
                compared += first;
                let vertices = sifted.drain(..first).map(|(_, vertex)| vertex);
                scan.compare(&mut query.code, vertices, |estimate, vertex| {
                    if estimate < nearest.bound() {
                        nearest.offer(estimate, PointId(vertex));
                        last_near = looked;
                    }
                });
                scan.tighten();
                if scan.bound() < f32::INFINITY {
                    sifted.retain(|(at_least, _)| *at_least < scan.bound());
                }
                // Where signs rule out few, all are compared after a few turns.
                first *= 2;
            }
            let since = (all / patience.share).max(LOOKED_MIN / 2);
            if looked >= enough && looked >= patience.times * last_near && looked - last_near >= since {
                break;
            }
        }
        Some((scan.end(), compared as u64))
    }

    /// Whether hardly anything that passes is near the query: then the nearest stand at a border around it, and a walk does
    /// not find them. Microseconds.
    ///
    /// # Panics
    ///
    /// As [`scan_grouped`](Self::scan_grouped).
    #[must_use]
    pub fn is_far(&self, query: &[f32], grouped: &Grouped, scratch: &mut Scratch) -> bool {
        self.prepare(query, &mut scratch.memory);
        let groups = self.groups_far_to_near(&mut scratch.memory);
        self.farness(grouped, &groups) > FAR
    }

    /// All groups, with how far their centroids are from the query that stands in `memory`.
    fn groups_far_to_near(&self, memory: &mut Memory) -> Vec<(f32, usize)> {
        let codec = &self.base.head.encoder.codec;
        let mut groups: Vec<(f32, usize)> = (0..codec.centroids.len())
            .map(|number| (codec.to_centroid(&mut memory.query.code, number), number))
            .collect();
        groups.sort_unstable_by(|a, b| b.0.total_cmp(&a.0));
        groups
    }

    /// How many times as many vertices would pass near the query by chance as do pass there. The nearest group is the last of
    /// `groups`.
    fn farness(&self, grouped: &Grouped, groups: &[(f32, usize)]) -> f64 {
        let all = u64::from(self.len());
        let (mut near, mut passing) = (0, 0);
        for (_, number) in groups.iter().rev() {
            near += u64::from(self.memberships().sizes[*number]);
            passing += grouped.count(*number) as u64;
            if near * NEAR_SHARE >= all {
                break;
            }
        }
        near as f64 * grouped.len() as f64 / (all as f64 * passing as f64).max(1.0)
    }

    /// The centroids of all vertices.
    fn memberships(&self) -> &Memberships {
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
        let lists = Lists::new(&[1, 4, 7, 9], &[9, 2, 9, 9, 2, 9, 9, 0, 9, 0], 3);
        let groups: Vec<&[u32]> = (0..3).map(|number| lists.group(number)).collect();
        assert_eq!(groups, [&[7, 9][..], &[], &[1, 4]]);
    }
}
