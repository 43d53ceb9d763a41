//! The file of a metadata index.
//!
//! ```text
//! byte 0     header (64 bytes, then zeros)
//!      4096  index       bytes of the index: see `stored.rs` of llmspell-metadata
//!            chunks      per 64 KiB from byte 4096 to here: CRC-32C u32
//!
//! header: 0        4     12      16       24  32         36   40         48       56         64
//!         │checksum│magic│version│scope_id│lsn│chunks_crc│zero│index_len │chunks  │chunks_len│
//!         │ u32    │ 8 B │ u32   │ u64    │u64│ u32      │u32 │ u64      │ u64    │ u64      │
//! ```
//!
//! `lsn` is the mutation of the index. The row in `index_files` names the file, with the points that have changed
//! since. v1 (0.1.0): as above.

use std::io::Write as _;
use std::sync::Arc;

use llmspell_core::Result as CoreResult;
use roaring::RoaringBitmap;

use super::layout::{IndexRow, Kind, START, Section, Stated, begin_header, end_header, read_header};
use super::open::{Unusable, open_named, read_chunks};
use super::write::write_new;
use crate::base::ids::{Lsn, ScopeId, SpaceId};
use crate::disk::Disk;
use llmspell_codec::Malformed;
use llmspell_metadata::{MetadataIndex, Restored};

const MAGIC: &[u8; 8] = b"llmsmet\0";
const VERSION: u32 = 1;
/// Bytes of the header.
const HEADER_BYTES: usize = 64;

/// The header of a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Header {
    scope: ScopeId,
    lsn: Lsn,
    chunks_checksum: u32,
    index_len: u64,
    chunks: Section,
}

impl Header {
    fn encode(&self) -> Vec<u8> {
        let mut body = begin_header(HEADER_BYTES, (MAGIC, VERSION), (self.scope, self.lsn));
        body.u32(self.chunks_checksum).u32(0).u64(self.index_len);
        self.chunks.write(&mut body);
        end_header(body, HEADER_BYTES)
    }

    /// Decodes the bytes of [`encode`](Self::encode), and returns what they state too.
    fn decode(bytes: &[u8]) -> Result<(Self, Stated), Malformed> {
        let (mut body, stated) = read_header(bytes, (MAGIC, VERSION), "it is no index of metadata")?;
        let (scope, lsn, _) = stated;
        let chunks_checksum = body.u32()?;
        body.u32()?;
        let header = Self {
            scope,
            lsn,
            chunks_checksum,
            index_len: body.u64()?,
            chunks: Section::read(&mut body)?,
        };
        body.end()?;
        Ok((header, stated))
    }
}

/// Writes the index of a scope as of `lsn` to a file, durably. None if it was cancelled; then the file is removed.
///
/// # Errors
///
/// `NoSpace` or `Io`. Then the file is removed, if the disk allows it.
pub(crate) fn write(
    disk: &Arc<dyn Disk>,
    space: SpaceId,
    (scope, lsn): (ScopeId, Lsn),
    index: &MetadataIndex,
    is_cancelled: &dyn Fn() -> bool,
) -> CoreResult<Option<IndexRow>> {
    write_new(disk, space, (scope, lsn, Kind::Metadata), is_cancelled, |output| {
        let section = output.section(|output| index.store(&mut |bytes| output.write_all(bytes)))?;
        let (chunks, chunks_checksum) = output.finish_chunks()?;
        let header = Header {
            scope,
            lsn,
            chunks_checksum,
            index_len: section.len,
            chunks,
        };
        Ok(header.encode())
    })
}

/// Reads the file of a scope that the manifest names, without the points in `changed`. None if that was cancelled.
///
/// # Errors
///
/// Why it is useless; the file is derived and can be made again.
pub(crate) fn read(
    disk: &Arc<dyn Disk>,
    space: SpaceId,
    scope: ScopeId,
    row: &IndexRow,
    changed: &RoaringBitmap,
    is_cancelled: &dyn Fn() -> bool,
) -> Result<Option<Restored>, Unusable> {
    let (file, header) = open_named(
        disk,
        space,
        (scope, Kind::Metadata),
        row,
        |bytes: &[u8; HEADER_BYTES]| Header::decode(bytes),
    )?;
    let Section { offset, len } = header.chunks;
    if offset.checked_add(len) != Some(row.bytes) || offset.checked_sub(START).is_none_or(|max| header.index_len > max)
    {
        return Err(Unusable("its parts do not fit".to_string()));
    }
    let mut bytes = Vec::with_capacity(usize::try_from(offset - START)?);
    let add = |_, chunk: &[u8]| bytes.extend_from_slice(chunk);
    if !read_chunks(&*file, (header.chunks, header.chunks_checksum), is_cancelled, add)? {
        return Ok(None);
    }
    let stored = bytes
        .get(..usize::try_from(header.index_len)?)
        .ok_or_else(|| Unusable("it ends early".to_string()))?;
    MetadataIndex::restore(stored, changed)
        .map(Some)
        .map_err(|malformed| Unusable(malformed.0.to_string()))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::layout::dir;
    use super::*;
    use crate::disk::sim::SimDisk;
    use llmspell_metadata::MetadataIndexConfig;

    #[test]
    fn the_bytes_of_a_header_never_change() {
        let header = Header {
            scope: ScopeId(7),
            lsn: Lsn(9),
            chunks_checksum: 0x0506_0708,
            index_len: 100,
            chunks: Section { offset: 4224, len: 4 },
        };
        let bytes = header.encode();
        #[rustfmt::skip]
        assert_eq!(bytes[4..], [
            b'l', b'l', b'm', b's', b'm', b'e', b't', 0,
            1, 0, 0, 0,                                 // version
            7, 0, 0, 0, 0, 0, 0, 0,                     // scope
            9, 0, 0, 0, 0, 0, 0, 0,                     // lsn
            8, 7, 6, 5, 0, 0, 0, 0,                     // checksum, zero
            100, 0, 0, 0, 0, 0, 0, 0,                   // length of the index
            128, 16, 0, 0, 0, 0, 0, 0,                  // chunks
            4, 0, 0, 0, 0, 0, 0, 0,
        ]);
        assert_eq!(Header::decode(&bytes).unwrap().0, header);
        for bit in 0..8 * bytes.len() {
            let mut damaged = bytes.clone();
            damaged[bit / 8] ^= 1 << (bit % 8);
            assert!(Header::decode(&damaged).is_err(), "bit {bit}");
        }
    }

    #[test]
    fn a_file_reads_back_and_no_damaged_foreign_or_shortened_one_does() {
        let disk: Arc<dyn Disk> = Arc::new(SimDisk::default());
        disk.create_dir("spaces").unwrap();
        disk.create_dir("spaces/00000001").unwrap();
        let (space, scope, lsn) = (SpaceId(1), ScopeId(2), Lsn(3));
        let mut index = MetadataIndex::new(MetadataIndexConfig::default());
        for point in 0..200 {
            index.insert(point, json!({"section": point % 3, "n": point}).as_object().unwrap());
        }
        let row = write(&disk, space, (scope, lsn), &index, &|| false).unwrap().unwrap();
        let read = |scope, row: &IndexRow| read(&disk, space, scope, row, &RoaringBitmap::new(), &|| false);
        let restored = read(scope, &row).unwrap().unwrap();
        assert_eq!(restored.index.points(), index.points());
        assert!(restored.stale.is_empty());

        assert!(read(ScopeId(3), &row).is_err(), "of another scope");
        let wrong = IndexRow {
            header_checksum: row.header_checksum + 1,
            ..row
        };
        assert!(read(scope, &wrong).is_err(), "another file");

        let path = format!("{}/{}", dir(space), row.name(scope, Kind::Metadata));
        let file = disk.open(&path).unwrap();
        let mut whole = vec![0; usize::try_from(row.bytes).unwrap()];
        file.read_at(0, &mut whole).unwrap();
        // All bytes under a checksum: the header, and everything after the zeros.
        for place in (0..HEADER_BYTES).chain(usize::try_from(START).unwrap()..whole.len()) {
            file.write_at(place as u64, &[whole[place] ^ 4]).unwrap();
            assert!(read(scope, &row).is_err(), "byte {place}");
            file.write_at(place as u64, &whole[place..=place]).unwrap();
        }
        assert!(read(scope, &row).is_ok());
        file.set_len(row.bytes - 1).unwrap();
        assert!(read(scope, &row).is_err());
        assert!(
            write(&disk, space, (scope, Lsn(4)), &index, &|| true)
                .unwrap()
                .is_none(),
            "cancelled"
        );
    }
}
