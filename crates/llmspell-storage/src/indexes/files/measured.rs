//! The measured recall of a namespace, in the form in which it is stored beside the name of its index file.

use llmspell_core::{MeasuredRecall, MeasuredWith};

use llmspell_codec::{Malformed, Reader, Writer};

/// The width of the beam chosen for a namespace, and its basis. Shares are in millionths.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Measured {
    /// The recall target that it was chosen for.
    pub(crate) target: u32,
    /// Width of the beam, in candidates.
    pub(crate) ef: u32,
    /// Recall of searches with this beam.
    pub(crate) recall: u32,
    /// Number of searches that were compared with exact ones.
    pub(crate) queries: u32,
    /// Whether they were queries of callers; otherwise vectors of the namespace.
    pub(crate) is_by_queries: bool,
    /// Number of living points then.
    pub(crate) points: u64,
}

/// A share as a number of millionths, clamped to the range.
pub(crate) fn millionths(share: f64) -> u32 {
    (share * 1e6).round() as u32
}

impl Measured {
    /// Appends the bytes: target, ef, recall and queries u32, whether by queries u8, points u64.
    pub(crate) fn encode(&self, body: &mut Writer) {
        body.u32(self.target)
            .u32(self.ef)
            .u32(self.recall)
            .u32(self.queries)
            .u8(self.is_by_queries.into())
            .u64(self.points);
    }

    /// Decodes the bytes of [`encode`](Self::encode).
    pub(crate) fn decode(body: &mut Reader<'_>) -> Result<Self, Malformed> {
        let (target, ef, recall, queries) = (body.u32()?, body.u32()?, body.u32()?, body.u32()?);
        let is_by_queries = match body.u8()? {
            0 => false,
            1 => true,
            _ => return Err(Malformed("it was measured with something unknown")),
        };
        let points = body.u64()?;
        if ef == 0 || target > 1_000_000 || recall > 1_000_000 {
            return Err(Malformed("it was measured with numbers that cannot be"));
        }
        Ok(Self {
            target,
            ef,
            recall,
            queries,
            is_by_queries,
            points,
        })
    }

    /// Whether the target was not reached even with the widest beam that the store chooses.
    pub(crate) fn is_capped(&self) -> bool {
        self.recall < self.target
    }

    /// The form for users.
    pub(crate) fn to_stats(self) -> MeasuredRecall {
        let with = match self.is_by_queries {
            true => MeasuredWith::Queries,
            false => MeasuredWith::StoredVectors,
        };
        let recall = f64::from(self.recall) / 1e6;
        MeasuredRecall::new(self.ef as usize, recall, (u64::from(self.queries), with)).capped(self.is_capped())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_share_is_the_nearest_number_of_millionths_and_nothing_else_wraps_around() {
        let shares = [0.98, 0.9999, 1.0, 0.5, -1.0, f64::NAN];
        assert_eq!(shares.map(millionths), [980_000, 999_900, 1_000_000, 500_000, 0, 0]);
    }
}
