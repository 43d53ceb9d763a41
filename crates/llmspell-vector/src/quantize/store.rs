//! A store of codes, and scans of it that say which vectors need an exact distance.

use crate::distance::Metric;
use crate::neighbor::PointId;
use crate::quantize::{CodeError, RabitqCodec, RabitqQuery};
use crate::top_k::TopK;

/// Candidates that are kept before those are dropped that turned out too far.
const CANDIDATES_MIN: usize = 1024;

/// Codes of many vectors, one after the other: record `i` is that of [`PointId`] `i`.
///
/// For scans of vectors that are too many to be compared themselves and too few for a graph, or of those that a filter
/// leaves. A scan reads `bits / 8` bytes per component instead of four, and gives [candidates](CodeCandidate) whose
/// lower bounds tell when the comparison of the vectors may stop:
///
/// ```
/// use llmspell_vector::{CodeStore, ExactDistance, Metric, PointId, RabitqCodec, Rotation, TopK};
///
/// let vectors: Vec<Vec<f32>> = (0..500_u16)
///     .map(|row| (0..32_u16).map(|i| f32::from(row * 37 + i * 11).sin()).collect())
///     .collect();
/// let codec = RabitqCodec::new(Rotation::new(32, 7), &[0.0; 32], 2)?;
/// let mut store = CodeStore::new(Metric::Euclidean, codec)?;
/// for vector in &vectors {
///     store.push(vector)?;
/// }
///
/// let (query, k) = (&vectors[3], 5);
/// let exact = ExactDistance::new(Metric::Euclidean, query);
/// let mut top = TopK::new(k);
/// let mut compared = 0;
/// for candidate in store.nearest(query, k, |point| point.0 % 2 == 1)? {
///     if candidate.lower > top.bound() {
///         break; // and so are all that follow
///     }
///     top.offer(exact.distance(&vectors[candidate.point.0 as usize]), candidate.point);
///     compared += 1;
/// }
/// assert_eq!(top.into_sorted().0[0].point, PointId(3));
/// assert!(compared < 250);
/// # Ok::<(), llmspell_vector::CodeError>(())
/// ```
#[derive(Debug, Clone)]
pub struct CodeStore {
    metric: Metric,
    codec: RabitqCodec,
    records: Vec<u8>,
}

/// A point that may be among the nearest, and how far it probably is: in the unit of [`Metric`], as
/// [`ExactDistance`](crate::ExactDistance) gives it.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct CodeCandidate {
    /// The point.
    pub point: PointId,
    /// How far it probably is.
    pub distance: f32,
    /// How far it is at least; see [`RabitqQuery::with_deviations`] for how sure that is.
    pub lower: f32,
}

/// How far a record may be, in a unit that orders as the metric does.
#[derive(Clone, Copy)]
struct Range {
    point: PointId,
    estimate: f32,
    lower: f32,
}

impl CodeStore {
    /// An empty store. Under cosine, vectors and queries are brought to length one, so a center is to be that of such.
    ///
    /// # Errors
    ///
    /// [`CodeError::Metric`] for Manhattan.
    pub fn new(metric: Metric, codec: RabitqCodec) -> Result<Self, CodeError> {
        Self::from_bytes(metric, codec, Vec::new())
    }

    /// A store of what [`bytes`](Self::bytes) gave, with the metric and the codec that it had. `O(1)`.
    ///
    /// The bytes have no checksum: damaged ones give wrong distances, and nothing worse.
    ///
    /// # Errors
    ///
    /// [`CodeError::Metric`] for Manhattan, [`CodeError::WrongBytes`] for parts of records, [`CodeError::Full`].
    pub fn from_bytes(metric: Metric, codec: RabitqCodec, records: Vec<u8>) -> Result<Self, CodeError> {
        match metric {
            Metric::Cosine | Metric::Euclidean | Metric::InnerProduct => {}
            Metric::Manhattan => return Err(CodeError::Metric),
        }
        let record = codec.record_bytes();
        if !records.len().is_multiple_of(record) {
            let got = records.len();
            return Err(CodeError::WrongBytes { record, got });
        }
        if records.len() / record > u32::MAX as usize {
            return Err(CodeError::Full);
        }
        Ok(Self { metric, codec, records })
    }

    /// How vectors are compared.
    #[must_use]
    pub fn metric(&self) -> Metric {
        self.metric
    }

    /// What makes and reads the records.
    #[must_use]
    pub fn codec(&self) -> &RabitqCodec {
        &self.codec
    }

    /// Number of records.
    #[must_use]
    pub fn len(&self) -> usize {
        self.records.len() / self.codec.record_bytes()
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.records.is_empty()
    }

    /// All records, in order: what is to be kept.
    #[must_use]
    pub fn bytes(&self) -> &[u8] {
        &self.records
    }

    /// The record of a point.
    #[must_use]
    pub fn get(&self, point: PointId) -> Option<&[u8]> {
        let record = self.codec.record_bytes();
        let start = (point.0 as usize).checked_mul(record)?;
        self.records.get(start..start.checked_add(record)?)
    }

    /// Adds the code of a vector, and tells its number.
    ///
    /// A vector that is not finite is a candidate of every search, since nothing is known of it.
    ///
    /// # Errors
    ///
    /// [`CodeError::WrongDim`], [`CodeError::Full`]. Nothing was added.
    pub fn push(&mut self, vector: &[f32]) -> Result<PointId, CodeError> {
        let point = u32::try_from(self.len()).ok().filter(|point| *point < u32::MAX);
        let point = PointId(point.ok_or(CodeError::Full)?);
        let start = self.records.len();
        self.records.resize(start + self.codec.record_bytes(), 0);
        let encoded = self.codec.encode(&self.directed(vector), &mut self.records[start..]);
        if let Err(error) = encoded {
            self.records.truncate(start);
            return Err(error);
        }
        Ok(point)
    }

    /// Prepares a query.
    ///
    /// # Errors
    ///
    /// [`CodeError::WrongDim`].
    pub fn query(&self, query: &[f32]) -> Result<RabitqQuery, CodeError> {
        self.codec.query(&self.directed(query))
    }

    /// The points that may be among the `k` nearest of those that `keep` lets through, the smallest lower bound first.
    ///
    /// As long as the bounds hold, these are all: the `k` with the smallest estimates, and every other one whose lower
    /// bound is not above the `k`-th smallest upper bound. One pass over the records of the points that are kept.
    ///
    /// # Errors
    ///
    /// [`CodeError::WrongDim`].
    pub fn nearest(
        &self,
        query: &[f32],
        k: usize,
        keep: impl Fn(PointId) -> bool,
    ) -> Result<Vec<CodeCandidate>, CodeError> {
        Ok(self.nearest_to(&self.query(query)?, k, keep))
    }

    /// [`nearest`](Self::nearest) for a query that was [prepared](Self::query), perhaps with other
    /// [deviations](RabitqQuery::with_deviations).
    ///
    /// # Panics
    ///
    /// If the query is one of a codec of another dimension or width.
    #[must_use]
    pub fn nearest_to(&self, query: &RabitqQuery, k: usize, keep: impl Fn(PointId) -> bool) -> Vec<CodeCandidate> {
        if k == 0 {
            return Vec::new();
        }
        let mut uppers = TopK::new(k);
        let mut found: Vec<Range> = Vec::new();
        let mut found_max = CANDIDATES_MIN.max(k.saturating_mul(2));
        let records = self.records.chunks_exact(self.codec.record_bytes());
        for (point, record) in (0..).map(PointId).zip(records) {
            if !keep(point) {
                continue;
            }
            let (estimate, lower, upper) = self.range(query, record);
            if lower > uppers.bound() {
                continue;
            }
            uppers.offer(upper, point);
            found.push(Range { point, estimate, lower });
            if found.len() == found_max {
                found.retain(|range| range.lower <= uppers.bound());
                found_max = found_max.max(2 * found.len());
            }
        }
        found.retain(|range| range.lower <= uppers.bound());
        let order = |range: &Range, other: &Range| range.lower.total_cmp(&other.lower);
        found.sort_unstable_by(|a, b| {
            order(a, b)
                .then(a.estimate.total_cmp(&b.estimate))
                .then(a.point.cmp(&b.point))
        });
        found.into_iter().map(|range| self.candidate(range)).collect()
    }

    /// Estimate and bounds of a record.
    #[inline]
    fn range(&self, query: &RabitqQuery, record: &[u8]) -> (f32, f32, f32) {
        match self.metric {
            Metric::Euclidean => {
                let estimate = self.codec.estimate(query, record);
                (estimate.squared_distance, estimate.lower(), estimate.upper())
            }
            Metric::Cosine | Metric::InnerProduct | Metric::Manhattan => {
                let estimate = self.codec.estimate_product(query, record);
                let (distance, bound) = (0.0 - estimate.inner_product, estimate.error_bound);
                (distance, distance - bound, distance + bound)
            }
        }
    }

    fn candidate(&self, range: Range) -> CodeCandidate {
        let in_metric = |value: f32| match self.metric {
            Metric::Euclidean => value.max(0.0).sqrt(),
            Metric::Cosine => (1.0 + value).clamp(0.0, 2.0),
            Metric::InnerProduct | Metric::Manhattan => value,
        };
        CodeCandidate {
            point: range.point,
            distance: in_metric(range.estimate),
            lower: in_metric(range.lower),
        }
    }

    /// A vector as it is coded: of length one under cosine, if it has a direction.
    fn directed(&self, vector: &[f32]) -> Vec<f32> {
        match self.metric {
            Metric::Cosine => {
                let wide = || vector.iter().map(|component| f64::from(*component));
                let length = wide().map(|component| component * component).sum::<f64>().sqrt();
                let divisor = if length > 0.0 { length } else { 1.0 };
                wide().map(|component| (component / divisor) as f32).collect()
            }
            Metric::Euclidean | Metric::InnerProduct | Metric::Manhattan => vector.to_vec(),
        }
    }
}

#[cfg(test)]
mod tests;
