//! Exact distances from a query.

use crate::aligned::AlignedVector;
use crate::kernels::Kernels;

/// How two vectors are compared.
///
/// | metric         | distance           | range   |
/// |----------------|--------------------|---------|
/// | `Cosine`       | 1 − cosine         | 0 to 2  |
/// | `Euclidean`    | √Σ(aᵢ−bᵢ)²         | 0 to ∞  |
/// | `InnerProduct` | −Σaᵢbᵢ             | −∞ to ∞ |
/// | `Manhattan`    | Σ&#124;aᵢ−bᵢ&#124; | 0 to ∞  |
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Metric {
    /// Angle only.
    Cosine,
    /// Straight-line distance.
    Euclidean,
    /// Dot product; longer vectors are nearer.
    InnerProduct,
    /// Sum of the differences.
    Manhattan,
}

impl Metric {
    /// All metrics.
    pub const ALL: [Self; 4] = [Self::Cosine, Self::Euclidean, Self::InnerProduct, Self::Manhattan];
}

/// Sums of squares between these bounds lost nothing to the edges of `f32`: even 65,535 squares that vanished
/// altogether (below 2⁻¹⁵⁰ each) would not show in the lower one.
const SQUARES_MIN: f32 = 1.0e-30;
const SQUARES_MAX: f32 = f32::MAX;
/// Cosine distances below this are those of differences: 1 − cosine is off by some 6e-8 whatever it is, which is more than
/// what near-duplicates differ by. It is more than what a sum of 65,535 terms can be off by (5e-4).
const NEAR: f32 = 1.0 / 64.0;

/// One query, prepared to be compared with many vectors.
///
/// # Promises
///
/// * A distance depends on the query and on the components of the vector, and on nothing else: the same pair gives
///   the same bits wherever the vector lies and whatever was compared before. (Another CPU may round the last bits
///   differently; see [`Kernels`].)
/// * It is within [`Metric`]'s range, never NaN and never `-0.0`, so equal distances are equal in every sense. What has
///   no distance (a component is not finite) is infinitely far.
/// * A vector that equals the query is at distance 0, unless the metric is `InnerProduct` or it has no direction; under
///   `Cosine` any positive multiple is nearer than `f32` tells from 0: `1 - distance` is exactly 1.
/// * Near-duplicates are told apart: a `Cosine` distance below 1/64 is half the square of what two unit vectors differ by,
///   and that length is right to 1e-7, as if the query had been rounded once.
#[derive(Debug, Clone)]
pub struct ExactDistance {
    metric: Metric,
    /// As given; under cosine divided by its norm, or all zero if it has no direction.
    query: AlignedVector,
    /// As given, where `query` is not.
    given: Box<[f32]>,
    kernels: Kernels,
}

impl ExactDistance {
    /// Prepares `query`; it takes one pass over it and a copy.
    #[must_use]
    pub fn new(metric: Metric, query: &[f32]) -> Self {
        Self::with_kernels(metric, query, Kernels::detect())
    }

    pub(crate) fn with_kernels(metric: Metric, query: &[f32], kernels: Kernels) -> Self {
        let (compared, given): (_, Box<[f32]>) = match metric {
            Metric::Cosine => (unit(query), query.into()),
            Metric::Euclidean | Metric::InnerProduct | Metric::Manhattan => {
                (AlignedVector::new(query.iter().copied()), Box::default())
            }
        };
        Self {
            metric,
            query: compared,
            given,
            kernels,
        }
    }

    /// How vectors are compared.
    #[must_use]
    pub fn metric(&self) -> Metric {
        self.metric
    }

    /// Number of components of the query, and of every vector compared with it.
    #[must_use]
    pub fn dim(&self) -> usize {
        self.query.as_slice().len()
    }

    /// Distance from the query to `vector`; smaller is nearer. One pass over `vector`.
    ///
    /// Under cosine, a vector without a direction has distance 1, as if it stood at a right angle.
    ///
    /// # Panics
    ///
    /// If `vector` has not [`dim`](Self::dim) components.
    #[inline]
    #[must_use]
    pub fn distance(&self, vector: &[f32]) -> f32 {
        let distance = match self.metric {
            Metric::Cosine => self.cosine(vector),
            Metric::Euclidean => self.euclidean(vector),
            Metric::InnerProduct => self.inner_product(vector),
            Metric::Manhattan => self.kernels.manhattan(self.query.as_slice(), vector),
        };
        // A NaN may carry a minus sign, and would then be sorted before everything else.
        if distance.is_nan() { f32::INFINITY } else { distance }
    }

    fn cosine(&self, vector: &[f32]) -> f32 {
        let (dot, norm_squared) = self.kernels.dot_and_norm_squared(self.query.as_slice(), vector);
        if !(SQUARES_MIN..=SQUARES_MAX).contains(&norm_squared) || !dot.is_finite() {
            return self.wide_cosine(vector);
        }
        let norm = norm_squared.sqrt();
        let distance = (1.0 - dot / norm).clamp(0.0, 2.0);
        if distance < NEAR {
            self.near_cosine(vector, norm)
        } else {
            distance
        }
    }

    /// 1 − cosine of two vectors of nearly one direction: half the square of what their unit vectors differ by.
    fn near_cosine(&self, vector: &[f32], norm: f32) -> f32 {
        if self.is_given(vector) {
            return 0.0;
        }
        let squared = self.kernels.scaled_l2_squared(self.query.as_slice(), norm, vector);
        squared / norm / norm * 0.5
    }

    /// The same by f64, which has room for all squares.
    #[cold]
    fn wide_cosine(&self, vector: &[f32]) -> f32 {
        let norm = wide_dot(vector, vector).sqrt();
        if norm == 0.0 {
            return 1.0;
        }
        let query = self.query.as_slice();
        let distance = (1.0 - wide_dot(query, vector) / norm).clamp(0.0, 2.0);
        if distance >= f64::from(NEAR) || distance.is_nan() {
            return distance as f32;
        }
        if self.is_given(vector) {
            return 0.0;
        }
        let pairs = query.iter().zip(vector);
        let squared: f64 = pairs.map(|(a, b)| (f64::from(*a) - f64::from(*b) / norm).powi(2)).sum();
        (squared * 0.5) as f32
    }

    /// Whether it is the query, the sign of zeros aside.
    fn is_given(&self, vector: &[f32]) -> bool {
        *self.given == *vector
    }

    fn euclidean(&self, vector: &[f32]) -> f32 {
        let squared = self.kernels.l2_squared(self.query.as_slice(), vector);
        if (SQUARES_MIN..=SQUARES_MAX).contains(&squared) {
            squared.sqrt()
        } else {
            wide_euclidean(self.query.as_slice(), vector)
        }
    }

    fn inner_product(&self, vector: &[f32]) -> f32 {
        let dot = self.kernels.dot(self.query.as_slice(), vector);
        let dot = if dot.is_finite() {
            dot
        } else {
            wide_dot(self.query.as_slice(), vector) as f32
        };
        // Not `-dot`, which would make two zeros of different sign out of equal products.
        0.0 - dot
    }
}

/// `vector / |vector|`, each component rounded once; all zero if there is no direction.
fn unit(vector: &[f32]) -> AlignedVector {
    let norm = wide_dot(vector, vector).sqrt();
    let divisor = if norm == 0.0 { 1.0 } else { norm };
    AlignedVector::new(vector.iter().map(|component| (f64::from(*component) / divisor) as f32))
}

// The edges of f32, where its squares overflow or vanish: rare, so plain loops in f64, which has room for all of them.

#[cold]
fn wide_euclidean(query: &[f32], vector: &[f32]) -> f32 {
    let squares = query
        .iter()
        .zip(vector)
        .map(|(a, b)| (f64::from(*a) - f64::from(*b)).powi(2));
    // Not `sum`, which is -0.0 for no components.
    squares.fold(0.0, |sum, square| sum + square).sqrt() as f32
}

fn wide_dot(a: &[f32], b: &[f32]) -> f64 {
    // Eight sums, so that one addition need not wait for the last.
    let (a_lanes, a_rest) = a.as_chunks::<8>();
    let (b_lanes, b_rest) = b.as_chunks::<8>();
    let mut sums = [0.0; 8];
    for (a, b) in a_lanes.iter().zip(b_lanes) {
        for (lane, sum) in sums.iter_mut().enumerate() {
            *sum += f64::from(a[lane]) * f64::from(b[lane]);
        }
    }
    let rest = a_rest.iter().zip(b_rest).map(|(a, b)| f64::from(*a) * f64::from(*b));
    sums.iter().sum::<f64>() + rest.sum::<f64>()
}

#[cfg(test)]
mod tests {
    use proptest::collection::vec;
    use proptest::prelude::*;

    use super::*;

    fn distances(query: &[f32], vector: &[f32]) -> [f32; 4] {
        Metric::ALL.map(|metric| ExactDistance::new(metric, query).distance(vector))
    }

    /// The definitions of [`Metric`] in f64, and the size of the terms that the kernels add up.
    fn model(metric: Metric, query: &[f32], vector: &[f32]) -> (f64, f64) {
        let sum = |term: fn(f64, f64) -> f64| -> f64 {
            query
                .iter()
                .zip(vector)
                .map(|(a, b)| term(f64::from(*a), f64::from(*b)))
                .sum()
        };
        match metric {
            Metric::Cosine => {
                let norms = sum(|a, _| a * a).sqrt() * sum(|_, b| b * b).sqrt();
                (1.0 - sum(|a, b| a * b) / norms, 2.0)
            }
            Metric::Euclidean => {
                let distance = sum(|a, b| (a - b) * (a - b)).sqrt();
                (distance, distance)
            }
            Metric::InnerProduct => (-sum(|a, b| a * b), sum(|a, b| (a * b).abs())),
            Metric::Manhattan => {
                let distance = sum(|a, b| (a - b).abs());
                (distance, distance)
            }
        }
    }

    #[test]
    fn the_four_metrics_by_hand() {
        let [cosine, euclidean, inner_product, manhattan] = distances(&[3.0, 4.0], &[4.0, 3.0]);
        assert!((cosine - 0.04).abs() < 1.0e-6, "{cosine}");
        assert_eq!([euclidean, inner_product, manhattan], [2.0_f32.sqrt(), -24.0, 2.0]);
        assert_eq!(distances(&[1.0, 0.0], &[-1.0, 0.0]), [2.0, 2.0, 1.0, 2.0]);
        assert_eq!(distances(&[1.0, 0.0], &[1.0, 0.0]), [0.0, 0.0, -1.0, 0.0]);
    }

    /// Lengths around those of registers and blocks, and those of real embeddings.
    const DIMS: [usize; 13] = [1, 2, 3, 7, 16, 31, 33, 65, 128, 384, 768, 1536, 4097];

    fn random_vector(dim: usize, seed: u64) -> Vec<f32> {
        let mut random = crate::random::Random::new(seed);
        (0..dim)
            .map(|_| (random.next() >> 40) as f32 / (1 << 24) as f32 - 0.5)
            .collect()
    }

    #[test]
    fn a_vector_is_at_distance_zero_from_itself_on_every_instruction_set() {
        for kernels in Kernels::available() {
            for (dim, seed) in DIMS.into_iter().flat_map(|dim| (0..50).map(move |seed| (dim, seed))) {
                let vector = random_vector(dim, seed);
                for metric in [Metric::Cosine, Metric::Euclidean, Metric::Manhattan] {
                    let distance = ExactDistance::with_kernels(metric, &vector, kernels).distance(&vector);
                    assert_eq!(distance.to_bits(), 0, "{kernels:?} {metric:?} dim {dim} seed {seed}");
                }
            }
        }
    }

    #[test]
    fn a_multiple_of_a_vector_scores_one_under_cosine_on_every_instruction_set() {
        for kernels in Kernels::available() {
            for (dim, seed) in DIMS.into_iter().flat_map(|dim| (0..20).map(move |seed| (dim, seed))) {
                let vector = random_vector(dim, seed);
                let cosine = ExactDistance::with_kernels(Metric::Cosine, &vector, kernels);
                // The shortest vanish when they are squared in f32; the longest overflow.
                for factor in [0.3_f32, 7.7, 1.0e-3, 1.0e9, 1.0e-25, 1.0e20] {
                    let multiple: Vec<f32> = vector.iter().map(|component| component * factor).collect();
                    let score = 1.0 - cosine.distance(&multiple);
                    assert_eq!(score, 1.0, "{kernels:?} dim {dim} seed {seed} times {factor}");
                }
            }
        }
    }

    #[test]
    fn the_sign_of_a_zero_takes_no_vector_from_itself() {
        let vectors = [[0.3, 0.0, -0.7], [0.3, -0.0, -0.7]];
        for (kernels, query) in Kernels::available().flat_map(|table| vectors.map(|query| (table, query))) {
            let cosine = ExactDistance::with_kernels(Metric::Cosine, &query, kernels);
            assert_eq!(
                vectors.map(|vector| cosine.distance(&vector).to_bits()),
                [0, 0],
                "{kernels:?}"
            );
        }
    }

    /// 1 − cosine in f64, by differences, so that nothing cancels.
    fn cosine_of_differences(a: &[f32], b: &[f32]) -> f64 {
        let (a_norm, b_norm) = (wide_dot(a, a).sqrt(), wide_dot(b, b).sqrt());
        let differences = a
            .iter()
            .zip(b)
            .map(|(a, b)| f64::from(*a) / a_norm - f64::from(*b) / b_norm);
        differences.map(|difference| difference * difference).sum::<f64>() * 0.5
    }

    #[test]
    fn near_duplicates_are_told_apart_under_cosine_on_every_instruction_set() {
        for (kernels, dim) in Kernels::available().flat_map(|table| DIMS[3..].iter().map(move |dim| (table, *dim))) {
            for (spread, seed) in [0.1_f32, 3.0e-2, 1.0e-2, 1.0e-3, 3.0e-4]
                .into_iter()
                .flat_map(|spread| (0..20).map(move |seed| (spread, seed)))
            {
                let query = random_vector(dim, seed);
                // The shortest and the longest leave the range of squares in f32.
                for factor in [1.0_f32, 7.7, 1.0e-22, 1.0e20] {
                    let noise = random_vector(dim, seed + 1_000);
                    let near: Vec<f32> = query
                        .iter()
                        .zip(noise)
                        .map(|(x, step)| (x + spread * step) * factor)
                        .collect();
                    let expected = cosine_of_differences(&query, &near);
                    let got = f64::from(ExactDistance::with_kernels(Metric::Cosine, &query, kernels).distance(&near));
                    let allowed = 1.0e-7 + 2.0e-6 * expected.sqrt();
                    assert!(
                        (got.sqrt() - expected.sqrt()).abs() <= allowed,
                        "{kernels:?} dim {dim} {spread} {factor}: {got}, not {expected}"
                    );
                }
            }
        }
    }

    proptest! {
        /// On every table, with components of very different size.
        #[test]
        fn every_distance_agrees_with_its_definition(
            pairs in vec((-1.0f32..1.0, -1.0f32..1.0), 1..300),
            query_exponent in -40..40,
            vector_exponent in -40..40,
        ) {
            let scaled = |component: f32, exponent: i32| component * 2.0_f32.powi(exponent);
            let query: Vec<f32> = pairs.iter().map(|(a, _)| scaled(*a, query_exponent)).collect();
            let vector: Vec<f32> = pairs.iter().map(|(_, b)| scaled(*b, vector_exponent)).collect();
            prop_assume!(query.iter().any(|a| *a != 0.0) && vector.iter().any(|b| *b != 0.0));

            for (kernels, metric) in Kernels::available().flat_map(|table| Metric::ALL.map(|metric| (table, metric))) {
                let (exact, size) = model(metric, &query, &vector);
                let allowed = (query.len() as f64 + 4.0) * f64::from(f32::EPSILON) * size;
                let got = ExactDistance::with_kernels(metric, &query, kernels).distance(&vector);
                prop_assert!((f64::from(got) - exact).abs() <= allowed, "{:?} {:?}: {} not {}", kernels, metric, got, exact);
            }
        }

        /// Powers of two, so that scaling itself rounds nothing.
        #[test]
        fn cosine_looks_at_directions_only(
            pairs in vec((-1.0f32..1.0, -1.0f32..1.0), 1..40),
            exponent in -20..20,
        ) {
            let (query, vector): (Vec<f32>, Vec<f32>) = pairs.into_iter().unzip();
            let scaled = |components: &[f32]| -> Vec<f32> { components.iter().map(|x| x * 2.0_f32.powi(exponent)).collect() };
            let expected = ExactDistance::new(Metric::Cosine, &query).distance(&vector);
            prop_assert_eq!(ExactDistance::new(Metric::Cosine, &scaled(&query)).distance(&vector), expected);
            prop_assert_eq!(ExactDistance::new(Metric::Cosine, &query).distance(&scaled(&vector)), expected);
        }

        /// Parallel vectors: rounding alone would take every other one of them beyond the ends of the range.
        #[test]
        fn cosine_distances_stay_within_zero_and_two(query in vec(-1.0f32..1.0, 1..40), factor in -9.0f32..9.0) {
            let vector: Vec<f32> = query.iter().map(|component| component * factor).collect();
            let distance = ExactDistance::new(Metric::Cosine, &query).distance(&vector);
            prop_assert!((0.0..=2.0).contains(&distance), "{}", distance);
        }

        /// Any bits at all, NaN and infinities among them.
        #[test]
        fn no_data_gives_nan_or_minus_zero_or_a_panic(pairs in vec(any::<(u32, u32)>(), 0..70)) {
            let (query, vector): (Vec<f32>, Vec<f32>) =
                pairs.into_iter().map(|(a, b)| (f32::from_bits(a), f32::from_bits(b))).unzip();
            for distance in distances(&query, &vector) {
                prop_assert!(!distance.is_nan() && distance.to_bits() != (-0.0_f32).to_bits(), "{}", distance);
            }
        }
    }

    #[test]
    fn vectors_whose_squares_do_not_fit_f32_have_a_distance() {
        // As long as the contract allows, in opposite directions: the square of the distance is beyond f32::MAX.
        let (long, opposite) = (vec![5.0e17_f32; 1024], vec![-5.0e17_f32; 1024]);
        let [cosine, euclidean, _, _] = distances(&long, &opposite);
        assert!((cosine - 2.0).abs() < 1.0e-6, "{cosine}");
        assert!((euclidean / 3.2e19 - 1.0).abs() < 1.0e-6, "{euclidean}");

        // So short that every square vanishes.
        let [cosine, euclidean, _, _] = distances(&[3.0e-25, 0.0], &[0.0, 4.0e-25]);
        assert_eq!(cosine, 1.0);
        assert!((euclidean / 5.0e-25 - 1.0).abs() < 1.0e-6, "{euclidean}");
        assert_eq!(distances(&[1.0, 0.0], &[1.0e-25, 0.0])[0], 0.0);
    }

    #[test]
    fn an_inner_product_beyond_f32_is_infinite_and_not_nan() {
        // Products of both signs overflow, and infinity minus infinity would be NaN: the true sum is zero.
        let [_, _, inner_product, _] = distances(&[1.0e30, 1.0e30], &[1.0e30, -1.0e30]);
        assert_eq!(inner_product, 0.0);
        let [_, _, inner_product, _] = distances(&[1.0e30], &[1.0e30]);
        assert_eq!(inner_product, f32::NEG_INFINITY);
    }

    #[test]
    fn a_vector_without_direction_is_at_a_right_angle_to_all() {
        let cosine = |query: &[f32], vector: &[f32]| ExactDistance::new(Metric::Cosine, query).distance(vector);
        assert_eq!(cosine(&[1.0, 2.0], &[0.0, -0.0]), 1.0);
        assert_eq!(cosine(&[0.0, 0.0], &[1.0, 2.0]), 1.0);
    }

    #[test]
    fn what_is_not_finite_is_infinitely_far() {
        for bad in [f32::NAN, -f32::NAN] {
            assert_eq!(distances(&[1.0, 1.0], &[bad, 1.0]), [f32::INFINITY; 4]);
        }
    }

    #[test]
    fn orthogonal_vectors_of_either_sign_tie() {
        let inner_product = ExactDistance::new(Metric::InnerProduct, &[1.0, 0.0]);
        let [plus, minus] = [0.0_f32, -0.0].map(|zero| inner_product.distance(&[zero, 1.0]).to_bits());
        assert_eq!((plus, minus), (0, 0));
    }
}
