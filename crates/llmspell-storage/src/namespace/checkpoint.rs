//! Checkpoints: the stored form of a state, so that the log before it can be removed.
//!
//! ```text
//! byte 0        4       5   13         17             25
//!      │checksum│version│lsn│next_point│metadata_bytes│ extents (as in op.rs) │ dead: len u32, roaring bytes │
//!      │ u32    │ u8    │u64│ u32      │ u64          │ expiries: count u32, then point u32, expires_at i64 each
//! in v2, which is only read, then: file of metadata: lsn u64, number u32, bytes u64, header_checksum u32 │ changed: len u32, roaring bytes
//! ```
//!
//! The checksum covers the key of the row (scope id) too. Bitmaps are in the portable roaring format. The content is
//! checked for consistency before it is used. v1 (0.1.0): as above, without a file of metadata. v2 (0.1.0): with one,
//! before the table `index_files` named it. v3 (0.1.0): as v1, v4: as v2; dead points between extents have no slot.
//! Before v3 all points below the end of the extents had one. v5, v7 (0.1.0): as v1 and v3, and at the end the bytes of texts
//! that are kept, u64, and the living points without a vector, as dead ones are written; these have no slot either.

use std::sync::Arc;

use roaring::RoaringBitmap;

use super::expiries::Expiries;
use super::passing::PassingCache;
use super::reuse::End;
use super::state::State;
use crate::base::ids::{Lsn, PointId, ScopeId};
use crate::base::op::{read_extents, write_extents};
use crate::indexes::files::{IndexRow, Kind};
use crate::indexes::named::{Files, NamedFile, read_bitmap, write_bitmap};
use llmspell_codec::{Malformed, Reader, Writer, seal, unseal};

const VERSION: u8 = 1;
/// The version with a file of a metadata index: read, and no longer written.
const VERSION_WITH_FILE: u8 = 2;
/// Added to the version if the state has given slots back.
const GAPS: u8 = 2;
/// Added to the version if there are texts that are kept, or points without a vector.
const TEXTS: u8 = 4;

/// The bytes of the checkpoint of `scope`.
pub(crate) fn encode(scope: ScopeId, state: &State) -> Vec<u8> {
    let mut body = Writer::default();
    let has_gaps = state.gaps().next().is_some();
    let has_texts = state.text_bytes > 0 || !state.without_vector.is_empty();
    body.u8(VERSION + if has_gaps { GAPS } else { 0 } + if has_texts { TEXTS } else { 0 })
        .u64(state.lsn.0)
        .u32(state.next_point)
        .u64(state.metadata_bytes);
    write_extents(&mut body, &state.extents);
    write_bitmap(&mut body, &state.dead);
    body.u32(u32::try_from(state.expiries.len()).expect("points are u32"));
    for (moment, point) in state.expiries.iter() {
        body.u32(point.0).i64(moment);
    }
    if has_texts {
        body.u64(state.text_bytes);
        write_bitmap(&mut body, &state.without_vector);
    }
    seal(&scope.0.to_le_bytes(), &body.finish())
}

/// Decodes the bytes of [`encode`] for the same scope.
pub(crate) fn decode(scope: ScopeId, bytes: &[u8]) -> Result<State, Malformed> {
    let mut body = Reader::new(unseal(&scope.0.to_le_bytes(), bytes)?);
    let (stored, is_later) = match body.u8()? {
        version if version > TEXTS => (version - TEXTS, true),
        version => (version, false),
    };
    let has_texts = is_later && [VERSION, VERSION + GAPS].contains(&stored);
    if is_later && !has_texts {
        return Err(Malformed("its version is unknown"));
    }
    let (version, may_have_gaps) = match stored {
        version @ (VERSION | VERSION_WITH_FILE) => (version, false),
        version if [VERSION + GAPS, VERSION_WITH_FILE + GAPS].contains(&version) => (version - GAPS, true),
        _ => return Err(Malformed("its version is unknown")),
    };
    let lsn = Lsn(body.u64()?);
    let next_point = body.u32()?;
    let metadata_bytes = body.u64()?;
    let extents = read_extents(&mut body)?;
    let dead = read_bitmap(&mut body)?;
    let mut expiries = Expiries::default();
    for _ in 0..body.u32()? {
        let (point, moment) = (PointId(body.u32()?), body.i64()?);
        expiries.insert(moment, point);
    }
    let mut files = Files::default();
    if version == VERSION_WITH_FILE {
        files.set(Kind::Metadata, Some(read_metadata_file(&mut body)?));
    }
    let (text_bytes, without_vector) = match has_texts {
        true => (body.u64()?, read_bitmap(&mut body)?),
        false => (0, RoaringBitmap::new()),
    };
    body.end()?;
    let ends = extents
        .iter()
        .map(|extent| extent.first_point.0.checked_add(extent.len));
    let ends = ends.collect::<Option<Vec<u32>>>();
    let ends = ends.ok_or(Malformed("its extents are too long"))?;
    let capacity = ends.into_iter().max().unwrap_or(0).max(next_point);
    let state = State {
        known_filters: PassingCache::default(),
        lsn,
        next_point,
        capacity,
        extents: Arc::new(extents),
        dead: Arc::new(dead),
        expiries: Arc::new(expiries),
        index: None,
        tail: Arc::default(),
        metadata: None,
        files,
        metadata_bytes,
        text_bytes,
        without_vector: Arc::new(without_vector),
        texts: None,
        ops_since_checkpoint: 0,
        end: End::default(),
        is_dropped: false,
    };
    if !may_have_gaps && state.gaps().next().is_some() {
        return Err(Malformed("points have no slot"));
    }
    state.check().map_err(|_| Malformed("it contradicts itself"))?;
    Ok(state)
}

fn read_metadata_file(body: &mut Reader<'_>) -> Result<NamedFile, Malformed> {
    let row = IndexRow {
        lsn: Lsn(body.u64()?),
        number: body.u32()?,
        bytes: body.u64()?,
        header_checksum: body.u32()?,
        measured: None,
    };
    Ok(NamedFile {
        row: Some(row),
        changed: Arc::new(read_bitmap(body)?),
        ..NamedFile::default()
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::ids::{Extent, Slot};
    use crate::base::op::{Op, PointChange};

    #[test]
    fn a_checkpoint_reads_back_as_the_same_state() {
        let mut state = State::default();
        let put = (0..6).map(|point| PointChange {
            point: PointId(point),
            expires_at: (point % 2 == 0).then(|| i64::from(point) * 100_000),
        });
        state.apply(
            Lsn(4),
            &Op {
                put: put.collect(),
                removed: vec![PointChange {
                    point: PointId(3),
                    expires_at: None,
                }],
                extents: vec![Extent {
                    first_point: PointId(0),
                    first_slot: Slot(9),
                    len: 8,
                }],
                metadata_bytes_added: 77,
                text_bytes_added: 5,
                ..Op::default()
            },
        );
        state.ops_since_checkpoint = 0;
        assert_reads_back(&state);
        assert_eq!(encode(ScopeId(5), &state)[4], 5);
        state.text_bytes = 0;
        assert_reads_back(&state);
        assert_eq!(encode(ScopeId(5), &state)[4], 1);
    }

    #[test]
    fn a_state_that_has_given_slots_back_reads_back_and_says_so() {
        let change = |point| PointChange {
            point: PointId(point),
            expires_at: None,
        };
        let mut state = State::default();
        state.apply(
            Lsn(4),
            &Op {
                put: (0..6).map(change).collect(),
                extents: vec![Extent {
                    first_point: PointId(0),
                    first_slot: Slot(9),
                    len: 6,
                }],
                ..Op::default()
            },
        );
        for (lsn, gone) in [(5, 1..3), (7, 5..6)] {
            let removed = gone.clone().map(change).collect();
            state.apply(
                Lsn(lsn),
                &Op {
                    removed,
                    ..Op::default()
                },
            );
            let returned = gone.map(PointId).collect();
            state.apply(
                Lsn(lsn + 1),
                &Op {
                    returned,
                    ..Op::default()
                },
            );
        }
        state.ops_since_checkpoint = 0;
        assert_reads_back(&state);
        assert_eq!(encode(ScopeId(5), &state)[4], 3);
        let mut bytes = encode(ScopeId(5), &state);
        // A version without gaps must not have any.
        bytes[4] = 1;
        let sealed = seal(&5_u64.to_le_bytes(), &bytes[4..]);
        assert!(decode(ScopeId(5), &sealed).is_err());
    }

    fn assert_reads_back(state: &State) {
        let bytes = encode(ScopeId(5), state);
        let read = decode(ScopeId(5), &bytes).unwrap();
        assert_eq!(format!("{read:?}"), format!("{state:?}"));
        assert!(decode(ScopeId(6), &bytes).is_err());
        for len in 0..bytes.len() {
            assert!(decode(ScopeId(5), &bytes[..len]).is_err());
        }
    }

    #[test]
    fn the_bytes_of_a_checkpoint_never_change() {
        let state = State {
            lsn: Lsn(9),
            metadata_bytes: 7,
            ..State::default()
        };
        let empty_bitmap = [8, 0, 0, 0, 58, 48, 0, 0, 0, 0, 0, 0];
        let head = |version| [vec![version, 9], vec![0; 11], vec![7], vec![0; 7]].concat();
        let bytes = encode(ScopeId(1), &state);
        let body = [head(1), extents_of(&state), empty_bitmap.to_vec(), vec![0; 4]].concat();
        assert_eq!(bytes[4..], body);

        // A checkpoint with a file, as earlier builds wrote it.
        #[rustfmt::skip]
        let file = [
            2, 0, 0, 0, 0, 0, 0, 0,
            3, 0, 0, 0,
            4, 0, 0, 0, 0, 0, 0, 0,
            5, 0, 0, 0,
        ];
        let body = [
            head(2),
            extents_of(&state),
            empty_bitmap.to_vec(),
            vec![0; 4],
            file.to_vec(),
            empty_bitmap.to_vec(),
        ];
        let read = decode(ScopeId(1), &seal(&1_u64.to_le_bytes(), &body.concat())).unwrap();
        let row = IndexRow {
            lsn: Lsn(2),
            number: 3,
            bytes: 4,
            header_checksum: 5,
            measured: None,
        };
        assert_eq!(read.files.row(Kind::Metadata), Some(row));
        assert_eq!(
            encode(ScopeId(1), &read),
            bytes,
            "the next checkpoint leaves it to the table"
        );
    }

    fn extents_of(state: &State) -> Vec<u8> {
        let mut extents = Writer::default();
        write_extents(&mut extents, &state.extents);
        extents.finish()
    }
}
