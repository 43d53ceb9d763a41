//! Opening and checking of an index file.
//!
//! Opening reads little: header, the bitmap of points, the parts that the graph needs. The rest is mapped, and its
//! checksums are verified in the background by [`IndexFile::verify`], through reads that leave the pages to the system.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use llmspell_vector::{Graph, GraphDamage};
use roaring::RoaringBitmap;

use super::ids::{FileIds, Ids};
use super::layout::{
    CHUNK_BYTES, HEADER_BYTES, Header, IndexRow, Kind, NEW_SUFFIX, START, Section, Stated, dir, parse_name,
};
use crate::base::ids::{Lsn, ScopeId, SpaceId};
use crate::disk::{Disk, DiskFile};
use crate::slots::FrozenBytes;
use llmspell_codec::{Malformed, try_zeros};

/// Why a file is useless, in words.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Unusable(pub(crate) String);

impl<E: std::fmt::Display> From<E> for Unusable {
    fn from(error: E) -> Self {
        Self(error.to_string())
    }
}

/// A file that the manifest names, and that is in use.
#[derive(Debug)]
pub(crate) struct IndexFile {
    pub(crate) row: IndexRow,
    file: Arc<dyn DiskFile>,
    header: Header,
    bytes: FrozenBytes,
    is_verified: AtomicBool,
}

/// The content of a file.
#[derive(Debug)]
pub(crate) struct Opened {
    pub(crate) file: Arc<IndexFile>,
    pub(crate) graph: Graph,
    pub(crate) ids: Ids,
    pub(crate) points: RoaringBitmap,
    pub(crate) lsn: Lsn,
}

/// Opens the file that a row names, checks its size, and reads its header with `decode`, which also gives the scope,
/// the Lsn and the checksum in it; these must be those of the row.
pub(super) fn open_named<const BYTES: usize, Header>(
    disk: &Arc<dyn Disk>,
    space: SpaceId,
    (scope, kind): (ScopeId, Kind),
    row: &IndexRow,
    decode: impl FnOnce(&[u8; BYTES]) -> Result<(Header, Stated), Malformed>,
) -> Result<(Arc<dyn DiskFile>, Header), Unusable> {
    let file = disk.open(&format!("{}/{}", dir(space), row.name(scope, kind)))?;
    if file.len()? != row.bytes {
        return Err(Unusable(format!("it has {} bytes, not {}", file.len()?, row.bytes)));
    }
    let mut bytes = [0; BYTES];
    file.read_at(0, &mut bytes)?;
    let (header, stated) = decode(&bytes).map_err(|malformed| Unusable(malformed.0.to_string()))?;
    if stated != (scope, row.lsn, row.header_checksum) {
        return Err(Unusable("it is not the file that was written".to_string()));
    }
    Ok((file, header))
}

/// The content of a file, mapped where that is possible.
pub(super) fn frozen(file: &dyn DiskFile, len: u64) -> Result<FrozenBytes, Unusable> {
    let len = usize::try_from(len)?;
    Ok(match file.mappable()? {
        Some(mappable) => FrozenBytes::map(&mappable, len)?,
        None => FrozenBytes::filled(len, |bytes| file.read_at(0, bytes))?,
    })
}

/// A part of the content.
pub(super) fn part(bytes: &FrozenBytes, section: Section) -> Result<FrozenBytes, Unusable> {
    let part = bytes.part(section.offset, section.len);
    part.ok_or_else(|| Unusable("it ends early".to_string()))
}

/// Opens the file of a scope that the manifest names. Takes time in proportion to the bitmap of points.
///
/// # Errors
///
/// Why it is useless; the file is derived and can be made again.
pub(crate) fn open(disk: &Arc<dyn Disk>, space: SpaceId, scope: ScopeId, row: IndexRow) -> Result<Opened, Unusable> {
    let (file, header) = open_named(disk, space, (scope, Kind::Graph), &row, |bytes: &[u8; HEADER_BYTES]| {
        Header::decode(bytes)
    })?;
    let bytes = frozen(&*file, row.bytes)?;
    let part = |section| part(&bytes, section);
    let bitmap = part(header.points)?;
    if crc32c::crc32c(bitmap.as_ref()) != header.points_checksum {
        return Err(Unusable("the checksum of its points is wrong".to_string()));
    }
    let points = RoaringBitmap::deserialize_from(bitmap.as_ref())?;
    let graph = Graph::open(Arc::new(part(header.graph)?)).map_err(|GraphDamage(detail)| Unusable(detail))?;
    if graph.len() != header.vertices || points.len() != u64::from(header.vertices) {
        return Err(Unusable("its counts do not agree".to_string()));
    }
    let ids = Ids::in_file(FileIds {
        scope,
        offsets: part(header.offsets)?,
        ids: part(header.ids)?,
        len: header.vertices,
    });
    Ok(Opened {
        file: Arc::new(IndexFile {
            row,
            file,
            header,
            bytes,
            is_verified: AtomicBool::new(false),
        }),
        graph,
        ids,
        points,
        lsn: header.lsn,
    })
}

impl IndexFile {
    /// Whether every byte was found undamaged since the file was opened, and so was in RAM at least once.
    pub(crate) fn is_verified(&self) -> bool {
        self.is_verified.load(Ordering::Acquire)
    }

    /// Trusts the file, because this process has just written it.
    pub(crate) fn trust(&self) {
        self.is_verified.store(true, Ordering::Release);
    }

    /// Whether reads in place read pages of the file, not memory of our own.
    pub(crate) fn is_mapped(&self) -> bool {
        self.bytes.is_mapped()
    }

    /// Returns the pages that were read in place to the system.
    pub(crate) fn forget_pages(&self) {
        self.bytes.forget_pages();
    }

    /// Reads everything and compares all checksums. Returns false if it was cancelled.
    ///
    /// # Errors
    ///
    /// The damage.
    pub(crate) fn verify(&self, is_cancelled: &dyn Fn() -> bool) -> Result<bool, Unusable> {
        self.read_chunks(is_cancelled, |_, _| {})
    }

    /// The same, and builds the graph in memory of our own from the bytes read. None if it was cancelled, or if there
    /// is not enough memory: then nothing was verified.
    ///
    /// # Errors
    ///
    /// The damage.
    pub(crate) fn verify_into_memory(&self, is_cancelled: &dyn Fn() -> bool) -> Result<Option<Graph>, Unusable> {
        let Section { offset, len } = self.header.graph;
        let mut is_whole = Ok(false);
        let bytes = FrozenBytes::filled(usize::try_from(len)?, |memory| {
            is_whole = self.read_chunks(is_cancelled, |place, chunk| {
                copy_common((place, chunk), (offset, memory));
            });
            io::Result::Ok(())
        });
        match (is_whole?, bytes) {
            (true, Ok(bytes)) => Ok(Some(Graph::open(Arc::new(bytes)).map_err(|damage| Unusable(damage.0))?)),
            (false, _) | (_, Err(_)) => Ok(None),
        }
    }

    fn read_chunks(&self, is_cancelled: &dyn Fn() -> bool, visit: impl FnMut(u64, &[u8])) -> Result<bool, Unusable> {
        let Header {
            chunks,
            chunks_checksum,
            ..
        } = self.header;
        let is_whole = read_chunks(&*self.file, (chunks, chunks_checksum), is_cancelled, visit)?;
        if is_whole {
            self.trust();
            // All of it was in RAM just now. Of what has to go again, searches read a page at a time.
            self.bytes.will_read_pages();
        }
        Ok(is_whole)
    }
}

/// Calls `visit` for every chunk before the table of checksums, with its offset in the file, once its checksum was
/// found right. Returns false if it was cancelled.
pub(super) fn read_chunks(
    file: &dyn DiskFile,
    (Section { offset, len }, table_checksum): (Section, u32),
    is_cancelled: &dyn Fn() -> bool,
    mut visit: impl FnMut(u64, &[u8]),
) -> Result<bool, Unusable> {
    let mut table = try_zeros(usize::try_from(len)?)?;
    file.read_at(offset, &mut table)?;
    if crc32c::crc32c(&table) != table_checksum {
        return Err(Unusable("the checksum of its checksums is wrong".to_string()));
    }
    let mut place = START;
    let mut chunk = vec![0; CHUNK_BYTES];
    for stored in table.as_chunks::<4>().0 {
        if is_cancelled() {
            return Ok(false);
        }
        let len = (offset.saturating_sub(place)).min(CHUNK_BYTES as u64);
        chunk.truncate(usize::try_from(len)?);
        file.read_at(place, &mut chunk)?;
        if crc32c::crc32c(&chunk) != u32::from_le_bytes(*stored) {
            return Err(Unusable(format!("bytes {place} to {} are damaged", place + len)));
        }
        visit(place, &chunk);
        place += len;
    }
    if place != offset {
        return Err(Unusable("not all of it has a checksum".to_string()));
    }
    Ok(true)
}

/// Copies the bytes that two parts of a file have in common. Each part has its offset in the file.
fn copy_common((from_place, from): (u64, &[u8]), (to_place, to): (u64, &mut [u8])) {
    let first = from_place.max(to_place);
    let end = (from_place + from.len() as u64).min(to_place + to.len() as u64);
    let Some(count) = end.checked_sub(first) else { return };
    let part = |start: u64| {
        let start = usize::try_from(first - start).expect("it lies in memory");
        start..start + usize::try_from(count).expect("it lies in memory")
    };
    to[part(to_place)].copy_from_slice(&from[part(from_place)]);
}

/// Removes the remains of an earlier run from the directory of a space: files that never got their name, and those that
/// no row names.
pub(crate) fn remove_unnamed(
    disk: &Arc<dyn Disk>,
    space: SpaceId,
    mut is_unnamed: impl FnMut(Kind, ScopeId, Lsn, u32) -> bool,
) {
    let dir = dir(space);
    for name in disk.list(&dir).unwrap_or_default() {
        let is_left = match parse_name(&name) {
            Some((kind, scope, lsn, number)) => is_unnamed(kind, scope, lsn, number),
            None => name.ends_with(NEW_SUFFIX),
        };
        if is_left {
            // It only takes disk space; the next opening tries again.
            let _ = disk.remove(&format!("{dir}/{name}"));
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn what_two_parts_of_a_file_have_in_common_is_copied_and_nothing_else(
            from_place in 0..40_u64,
            from_len in 0..40_usize,
            to_place in 0..40_u64,
            to_len in 0..40_usize,
        ) {
            let byte_at = |place: u64| 1 + u8::try_from(place).unwrap();
            let from: Vec<u8> = (from_place..).map(byte_at).take(from_len).collect();
            let mut to = vec![0; to_len];
            copy_common((from_place, &from), (to_place, &mut to));
            for (place, byte) in (to_place..).zip(to) {
                let is_common = (from_place..from_place + from_len as u64).contains(&place);
                prop_assert_eq!(byte, if is_common { byte_at(place) } else { 0 });
            }
        }
    }
}
