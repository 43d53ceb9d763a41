//! Distances from a query whose components are bytes: nearly exact, at a quarter of the memory traffic.
//!
//! Plain rounding to bytes, each vector by its own largest component. The error is about 0.0006 of the product of the
//! lengths: enough to choose between neighbors, except among vectors that nearly coincide.

use crate::kernels::CodeKernels;

/// Shares of the lengths below which a distance is too near to the error: ask the vectors themselves.
const TOO_NEAR: f32 = 0.02;

/// Vectors as bytes.
pub(crate) struct Bytes {
    padded: usize,
    levels: Vec<i8>,
    vectors: Vec<Rounded>,
    kernels: CodeKernels,
}

/// What the bytes of one vector stand for.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Rounded {
    step: f32,
    norm_squared: f32,
}

impl Bytes {
    pub(crate) fn zeros(padded: usize, count: usize) -> Self {
        Self {
            padded,
            levels: vec![0; padded * count],
            vectors: vec![Rounded::default(); count],
            kernels: CodeKernels::detect(),
        }
    }

    /// Parts for `share` vectors each, to be written at the same time.
    pub(crate) fn parts_mut(&mut self, share: usize) -> impl Iterator<Item = (&mut [i8], &mut [Rounded])> {
        let levels = self.levels.chunks_mut(share * self.padded);
        levels.zip(self.vectors.chunks_mut(share))
    }

    /// Rounds a vector.
    pub(crate) fn encode(vector: &[f32], levels: &mut [i8]) -> Rounded {
        let step = round(vector, levels);
        let norm_squared = crate::kernels::Kernels::detect().dot(vector, vector);
        Rounded { step, norm_squared }
    }

    #[inline]
    pub(crate) fn levels(&self, place: u32) -> &[i8] {
        &self.levels[place as usize * self.padded..][..self.padded]
    }

    /// Squared distance of two vectors; none where it is too small to be told from the error.
    #[inline]
    pub(crate) fn distance(&self, a: u32, b: u32) -> Option<f32> {
        let dot = self.kernels.byte_dot(self.levels(a), self.levels(b));
        let (a, b) = (self.vectors[a as usize], self.vectors[b as usize]);
        let lengths = a.norm_squared + b.norm_squared;
        let distance = lengths - 2.0 * a.step * b.step * dot as f32;
        (distance > TOO_NEAR * lengths).then_some(distance)
    }
}

/// Rounds a vector to bytes; returns what they are multiples of.
pub(crate) fn round(vector: &[f32], levels: &mut [i8]) -> f32 {
    let step = step(vector, 127.0);
    CodeKernels::detect().quantize_bytes(vector, 1.0 / step, levels);
    step
}

/// What components are multiples of when the largest becomes `top`.
pub(crate) fn step(vector: &[f32], top: f32) -> f32 {
    let largest = vector
        .iter()
        .fold(0.0_f32, |largest, component| largest.max(component.abs()));
    if largest > 0.0 && largest.is_finite() {
        largest / top
    } else {
        1.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn distances_of_bytes_are_those_of_the_vectors_or_none() {
        let vectors: Vec<Vec<f32>> = (0..30)
            .map(|row| {
                (0..128)
                    .map(|i| ((row * 131 + i * 7) as f32 * 0.37).sin() * (1.0 + row as f32))
                    .collect()
            })
            .collect();
        let mut bytes = Bytes::zeros(128, 30);
        for (part, vectors) in bytes.parts_mut(30).zip([&vectors]) {
            for ((levels, rounded), vector) in part.0.chunks_mut(128).zip(part.1).zip(vectors) {
                *rounded = Bytes::encode(vector, levels);
            }
        }
        let mut told = 0;
        for a in 0..30_u32 {
            assert_eq!(bytes.distance(a, a), None);
            for b in 0..30_u32 {
                let [x, y] = [a, b].map(|place| &vectors[place as usize]);
                let exact: f32 = x.iter().zip(y).map(|(x, y)| (x - y) * (x - y)).sum();
                if let Some(distance) = bytes.distance(a, b) {
                    told += 1;
                    assert!((distance / exact - 1.0).abs() < 0.1, "{a} {b}: {distance}, not {exact}");
                }
            }
        }
        assert!(told > 500, "{told}");
    }
}
