//! Rows that are written before the large batch that they belong to is complete.
//!
//! The entries of a large batch are written in several transactions. Until the last of them their points do not live,
//! so no reader sees them. A row of the table `staged` lists them, so that they can be removed after a crash.
//!
//! ```text
//! byte 0        4       5
//!      │checksum│version│space id│ points: count u32, runs │ extents
//!      │ u32    │ u8 = 1│ u32    │ first point u32, length u32 each
//! ```
//!
//! The checksum covers the key of the row (scope id, first point) too. The extents are those that the scope will get.

use llmspell_core::Result;
use redb::{ReadableTable, ReadableTableMetadata};

use super::write::{Rows, table};
use super::{Read, table_error, tables};
use crate::base::ids::{Extent, PointId, ScopeId, SpaceId};
use crate::base::op::{read_extents, read_runs, write_extents, write_runs};
use crate::base::record::Record;
use llmspell_codec::{Malformed, Reader, Writer, seal, unseal};

const VERSION: u8 = 1;

/// Entries that are written in a scope and do not live.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Staged {
    pub(crate) space: SpaceId,
    pub(crate) scope: ScopeId,
    /// Where they are, or will be; at least one, in ascending order.
    pub(crate) points: Vec<PointId>,
    /// Slots that no scope has and that are not free either.
    pub(crate) extents: Vec<Extent>,
}

impl Staged {
    /// A scope may have several of them, each with points of its own.
    fn key(&self) -> (u64, u32) {
        (self.scope.0, self.points.first().map_or(0, |point| point.0))
    }

    fn encode(&self) -> Vec<u8> {
        let mut body = Writer::default();
        body.u8(VERSION).u32(self.space.0);
        write_runs(&mut body, self.points.iter().copied());
        write_extents(&mut body, &self.extents);
        seal(&place(self.key()), &body.finish())
    }

    pub(super) fn decode(key: (u64, u32), bytes: &[u8]) -> std::result::Result<Self, Malformed> {
        let mut body = Reader::new(unseal(&place(key), bytes)?);
        if body.u8()? != VERSION {
            return Err(Malformed("its version is unknown"));
        }
        let staged = Self {
            space: SpaceId(body.u32()?),
            scope: ScopeId(key.0),
            points: read_runs(&mut body)?,
            extents: read_extents(&mut body)?,
        };
        body.end()?;
        Ok(staged)
    }
}

fn place((scope, first): (u64, u32)) -> [u8; 12] {
    let mut place = [0; 12];
    place[..8].copy_from_slice(&scope.to_le_bytes());
    place[8..].copy_from_slice(&first.to_le_bytes());
    place
}

impl Rows<'_> {
    /// Notes that entries are about to be written that do not live yet.
    pub(crate) fn put_staged(&mut self, staged: &Staged) -> Result<()> {
        let failed = self.failed();
        table!(self.staged, STAGED)
            .insert(staged.key(), staged.encode().as_slice())
            .map_err(failed)?;
        Ok(())
    }

    /// They live now, or are gone.
    pub(crate) fn forget_staged(&mut self, staged: &Staged) -> Result<()> {
        let failed = self.failed();
        table!(self.staged, STAGED).remove(staged.key()).map_err(failed)?;
        Ok(())
    }

    /// Removes at most `limit` of the staged entries, from `after` on. Returns where to continue; none if there are no
    /// more.
    pub(crate) fn remove_staged(&mut self, staged: &Staged, after: usize, limit: usize) -> Result<Option<usize>> {
        let failed = self.failed();
        let end = staged.points.len().min(after + limit);
        for point in &staged.points[after..end] {
            let key = (staged.scope.0, point.0);
            let record = table!(self.entries, ENTRIES).get(key).map_err(&failed)?;
            // A damaged record is removed too. Its id names a point that does not live, so it is treated as missing.
            let record = record.map(|row| Record::decode(staged.scope, *point, row.value()).ok());
            match record {
                Some(Some(record)) => self.remove_entry(staged.scope, *point, &record)?,
                Some(None) => {
                    table!(self.entries, ENTRIES).remove(key).map_err(&failed)?;
                    self.remove_text(staged.scope, *point)?;
                }
                None => {}
            }
        }
        Ok((end < staged.points.len()).then_some(end))
    }
}

impl Read {
    /// All staged entries, of batches under way or interrupted by a crash.
    ///
    /// # Errors
    ///
    /// `Corrupted` if a row is damaged: then it is unknown which entries do not count.
    pub(crate) fn staged(&self) -> Result<Vec<Staged>> {
        let Some(table) = self.optional_table(tables::STAGED)? else {
            return Ok(Vec::new());
        };
        if table.is_empty().map_err(self.failed())? {
            return Ok(Vec::new());
        }
        let rows = table.iter().map_err(self.failed())?;
        rows.map(|row| {
            let (key, value) = row.map_err(self.failed())?;
            let place = || format!("staged entries of scope {}", key.value().0);
            Staged::decode(key.value(), value.value()).map_err(self.malformed(place))
        })
        .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::ids::Slot;

    #[test]
    fn the_bytes_of_what_is_staged_never_change() {
        let staged = Staged {
            space: SpaceId(3),
            scope: ScopeId(5),
            points: [7, 8, 9, 20].map(PointId).to_vec(),
            extents: vec![Extent {
                first_point: PointId(20),
                first_slot: Slot(1),
                len: 2,
            }],
        };
        let mut body = vec![1, 3, 0, 0, 0];
        for number in [2, 7, 3, 20, 1, 1, 20, 2_u32] {
            body.extend_from_slice(&number.to_le_bytes());
        }
        body.extend_from_slice(&1_u64.to_le_bytes());
        assert_eq!(staged.encode(), seal(&[5, 0, 0, 0, 0, 0, 0, 0, 7, 0, 0, 0], &body));
        assert_eq!(Staged::decode((5, 7), &staged.encode()).unwrap(), staged);
        assert!(Staged::decode((5, 8), &staged.encode()).is_err(), "another place");
        for len in 0..staged.encode().len() {
            let cut = &staged.encode()[..len];
            assert!(Staged::decode((5, 7), cut).is_err(), "cut to {len} bytes");
        }
    }
}
