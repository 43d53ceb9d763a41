//! The dimension of a space that is made for some rows.

use llmspell_storage::limits::DIM_RANGE;

use crate::output::{counted, grouped};

/// How long the vectors of some rows are.
#[derive(Debug)]
pub struct Dims {
    /// The length that most have, the first of equals; none where no vector could be stored.
    pub most: Option<usize>,
    with_most: u64,
    with_others: u64,
}

impl Dims {
    /// Counts the lengths; those outside of the range that a space can have are left out.
    pub fn of(dims: impl Iterator<Item = usize>) -> Self {
        let mut counts: Vec<(usize, u64)> = Vec::new();
        for dim in dims.filter(|dim| DIM_RANGE.contains(dim)) {
            match counts.iter_mut().find(|(known, _)| *known == dim) {
                Some((_, count)) => *count += 1,
                None => counts.push((dim, 1)),
            }
        }
        let most = counts.iter().rev().max_by_key(|(_, count)| *count);
        let with_most = most.map_or(0, |(_, count)| *count);
        Self {
            most: most.map(|(dim, _)| *dim),
            with_most,
            with_others: counts.iter().map(|(_, count)| count).sum::<u64>() - with_most,
        }
    }

    /// Says on stderr that rows of other lengths were met, if there were some.
    pub fn note_others(&self) {
        if let (Some(dim), 1..) = (self.most, self.with_others) {
            eprintln!(
                "note: vectors have {dim} components here, as {} of the first batch; {} of it have others; --dim declares it",
                counted(self.with_most, "row", "rows"),
                grouped(self.with_others)
            );
        }
    }
}
