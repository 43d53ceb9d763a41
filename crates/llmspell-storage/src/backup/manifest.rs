//! The manifest: which parts a backup has, and where their bytes lie.
//!
//! ```text
//! byte 0     8       12     20       24
//!      │magic│version│length│checksum│body …              the checksum is the CRC-32C of magic, version, length and body
//!      │8 B  │u32 = 1│u64   │u32     │
//!
//! body     sequence u32 │ database 16 B │ lsn u64 │ taken_at i64 │ format u32 │ origin: string │ flags u8: 1 with indexes
//!          damage: count u32, strings │ packs: count u32, (sequence u32, number u32, length u64) each
//!          parts: count u32, each: kind u8 (1 rows, 2 file), name: string, length u64, block bytes u32,
//!                                  blocks: count u64, (pack u32, offset u64, length u32, CRC-32C u32) each
//! string   length u32, UTF-8
//! ```
//!
//! `length` of rows is their number, of a file its bytes. The block of a file has `block bytes` bytes, the last one fewer;
//! one whose pack is `u32::MAX` is all zeros and lies nowhere. v1 (0.1.0): as above.

use std::collections::BTreeSet;
use std::sync::Arc;

use llmspell_core::{Result, StorageError};

use crate::base::error::{corrupted, io_error, out_of_memory};
use crate::disk::Disk;
use llmspell_codec::{Malformed, Reader, Writer, checksum, try_zeros};

pub(super) const FILE: &str = "MANIFEST";
/// Name until it is complete.
pub(super) const PARTIAL_FILE: &str = "MANIFEST.partial";
/// Held by whoever writes a backup.
pub(crate) const LOCK_FILE: &str = "LOCK";

const MAGIC: &[u8; 8] = b"llmsbkup";
const VERSION: u32 = 1;
const HEADER_BYTES: usize = 24;
const WITH_INDEXES: u8 = 1;
/// The pack of a block of zeros.
const NOWHERE: u32 = u32::MAX;

/// What a backup has.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Manifest {
    /// Number of the backup among those to its directory, from 1.
    pub(crate) sequence: u32,
    /// The database; zero if it has no number.
    pub(crate) database: [u8; 16],
    /// Number of the last mutation of entries in it.
    pub(crate) lsn: u64,
    /// When the snapshot was taken, in milliseconds since 1970.
    pub(crate) taken_at: i64,
    /// Version of the database's format.
    pub(crate) format: u32,
    /// Directory of the database, for people.
    pub(crate) origin: String,
    pub(crate) has_indexes: bool,
    /// Damage of the database that was found, where the backup was to go on.
    pub(crate) damage: Vec<String>,
    pub(crate) packs: Vec<Pack>,
    pub(crate) parts: Vec<Part>,
}

/// A file with blocks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Pack {
    /// The backup that wrote it.
    pub(super) sequence: u32,
    pub(super) number: u32,
    pub(crate) len: u64,
}

/// A table of the truth, or a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Part {
    pub(crate) kind: PartKind,
    /// Name of the table, or path of the file in the database.
    pub(crate) name: String,
    /// Number of rows, or bytes.
    pub(crate) len: u64,
    /// Bytes of each block of a file but the last; zero for rows.
    pub(super) block_bytes: u32,
    pub(super) blocks: Vec<Block>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum PartKind {
    Rows,
    File,
}

/// Where the bytes of a block lie.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Block {
    /// Place of its pack in [`Manifest::packs`]; none for zeros, which lie nowhere.
    pub(super) pack: Option<u32>,
    pub(super) offset: u64,
    pub(super) len: u32,
    pub(super) crc: u32,
}

impl Block {
    /// A block of zeros.
    pub(super) fn zeros(len: u32) -> Self {
        Self {
            pack: None,
            offset: 0,
            len,
            crc: 0,
        }
    }
}

impl Pack {
    pub(super) fn name(&self) -> String {
        format!("pack-{:08x}-{:04x}", self.sequence, self.number)
    }
}

/// Whether a name is that of a pack.
pub(super) fn is_pack_name(name: &str) -> bool {
    let parts = name.strip_prefix("pack-").and_then(|rest| rest.split_once('-'));
    let is_hex = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_hexdigit());
    parts.is_some_and(|(sequence, number)| is_hex(sequence) && is_hex(number))
}

impl Manifest {
    /// The manifest of the backup in a directory; none if there is none.
    ///
    /// # Errors
    ///
    /// `Corrupted`, `UnsupportedVersion` or `Io`.
    pub(crate) fn find(disk: &Arc<dyn Disk>) -> Result<Option<Self>> {
        let path = disk.full_path(FILE);
        let exists = disk
            .exists(FILE)
            .map_err(|source| io_error("look for", &path, source))?;
        if !exists {
            return Ok(None);
        }
        let file = disk.open(FILE).map_err(|source| io_error("open", &path, source))?;
        let len = file.len().map_err(|source| io_error("measure", &path, source))?;
        let len = usize::try_from(len).map_err(|_| corrupted(&path, "it is too long"))?;
        let mut bytes = try_zeros(len).map_err(|source| out_of_memory(&path, source))?;
        file.read_at(0, &mut bytes)
            .map_err(|source| io_error("read", &path, source))?;
        if bytes.len() < HEADER_BYTES || bytes[..8] != *MAGIC {
            return Err(corrupted(path, "it is no manifest of a backup"));
        }
        let malformed = |malformed: Malformed| corrupted(&path, malformed.0);
        let mut header = Reader::new(&bytes[8..HEADER_BYTES]);
        let (version, body_len, crc) = (
            header.u32().map_err(malformed)?,
            header.u64().map_err(malformed)?,
            header.u32().map_err(malformed)?,
        );
        let (head, body) = (&bytes[..HEADER_BYTES - 4], &bytes[HEADER_BYTES..]);
        if body_len != body.len() as u64 || crc != checksum(head, body) {
            return Err(corrupted(path, "its checksum or its length is wrong"));
        }
        if version != VERSION {
            return Err(StorageError::UnsupportedVersion {
                path,
                found: version,
                min: VERSION,
                max: VERSION,
            });
        }
        Self::decode(body).map(Some).map_err(malformed)
    }

    /// The manifest of a complete backup.
    ///
    /// # Errors
    ///
    /// As [`find`](Self::find); `NotABackup` if there is no manifest.
    pub(crate) fn read(disk: &Arc<dyn Disk>) -> Result<Self> {
        if let Some(manifest) = Self::find(disk)? {
            return Ok(manifest);
        }
        let path = disk.full_path("");
        let names = disk.list("").map_err(|source| io_error("list", &path, source))?;
        let is_cut = names.iter().any(|name| is_pack_name(name) || name == PARTIAL_FILE);
        let reason = match is_cut {
            true => "the backup was cut short: it has no file MANIFEST; take it again",
            false => "it holds no backup: there is no file MANIFEST",
        };
        Err(StorageError::NotABackup {
            path,
            reason: reason.to_string(),
        })
    }

    /// Writes it, in place of an earlier one. Everything that it names must be durable.
    ///
    /// # Errors
    ///
    /// `Io` or `NoSpace`. The earlier one is then still in place, or this one is.
    pub(super) fn write(&self, disk: &Arc<dyn Disk>) -> Result<()> {
        let body = self.encode();
        let mut head = Writer::default();
        head.bytes(MAGIC).u32(VERSION).u64(body.len() as u64);
        let mut bytes = head.finish();
        let crc = checksum(&bytes, &body);
        bytes.extend_from_slice(&crc.to_le_bytes());
        bytes.extend_from_slice(&body);
        let write = || {
            let file = disk.create(PARTIAL_FILE)?;
            file.write_at(0, &bytes)?;
            file.sync()?;
            drop(file);
            // The packs have their names before the manifest has its own.
            disk.sync_dir("")?;
            disk.rename(PARTIAL_FILE, FILE)?;
            disk.sync_dir("")
        };
        write().map_err(|source| io_error("write", &disk.full_path(FILE), source))
    }

    /// Rows in all tables.
    pub(crate) fn rows(&self) -> u64 {
        let rows = self.parts.iter().filter(|part| part.kind == PartKind::Rows);
        rows.map(|part| part.len).sum()
    }

    /// Files beside the rows.
    pub(crate) fn files(&self) -> u64 {
        self.parts.iter().filter(|part| part.kind == PartKind::File).count() as u64
    }

    /// Bytes of all blocks that lie in packs.
    pub(crate) fn content_bytes(&self) -> u64 {
        self.blocks().map(|block| u64::from(block.len)).sum()
    }

    /// Bytes of all packs.
    pub(crate) fn pack_bytes(&self) -> u64 {
        self.packs.iter().map(|pack| pack.len).sum()
    }

    /// The blocks that lie in packs.
    pub(super) fn blocks(&self) -> impl Iterator<Item = &Block> {
        let blocks = self.parts.iter().flat_map(|part| &part.blocks);
        blocks.filter(|block| block.pack.is_some())
    }

    fn encode(&self) -> Vec<u8> {
        let mut body = Writer::default();
        body.u32(self.sequence)
            .bytes(&self.database)
            .u64(self.lsn)
            .i64(self.taken_at)
            .u32(self.format);
        string(&mut body, &self.origin);
        body.u8(if self.has_indexes { WITH_INDEXES } else { 0 });
        body.u32(count(self.damage.len()));
        self.damage.iter().for_each(|text| string(&mut body, text));
        body.u32(count(self.packs.len()));
        for pack in &self.packs {
            body.u32(pack.sequence).u32(pack.number).u64(pack.len);
        }
        body.u32(count(self.parts.len()));
        for part in &self.parts {
            body.u8(match part.kind {
                PartKind::Rows => 1,
                PartKind::File => 2,
            });
            string(&mut body, &part.name);
            body.u64(part.len).u32(part.block_bytes).u64(part.blocks.len() as u64);
            for block in &part.blocks {
                body.u32(block.pack.unwrap_or(NOWHERE))
                    .u64(block.offset)
                    .u32(block.len)
                    .u32(block.crc);
            }
        }
        body.finish()
    }

    fn decode(body: &[u8]) -> Result<Self, Malformed> {
        let mut body = Reader::new(body);
        let mut manifest = Self {
            sequence: body.u32()?,
            database: body.bytes(16)?.try_into().expect("sixteen bytes"),
            lsn: body.u64()?,
            taken_at: body.i64()?,
            format: body.u32()?,
            origin: read_string(&mut body)?,
            has_indexes: body.u8()? & WITH_INDEXES != 0,
            ..Self::default()
        };
        for _ in 0..body.u32()? {
            manifest.damage.push(read_string(&mut body)?);
        }
        for _ in 0..body.u32()? {
            manifest.packs.push(Pack {
                sequence: body.u32()?,
                number: body.u32()?,
                len: body.u64()?,
            });
        }
        let mut names = BTreeSet::new();
        for _ in 0..body.u32()? {
            let part = read_part(&mut body, &manifest.packs)?;
            if !names.insert((part.kind == PartKind::Rows, part.name.clone())) {
                return Err(Malformed("it names a part twice"));
            }
            manifest.parts.push(part);
        }
        body.end()?;
        Ok(manifest)
    }
}

fn read_part(body: &mut Reader<'_>, packs: &[Pack]) -> Result<Part, Malformed> {
    let kind = match body.u8()? {
        1 => PartKind::Rows,
        2 => PartKind::File,
        _ => return Err(Malformed("it names a part of an unknown kind")),
    };
    let mut part = Part {
        kind,
        name: read_string(body)?,
        len: body.u64()?,
        block_bytes: body.u32()?,
        blocks: Vec::new(),
    };
    if kind == PartKind::File && !is_path(&part.name) {
        return Err(Malformed("it names a file that no database has"));
    }
    let mut bytes: u64 = 0;
    for _ in 0..body.u64()? {
        let (pack, offset, len, crc) = (body.u32()?, body.u64()?, body.u32()?, body.u32()?);
        let pack = (pack != NOWHERE).then_some(pack);
        if let Some(pack) = pack {
            let end = offset.checked_add(u64::from(len));
            let pack = packs.get(pack as usize).ok_or(Malformed("a block lies in no pack"))?;
            if end.is_none_or(|end| end > pack.len) {
                return Err(Malformed("a block reaches beyond its pack"));
            }
        }
        bytes += u64::from(len);
        part.blocks.push(Block { pack, offset, len, crc });
    }
    if kind == PartKind::File {
        let last = part.blocks.len().saturating_sub(1);
        let is_whole = |(place, block): (usize, &Block)| place == last || block.len == part.block_bytes;
        if bytes != part.len || !part.blocks.iter().enumerate().all(is_whole) {
            return Err(Malformed("the blocks of a file do not make up the file"));
        }
    }
    Ok(part)
}

/// Whether a path is one of a file that databases have: `spaces/<space>/<name>` or `spaces/<space>/index/<name>`.
fn is_path(path: &str) -> bool {
    let mut parts = path.split('/');
    let is_name = |name: &str| {
        let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.');
        !name.is_empty() && !name.starts_with('.') && name.bytes().all(is_plain)
    };
    let has_begin = parts.next() == Some("spaces");
    let space = parts.next().unwrap_or_default();
    let rest: Vec<&str> = parts.collect();
    let has_end = match rest.as_slice() {
        [name] | ["index", name] => is_name(name),
        _ => false,
    };
    has_begin && space.len() == 8 && space.bytes().all(|byte| byte.is_ascii_hexdigit()) && has_end
}

fn count(count: usize) -> u32 {
    u32::try_from(count).expect("there are fewer than four billion")
}

fn string(body: &mut Writer, text: &str) {
    body.u32(count(text.len())).bytes(text.as_bytes());
}

fn read_string(body: &mut Reader<'_>) -> Result<String, Malformed> {
    let len = body.u32()? as usize;
    let bytes = body.bytes(len)?;
    let text = std::str::from_utf8(bytes).map_err(|_| Malformed("a name in it is not UTF-8"))?;
    Ok(text.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn example() -> Manifest {
        Manifest {
            sequence: 2,
            database: [7; 16],
            lsn: 258,
            taken_at: -1,
            format: 1,
            origin: "a".to_string(),
            has_indexes: true,
            damage: vec!["b".to_string()],
            packs: vec![Pack {
                sequence: 2,
                number: 0,
                len: 9,
            }],
            parts: vec![
                Part {
                    kind: PartKind::Rows,
                    name: "kv".to_string(),
                    len: 3,
                    block_bytes: 0,
                    blocks: vec![Block {
                        pack: Some(0),
                        offset: 1,
                        len: 8,
                        crc: 5,
                    }],
                },
                Part {
                    kind: PartKind::File,
                    name: "spaces/00000001/slots-0".to_string(),
                    len: 6,
                    block_bytes: 4,
                    blocks: vec![Block::zeros(4), Block::zeros(2)],
                },
            ],
        }
    }

    #[test]
    fn the_bytes_of_a_manifest_never_change() {
        let body = example().encode();
        assert_eq!(Manifest::decode(&body).unwrap(), example());
        assert_eq!(crc32c::crc32c(&body), GOLDEN, "{body:?}");
        for len in 0..body.len() {
            assert!(Manifest::decode(&body[..len]).is_err(), "cut to {len} bytes");
        }
    }

    const GOLDEN: u32 = 1_089_825_932;

    #[test]
    fn only_paths_that_a_database_has_are_accepted() {
        for path in ["spaces/00000001/slots-0", "spaces/0000000a/index/1-2-0.idx"] {
            assert!(is_path(path), "{path}");
        }
        for path in [
            "",
            "spaces",
            "spaces/1/slots-0",
            "/etc/passwd",
            "spaces/00000001/..",
            "spaces/00000001/../slots-0",
            "spaces/00000001/index/../../x",
            "spaces/00000001/index/.x",
            "spaces/00000001/other/x",
            "truth.redb",
        ] {
            assert!(!is_path(path), "{path}");
        }
        let mut manifest = example();
        manifest.parts[1].name = "spaces/00000001/../x".to_string();
        assert!(Manifest::decode(&manifest.encode()).is_err());
    }

    #[test]
    fn a_block_must_lie_in_its_pack_and_blocks_make_up_their_file() {
        let mut manifest = example();
        manifest.parts[0].blocks[0].len = 9;
        assert!(Manifest::decode(&manifest.encode()).is_err());
        let mut manifest = example();
        manifest.parts[0].blocks[0].offset = u64::MAX;
        assert!(Manifest::decode(&manifest.encode()).is_err());
        let mut manifest = example();
        manifest.parts[1].blocks.pop();
        assert!(Manifest::decode(&manifest.encode()).is_err());
    }
}
