//! Rows as blocks: per row the lengths of key and value, u32 each, key and value.
//!
//! Where a block ends depends on the keys near its end only, so that a row that was added or removed changes the block that
//! it is in, and no other.

use llmspell_codec::{Malformed, Reader, checksum};

/// A block ends with the first row from here on whose key says so, in bytes.
const BYTES_MIN: usize = if cfg!(test) { 256 } else { 32 << 10 };
/// It ends with the first row from here on, whatever its key.
const BYTES_MAX: usize = if cfg!(test) { 2 << 10 } else { 256 << 10 };
/// One key in this many ends a block.
const ENDING_KEYS: u32 = if cfg!(test) { 4 } else { 64 };

/// Collects rows into blocks.
#[derive(Debug, Default)]
pub(super) struct RowBlock {
    bytes: Vec<u8>,
    pub(super) rows: u64,
}

impl RowBlock {
    /// Adds a row. Says whether the block is complete.
    pub(super) fn add(&mut self, key: &[u8], value: &[u8]) -> bool {
        for part in [key, value] {
            let len = u32::try_from(part.len()).expect("a row has less than 4 GiB");
            self.bytes.extend_from_slice(&len.to_le_bytes());
        }
        self.bytes.extend_from_slice(key);
        self.bytes.extend_from_slice(value);
        self.rows += 1;
        let len = self.bytes.len();
        len >= BYTES_MAX || (len >= BYTES_MIN && checksum(b"block", key).is_multiple_of(ENDING_KEYS))
    }

    pub(super) fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    pub(super) fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }

    /// Begins the next block.
    pub(super) fn clear(&mut self) {
        self.bytes.clear();
    }
}

/// The rows of a block.
pub(super) fn rows(block: &[u8]) -> impl Iterator<Item = Result<(&[u8], &[u8]), Malformed>> {
    let mut reader = Reader::new(block);
    std::iter::from_fn(move || {
        if reader.end().is_ok() {
            return None;
        }
        let row = row(&mut reader);
        if row.is_err() {
            reader = Reader::new(&[]);
        }
        Some(row)
    })
}

fn row<'b>(reader: &mut Reader<'b>) -> Result<(&'b [u8], &'b [u8]), Malformed> {
    let (key, value) = (reader.u32()? as usize, reader.u32()? as usize);
    Ok((reader.bytes(key)?, reader.bytes(value)?))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    fn blocks(numbers: impl Iterator<Item = u32>) -> BTreeSet<Vec<u8>> {
        let (mut block, mut blocks) = (RowBlock::default(), BTreeSet::new());
        for number in numbers {
            if block.add(&number.to_be_bytes(), &[7; 40]) {
                blocks.insert(block.bytes().to_vec());
                block.clear();
            }
        }
        blocks.insert(block.bytes().to_vec());
        blocks
    }

    #[test]
    fn rows_come_back_in_their_order_and_a_cut_block_is_malformed() {
        let mut block = RowBlock::default();
        block.add(b"a", b"1");
        block.add(b"", b"");
        block.add(b"bc", b"23");
        let found: Vec<_> = rows(block.bytes()).map(Result::unwrap).collect();
        assert_eq!(found, [(&b"a"[..], &b"1"[..]), (b"", b""), (b"bc", b"23")]);
        let cut = &block.bytes()[..block.bytes().len() - 1];
        assert!(rows(cut).any(|row| row.is_err()));
        assert_eq!(rows(cut).count(), 3);
    }

    #[test]
    fn a_row_that_was_added_changes_the_block_that_it_is_in() {
        let before = blocks((0..1000).filter(|number| *number != 500));
        let after = blocks(0..1000);
        assert!(before.len() > 50);
        let changed = after.difference(&before).count();
        assert!((1..=3).contains(&changed), "{changed} of {} blocks", after.len());
    }
}
