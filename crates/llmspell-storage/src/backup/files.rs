//! Slot files and index files as blocks.

use std::io;
use std::ops::Range;
use std::path::PathBuf;
use std::sync::Arc;

use llmspell_core::{ErrorKind, Result};

use super::manifest::{Block, Part, PartKind};
use super::slots::LiveSlots;
use super::take::Taking;
use crate::base::error::{corrupted, io_error};
use crate::base::ids::{ScopeId, Slot, SpaceId};
use crate::disk::{Disk, DiskFile};
use crate::indexes::files::{self, Kind};
use crate::indexes::named::NamedFile;
use crate::slots::{SlotStore, SlotView, Waiting, layout};

/// About as many bytes of a file make a block: small enough that a search never waits long for the disk.
const BLOCK_BYTES: u64 = if cfg!(test) { 1 << 10 } else { 256 << 10 };

/// The slots of one file.
struct SlotFile {
    name: String,
    /// For error texts.
    path: PathBuf,
    stride: usize,
    bytes: SlotBytes,
}

/// Where the bytes of slots are.
enum SlotBytes {
    /// In a file, which begins with this slot.
    File(Arc<dyn DiskFile>, u64),
    /// In RAM.
    View(Arc<SlotView>),
    /// Nowhere: the file is missing.
    Missing,
}

impl SlotFile {
    /// Fills `buffer` with these slots, at least with the living ones. Bytes that are missing are zeros.
    fn read(&self, slots: &Range<u64>, living: &[(Slot, ScopeId)], buffer: &mut [u8]) -> io::Result<()> {
        match &self.bytes {
            SlotBytes::Missing => Ok(()),
            SlotBytes::File(file, first) => {
                let offset = (slots.start - first) * self.stride as u64;
                let there = file.len()?.saturating_sub(offset).min(buffer.len() as u64);
                let there = usize::try_from(there).expect("a block is small");
                file.read_at(offset, &mut buffer[..there])
            }
            SlotBytes::View(view) => {
                // Others may be written meanwhile.
                let mut bytes = Vec::new();
                for (slot, _) in living.iter().filter(|(slot, _)| view.reaches(*slot)) {
                    view.read(*slot, &mut bytes, Waiting::Allowed)?;
                    let at = usize::try_from(slot.0 - slots.start).expect("few slots") * self.stride;
                    buffer[at..at + self.stride].copy_from_slice(&bytes);
                }
                Ok(())
            }
        }
    }
}

impl Taking<'_, '_> {
    /// The slot files of a space. Slots without a living point become zeros: a backup has no vector that was deleted.
    pub(super) fn slot_files(
        &mut self,
        space: SpaceId,
        dim: usize,
        live: &LiveSlots,
        parts: &mut Vec<Part>,
    ) -> Result<()> {
        let stride = layout::stride(dim);
        let per_file = SlotStore::slots_per_file_of(dim);
        let per_block = (BLOCK_BYTES / stride as u64).max(1);
        let stated_end = self.damage.or_go_on(self.source.read.slot_end(space))?;
        let end = stated_end.unwrap_or(0).max(live.end());
        for number in 0..end.div_ceil(per_file) {
            let begin = number * per_file;
            let end = end.min(begin + per_file);
            let file = self.slot_file(space, number, begin, stride)?;
            let mut part = Part {
                kind: PartKind::File,
                name: file.name.clone(),
                len: (end - begin) * stride as u64,
                block_bytes: u32::try_from(per_block * stride as u64).expect("a block is small"),
                blocks: Vec::new(),
            };
            let mut next = begin;
            while next < end {
                let slots = next..end.min(next + per_block);
                next = slots.end;
                part.blocks.push(self.slot_block(&file, live, &slots)?);
            }
            parts.push(part);
        }
        Ok(())
    }

    fn slot_file(&mut self, space: SpaceId, number: u64, begin: u64, stride: usize) -> Result<SlotFile> {
        let name = SlotStore::file(space, number);
        let Some(disk) = self.source.disk else {
            let view = self.source.in_memory.get(&space).map(Arc::clone);
            return Ok(SlotFile {
                path: PathBuf::from("memory").join(&name),
                name,
                stride,
                bytes: view.map_or(SlotBytes::Missing, SlotBytes::View),
            });
        };
        let path = disk.full_path(&name);
        let bytes = match disk.open(&name) {
            Ok(file) => SlotBytes::File(file, begin),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                self.damage.note(corrupted(&path, "the file is missing"))?;
                SlotBytes::Missing
            }
            Err(source) => return Err(io_error("open", &path, source)),
        };
        Ok(SlotFile {
            name,
            path,
            stride,
            bytes,
        })
    }

    /// The living ones of these slots, in their places.
    fn slot_block(&mut self, file: &SlotFile, live: &LiveSlots, slots: &Range<u64>) -> Result<Block> {
        let len = usize::try_from(slots.end - slots.start).expect("few slots") * file.stride;
        let living: Vec<(Slot, ScopeId)> = live.within(slots.clone()).collect();
        if living.is_empty() {
            return Ok(Block::zeros(u32::try_from(len).expect("a block is small")));
        }
        let (mut bytes, mut block) = (vec![0; len], vec![0; len]);
        file.read(slots, &living, &mut bytes)
            .map_err(|source| io_error("read", &file.path, source))?;
        for (slot, scope) in living {
            let at = usize::try_from(slot.0 - slots.start).expect("few slots") * file.stride;
            let place = at..at + file.stride;
            if let Err(wrong) = layout::verify(slot, scope, &bytes[place.clone()]) {
                let detail = format!("slot {}: {wrong}", slot.0);
                self.damage.note(corrupted(&file.path, detail))?;
            }
            block[place.clone()].copy_from_slice(&bytes[place]);
        }
        self.block(&block)
    }

    /// The index files that the snapshot names. One that is gone meanwhile is left out: a newer one took its place.
    pub(super) fn index_files(&mut self, space: SpaceId, parts: &mut Vec<Part>) -> Result<()> {
        let Some(disk) = self.source.disk else {
            return Ok(());
        };
        let scopes = self.damage.or_go_on(self.source.read.scopes(space))?;
        for (_, scope) in scopes.unwrap_or_default() {
            for kind in Kind::ALL {
                let named = match self.source.read.index_file(scope, kind) {
                    Ok(named) => named,
                    // What it names is derived.
                    Err(error) if error.kind() == ErrorKind::Data => None,
                    Err(error) => return Err(error),
                };
                for row in named.iter().flat_map(NamedFile::rows) {
                    let name = format!("{}/{}", files::dir(space), row.name(scope, kind));
                    parts.extend(self.whole_file(disk, name)?);
                }
            }
        }
        Ok(())
    }

    fn whole_file(&mut self, disk: &Arc<dyn Disk>, name: String) -> Result<Option<Part>> {
        let path = disk.full_path(&name);
        let failed = |source| io_error("read", &path, source);
        let file = match disk.open(&name) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            file => file.map_err(failed)?,
        };
        let len = file.len().map_err(failed)?;
        let mut part = Part {
            kind: PartKind::File,
            name,
            len,
            block_bytes: u32::try_from(BLOCK_BYTES).expect("a block is small"),
            blocks: Vec::new(),
        };
        let mut bytes = Vec::new();
        let mut offset = 0;
        while offset < len {
            let count = BLOCK_BYTES.min(len - offset);
            bytes.resize(usize::try_from(count).expect("a block is small"), 0);
            file.read_at(offset, &mut bytes).map_err(failed)?;
            part.blocks.push(self.block(&bytes)?);
            offset += count;
        }
        Ok(Some(part))
    }
}
