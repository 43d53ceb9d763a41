//! The layout of an index file, and of the row that names it.
//!
//! ```text
//! byte 0     header (128 bytes, then zeros)
//!      4096  graph       bytes of the graph
//!            ids         per vertex: checksum u32, generation u32, id (UTF-8)
//!            offsets     (vertices + 1) × u64: where in `ids` the entry of a vertex begins
//!            points      bitmap of the points, portable roaring format
//!            chunks      per 64 KiB from byte 4096 to here: CRC-32C u32
//!
//! header: 0        4     12      16       24  32       36         40         44   48
//!         │checksum│magic│version│scope_id│lsn│vertices│points_crc│chunks_crc│zero│ offset u64, length u64 of graph, ids,
//!         │ u32    │ 8 B │ u32   │ u64    │u64│ u32    │ u32      │ u32      │u32 │ offsets, points, chunks
//! ```
//!
//! Sections begin at multiples of 64 bytes. `lsn` is the mutation whose living points the graph holds at least. The
//! checksum of an entry of `ids` covers scope id (u64), point (u32) and what follows it. The manifest repeats the
//! checksum of the header, so another file under the same name is not taken for this one.
//!
//! The file is `<scope_id>-<lsn>-<number>.idx` in `spaces/<space>/index`, all three decimal; `number` tells files of one
//! Lsn apart. Those of metadata end with `.meta`: see `metadata.rs`; those of words with `.texts`: see `texts.rs`. v1 (0.1.0): as above.

use super::measured::Measured;
use crate::base::ids::{Lsn, ScopeId, SpaceId};
use llmspell_codec::{CHECKSUM_BYTES, Malformed, Reader, Writer, seal, unseal};

const MAGIC: &[u8; 8] = b"llmsidx\0";
const VERSION: u32 = 1;
/// Bytes of the header.
pub(super) const HEADER_BYTES: usize = 128;
/// Where the first section begins: a page, so that it can be mapped as it is.
pub(super) const START: u64 = 4096;
/// Bytes under one checksum.
pub(super) const CHUNK_BYTES: usize = 64 << 10;
/// Sections begin at multiples of this.
pub(super) const ALIGNMENT: u64 = 64;
/// Suffix of a name until the file is complete.
pub(super) const NEW_SUFFIX: &str = ".new";

/// The kind of index in a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// A graph, and the ids of its vertices.
    Graph,
    /// An index of metadata.
    Metadata,
    /// An index of words.
    Texts,
}

impl Kind {
    /// All kinds, in the order of their numbers.
    pub(crate) const ALL: [Self; 3] = [Self::Graph, Self::Metadata, Self::Texts];

    /// Its number in the truth.
    pub(crate) fn number(self) -> u8 {
        match self {
            Self::Graph => 1,
            Self::Metadata => 2,
            Self::Texts => 3,
        }
    }

    /// Whether an entry that changes keeps its point in the index: then the points that have changed since a file was
    /// written are noted. A graph does not need this: another vector is another point.
    pub(crate) fn notes_changes(self) -> bool {
        match self {
            Self::Graph => false,
            Self::Metadata | Self::Texts => true,
        }
    }

    fn suffix(self) -> &'static str {
        match self {
            Self::Graph => ".idx",
            Self::Metadata => ".meta",
            Self::Texts => ".texts",
        }
    }
}

/// The manifest's row for an index file of a scope.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct IndexRow {
    pub(crate) lsn: Lsn,
    pub(crate) number: u32,
    /// Length of the file.
    pub(crate) bytes: u64,
    /// Checksum that the header must have.
    pub(crate) header_checksum: u32,
    /// The measured recall in the scope; none for files of metadata.
    pub(crate) measured: Option<Measured>,
}

/// The directory of the index files of a space.
pub(crate) fn dir(space: SpaceId) -> String {
    format!("spaces/{:08x}/index", space.0)
}

/// The name of a file in its directory.
pub(super) fn name(kind: Kind, scope: ScopeId, lsn: Lsn, number: u32) -> String {
    format!("{}-{}-{number}{}", scope.0, lsn.0, kind.suffix())
}

/// The parts of a name; none if it is not a name of ours.
pub(super) fn parse_name(name: &str) -> Option<(Kind, ScopeId, Lsn, u32)> {
    let of_kind = |kind: Kind| name.strip_suffix(kind.suffix()).map(|stem| (kind, stem));
    let (kind, stem) = Kind::ALL.into_iter().find_map(of_kind)?;
    let mut parts = stem.split('-');
    let parsed = (
        kind,
        ScopeId(parts.next()?.parse().ok()?),
        Lsn(parts.next()?.parse().ok()?),
        parts.next()?.parse().ok()?,
    );
    parts.next().is_none().then_some(parsed)
}

const ROW_VERSION: u8 = 1;
/// The version of a row that ends with a measurement.
const ROW_VERSION_MEASURED: u8 = 2;

impl IndexRow {
    /// The bytes of the row of `scope` in the table `indexes`, as earlier builds wrote it.
    #[cfg(test)]
    pub(crate) fn encode(&self, scope: ScopeId) -> Vec<u8> {
        let mut body = Writer::default();
        let version = self.measured.map_or(ROW_VERSION, |_| ROW_VERSION_MEASURED);
        body.u8(version)
            .u64(self.lsn.0)
            .u32(self.number)
            .u64(self.bytes)
            .u32(self.header_checksum);
        if let Some(measured) = &self.measured {
            measured.encode(&mut body);
        }
        seal(&scope.0.to_le_bytes(), &body.finish())
    }

    /// Decodes the bytes of [`encode`](Self::encode) for the same scope.
    pub(crate) fn decode(scope: ScopeId, bytes: &[u8]) -> Result<Self, Malformed> {
        let mut body = Reader::new(unseal(&scope.0.to_le_bytes(), bytes)?);
        let is_measured = match body.u8()? {
            ROW_VERSION => false,
            ROW_VERSION_MEASURED => true,
            _ => return Err(Malformed("its version is unknown")),
        };
        let row = Self {
            lsn: Lsn(body.u64()?),
            number: body.u32()?,
            bytes: body.u64()?,
            header_checksum: body.u32()?,
            measured: is_measured.then(|| Measured::decode(&mut body)).transpose()?,
        };
        body.end()?;
        Ok(row)
    }

    /// The name of the file in its directory.
    pub(crate) fn name(&self, scope: ScopeId, kind: Kind) -> String {
        name(kind, scope, self.lsn, self.number)
    }
}

/// A part of a file.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Section {
    pub(super) offset: u64,
    pub(super) len: u64,
}

impl Section {
    pub(super) fn write(self, body: &mut Writer) {
        body.u64(self.offset).u64(self.len);
    }

    pub(super) fn read(body: &mut Reader<'_>) -> Result<Self, Malformed> {
        Ok(Self {
            offset: body.u64()?,
            len: body.u64()?,
        })
    }
}

/// What a header states of its file: the scope, the mutation, and the checksum of the header.
pub(super) type Stated = (ScopeId, Lsn, u32);

/// Begins the header of a file of a kind.
pub(super) fn begin_header(len: usize, (magic, version): (&[u8; 8], u32), (scope, lsn): (ScopeId, Lsn)) -> Writer {
    let mut body = Writer::with_capacity(len);
    body.bytes(magic).u32(version).u64(scope.0).u64(lsn.0);
    body
}

/// The bytes of a header, checksum included.
pub(super) fn end_header(body: Writer, len: usize) -> Vec<u8> {
    let sealed = seal(&[], &body.finish());
    debug_assert_eq!(sealed.len(), len, "the header has a fixed size");
    sealed
}

/// Verifies a header and reads what all of them begin with; `foreign` says what a file of another kind is not.
pub(super) fn read_header<'b>(
    bytes: &'b [u8],
    (magic, version): (&[u8; 8], u32),
    foreign: &'static str,
) -> Result<(Reader<'b>, Stated), Malformed> {
    let mut body = Reader::new(unseal(&[], bytes)?);
    if body.bytes(magic.len())? != magic {
        return Err(Malformed(foreign));
    }
    if body.u32()? != version {
        return Err(Malformed("its version is unknown"));
    }
    let (scope, lsn) = (ScopeId(body.u64()?), Lsn(body.u64()?));
    let checksum = bytes[..CHECKSUM_BYTES].try_into().expect("it was just verified");
    Ok((body, (scope, lsn, u32::from_le_bytes(checksum))))
}

/// The header of a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Header {
    pub(super) scope: ScopeId,
    pub(super) lsn: Lsn,
    pub(super) vertices: u32,
    pub(super) points_checksum: u32,
    pub(super) chunks_checksum: u32,
    pub(super) graph: Section,
    pub(super) ids: Section,
    pub(super) offsets: Section,
    pub(super) points: Section,
    pub(super) chunks: Section,
}

impl Header {
    /// The bytes, checksum included.
    pub(super) fn encode(&self) -> Vec<u8> {
        let mut body = begin_header(HEADER_BYTES, (MAGIC, VERSION), (self.scope, self.lsn));
        body.u32(self.vertices)
            .u32(self.points_checksum)
            .u32(self.chunks_checksum)
            .u32(0);
        for section in [self.graph, self.ids, self.offsets, self.points, self.chunks] {
            section.write(&mut body);
        }
        end_header(body, HEADER_BYTES)
    }

    /// Decodes the bytes of [`encode`](Self::encode), and returns what they state too.
    pub(super) fn decode(bytes: &[u8]) -> Result<(Self, Stated), Malformed> {
        let (mut body, stated) = read_header(bytes, (MAGIC, VERSION), "it is no index file")?;
        let (scope, lsn, _) = stated;
        let (vertices, points_checksum, chunks_checksum) = (body.u32()?, body.u32()?, body.u32()?);
        if body.u32()? != 0 {
            return Err(Malformed("it has unknown flags"));
        }
        let mut section = || Section::read(&mut body);
        let header = Self {
            scope,
            lsn,
            vertices,
            points_checksum,
            chunks_checksum,
            graph: section()?,
            ids: section()?,
            offsets: section()?,
            points: section()?,
            chunks: section()?,
        };
        body.end()?;
        Ok((header, stated))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn header() -> Header {
        let section = |offset, len| Section { offset, len };
        Header {
            scope: ScopeId(7),
            lsn: Lsn(9),
            vertices: 3,
            points_checksum: 0x0102_0304,
            chunks_checksum: 0x0506_0708,
            graph: section(4096, 100),
            ids: section(4224, 30),
            offsets: section(4288, 32),
            points: section(4352, 26),
            chunks: section(4416, 4),
        }
    }

    #[test]
    fn the_bytes_of_a_header_never_change() {
        let bytes = header().encode();
        #[rustfmt::skip]
        assert_eq!(bytes[4..64], [
            b'l', b'l', b'm', b's', b'i', b'd', b'x', 0,
            1, 0, 0, 0,                                 // version
            7, 0, 0, 0, 0, 0, 0, 0,                     // scope
            9, 0, 0, 0, 0, 0, 0, 0,                     // lsn
            3, 0, 0, 0,                                 // vertices
            4, 3, 2, 1, 8, 7, 6, 5, 0, 0, 0, 0,         // checksums, zero
            0, 16, 0, 0, 0, 0, 0, 0,                    // graph
            100, 0, 0, 0, 0, 0, 0, 0,
        ]);
        assert_eq!(Header::decode(&bytes).unwrap().0, header());
        for bit in 0..8 * bytes.len() {
            let mut damaged = bytes.clone();
            damaged[bit / 8] ^= 1 << (bit % 8);
            assert!(Header::decode(&damaged).is_err(), "bit {bit}");
        }
    }

    #[test]
    fn the_bytes_of_a_row_never_change() {
        let row = IndexRow {
            lsn: Lsn(2),
            number: 3,
            bytes: 4,
            header_checksum: 5,
            measured: None,
        };
        let bytes = row.encode(ScopeId(1));
        #[rustfmt::skip]
        assert_eq!(bytes[4..], [
            1,
            2, 0, 0, 0, 0, 0, 0, 0,
            3, 0, 0, 0,
            4, 0, 0, 0, 0, 0, 0, 0,
            5, 0, 0, 0,
        ]);
        assert_eq!(IndexRow::decode(ScopeId(1), &bytes), Ok(row));
        assert!(IndexRow::decode(ScopeId(2), &bytes).is_err());

        let measured = Measured {
            target: 980_000,
            ef: 6,
            recall: 1_000_000,
            queries: 7,
            is_by_queries: true,
            points: 8,
        };
        let row = IndexRow {
            measured: Some(measured),
            ..row
        };
        let with_measured = row.encode(ScopeId(1));
        assert_eq!((with_measured[4], &with_measured[5..29]), (2, &bytes[5..29]));
        #[rustfmt::skip]
        assert_eq!(with_measured[29..], [
            0x20, 0xf4, 0x0e, 0,
            6, 0, 0, 0,
            0x40, 0x42, 0x0f, 0,
            7, 0, 0, 0,
            1,
            8, 0, 0, 0, 0, 0, 0, 0,
        ]);
        assert_eq!(IndexRow::decode(ScopeId(1), &with_measured), Ok(row));
        for impossible in [
            Measured { ef: 0, ..measured },
            Measured {
                recall: 1_000_001,
                ..measured
            },
        ] {
            let row = IndexRow {
                measured: Some(impossible),
                ..row
            };
            assert!(
                IndexRow::decode(ScopeId(1), &row.encode(ScopeId(1))).is_err(),
                "{impossible:?}"
            );
        }
    }

    #[test]
    fn a_name_says_whose_file_it_is_and_other_names_are_not_ours() {
        for kind in Kind::ALL {
            let parsed = parse_name(&name(kind, ScopeId(7), Lsn(9), 1));
            assert_eq!(parsed, Some((kind, ScopeId(7), Lsn(9), 1)));
        }
        for other in [
            "7-9-1.idx.new",
            "7-9-1.meta.new",
            "7-9-1",
            "7-9.idx",
            "7-9-1-2.idx",
            "a-9-1.idx",
            "notes.txt",
        ] {
            assert_eq!(parse_name(other), None, "{other}");
        }
    }
}
