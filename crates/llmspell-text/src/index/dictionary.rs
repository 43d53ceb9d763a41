//! Which terms there are, and where their postings lie.
//!
//! ```text
//! dictionary   blocks of 16 terms, the last may have fewer
//!   block      start of the first postings u64 │ per term, in order of the keys:
//!              shared with the key before: number │ length of the rest: number │ rest │ points: number
//!              │ bytes of the postings: number │ of their positions: number, in an index with positions
//! starts       per block: where it starts in the dictionary u32
//! ```
//!
//! The first key of a block shares nothing. Postings of a term, its positions behind them, lie one behind the other in the
//! order of the terms.

use std::ops::Range;

use crate::row::KEY_BYTES_MAX;
use crate::varint;

/// Terms of a block.
const TERMS: usize = 16;

/// Where the postings of a term are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Term {
    /// How many points it has, deleted ones too.
    pub(crate) count: u32,
    /// Its bytes in the section of postings.
    pub(crate) postings: Range<usize>,
    /// Those of its positions.
    pub(crate) positions: Range<usize>,
}

/// Builds the two sections, of keys in order.
#[derive(Debug, Default)]
pub(crate) struct DictionaryWriter {
    pub(crate) dictionary: Vec<u8>,
    pub(crate) starts: Vec<u8>,
    pub(crate) count: u64,
    last: Vec<u8>,
}

impl DictionaryWriter {
    pub(crate) fn push(&mut self, key: &[u8], term: &Term, has_positions: bool) {
        let is_first = self.count.is_multiple_of(TERMS as u64);
        if is_first {
            let start = u32::try_from(self.dictionary.len()).expect("a dictionary is shorter than 4 GiB");
            self.starts.extend_from_slice(&start.to_le_bytes());
            self.dictionary
                .extend_from_slice(&(term.postings.start as u64).to_le_bytes());
            self.last.clear();
        }
        let shared = self.last.iter().zip(key).take_while(|(a, b)| a == b).count();
        let out = &mut self.dictionary;
        varint::put(out, shared as u64);
        varint::put(out, (key.len() - shared) as u64);
        out.extend_from_slice(&key[shared..]);
        varint::put(out, u64::from(term.count));
        varint::put(out, term.postings.len() as u64);
        if has_positions {
            varint::put(out, term.positions.len() as u64);
        }
        self.last.clear();
        self.last.extend_from_slice(key);
        self.count += 1;
    }
}

/// The two sections, read in place.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Dictionary<'a> {
    pub(crate) dictionary: &'a [u8],
    pub(crate) starts: &'a [u8],
    pub(crate) has_positions: bool,
}

impl<'a> Dictionary<'a> {
    /// The term of a key.
    pub(crate) fn find(self, key: &[u8]) -> Option<Term> {
        let mut entries = self.from(key);
        while let Some(term) = entries.next() {
            match entries.key.as_slice().cmp(key) {
                std::cmp::Ordering::Less => {}
                std::cmp::Ordering::Equal => return Some(term),
                std::cmp::Ordering::Greater => return None,
            }
        }
        None
    }

    /// All terms, in order.
    pub(crate) fn all(self) -> Entries<'a> {
        self.entries_of(0)
    }

    /// The terms from the block on in which a key would be.
    pub(crate) fn from(self, key: &[u8]) -> Entries<'a> {
        let starts = self.starts.as_chunks::<4>().0;
        let block = starts.partition_point(|start| {
            self.first_key(u32::from_le_bytes(*start))
                .is_some_and(|first| first <= key)
        });
        self.entries_of(block.saturating_sub(1))
    }

    fn entries_of(self, block: usize) -> Entries<'a> {
        let start = self.starts.as_chunks::<4>().0.get(block);
        Entries {
            dictionary: self,
            at: start.map_or(self.dictionary.len(), |start| u32::from_le_bytes(*start) as usize),
            number: 0,
            postings: 0,
            key: Vec::new(),
        }
    }

    /// The first key of the block that starts there.
    fn first_key(self, start: u32) -> Option<&'a [u8]> {
        let mut at = (start as usize).checked_add(9)?;
        let len = usize::try_from(varint::get(self.dictionary, &mut at)?).ok()?;
        self.dictionary.get(at..at.checked_add(len)?)
    }
}

/// Terms in order, from the start of a block on. Ends early where the bytes are damaged.
#[derive(Debug)]
pub(crate) struct Entries<'a> {
    dictionary: Dictionary<'a>,
    at: usize,
    number: usize,
    postings: usize,
    /// The key of the last term.
    pub(crate) key: Vec<u8>,
}

impl Entries<'_> {
    /// The next term, whose key is in `key` then.
    pub(crate) fn next(&mut self) -> Option<Term> {
        let bytes = self.dictionary.dictionary;
        if self.at >= bytes.len() {
            return None;
        }
        if self.number.is_multiple_of(TERMS) {
            let start = bytes.get(self.at..self.at.checked_add(8)?)?.try_into().ok()?;
            self.postings = usize::try_from(u64::from_le_bytes(start)).ok()?;
            self.at += 8;
            self.key.clear();
        }
        self.number += 1;
        let mut number = || usize::try_from(varint::get(bytes, &mut self.at)?).ok();
        let (shared, rest_len) = (number()?, number()?);
        if shared > self.key.len() || shared.checked_add(rest_len)? > KEY_BYTES_MAX {
            return None;
        }
        let rest = bytes.get(self.at..self.at + rest_len)?;
        self.at += rest_len;
        self.key.truncate(shared);
        self.key.extend_from_slice(rest);
        let count = varint::get_u32(bytes, &mut self.at)?;
        let postings_len = usize::try_from(varint::get(bytes, &mut self.at)?).ok()?;
        let positions_len = match self.dictionary.has_positions {
            true => usize::try_from(varint::get(bytes, &mut self.at)?).ok()?,
            false => 0,
        };
        let postings_end = self.postings.checked_add(postings_len)?;
        let positions_end = postings_end.checked_add(positions_len)?;
        let term = Term {
            count,
            postings: self.postings..postings_end,
            positions: postings_end..positions_end,
        };
        self.postings = positions_end;
        Some(term)
    }

    /// Whether all bytes were read.
    pub(crate) fn is_at_end(&self) -> bool {
        self.at == self.dictionary.dictionary.len()
    }

    /// Whether the next term is the first of a block.
    pub(crate) fn is_between_blocks(&self) -> bool {
        self.number.is_multiple_of(TERMS)
    }

    /// Where the next term starts in the dictionary.
    pub(crate) fn place(&self) -> usize {
        self.at
    }
}
