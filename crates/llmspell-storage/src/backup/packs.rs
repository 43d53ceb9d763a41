//! Packs: files with the blocks of a backup, written once from front to back.

use std::collections::HashMap;
use std::sync::Arc;

use llmspell_core::Result;

use super::manifest::{Block, Manifest, Pack};
use crate::base::error::{corrupted, io_error, out_of_memory};
use crate::disk::{Disk, DiskFile};
use llmspell_codec::{checksum, try_zeros};

/// Packs end when they are this large.
const PACK_BYTES_MAX: u64 = if cfg!(test) { 64 << 10 } else { 1 << 30 };
/// What was written is synced after this many bytes, so that the system has no long queue when others need the disk.
const SYNC_BYTES: u64 = 32 << 20;
/// Of an older pack blocks are used again only if at least this share of it is still needed.
const REUSED_SHARE: u64 = 2;

/// The CRC-32C of a block.
pub(super) fn crc(bytes: &[u8]) -> u32 {
    checksum(&[], bytes)
}

/// Writes the blocks of a new backup, or finds them in the one before.
pub(super) struct PackWriter {
    disk: Arc<dyn Disk>,
    sequence: u32,
    /// The packs of the new backup: those of the one before that are used, then new ones.
    packs: Vec<Pack>,
    old: Option<OldBlocks>,
    file: Option<Arc<dyn DiskFile>>,
    number: u32,
    unsynced: u64,
    pub(super) written_bytes: u64,
    pub(super) reused_bytes: u64,
}

/// The blocks of the backup before.
struct OldBlocks {
    reader: PackReader,
    /// By checksum and length.
    by_content: HashMap<(u32, u32), Block>,
    /// Where its packs are among those of the new backup, once they are used.
    places: HashMap<u32, u32>,
}

impl PackWriter {
    /// A writer to a directory that may hold an earlier backup.
    pub(super) fn new(disk: &Arc<dyn Disk>, sequence: u32, old: Option<Manifest>) -> Self {
        Self {
            disk: Arc::clone(disk),
            sequence,
            packs: Vec::new(),
            old: old.map(|old| OldBlocks::new(disk, old)),
            file: None,
            number: 0,
            unsynced: 0,
            written_bytes: 0,
            reused_bytes: 0,
        }
    }

    /// Adds a block, unless the backup before has it.
    ///
    /// # Errors
    ///
    /// `Io` or `NoSpace`.
    pub(super) fn add(&mut self, bytes: &[u8]) -> Result<Block> {
        let len = u32::try_from(bytes.len()).expect("a block has less than 4 GiB");
        let crc = crc(bytes);
        if let Some(old) = &mut self.old
            && let Some(block) = old.find(crc, len, bytes)
        {
            self.reused_bytes += u64::from(len);
            let pack = block.pack.expect("it lies in a pack");
            let place = *old.places.entry(pack).or_insert_with(|| {
                self.packs.push(old.reader.packs[pack as usize]);
                place(self.packs.len() - 1)
            });
            return Ok(Block {
                pack: Some(place),
                ..block
            });
        }
        let (file, place, offset) = self.room_for(u64::from(len))?;
        let pack = &mut self.packs[place as usize];
        file.write_at(offset, bytes)
            .map_err(|source| io_error("write to", &self.disk.full_path(&pack.name()), source))?;
        pack.len += u64::from(len);
        self.written_bytes += u64::from(len);
        self.unsynced += u64::from(len);
        if self.unsynced >= SYNC_BYTES {
            self.sync(&file)?;
        }
        Ok(Block {
            pack: Some(place),
            offset,
            len,
            crc,
        })
    }

    /// The current pack, its place, and its end.
    fn room_for(&mut self, len: u64) -> Result<(Arc<dyn DiskFile>, u32, u64)> {
        let current = |writer: &Self| {
            let is_own = |pack: &Pack| pack.sequence == writer.sequence && pack.number + 1 == writer.number;
            writer.packs.iter().rposition(is_own)
        };
        if let (Some(at), Some(file)) = (current(self), &self.file) {
            let end = self.packs[at].len;
            if end + len <= PACK_BYTES_MAX {
                return Ok((Arc::clone(file), place(at), end));
            }
            let file = Arc::clone(file);
            self.sync(&file)?;
        }
        let pack = Pack {
            sequence: self.sequence,
            number: self.number,
            len: 0,
        };
        let name = pack.name();
        let file = self
            .disk
            .create(&name)
            .map_err(|source| io_error("create", &self.disk.full_path(&name), source))?;
        self.number += 1;
        self.packs.push(pack);
        self.file = Some(Arc::clone(&file));
        Ok((file, place(self.packs.len() - 1), 0))
    }

    fn sync(&mut self, file: &Arc<dyn DiskFile>) -> Result<()> {
        self.unsynced = 0;
        file.sync()
            .map_err(|source| io_error("sync a pack in", &self.disk.full_path(""), source))
    }

    /// Makes everything durable. Returns the packs that the blocks lie in.
    ///
    /// # Errors
    ///
    /// `Io`.
    pub(super) fn finish(&mut self) -> Result<Vec<Pack>> {
        if let Some(file) = self.file.take() {
            self.sync(&file)?;
        }
        Ok(std::mem::take(&mut self.packs))
    }
}

fn place(place: usize) -> u32 {
    u32::try_from(place).expect("there are few packs")
}

impl OldBlocks {
    fn new(disk: &Arc<dyn Disk>, old: Manifest) -> Self {
        let mut needed = vec![0; old.packs.len()];
        for block in old.blocks() {
            needed[block.pack.expect("these lie in packs") as usize] += u64::from(block.len);
        }
        let is_used = |pack: u32| needed[pack as usize] * REUSED_SHARE >= old.packs[pack as usize].len;
        let blocks = old.blocks().filter(|block| block.pack.is_some_and(is_used));
        Self {
            by_content: blocks.map(|block| ((block.crc, block.len), *block)).collect(),
            reader: PackReader::new(disk, old.packs),
            places: HashMap::new(),
        }
    }

    /// The block with these bytes. One that cannot be read, or is damaged, is none.
    fn find(&mut self, crc: u32, len: u32, bytes: &[u8]) -> Option<Block> {
        let block = *self.by_content.get(&(crc, len))?;
        let is_same = self.reader.read(&block).is_ok_and(|found| found == bytes);
        is_same.then_some(block)
    }
}

/// Reads blocks, and verifies them.
pub(super) struct PackReader {
    disk: Arc<dyn Disk>,
    packs: Vec<Pack>,
    /// The pack that was read last.
    open: Option<(u32, Arc<dyn DiskFile>)>,
    bytes: Vec<u8>,
}

impl PackReader {
    pub(super) fn new(disk: &Arc<dyn Disk>, packs: Vec<Pack>) -> Self {
        Self {
            disk: Arc::clone(disk),
            packs,
            open: None,
            bytes: Vec::new(),
        }
    }

    /// Checks that every pack is there, and as long as when it was written.
    ///
    /// # Errors
    ///
    /// `Corrupted` or `Io`.
    pub(super) fn check_lengths(&self) -> Result<()> {
        for pack in &self.packs {
            let (name, path) = (pack.name(), self.disk.full_path(&pack.name()));
            let exists = self.disk.exists(&name);
            if !exists.map_err(|source| io_error("look for", &path, source))? {
                return Err(corrupted(path, "the file is missing"));
            }
            let len = self.disk.open(&name).and_then(|file| file.len());
            let len = len.map_err(|source| io_error("measure", &path, source))?;
            if len != pack.len {
                return Err(corrupted(
                    path,
                    format!("it has {len} bytes; {} were written", pack.len),
                ));
            }
        }
        Ok(())
    }

    /// The bytes of a block that lies in a pack.
    ///
    /// # Errors
    ///
    /// `Corrupted` if they are not those that were written, `Io` if they cannot be read.
    pub(super) fn read(&mut self, block: &Block) -> Result<&[u8]> {
        let number = block.pack.expect("it lies in a pack");
        let pack = self.packs[number as usize];
        let path = self.disk.full_path(&pack.name());
        let file = match &self.open {
            Some((open, file)) if *open == number => Arc::clone(file),
            _ => {
                let file = self
                    .disk
                    .open(&pack.name())
                    .map_err(|source| io_error("open", &path, source))?;
                self.open = Some((number, Arc::clone(&file)));
                file
            }
        };
        if self.bytes.len() < block.len as usize {
            self.bytes = try_zeros(block.len as usize).map_err(|source| out_of_memory(&path, source))?;
        }
        let bytes = &mut self.bytes[..block.len as usize];
        file.read_at(block.offset, bytes)
            .map_err(|source| match source.kind() {
                std::io::ErrorKind::UnexpectedEof => corrupted(&path, "it ends early"),
                _ => io_error("read", &path, source),
            })?;
        if crc(bytes) != block.crc {
            let detail = format!("{} bytes from byte {} have another checksum", block.len, block.offset);
            return Err(corrupted(path, detail));
        }
        Ok(bytes)
    }
}
