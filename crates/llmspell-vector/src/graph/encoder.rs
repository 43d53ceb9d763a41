//! The encoder of a graph: it turns vectors of users into points of the walk, with their codes.

use crate::graph::GraphConfig;
use crate::graph::space::WalkSpace;
use crate::quantize::{Centroids, Codec, QueryCode, Rotation, SignQuery, Signs};
use crate::random::Random;

/// Vectors that mean and lengths are learned from; all if there are fewer.
const LEARN_POINTS: usize = 4_096;

/// All that was learned of the data, and the codes that follow from it. The same for every vertex of a graph.
#[derive(Debug, Clone)]
pub(crate) struct Encoder {
    pub(crate) space: WalkSpace,
    pub(crate) rotation: Rotation,
    pub(crate) codec: Codec,
    pub(crate) signs: Signs,
}

/// A query in all the forms that codes are compared with.
#[derive(Debug, Clone, Default)]
pub(crate) struct WalkQuery {
    pub(crate) code: QueryCode,
    pub(crate) signs: SignQuery,
    /// Squared distance from the origin of the walk.
    pub(crate) to_origin: f32,
}

impl Encoder {
    /// Learns from `count` vectors, which `row` returns by their number.
    pub(crate) fn learn<'a>(config: &GraphConfig, count: usize, row: impl Fn(usize) -> &'a [f32] + Copy) -> Self {
        let mut random = Random::new(config.seed ^ 0x6c65_6172_6e00_0001);
        let sample_len = Centroids::sample_for(count).max(LEARN_POINTS.min(count));
        let sample: Vec<usize> = if sample_len == count {
            (0..count).collect()
        } else {
            (0..sample_len).map(|_| random.below(count)).collect()
        };
        let space = WalkSpace::learn(config.metric, config.dim, sample.iter().map(|place| row(*place)));
        let rotation = Rotation::new(space.dim(), config.seed);
        let padded = rotation.padded();
        let mut rotated = vec![0.0; sample.len() * padded];
        for (place, values) in sample.iter().zip(rotated.chunks_exact_mut(padded)) {
            space.embed(row(*place), values);
            rotation.rotate(values);
        }
        let centroids = Centroids::train(padded, &rotated, Centroids::count_for(count), &mut random);
        Self::of(space, rotation, centroids)
    }

    /// One that was learned before.
    pub(crate) fn of(space: WalkSpace, rotation: Rotation, centroids: Centroids) -> Self {
        let padded = rotation.padded();
        Self {
            space,
            rotation,
            codec: Codec::new(padded, centroids),
            signs: Signs::new(padded),
        }
    }

    pub(crate) fn padded(&self) -> usize {
        self.rotation.padded()
    }

    /// Where a vector is in the walk, rotated.
    pub(crate) fn place(&self, row: &[f32], out: &mut [f32]) {
        self.space.embed(row, out);
        self.rotation.rotate(out);
    }

    /// Writes the record of a vector that stands at `place`. `rest` is room for as many components.
    pub(crate) fn encode(&self, row: &[f32], place: &[f32], rest: &mut [f32], record: &mut [u8]) {
        self.codec.encode(place, rest, record);
        let correction = self.space.correction(row);
        if correction < 0.0 {
            self.codec.add(record, correction);
        }
    }

    /// Prepares the vector of a query, or one that is to become part of the graph: its neighbors are the answer.
    pub(crate) fn prepare(&self, vector: &[f32], query: &mut WalkQuery) {
        self.prepare_codes(vector, query);
        let components = query.code.components();
        query.to_origin = crate::kernels::Kernels::detect().dot(components, components);
        self.signs.prepare(components, &mut query.signs);
    }

    /// The same for a caller that compares half bytes only.
    pub(crate) fn prepare_codes(&self, vector: &[f32], query: &mut WalkQuery) {
        let components = query.code.components_mut(self.padded());
        self.space.embed_query(vector, components);
        self.rotation.rotate(components);
        self.codec.prepare(&mut query.code);
    }
}
