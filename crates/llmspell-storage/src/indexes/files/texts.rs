//! The file of an index of words: one of several of a scope, see [`TextIndex`](crate::indexes::texts::TextIndex).
//!
//! ```text
//! byte 0     header (88 bytes, then zeros)
//!      4096  index       bytes of the index: see `index/` of llmspell-text
//!            rules       JSON: analyzer and fields, by which its terms were made
//!            chunks      per 64 KiB from byte 4096 to here: CRC-32C u32
//!
//! header: 0        4     12      16       24  32         36   40
//!         │checksum│magic│version│scope_id│lsn│chunks_crc│zero│ offset u64, length u64 of index, rules, chunks
//!         │ u32    │ 8 B │ u32   │ u64    │u64│ u32      │u32 │
//! ```
//!
//! `lsn` is the mutation whose rows it was made of. The row in `index_files` names all files of a scope, with the points
//! for which they are out of date. v1 (0.1.0): as above.

use std::io::Write as _;
use std::sync::Arc;

use llmspell_core::Result as CoreResult;
use llmspell_text::{Index, Merge};

use super::layout::{IndexRow, Kind, START, Section, Stated, begin_header, end_header, read_header};
use super::open::{Unusable, frozen, open_named, part, read_chunks};
use super::write::write_new;
use crate::base::ids::{Lsn, ScopeId, SpaceId};
use crate::disk::Disk;
use llmspell_codec::Malformed;

const MAGIC: &[u8; 8] = b"llmstxt\0";
const VERSION: u32 = 1;
/// Bytes of the header.
const HEADER_BYTES: usize = 88;

/// The header of a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Header {
    scope: ScopeId,
    lsn: Lsn,
    chunks_checksum: u32,
    index: Section,
    rules: Section,
    chunks: Section,
}

impl Header {
    fn encode(&self) -> Vec<u8> {
        let mut body = begin_header(HEADER_BYTES, (MAGIC, VERSION), (self.scope, self.lsn));
        body.u32(self.chunks_checksum).u32(0);
        for section in [self.index, self.rules, self.chunks] {
            section.write(&mut body);
        }
        end_header(body, HEADER_BYTES)
    }

    /// Decodes the bytes of [`encode`](Self::encode), and returns what they state too.
    fn decode(bytes: &[u8]) -> Result<(Self, Stated), Malformed> {
        let (mut body, stated) = read_header(bytes, (MAGIC, VERSION), "it is no index of words")?;
        let (scope, lsn, _) = stated;
        let chunks_checksum = body.u32()?;
        body.u32()?;
        let mut section = || Section::read(&mut body);
        let header = Self {
            scope,
            lsn,
            chunks_checksum,
            index: section()?,
            rules: section()?,
            chunks: section()?,
        };
        body.end()?;
        Ok((header, stated))
    }
}

/// Writes what is merged to a file, durably. None if it was cancelled; then the file is removed.
///
/// # Errors
///
/// `NoSpace` or `Io`. Then the file is removed, if the disk allows it.
pub(crate) fn write(
    disk: &Arc<dyn Disk>,
    space: SpaceId,
    (scope, lsn): (ScopeId, Lsn),
    (merge, rules): (&Merge, &[u8]),
    is_cancelled: &dyn Fn() -> bool,
) -> CoreResult<Option<IndexRow>> {
    write_new(disk, space, (scope, lsn, Kind::Texts), is_cancelled, |output| {
        let index = output.section(|output| merge.write(&mut |bytes| output.write_all(bytes)).map(drop))?;
        let rules = output.section(|output| output.write_all(rules))?;
        let (chunks, chunks_checksum) = output.finish_chunks()?;
        let header = Header {
            scope,
            lsn,
            chunks_checksum,
            index,
            rules,
            chunks,
        };
        Ok(header.encode())
    })
}

/// Whether the content of a file must be checked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Trust {
    /// This process has just written it.
    Written,
    /// All of it is read, and compared with its checksums.
    Nothing,
}

/// Opens a file of a scope that the manifest names, with terms by these rules. The content stays in the file.
///
/// # Errors
///
/// Why it is useless; the file is derived and can be made again.
pub(crate) fn open(
    disk: &Arc<dyn Disk>,
    space: SpaceId,
    scope: ScopeId,
    row: &IndexRow,
    rules: &[u8],
    trust: Trust,
) -> Result<Index, Unusable> {
    let (file, header) = open_named(disk, space, (scope, Kind::Texts), row, |bytes: &[u8; HEADER_BYTES]| {
        Header::decode(bytes)
    })?;
    let Section { offset, len } = header.chunks;
    if offset.checked_add(len) != Some(row.bytes) || offset < START {
        return Err(Unusable("its parts do not fit".to_string()));
    }
    if trust == Trust::Nothing {
        read_chunks(&*file, (header.chunks, header.chunks_checksum), &|| false, |_, _| {})?;
    }
    let bytes = frozen(&*file, row.bytes)?;
    if part(&bytes, header.rules)?.as_ref() != rules {
        return Err(Unusable("its terms were made by other rules".to_string()));
    }
    Index::open(Arc::new(part(&bytes, header.index)?)).map_err(|malformed| Unusable(malformed.0.to_string()))
}

#[cfg(test)]
mod tests {
    use llmspell_text::{
        Analyzer, AnalyzerConfig, Kind as TextKind, Positions, Query, QueryFields, Row, Search, Texts,
    };

    use super::*;
    use crate::disk::sim::SimDisk;

    const RULES: &[u8] = b"rules";

    fn written() -> (Arc<dyn Disk>, IndexRow, Texts, Merge) {
        let analyzer = Analyzer::new(AnalyzerConfig::default()).unwrap();
        let mut texts = Texts::new(TextKind::Texts(Positions::Kept));
        for point in 0..200 {
            let text = format!("common word{}", point % 17);
            texts.insert(
                point,
                Arc::new(Row::of_texts(&analyzer, Positions::Kept, [(0, text.as_str())])),
            );
        }
        let disk: Arc<dyn Disk> = Arc::new(SimDisk::default());
        disk.create_dir("spaces").unwrap();
        disk.create_dir("spaces/00000001").unwrap();
        let merge = texts.plan_full_merge();
        let content = (ScopeId(7), Lsn(9));
        let row = write(&disk, SpaceId(1), content, (&merge, RULES), &|| false)
            .unwrap()
            .unwrap();
        (disk, row, texts, merge)
    }

    #[test]
    fn the_bytes_of_a_header_never_change() {
        let section = |offset, len| Section { offset, len };
        let header = Header {
            scope: ScopeId(7),
            lsn: Lsn(9),
            chunks_checksum: 0x0506_0708,
            index: section(4096, 100),
            rules: section(4224, 30),
            chunks: section(4288, 4),
        };
        let bytes = header.encode();
        #[rustfmt::skip]
        assert_eq!(bytes[4..], [
            b'l', b'l', b'm', b's', b't', b'x', b't', 0,
            1, 0, 0, 0,                                 // version
            7, 0, 0, 0, 0, 0, 0, 0,                     // scope
            9, 0, 0, 0, 0, 0, 0, 0,                     // lsn
            8, 7, 6, 5, 0, 0, 0, 0,                     // checksum, zero
            0, 16, 0, 0, 0, 0, 0, 0, 100, 0, 0, 0, 0, 0, 0, 0,
            128, 16, 0, 0, 0, 0, 0, 0, 30, 0, 0, 0, 0, 0, 0, 0,
            192, 16, 0, 0, 0, 0, 0, 0, 4, 0, 0, 0, 0, 0, 0, 0,
        ]);
        assert_eq!(Header::decode(&bytes).unwrap().0, header);
        for len in 0..bytes.len() {
            assert!(Header::decode(&bytes[..len]).is_err());
        }
    }

    #[test]
    fn an_index_that_is_opened_again_answers_as_before() {
        let (disk, row, mut texts, merge) = written();
        let index = open(&disk, SpaceId(1), ScopeId(7), &row, RULES, Trust::Nothing).unwrap();
        let analyzer = Analyzer::new(AnalyzerConfig::default()).unwrap();
        let query = Query::parse("common word3", &analyzer, &QueryFields::default());
        let answer = |texts: &Texts| texts.search(&query, &texts.statistics(&query), &Search::best(500));
        let before = answer(&texts);
        assert!(texts.adopt(&merge, index));
        assert_eq!(texts.tail_len(), 0);
        assert_eq!(answer(&texts), before);
    }

    #[test]
    fn a_file_of_another_scope_or_rule_and_each_flipped_byte_is_found() {
        let (disk, row, ..) = written();
        let opened = |scope, row: &IndexRow, rules: &[u8]| open(&disk, SpaceId(1), scope, row, rules, Trust::Nothing);
        assert!(opened(ScopeId(7), &row, b"other").is_err());
        assert!(opened(ScopeId(8), &row, RULES).is_err());
        let shorter = IndexRow {
            bytes: row.bytes - 1,
            ..row
        };
        assert!(opened(ScopeId(7), &shorter, RULES).is_err());
        let path = format!(
            "{}/{}",
            super::super::dir(SpaceId(1)),
            row.name(ScopeId(7), Kind::Texts)
        );
        let file = disk.open(&path).unwrap();
        for place in (0..HEADER_BYTES as u64).chain((START..row.bytes).step_by(97)) {
            let mut byte = [0];
            file.read_at(place, &mut byte).unwrap();
            file.write_at(place, &[byte[0] ^ 4]).unwrap();
            assert!(opened(ScopeId(7), &row, RULES).is_err(), "byte {place}");
            file.write_at(place, &byte).unwrap();
        }
        opened(ScopeId(7), &row, RULES).unwrap();
    }
}
