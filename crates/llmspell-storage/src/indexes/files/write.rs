//! Writing of an index file.
//!
//! Under another name, synced, renamed, the directory synced. It is not used until the manifest names it.

use std::io::{self, Write};
use std::sync::Arc;

use llmspell_core::Result;
use llmspell_vector::Graph;
use roaring::RoaringBitmap;

use super::ids::{self, Ids};
use super::layout::{ALIGNMENT, CHUNK_BYTES, Header, IndexRow, Kind, NEW_SUFFIX, START, Section, dir, name};
use crate::base::error::{corrupted, io_error};
use crate::base::ids::{Lsn, ScopeId, SpaceId};
use crate::disk::{Disk, DiskFile};

/// Bytes that are written to the file at once.
const BUFFER_BYTES: usize = 16 * CHUNK_BYTES;

/// The content of a file.
pub(crate) struct Content<'a> {
    pub(crate) scope: ScopeId,
    pub(crate) lsn: Lsn,
    pub(crate) graph: &'a Graph,
    pub(crate) ids: &'a Ids,
    pub(crate) points: &'a RoaringBitmap,
}

/// Writes a file, durably. None if it was cancelled; then the file is removed.
///
/// # Errors
///
/// `NoSpace` or `Io`, or `Corrupted` if an id to be copied is damaged. Then the file is removed, if the disk allows it.
pub(crate) fn write(
    disk: &Arc<dyn Disk>,
    space: SpaceId,
    content: &Content<'_>,
    is_cancelled: &dyn Fn() -> bool,
) -> Result<Option<IndexRow>> {
    write_new(
        disk,
        space,
        (content.scope, content.lsn, Kind::Graph),
        is_cancelled,
        |output| write_sections(output, content).map(|header| header.encode()),
    )
}

/// Writes a file: the output of `write`, then the header that it returns, at the beginning.
pub(super) fn write_new(
    disk: &Arc<dyn Disk>,
    space: SpaceId,
    (scope, lsn, kind): (ScopeId, Lsn, Kind),
    is_cancelled: &dyn Fn() -> bool,
    write: impl FnOnce(&mut Output<'_>) -> Result<Vec<u8>, WriteError>,
) -> Result<Option<IndexRow>> {
    let dir = dir(space);
    let full_dir = disk.full_path(&dir);
    let mut number = 0;
    // Never over a file that may be mapped.
    let path = loop {
        let path = format!("{dir}/{}", name(kind, scope, lsn, number));
        if !disk
            .exists(&path)
            .map_err(|source| io_error("look for", &full_dir, source))?
        {
            break path;
        }
        number += 1;
    };
    let new_path = format!("{path}{NEW_SUFFIX}");
    let full_path = disk.full_path(&path);
    let failed = |source| io_error("write", &full_path, source);

    let written = (|| {
        make_dir(disk, space).map_err(failed)?;
        let file = disk.create(&new_path).map_err(failed)?;
        let mut output = Output::new(&*file, is_cancelled);
        let header = write(&mut output).map_err(|error| match error {
            WriteError::Io(source) => failed(source),
            WriteError::BadId(vertex) => corrupted(&full_path, format!("the id of vertex {vertex} is damaged")),
        })?;
        let bytes = output.len;
        file.write_at(0, &header).map_err(failed)?;
        file.sync().map_err(failed)?;
        disk.rename(&new_path, &path).map_err(failed)?;
        disk.sync_dir(&dir).map_err(failed)?;
        Ok(IndexRow {
            lsn,
            number,
            bytes,
            header_checksum: u32::from_le_bytes(header[..4].try_into().expect("a header has more")),
            measured: None,
        })
    })();
    match written {
        Ok(row) => Ok(Some(row)),
        Err(error) => {
            // No row names them, so they may stay until the space is opened again.
            let _ = disk.remove(&new_path);
            let _ = disk.remove(&path);
            if is_cancelled() { Ok(None) } else { Err(error) }
        }
    }
}

/// Removes a file that no row names any more. If that fails, the next opening of the space does it.
pub(crate) fn remove(disk: &Arc<dyn Disk>, space: SpaceId, scope: ScopeId, kind: Kind, row: &IndexRow) {
    let _ = disk.remove(&format!("{}/{}", dir(space), row.name(scope, kind)));
}

fn make_dir(disk: &Arc<dyn Disk>, space: SpaceId) -> io::Result<()> {
    let dir = dir(space);
    if !disk.exists(&dir)? {
        disk.create_dir(&dir)?;
        let (parent, _) = dir.rsplit_once('/').expect("the directory lies in that of its space");
        disk.sync_dir(parent)?;
    }
    Ok(())
}

/// Why a file could not be written.
pub(super) enum WriteError {
    Io(io::Error),
    BadId(u32),
}

impl From<io::Error> for WriteError {
    fn from(error: io::Error) -> Self {
        Self::Io(error)
    }
}

fn write_sections(output: &mut Output<'_>, content: &Content<'_>) -> Result<Header, WriteError> {
    let Content {
        scope,
        lsn,
        graph,
        ids,
        points,
    } = *content;
    let graph_section = output.section(|output| graph.write_to(output).map(drop))?;

    let mut offsets = Vec::with_capacity(8 * (graph.len() as usize + 1));
    let mut bad_id = None;
    let ids_section = output.section(|output| {
        let (mut entry, mut offset) = (Vec::new(), 0_u64);
        for vertex in 0..graph.len() {
            offsets.extend_from_slice(&offset.to_le_bytes());
            let point = graph.point(vertex);
            let Ok((generation, id)) = ids.get(vertex, point) else {
                bad_id = Some(vertex);
                return Ok(());
            };
            entry.clear();
            ids::encode(scope, point, generation, id, &mut entry);
            output.write_all(&entry)?;
            offset += entry.len() as u64;
        }
        offsets.extend_from_slice(&offset.to_le_bytes());
        Ok(())
    })?;
    if let Some(vertex) = bad_id {
        return Err(WriteError::BadId(vertex));
    }
    let offsets_section = output.section(|output| output.write_all(&offsets))?;

    let mut bitmap = Vec::with_capacity(points.serialized_size());
    points.serialize_into(&mut bitmap)?;
    let points_section = output.section(|output| output.write_all(&bitmap))?;
    let (chunks_section, chunks_checksum) = output.finish_chunks()?;
    Ok(Header {
        scope,
        lsn,
        vertices: graph.len(),
        points_checksum: crc32c::crc32c(&bitmap),
        chunks_checksum,
        graph: graph_section,
        ids: ids_section,
        offsets: offsets_section,
        points: points_section,
        chunks: chunks_section,
    })
}

/// Writes from [`START`] on, and computes the checksum of every chunk.
pub(super) struct Output<'a> {
    file: &'a dyn DiskFile,
    is_cancelled: &'a dyn Fn() -> bool,
    buffer: Vec<u8>,
    checksums: Vec<u32>,
    /// Offset of the next byte in the file.
    len: u64,
}

impl<'a> Output<'a> {
    fn new(file: &'a dyn DiskFile, is_cancelled: &'a dyn Fn() -> bool) -> Self {
        Self {
            file,
            is_cancelled,
            buffer: Vec::with_capacity(BUFFER_BYTES),
            checksums: Vec::new(),
            len: START,
        }
    }

    /// The section that `write` writes.
    pub(super) fn section(&mut self, write: impl FnOnce(&mut Self) -> io::Result<()>) -> io::Result<Section> {
        self.pad()?;
        let offset = self.len;
        write(self)?;
        Ok(Section {
            offset,
            len: self.len - offset,
        })
    }

    /// Ends the file with the checksums of all chunks. Returns their section, and its checksum.
    pub(super) fn finish_chunks(&mut self) -> io::Result<(Section, u32)> {
        self.pad()?;
        self.write_buffer()?;
        let chunks: Vec<u8> = self.checksums.iter().flat_map(|sum| sum.to_le_bytes()).collect();
        let section = Section {
            offset: self.len,
            len: chunks.len() as u64,
        };
        self.file.write_at(self.len, &chunks)?;
        self.len += section.len;
        Ok((section, crc32c::crc32c(&chunks)))
    }

    fn pad(&mut self) -> io::Result<()> {
        let padding = self.len.next_multiple_of(ALIGNMENT) - self.len;
        self.write_all(&[0; ALIGNMENT as usize][..usize::try_from(padding).expect("it is small")])
    }

    fn write_buffer(&mut self) -> io::Result<()> {
        if (self.is_cancelled)() {
            return Err(io::Error::other("cancelled"));
        }
        self.checksums
            .extend(self.buffer.chunks(CHUNK_BYTES).map(crc32c::crc32c));
        self.file.write_at(self.len - self.buffer.len() as u64, &self.buffer)?;
        self.buffer.clear();
        Ok(())
    }
}

impl Write for Output<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let room = BUFFER_BYTES - self.buffer.len();
        let count = bytes.len().min(room);
        self.buffer.extend_from_slice(&bytes[..count]);
        self.len += count as u64;
        if self.buffer.len() == BUFFER_BYTES {
            self.write_buffer()?;
        }
        Ok(count)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
