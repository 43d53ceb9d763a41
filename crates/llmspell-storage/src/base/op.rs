//! A mutation of a namespace, as a value and as bytes.
//!
//! An [`Op`] names points, not vectors or metadata: those are in the slots and in the entries, which are durable with
//! it. It describes the change of a namespace in memory, and [`State::apply`](crate::namespace::State::apply) alone
//! applies it, both live and when the log is replayed.
//!
//! ```text
//! byte 0        4       5     9       13
//!      │checksum│version│added│removed│ put: changes │ removed: changes │ updated: runs │ extents │
//!      │ u32    │ u8    │ u32 bytes of metadata each
//! changes:  runs, ends
//! ends:     count u32 of the points that expire, then for each its place among the points u32, expires_at i64
//! runs:     count u32, then per run first point u32, length u32
//! extents:  count u32, then per extent first point u32, length u32, first slot u64
//! in v2 then: returned: runs
//! in v3 then: touched: runs, ends, ends; returned: runs
//! in v4, after what v3 has: bytes of texts added u32, removed u32; without a vector: runs
//! ```
//!
//! The ends of touched points are those before and those after. The checksum covers the key of the row (scope id, Lsn)
//! too. v1 (0.1.0): neither touches points nor gives slots back; most ops are written so. v2 (0.1.0): gives slots back;
//! a build that ignored it would use slots of other scopes. v3 (0.1.0): touches points. v4 (0.1.0): texts that are kept
//! come or go, or points without a vector come.

use crate::base::ids::{Extent, Lsn, PointId, ScopeId, Slot};
use llmspell_codec::{Malformed, Reader, Writer, seal, unseal};

const VERSION: u8 = 1;
/// The version of a mutation that gives slots back.
const VERSION_WITH_RETURNED: u8 = 2;
/// Of one that touches points.
const VERSION_WITH_TOUCHED: u8 = 3;
/// Of one with texts that are kept, or with points without a vector.
const VERSION_WITH_TEXTS: u8 = 4;

/// One mutation of one namespace.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Op {
    /// Points that come to life.
    pub(crate) put: Vec<PointChange>,
    /// Points that die.
    pub(crate) removed: Vec<PointChange>,
    /// Points whose metadata changed.
    pub(crate) updated: Vec<PointId>,
    /// Points that end at another time than before, or that had no end and get one, or lose it.
    pub(crate) touched: Vec<Touched>,
    /// Slots that the namespace gets, for points beyond those it could have before.
    pub(crate) extents: Vec<Extent>,
    /// Dead points whose slots the namespace gives back, in ascending order.
    pub(crate) returned: Vec<PointId>,
    /// Bytes of metadata that came.
    pub(crate) metadata_bytes_added: u32,
    /// Bytes of metadata that went.
    pub(crate) metadata_bytes_removed: u32,
    /// Bytes of texts that came.
    pub(crate) text_bytes_added: u32,
    /// Bytes of texts that went.
    pub(crate) text_bytes_removed: u32,
    /// Those of the points that come to life that have no vector, and no slot.
    pub(crate) without_vector: Vec<PointId>,
}

/// A point that is added or removed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct PointChange {
    pub(crate) point: PointId,
    /// Milliseconds since 1970.
    pub(crate) expires_at: Option<i64>,
}

/// A point that gets another end, in milliseconds since 1970, or none.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Touched {
    pub(crate) point: PointId,
    pub(crate) before: Option<i64>,
    pub(crate) after: Option<i64>,
}

impl Op {
    /// The bytes of the row for `lsn` of `scope`.
    pub(crate) fn encode(&self, scope: ScopeId, lsn: Lsn) -> Vec<u8> {
        let mut body = Writer::with_capacity(64);
        let has_texts = self.text_bytes_added > 0 || self.text_bytes_removed > 0 || !self.without_vector.is_empty();
        let version = match (self.touched.is_empty(), self.returned.is_empty()) {
            _ if has_texts => VERSION_WITH_TEXTS,
            (true, true) => VERSION,
            (true, false) => VERSION_WITH_RETURNED,
            (false, _) => VERSION_WITH_TOUCHED,
        };
        body.u8(version)
            .u32(self.metadata_bytes_added)
            .u32(self.metadata_bytes_removed);
        write_changes(&mut body, &self.put);
        write_changes(&mut body, &self.removed);
        write_runs(&mut body, self.updated.iter().copied());
        write_extents(&mut body, &self.extents);
        if version >= VERSION_WITH_TOUCHED {
            write_runs(&mut body, self.touched.iter().map(|touched| touched.point));
            write_ends(&mut body, self.touched.iter().map(|touched| touched.before));
            write_ends(&mut body, self.touched.iter().map(|touched| touched.after));
        }
        if version != VERSION {
            write_runs(&mut body, self.returned.iter().copied());
        }
        if has_texts {
            body.u32(self.text_bytes_added).u32(self.text_bytes_removed);
            write_runs(&mut body, self.without_vector.iter().copied());
        }
        seal(&place(scope, lsn), &body.finish())
    }

    /// Reads what [`encode`](Self::encode) wrote for the same place.
    pub(crate) fn decode(scope: ScopeId, lsn: Lsn, bytes: &[u8]) -> Result<Self, Malformed> {
        let mut body = Reader::new(unseal(&place(scope, lsn), bytes)?);
        let version = body.u8()?;
        if !(VERSION..=VERSION_WITH_TEXTS).contains(&version) {
            return Err(Malformed("its version is unknown"));
        }
        let metadata_bytes_added = body.u32()?;
        let metadata_bytes_removed = body.u32()?;
        let put = read_changes(&mut body)?;
        let removed = read_changes(&mut body)?;
        let updated = read_runs(&mut body)?;
        let extents = read_extents(&mut body)?;
        let touched = match version {
            VERSION_WITH_TOUCHED.. => read_touched(&mut body)?,
            _ => Vec::new(),
        };
        let returned = match version {
            VERSION => Vec::new(),
            _ => read_runs(&mut body)?,
        };
        let (text_bytes_added, text_bytes_removed, without_vector) = match version {
            VERSION_WITH_TEXTS => (body.u32()?, body.u32()?, read_runs(&mut body)?),
            _ => (0, 0, Vec::new()),
        };
        body.end()?;
        Ok(Self {
            put,
            removed,
            updated,
            touched,
            extents,
            returned,
            metadata_bytes_added,
            metadata_bytes_removed,
            text_bytes_added,
            text_bytes_removed,
            without_vector,
        })
    }
}

/// Writes extents, in the form that [`read_extents`] reads.
pub(crate) fn write_extents(body: &mut Writer, extents: &[Extent]) {
    body.u32(count(extents.len()));
    for extent in extents {
        body.u32(extent.first_point.0).u32(extent.len).u64(extent.first_slot.0);
    }
}

/// Reads what [`write_extents`] wrote.
pub(crate) fn read_extents(body: &mut Reader<'_>) -> Result<Vec<Extent>, Malformed> {
    (0..body.u32()?)
        .map(|_| {
            let (first_point, len, first_slot) = (PointId(body.u32()?), body.u32()?, Slot(body.u64()?));
            Ok(Extent {
                first_point,
                first_slot,
                len,
            })
        })
        .collect()
}

fn write_changes(body: &mut Writer, changes: &[PointChange]) {
    write_runs(body, changes.iter().map(|change| change.point));
    write_ends(body, changes.iter().map(|change| change.expires_at));
}

fn write_ends(body: &mut Writer, ends: impl Iterator<Item = Option<i64>>) {
    let ends = ends.enumerate().filter_map(|(place, end)| Some((place, end?)));
    let expiring: Vec<(usize, i64)> = ends.collect();
    body.u32(count(expiring.len()));
    for (place, moment) in expiring {
        body.u32(count(place)).i64(moment);
    }
}

/// The ends of `points` points.
fn read_ends(body: &mut Reader<'_>, points: usize) -> Result<Vec<Option<i64>>, Malformed> {
    let mut ends = vec![None; points];
    for _ in 0..body.u32()? {
        let (place, moment) = (body.u32()?, body.i64()?);
        *ends
            .get_mut(place as usize)
            .ok_or(Malformed("a point expires that is not part of it"))? = Some(moment);
    }
    Ok(ends)
}

fn read_touched(body: &mut Reader<'_>) -> Result<Vec<Touched>, Malformed> {
    let points = read_runs(body)?;
    let before = read_ends(body, points.len())?;
    let after = read_ends(body, points.len())?;
    let ends = before.into_iter().zip(after);
    Ok(points
        .into_iter()
        .zip(ends)
        .map(|(point, (before, after))| Touched { point, before, after })
        .collect())
}

fn read_changes(body: &mut Reader<'_>) -> Result<Vec<PointChange>, Malformed> {
    let points = read_runs(body)?;
    let ends = read_ends(body, points.len())?;
    Ok(points
        .into_iter()
        .zip(ends)
        .map(|(point, expires_at)| PointChange { point, expires_at })
        .collect())
}

/// Writes points as runs, in the form that [`read_runs`] reads.
pub(crate) fn write_runs(body: &mut Writer, points: impl Iterator<Item = PointId>) {
    let mut runs: Vec<(u32, u32)> = Vec::new();
    for PointId(point) in points {
        match runs.last_mut() {
            Some((first, len)) if first.checked_add(*len) == Some(point) => *len += 1,
            _ => runs.push((point, 1)),
        }
    }
    body.u32(count(runs.len()));
    for (first, len) in runs {
        body.u32(first).u32(len);
    }
}

/// Reads what [`write_runs`] wrote.
pub(crate) fn read_runs(body: &mut Reader<'_>) -> Result<Vec<PointId>, Malformed> {
    let mut points = Vec::new();
    for _ in 0..body.u32()? {
        let (first, len) = (body.u32()?, body.u32()?);
        let end = first.checked_add(len).ok_or(Malformed("a run is too long"))?;
        points.extend((first..end).map(PointId));
    }
    Ok(points)
}

fn count(len: usize) -> u32 {
    u32::try_from(len).expect("validate bounds the batch")
}

fn place(scope: ScopeId, lsn: Lsn) -> [u8; 16] {
    let mut place = [0; 16];
    place[..8].copy_from_slice(&scope.0.to_le_bytes());
    place[8..].copy_from_slice(&lsn.0.to_le_bytes());
    place
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn changes() -> impl Strategy<Value = Vec<PointChange>> {
        prop::collection::vec((0..40_u32, prop::option::of(any::<i64>())), 0..12).prop_map(|points| {
            points
                .into_iter()
                .map(|(point, expires_at)| PointChange {
                    point: PointId(point),
                    expires_at,
                })
                .collect()
        })
    }

    fn touched() -> impl Strategy<Value = Vec<Touched>> {
        let end = || prop::option::of(any::<i64>());
        let one = (0..40_u32, end(), end()).prop_map(|(point, before, after)| Touched {
            point: PointId(point),
            before,
            after,
        });
        prop::collection::vec(one, 0..6)
    }

    fn op() -> impl Strategy<Value = Op> {
        let extent = (any::<u32>(), any::<u64>(), any::<u32>()).prop_map(|(point, slot, len)| Extent {
            first_point: PointId(point),
            first_slot: Slot(slot),
            len,
        });
        let points = || prop::collection::vec((0..40_u32).prop_map(PointId), 0..5);
        (
            changes(),
            changes(),
            (points(), points()),
            touched(),
            prop::collection::vec(extent, 0..3),
            any::<u32>(),
            any::<u32>(),
            (0..3_u32, 0..3_u32, points()),
        )
            .prop_map(
                |(put, removed, (updated, returned), touched, extents, added, gone, texts)| Op {
                    put,
                    removed,
                    updated,
                    touched,
                    extents,
                    returned,
                    metadata_bytes_added: added,
                    metadata_bytes_removed: gone,
                    text_bytes_added: texts.0,
                    text_bytes_removed: texts.1,
                    without_vector: texts.2,
                },
            )
    }

    proptest! {
        #[test]
        fn an_op_reads_back_in_its_place_and_nowhere_else(op in op()) {
            let bytes = op.encode(ScopeId(3), Lsn(9));
            prop_assert_eq!(Op::decode(ScopeId(3), Lsn(9), &bytes), Ok(op));
            prop_assert!(Op::decode(ScopeId(4), Lsn(9), &bytes).is_err());
            prop_assert!(Op::decode(ScopeId(3), Lsn(8), &bytes).is_err());
        }
    }

    #[test]
    fn the_bytes_of_an_op_never_change() {
        let op = Op {
            put: vec![
                PointChange {
                    point: PointId(4),
                    expires_at: None,
                },
                PointChange {
                    point: PointId(5),
                    expires_at: Some(6),
                },
            ],
            removed: vec![PointChange {
                point: PointId(1),
                expires_at: None,
            }],
            updated: vec![],
            touched: vec![],
            extents: vec![Extent {
                first_point: PointId(4),
                first_slot: Slot(8),
                len: 2,
            }],
            returned: vec![],
            metadata_bytes_added: 10,
            metadata_bytes_removed: 11,
            ..Op::default()
        };
        #[rustfmt::skip]
        assert_eq!(op.encode(ScopeId(1), Lsn(2))[4..], [
            1, 10, 0, 0, 0, 11, 0, 0, 0,            // version, metadata bytes
            1, 0, 0, 0, 4, 0, 0, 0, 2, 0, 0, 0,     // put
            1, 0, 0, 0, 1, 0, 0, 0, 6, 0, 0, 0, 0, 0, 0, 0,
            1, 0, 0, 0, 1, 0, 0, 0, 1, 0, 0, 0,     // removed
            0, 0, 0, 0,
            0, 0, 0, 0,                             // updated
            1, 0, 0, 0, 4, 0, 0, 0, 2, 0, 0, 0, 8, 0, 0, 0, 0, 0, 0, 0,
        ]);
    }

    #[test]
    fn the_bytes_of_an_op_that_gives_slots_back_never_change() {
        let op = Op {
            returned: [3, 4, 5, 9].map(PointId).to_vec(),
            ..Op::default()
        };
        #[rustfmt::skip]
        assert_eq!(op.encode(ScopeId(1), Lsn(2))[4..], [
            2, 0, 0, 0, 0, 0, 0, 0, 0,              // version, metadata bytes
            0, 0, 0, 0, 0, 0, 0, 0,                 // put
            0, 0, 0, 0, 0, 0, 0, 0,                 // removed
            0, 0, 0, 0,                             // updated
            0, 0, 0, 0,                             // extents
            2, 0, 0, 0, 3, 0, 0, 0, 3, 0, 0, 0, 9, 0, 0, 0, 1, 0, 0, 0,
        ]);
    }

    #[test]
    fn the_bytes_of_an_op_with_texts_never_change() {
        let op = Op {
            text_bytes_added: 258,
            text_bytes_removed: 3,
            without_vector: vec![PointId(5), PointId(6)],
            ..Op::default()
        };
        let bytes = op.encode(ScopeId(1), Lsn(2));
        assert_eq!(
            bytes[4..],
            [
                &[4][..],
                &[0; 48],
                &[2, 1, 0, 0, 3, 0, 0, 0],
                &[1, 0, 0, 0, 5, 0, 0, 0, 2, 0, 0, 0]
            ]
            .concat()
        );
    }

    #[test]
    fn the_bytes_of_an_op_that_touches_points_never_change() {
        let touched = |point, before, after| Touched {
            point: PointId(point),
            before,
            after,
        };
        let op = Op {
            touched: vec![
                touched(4, None, Some(6)),
                touched(5, Some(7), None),
                touched(9, Some(8), Some(9)),
            ],
            ..Op::default()
        };
        #[rustfmt::skip]
        assert_eq!(op.encode(ScopeId(1), Lsn(2))[4..], [
            3, 0, 0, 0, 0, 0, 0, 0, 0,                                          // version, metadata bytes
            0, 0, 0, 0, 0, 0, 0, 0,                                             // put
            0, 0, 0, 0, 0, 0, 0, 0,                                             // removed
            0, 0, 0, 0,                                                         // updated
            0, 0, 0, 0,                                                         // extents
            2, 0, 0, 0, 4, 0, 0, 0, 2, 0, 0, 0, 9, 0, 0, 0, 1, 0, 0, 0,         // touched
            2, 0, 0, 0, 1, 0, 0, 0, 7, 0, 0, 0, 0, 0, 0, 0, 2, 0, 0, 0, 8, 0, 0, 0, 0, 0, 0, 0,
            2, 0, 0, 0, 0, 0, 0, 0, 6, 0, 0, 0, 0, 0, 0, 0, 2, 0, 0, 0, 9, 0, 0, 0, 0, 0, 0, 0,
            0, 0, 0, 0,                                                         // returned
        ]);
    }
}
