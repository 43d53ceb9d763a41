//! A file of redb that is read and never written: what would be written stays in RAM.
//!
//! redb writes to a file when it opens it, and more when it was not closed. Whoever only wants to read a damaged file must
//! leave it as it is.

use std::collections::BTreeMap;
use std::io;
use std::sync::Arc;

use parking_lot::Mutex;

use super::DiskFile;

const BLOCK_BYTES: u64 = 4096;

/// The file, and the blocks that differ from it.
#[derive(Debug)]
pub(crate) struct Overlay {
    below: Arc<dyn DiskFile>,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    len: u64,
    /// Bytes of the file from here on count as zeros: it was shorter meanwhile.
    below_len: u64,
    blocks: BTreeMap<u64, Vec<u8>>,
}

impl Overlay {
    /// Over a file.
    ///
    /// # Errors
    ///
    /// If it cannot be measured.
    pub(crate) fn new(below: Arc<dyn DiskFile>) -> io::Result<Self> {
        let len = below.len()?;
        Ok(Self {
            below,
            state: Mutex::new(State {
                len,
                below_len: len,
                blocks: BTreeMap::new(),
            }),
        })
    }

    fn read_below(&self, below_len: u64, offset: u64, out: &mut [u8]) -> io::Result<()> {
        let there = below_len.saturating_sub(offset).min(out.len() as u64);
        let (there, rest) = out.split_at_mut(usize::try_from(there).expect("it is part of a buffer"));
        rest.fill(0);
        // Not even an empty part is read beyond the end of a file.
        if there.is_empty() {
            return Ok(());
        }
        self.below.read_at(offset, there)
    }
}

/// The part of a block that a range covers: number of the block, where in it, where in the range, how long.
fn parts(offset: u64, len: usize) -> impl Iterator<Item = (u64, usize, usize, usize)> {
    let mut done = 0;
    std::iter::from_fn(move || {
        (done < len).then(|| {
            let at = offset + done as u64;
            let within = usize::try_from(at % BLOCK_BYTES).expect("a block is small");
            let count = (len - done).min(usize::try_from(BLOCK_BYTES).expect("a block is small") - within);
            done += count;
            (at / BLOCK_BYTES, within, done - count, count)
        })
    })
}

impl redb::StorageBackend for Overlay {
    fn len(&self) -> Result<u64, io::Error> {
        Ok(self.state.lock().len)
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> Result<(), io::Error> {
        let state = self.state.lock();
        if offset.checked_add(out.len() as u64).is_none_or(|end| end > state.len) {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        self.read_below(state.below_len, offset, out)?;
        for (number, within, at, count) in parts(offset, out.len()) {
            if let Some(block) = state.blocks.get(&number) {
                out[at..at + count].copy_from_slice(&block[within..within + count]);
            }
        }
        Ok(())
    }

    fn set_len(&self, len: u64) -> Result<(), io::Error> {
        let mut state = self.state.lock();
        if len < state.len {
            state.below_len = state.below_len.min(len);
            state.blocks.retain(|number, _| number * BLOCK_BYTES < len);
            if let Some(block) = state.blocks.get_mut(&(len / BLOCK_BYTES)) {
                block[usize::try_from(len % BLOCK_BYTES).expect("a block is small")..].fill(0);
            }
        }
        state.len = len;
        Ok(())
    }

    fn sync_data(&self) -> Result<(), io::Error> {
        Ok(())
    }

    fn write(&self, offset: u64, data: &[u8]) -> Result<(), io::Error> {
        let mut state = self.state.lock();
        state.len = state.len.max(offset + data.len() as u64);
        for (number, within, at, count) in parts(offset, data.len()) {
            if !state.blocks.contains_key(&number) {
                let mut block = vec![0; usize::try_from(BLOCK_BYTES).expect("a block is small")];
                self.read_below(state.below_len, number * BLOCK_BYTES, &mut block)?;
                state.blocks.insert(number, block);
            }
            let block = state.blocks.get_mut(&number).expect("it is there");
            block[within..within + count].copy_from_slice(&data[at..at + count]);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use redb::StorageBackend;

    use super::*;
    use crate::disk::Disk;
    use crate::disk::sim::SimDisk;

    proptest! {
        /// It reads as the file would if it had been written, and the file stays as it is.
        #[test]
        fn writes_are_seen_and_reach_no_disk(
            len in 0_u64..20_000,
            steps in prop::collection::vec((0_u64..24_000, 1_usize..9_000, any::<u8>(), any::<bool>()), 1..12),
        ) {
            let below = SimDisk::default().create("f").unwrap();
            let mut model: Vec<u8> = (0..len).map(|at| (at % 251) as u8).collect();
            below.write_at(0, &model).unwrap();
            let before = model.clone();
            let overlay = Overlay::new(Arc::clone(&below)).unwrap();
            for (offset, count, byte, is_cut) in steps {
                if is_cut {
                    overlay.set_len(offset).unwrap();
                    model.resize(offset as usize, 0);
                } else {
                    overlay.write(offset, &vec![byte; count]).unwrap();
                    let end = offset as usize + count;
                    model.resize(model.len().max(end), 0);
                    model[offset as usize..end].fill(byte);
                }
                let mut seen = vec![0; model.len()];
                overlay.read(0, &mut seen).unwrap();
                prop_assert!(seen == model);
                prop_assert!(overlay.read(1, &mut seen).is_err() || model.is_empty());
            }
            let mut bytes = vec![0; before.len()];
            below.read_at(0, &mut bytes).unwrap();
            prop_assert_eq!(bytes, before);
        }
    }
}
