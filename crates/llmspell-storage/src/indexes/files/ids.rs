//! The users' ids of the vertices of an index file.
//!
//! So a search without metadata need not read the truth. Beside an id stands the generation of the slot that held the
//! vector when the vertex was made: it reveals a slot that was used again since.

use std::sync::Arc;

use llmspell_vector::prefetch_row;

use crate::base::ids::{Generation, PointId, ScopeId, place};
use crate::slots::FrozenBytes;
use llmspell_codec::{Malformed, checksum};

/// Bytes of an entry before the id: checksum, generation.
const ENTRY_BYTES: usize = 8;

/// The ids of all vertices of a graph. Cheap to clone.
#[derive(Debug, Clone, Default)]
pub(crate) struct Ids {
    /// The ids of the first vertices.
    file: Option<FileIds>,
    /// The ids of the others, in order.
    lists: Vec<(u32, Arc<IdList>)>,
    len: u32,
}

/// Ids in an index file.
#[derive(Debug, Clone)]
pub(super) struct FileIds {
    pub(super) scope: ScopeId,
    pub(super) offsets: FrozenBytes,
    pub(super) ids: FrozenBytes,
    pub(super) len: u32,
}

/// Ids in RAM, in the order of vertices or points.
#[derive(Debug, Clone, Default)]
pub(crate) struct IdList {
    /// The ends of the entries.
    ends: Vec<u32>,
    /// Generation and id of each, one after the other.
    bytes: Vec<u8>,
}

impl Ids {
    pub(super) fn in_file(file: FileIds) -> Self {
        Self {
            len: file.len,
            file: Some(file),
            lists: Vec::new(),
        }
    }

    /// These ids, and those of further vertices. Small lists are joined, so that there are few.
    pub(crate) fn extended(&self, list: IdList) -> Self {
        let mut ids = self.clone();
        let mut list = list;
        while let Some((_, last)) = ids.lists.last()
            && last.len() <= 2 * list.len()
            && let Some(joined) = last.joined(&list)
        {
            ids.lists.pop();
            list = joined;
        }
        let in_lists = ids.lists.last().map_or(0, |(first, last)| first + last.len());
        let first = if ids.lists.is_empty() {
            ids.file.as_ref().map_or(0, |file| file.len)
        } else {
            in_lists
        };
        ids.len = first + list.len();
        ids.lists.push((first, Arc::new(list)));
        ids
    }

    /// Number of vertices.
    pub(crate) fn len(&self) -> u32 {
        self.len
    }

    /// The id of a vertex that is `point`, and the generation of its slot.
    ///
    /// # Errors
    ///
    /// The problem of the entry.
    pub(crate) fn get(&self, vertex: u32, point: PointId) -> Result<(Generation, &str), Malformed> {
        let (generation, id) = match &self.file {
            Some(file) if vertex < file.len => file.get(vertex, point)?,
            _ => {
                let after = self.lists.partition_point(|(first, _)| *first <= vertex);
                let (first, list) = self.lists[..after].last().ok_or(Malformed("it is missing"))?;
                list.get(vertex - first).ok_or(Malformed("it is missing"))?
            }
        };
        let id = std::str::from_utf8(id).map_err(|_| Malformed("it is not UTF-8"))?;
        Ok((generation, id))
    }

    /// Prefetches the offset of a vertex's id.
    #[inline]
    pub(crate) fn prefetch_place(&self, vertex: u32) {
        if let Some(file) = &self.file
            && let Some(offset) = file.offsets.as_ref().get(8 * vertex as usize..)
        {
            prefetch_row(&offset[..offset.len().min(16)]);
        }
    }

    /// Prefetches the id of a vertex, for which its offset must be read.
    #[inline]
    pub(crate) fn prefetch(&self, vertex: u32) {
        if let Some(file) = &self.file
            && let Some(start) = file.offset(vertex as usize)
            && let Some(entry) = file.ids.as_ref().get(start..)
        {
            prefetch_row(&entry[..entry.len().min(64)]);
        }
    }

    /// Bytes of RAM.
    pub(crate) fn memory_bytes(&self) -> u64 {
        let bytes = |list: &IdList| 4 * list.ends.capacity() + list.bytes.capacity();
        self.lists.iter().map(|(_, list)| bytes(list) as u64).sum()
    }
}

impl FileIds {
    /// Where the entry of a vertex begins, and the one before it ends.
    fn offset(&self, index: usize) -> Option<usize> {
        let bytes = self.offsets.as_ref().get(8 * index..8 * index + 8)?;
        usize::try_from(u64::from_le_bytes(bytes.try_into().expect("eight bytes"))).ok()
    }

    fn get(&self, vertex: u32, point: PointId) -> Result<(Generation, &[u8]), Malformed> {
        let outside = Malformed("it lies outside");
        let start = self.offset(vertex as usize).ok_or(outside)?;
        let end = self.offset(vertex as usize + 1).ok_or(outside)?;
        let entry = self.ids.as_ref().get(start..end).ok_or(outside)?;
        let (stored, body) = entry.split_first_chunk::<4>().ok_or(outside)?;
        if u32::from_le_bytes(*stored) != checksum(&place(self.scope, point), body) {
            return Err(Malformed("its checksum is wrong"));
        }
        let (generation, id) = body.split_first_chunk::<4>().ok_or(outside)?;
        Ok((Generation(u32::from_le_bytes(*generation)), id))
    }
}

impl IdList {
    /// Appends an id. False if there is no more room, at 4 GiB of ids.
    #[must_use]
    pub(crate) fn push(&mut self, generation: Generation, id: &[u8]) -> bool {
        let Ok(end) = u32::try_from(self.bytes.len() + 4 + id.len()) else {
            return false;
        };
        self.bytes.extend_from_slice(&generation.0.to_le_bytes());
        self.bytes.extend_from_slice(id);
        self.ends.push(end);
        true
    }

    /// Number of ids.
    pub(crate) fn len(&self) -> u32 {
        u32::try_from(self.ends.len()).expect("there are no more ids than points")
    }

    /// The id at an index.
    pub(crate) fn get(&self, place: u32) -> Option<(Generation, &[u8])> {
        let end = *self.ends.get(place as usize)? as usize;
        let start = match place.checked_sub(1) {
            Some(before) => self.ends[before as usize] as usize,
            None => 0,
        };
        let (generation, id) = self.bytes[start..end].split_first_chunk::<4>()?;
        Some((Generation(u32::from_le_bytes(*generation)), id))
    }

    fn joined(&self, other: &Self) -> Option<Self> {
        let shift = u32::try_from(self.bytes.len()).ok()?;
        u32::try_from(self.bytes.len() + other.bytes.len()).ok()?;
        Some(Self {
            ends: self
                .ends
                .iter()
                .copied()
                .chain(other.ends.iter().map(|end| end + shift))
                .collect(),
            bytes: [self.bytes.as_slice(), &other.bytes].concat(),
        })
    }
}

/// Appends the bytes that an entry has in a file.
pub(super) fn encode(scope: ScopeId, point: PointId, generation: Generation, id: &str, bytes: &mut Vec<u8>) {
    let start = bytes.len();
    bytes.extend_from_slice(&[0; 4]);
    bytes.extend_from_slice(&generation.0.to_le_bytes());
    bytes.extend_from_slice(id.as_bytes());
    debug_assert!(
        bytes.len() >= start + ENTRY_BYTES,
        "checksum and generation stand before the id"
    );
    let checksum = checksum(&place(scope, point), &bytes[start + 4..]);
    bytes[start..start + 4].copy_from_slice(&checksum.to_le_bytes());
}

#[cfg(test)]
mod tests {
    use super::*;

    fn list(ids: std::ops::Range<u32>) -> IdList {
        let mut list = IdList::default();
        for id in ids {
            assert!(list.push(Generation(id + 1), format!("id-{id}").as_bytes()));
        }
        list
    }

    #[test]
    fn ids_are_found_across_lists_of_any_size_and_there_are_few_lists() {
        let mut ids = Ids::default();
        let mut next = 0;
        for len in [5, 1, 1, 1, 40, 3, 2, 7, 1, 0, 1] {
            ids = ids.extended(list(next..next + len));
            next += len;
        }
        assert_eq!(ids.len(), next);
        for vertex in 0..next {
            let expected = format!("id-{vertex}");
            assert_eq!(
                ids.get(vertex, PointId(0)),
                Ok((Generation(vertex + 1), expected.as_str()))
            );
        }
        assert!(ids.get(next, PointId(0)).is_err());
        assert!(ids.lists.len() <= 4, "{} lists", ids.lists.len());
    }

    fn in_memory(bytes: &[u8]) -> FrozenBytes {
        let copy = |memory: &mut [u8]| {
            memory.copy_from_slice(bytes);
            std::io::Result::Ok(())
        };
        FrozenBytes::filled(bytes.len(), copy).unwrap()
    }

    #[test]
    fn an_entry_of_a_file_is_good_only_whole_and_for_its_point_and_scope() {
        let mut entry = Vec::new();
        encode(ScopeId(7), PointId(3), Generation(2), "ada", &mut entry);
        let get = |entry: &[u8], scope, point| {
            let offsets = [0_u64, entry.len() as u64].map(u64::to_le_bytes).concat();
            let ids = Ids::in_file(FileIds {
                scope,
                offsets: in_memory(&offsets),
                ids: in_memory(entry),
                len: 1,
            });
            ids.get(0, point).map(|(generation, id)| (generation, id.to_string()))
        };
        assert_eq!(
            get(&entry, ScopeId(7), PointId(3)),
            Ok((Generation(2), "ada".to_string()))
        );
        assert!(get(&entry, ScopeId(8), PointId(3)).is_err());
        assert!(get(&entry, ScopeId(7), PointId(4)).is_err());
        for bit in 0..8 * entry.len() {
            let mut damaged = entry.clone();
            damaged[bit / 8] ^= 1 << (bit % 8);
            assert!(get(&damaged, ScopeId(7), PointId(3)).is_err(), "bit {bit}");
        }
    }
}
