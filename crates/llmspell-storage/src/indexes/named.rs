//! The named file of an index: which file the truth names, and what is known of it.
//!
//! ```text
//! row of a scope and a kind: table `index_files`
//! byte 0        4       5   13     17    25              29    30
//!      │checksum│version│lsn│number│bytes│header_checksum│parts│ measured │ changed: length u32, roaring bytes
//!      │ u32    │ u8 = 1│u64│ u32  │ u64 │ u32           │ u8  │
//!      then, with others: count u32, for each lsn u64, number u32, bytes u64, header_checksum u32
//! ```
//!
//! The checksum covers the key (scope id u64, kind u8) too. `parts`: 1, measured recall follows (see
//! `files/measured.rs`); 2, the points changed since, as of the checkpoint of the scope; 4, other files, which are used
//! together with the first. v1 (0.1.0): as above.

use std::sync::Arc;

use roaring::RoaringBitmap;

use super::builds::Noted;
use super::files::{IndexRow, Kind, Measured};
use crate::base::ids::{Lsn, ScopeId};
use llmspell_codec::{Malformed, Reader, Writer, seal, unseal};

const VERSION: u8 = 1;
const IS_MEASURED: u8 = 1;
const HAS_CHANGED: u8 = 2;
const HAS_OTHERS: u8 = 4;

/// A file that the truth names.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct NamedFile {
    /// None if the row cannot be read.
    pub(crate) row: Option<IndexRow>,
    /// Files that are used together with it: those of texts are several.
    pub(crate) others: Arc<Vec<IndexRow>>,
    /// Whether the file was found to be useless. Not stored.
    pub(crate) is_bad: bool,
    /// Points that are not reused while the file may be opened: for a graph all of its points. Not stored.
    pub(crate) held: Arc<RoaringBitmap>,
    /// Points that were added, removed or got other metadata since: the file's content for them is out of date. Empty
    /// for kinds that do not [note changes](Kind::notes_changes).
    pub(crate) changed: Arc<RoaringBitmap>,
}

impl NamedFile {
    /// The rows of all its files.
    pub(crate) fn rows(&self) -> impl Iterator<Item = IndexRow> + use<'_> {
        self.row.into_iter().chain(self.others.iter().copied())
    }
}

/// A new file, for the truth to name.
#[derive(Debug)]
pub(crate) struct NewFile {
    pub(crate) row: IndexRow,
    pub(crate) held: Arc<RoaringBitmap>,
    /// The changes since its state, for kinds that note them.
    pub(crate) noted: Option<Arc<Noted>>,
}

/// The files of one namespace, by their kinds.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct Files([Option<NamedFile>; Kind::ALL.len()]);

impl Files {
    /// The file of a kind.
    pub(crate) fn get(&self, kind: Kind) -> Option<&NamedFile> {
        self.0[kind as usize].as_ref()
    }

    /// Sets the file of a kind.
    pub(crate) fn set(&mut self, kind: Kind, file: Option<NamedFile>) {
        self.0[kind as usize] = file;
    }

    /// Marks the file of a kind, if there is one, as useless.
    pub(crate) fn set_bad(&mut self, kind: Kind) {
        if let Some(file) = &mut self.0[kind as usize] {
            file.is_bad = true;
        }
    }

    /// The row of the file of a kind.
    pub(crate) fn row(&self, kind: Kind) -> Option<IndexRow> {
        self.get(kind)?.row
    }

    /// The rows of all files.
    pub(crate) fn rows(&self) -> impl Iterator<Item = (Kind, IndexRow)> + '_ {
        Kind::ALL
            .into_iter()
            .flat_map(|kind| self.rows_of(kind).map(move |row| (kind, row)))
    }

    /// The rows of the files of a kind.
    pub(crate) fn rows_of(&self, kind: Kind) -> impl Iterator<Item = IndexRow> + '_ {
        self.get(kind).into_iter().flat_map(NamedFile::rows)
    }

    /// Whether the file of a kind was found to be useless.
    pub(crate) fn is_bad(&self, kind: Kind) -> bool {
        self.get(kind).is_some_and(|file| file.is_bad)
    }

    /// The files of the kinds that note changes.
    pub(crate) fn noting(&mut self) -> impl Iterator<Item = &mut NamedFile> {
        let files = self.0.iter_mut().zip(Kind::ALL);
        files.filter_map(|(file, kind)| file.as_mut().filter(|_| kind.notes_changes()))
    }

    /// The points that are not reused while the files may be opened.
    pub(crate) fn held(&self) -> Option<&Arc<RoaringBitmap>> {
        self.get(Kind::Graph).map(|file| &file.held)
    }

    /// Whether these hold the same points as others.
    pub(crate) fn holds_as(&self, others: &Self) -> bool {
        match (self.held(), others.held()) {
            (None, None) => true,
            (Some(own), Some(others)) => Arc::ptr_eq(own, others),
            (Some(_), None) | (None, Some(_)) => false,
        }
    }
}

/// The place of a row, for its checksum.
fn place(scope: ScopeId, kind: Kind) -> [u8; 9] {
    let mut place = [kind.number(); 9];
    place[..8].copy_from_slice(&scope.0.to_le_bytes());
    place
}

/// The bytes of the row of a file; none if its row could not be read.
pub(crate) fn encode(scope: ScopeId, kind: Kind, file: &NamedFile) -> Option<Vec<u8>> {
    let row = file.row?;
    let measured = if row.measured.is_some() { IS_MEASURED } else { 0 };
    let changed = if kind.notes_changes() { HAS_CHANGED } else { 0 };
    let others = if file.others.is_empty() { 0 } else { HAS_OTHERS };
    let mut body = Writer::default();
    body.u8(VERSION)
        .u64(row.lsn.0)
        .u32(row.number)
        .u64(row.bytes)
        .u32(row.header_checksum)
        .u8(measured | changed | others);
    if let Some(measured) = &row.measured {
        measured.encode(&mut body);
    }
    if kind.notes_changes() {
        write_bitmap(&mut body, &file.changed);
    }
    if others != 0 {
        body.u32(u32::try_from(file.others.len()).expect("a scope has few files"));
        for row in &*file.others {
            body.u64(row.lsn.0)
                .u32(row.number)
                .u64(row.bytes)
                .u32(row.header_checksum);
        }
    }
    Some(seal(&place(scope, kind), &body.finish()))
}

/// Decodes the bytes of [`encode`] for the same scope and kind.
pub(crate) fn decode(scope: ScopeId, kind: Kind, bytes: &[u8]) -> Result<NamedFile, Malformed> {
    let mut body = Reader::new(unseal(&place(scope, kind), bytes)?);
    if body.u8()? != VERSION {
        return Err(Malformed("its version is unknown"));
    }
    let row = IndexRow {
        lsn: Lsn(body.u64()?),
        number: body.u32()?,
        bytes: body.u64()?,
        header_checksum: body.u32()?,
        measured: None,
    };
    let parts = body.u8()?;
    if parts & !(IS_MEASURED | HAS_CHANGED | HAS_OTHERS) != 0 || (parts & HAS_CHANGED != 0) != kind.notes_changes() {
        return Err(Malformed("it has other parts than its kind has"));
    }
    let measured = (parts & IS_MEASURED != 0).then(|| Measured::decode(&mut body));
    let measured = measured.transpose()?;
    let changed = match kind.notes_changes() {
        true => read_bitmap(&mut body)?,
        false => RoaringBitmap::new(),
    };
    let mut others = Vec::new();
    if parts & HAS_OTHERS != 0 {
        for _ in 0..body.u32()? {
            others.push(IndexRow {
                lsn: Lsn(body.u64()?),
                number: body.u32()?,
                bytes: body.u64()?,
                header_checksum: body.u32()?,
                measured: None,
            });
        }
    }
    body.end()?;
    Ok(NamedFile {
        others: Arc::new(others),
        row: Some(IndexRow { measured, ..row }),
        changed: Arc::new(changed),
        ..NamedFile::default()
    })
}

/// Appends a bitmap: length u32, roaring bytes.
pub(crate) fn write_bitmap(body: &mut Writer, bitmap: &RoaringBitmap) {
    let mut bytes = Vec::with_capacity(bitmap.serialized_size());
    bitmap.serialize_into(&mut bytes).expect("a vector takes all bytes");
    body.u32(u32::try_from(bytes.len()).expect("points are u32"))
        .bytes(&bytes);
}

/// Reads a bitmap of [`write_bitmap`].
pub(crate) fn read_bitmap(body: &mut Reader<'_>) -> Result<RoaringBitmap, Malformed> {
    let len = body.u32()? as usize;
    RoaringBitmap::deserialize_from(body.bytes(len)?).map_err(|_| Malformed("its bitmap is bad"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row() -> IndexRow {
        IndexRow {
            lsn: Lsn(2),
            number: 3,
            bytes: 4,
            header_checksum: 5,
            measured: None,
        }
    }

    #[test]
    fn the_bytes_of_a_row_never_change_and_no_other_key_reads_them() {
        #[rustfmt::skip]
        let head = |parts| vec![
            1,
            2, 0, 0, 0, 0, 0, 0, 0,
            3, 0, 0, 0,
            4, 0, 0, 0, 0, 0, 0, 0,
            5, 0, 0, 0,
            parts,
        ];
        let empty_bitmap = [8, 0, 0, 0, 58, 48, 0, 0, 0, 0, 0, 0];
        for (kind, body) in [
            (Kind::Graph, head(0)),
            (Kind::Metadata, [head(2), empty_bitmap.to_vec()].concat()),
            (Kind::Texts, [head(2), empty_bitmap.to_vec()].concat()),
        ] {
            let file = NamedFile {
                row: Some(row()),
                ..NamedFile::default()
            };
            let bytes = encode(ScopeId(1), kind, &file).unwrap();
            assert_eq!(bytes, seal(&[1, 0, 0, 0, 0, 0, 0, 0, kind.number()], &body));
            assert_eq!(decode(ScopeId(1), kind, &bytes), Ok(file));
            assert!(decode(ScopeId(2), kind, &bytes).is_err());
            for other in Kind::ALL.into_iter().filter(|other| *other != kind) {
                assert!(decode(ScopeId(1), other, &bytes).is_err());
            }
            for len in 0..bytes.len() {
                assert!(decode(ScopeId(1), kind, &bytes[..len]).is_err());
            }
        }
    }

    #[test]
    fn what_was_measured_and_what_has_changed_reads_back() {
        let measured = Measured {
            target: 980_000,
            ef: 6,
            recall: 1_000_000,
            queries: 7,
            is_by_queries: true,
            points: 8,
        };
        let graph = NamedFile {
            row: Some(IndexRow {
                measured: Some(measured),
                ..row()
            }),
            ..NamedFile::default()
        };
        let metadata = NamedFile {
            row: Some(row()),
            changed: Arc::new([3, 9, 70_000].into_iter().collect()),
            ..NamedFile::default()
        };
        let texts = NamedFile {
            others: Arc::new(vec![IndexRow { number: 7, ..row() }, IndexRow { lsn: Lsn(9), ..row() }]),
            ..metadata.clone()
        };
        for (kind, file) in [(Kind::Graph, graph), (Kind::Metadata, metadata), (Kind::Texts, texts)] {
            let bytes = encode(ScopeId(1), kind, &file).unwrap();
            assert_eq!(decode(ScopeId(1), kind, &bytes), Ok(file));
        }
        assert!(encode(ScopeId(1), Kind::Graph, &NamedFile::default()).is_none());
    }
}
