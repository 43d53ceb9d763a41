//! The encoder of a graph: it turns vectors of users into points of the walk, with their codes.

use crate::graph::space::WalkSpace;
use crate::graph::{GraphConfig, GraphLayout};
use crate::kernels::Kernels;
use crate::quantize::{Centroids, CodeShape, Codec, Directions, Projection, QueryCode, Rotation, SignQuery, Signs};
use crate::random::Random;

/// Vectors that mean and lengths are learned from; all if there are fewer.
const LEARN_POINTS: usize = 4_096;
/// Vectors from which on a lean graph projects them: fewer do not show in which directions the others differ, and the
/// projection would take more memory than it saves.
const PROJECTED_POINTS_MIN: usize = 8_192;
/// Bytes of the levels of a lean code, behind the largest number of components for which they are as many.
const LEAN_BYTES: [(usize, usize); 4] = [(128, 32), (256, 64), (512, 80), (1_536, 112)];

/// All that was learned of the data, and the codes that follow from it. The same for every vertex of a graph.
#[derive(Debug, Clone)]
pub(crate) struct Encoder {
    pub(crate) space: WalkSpace,
    pub(crate) rotation: Rotation,
    /// Onto the components of which there are codes, if these are not all.
    pub(crate) projection: Option<Projection>,
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
            let mut sample: Vec<usize> = (0..sample_len).map(|_| random.below(count)).collect();
            // They may have to be read from a disk.
            sample.sort_unstable();
            sample
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
        let (shape, projection) = match config.layout {
            GraphLayout::Compact | GraphLayout::Blocks => (CodeShape::half_bytes(padded), None),
            GraphLayout::Lean => lean_shape(padded, count, (&mut rotated, &centroids), config.seed),
        };
        Self::of(space, rotation, projection, (shape, centroids))
    }

    /// One that was learned before.
    pub(crate) fn of(
        space: WalkSpace,
        rotation: Rotation,
        projection: Option<Projection>,
        (shape, centroids): (CodeShape, Centroids),
    ) -> Self {
        let codec = match &projection {
            None => Codec::new(shape, centroids),
            Some(projection) => {
                let mut kept = vec![0.0; centroids.len() * shape.padded];
                for (number, kept) in kept.chunks_exact_mut(shape.padded).enumerate() {
                    projection.apply_exactly(centroids.get(number), kept);
                }
                Codec::of_projection(shape, Centroids::from_components(shape.padded, kept), Some(centroids))
            }
        };
        Self {
            space,
            rotation,
            projection,
            signs: Signs::new(shape.padded),
            codec,
        }
    }

    /// The centroids of whole vectors.
    pub(crate) fn centroids(&self) -> &Centroids {
        self.codec.whole_centroids.as_ref().unwrap_or(&self.codec.centroids)
    }

    /// Components of which there are codes.
    pub(crate) fn padded(&self) -> usize {
        self.codec.shape().padded
    }

    /// Where a vector is in the walk, rotated, and projected if codes are of a projection.
    pub(crate) fn place(&self, row: &[f32], out: &mut [f32]) {
        match &self.projection {
            None => {
                self.space.embed(row, out);
                self.rotation.rotate(out);
            }
            Some(projection) => projection.apply_exactly(&self.whole(row), out),
        }
    }

    /// Where a vector is in the walk, rotated.
    fn whole(&self, row: &[f32]) -> Vec<f32> {
        let mut whole = vec![0.0; self.rotation.padded()];
        self.space.embed(row, &mut whole);
        self.rotation.rotate(&mut whole);
        whole
    }

    /// Writes the record of a vector, and its [place](Self::place). `rest` is room for as many components.
    pub(crate) fn encode(&self, row: &[f32], place: &mut [f32], rest: &mut [f32], record: &mut [u8]) {
        match &self.projection {
            None => {
                self.place(row, place);
                self.codec.encode(place, rest, record);
            }
            Some(projection) => {
                let mut whole = self.whole(row);
                projection.apply_exactly(&whole, place);
                let centroid = self.centroids().subtract_nearest(&mut whole);
                projection.apply(&whole, rest);
                let norm_squared = Kernels::detect().dot(&whole, &whole);
                self.codec.encode_rest(centroid, (rest, norm_squared), record);
            }
        }
        let correction = self.space.correction(row);
        if correction < 0.0 {
            self.codec.add(record, correction);
        }
    }

    /// Prepares the vector of a query, or one that is to become part of the graph: its neighbors are the answer.
    pub(crate) fn prepare(&self, vector: &[f32], query: &mut WalkQuery) {
        self.prepare_codes(vector, query);
        self.prepare_signs(query);
    }

    fn prepare_signs(&self, query: &mut WalkQuery) {
        let components = query.code.components();
        query.to_origin = Kernels::detect().dot(components, components);
        self.signs.prepare(components, &mut query.signs);
    }

    /// The same for a caller that compares codes only.
    pub(crate) fn prepare_codes(&self, vector: &[f32], query: &mut WalkQuery) {
        let code = &mut query.code;
        match &self.projection {
            None => {
                let components = code.components_mut(self.padded());
                self.space.embed_query(vector, components);
                self.rotation.rotate(components);
            }
            Some(projection) => {
                let (components, whole) = code.parts_mut(self.padded(), self.rotation.padded());
                self.space.embed_query(vector, whole);
                self.rotation.rotate(whole);
                projection.apply_exactly(whole, components);
            }
        }
        self.codec.prepare(code);
    }
}

/// What the codes of a lean graph of `count` vectors look like, and what they are codes of. `sample` holds some of the
/// vectors, rotated, of which it subtracts the nearest centroids.
fn lean_shape(
    padded: usize,
    count: usize,
    (sample, centroids): (&mut [f32], &Centroids),
    seed: u64,
) -> (CodeShape, Option<Projection>) {
    let bytes = lean_bytes(padded);
    if count < PROJECTED_POINTS_MIN {
        let bits = [4, 2].into_iter().find(|bits| padded / 8 * bits <= bytes).unwrap_or(1);
        let whole = CodeShape {
            padded,
            bits: bits as u8,
            is_packed: true,
        };
        return (whole, None);
    }
    for vector in sample.chunks_exact_mut(padded) {
        centroids.subtract_nearest(vector);
    }
    let mut random = Random::new(seed ^ 0x6469_7265_6374_0001);
    let both = (&*sample, centroids.components());
    let directions = Directions::find(both, padded, padded.min(8 * bytes), &mut random);
    let shape = directions.best_shape(bytes);
    if shape.padded == padded {
        return (shape, None);
    }
    (shape, Some(directions.projection(shape.padded, seed)))
}

/// Bytes of the levels of a lean code of vectors of `padded` components.
fn lean_bytes(padded: usize) -> usize {
    let (dim_max, bytes) = LEAN_BYTES[LEAN_BYTES.len() - 1];
    let row = LEAN_BYTES.iter().find(|(dim_max, _)| padded <= *dim_max);
    row.map_or(bytes * padded / dim_max, |(_, bytes)| *bytes)
}
