//! How is a state stored, so that the log before it need not be kept?
//!
//! ```text
//! byte 0        4       5   13         17             25
//!      │checksum│version│lsn│next_point│metadata_bytes│ extents (as in op.rs) │ dead: len u32, roaring bytes │
//!      │ u32    │ u8    │u64│ u32      │ u64          │ expiries: count u32, then point u32, expires_at i64 each
//! ```
//!
//! The checksum covers the key of the row (scope id) too. Dead points are in the portable roaring format. What is read
//! is checked for consistency before it is used. v1 (0.1.0): as above.

use std::sync::Arc;

use roaring::RoaringBitmap;

use super::expiries::Expiries;
use super::passing::PassingCache;
use super::state::State;
use crate::codec::{Malformed, Reader, Writer, seal, unseal};
use crate::ids::{Lsn, PointId, ScopeId};
use crate::op::{read_extents, write_extents};

const VERSION: u8 = 1;

/// The bytes of the checkpoint of `scope`.
pub(crate) fn encode(scope: ScopeId, state: &State) -> Vec<u8> {
    let mut body = Writer::default();
    body.u8(VERSION)
        .u64(state.lsn.0)
        .u32(state.next_point)
        .u64(state.metadata_bytes);
    write_extents(&mut body, &state.extents);
    let mut dead = Vec::with_capacity(state.dead.serialized_size());
    state.dead.serialize_into(&mut dead).expect("a vector takes all bytes");
    body.u32(u32::try_from(dead.len()).expect("points are u32"))
        .bytes(&dead);
    body.u32(u32::try_from(state.expiries.len()).expect("points are u32"));
    for (moment, point) in state.expiries.iter() {
        body.u32(point.0).i64(moment);
    }
    seal(&scope.0.to_le_bytes(), &body.finish())
}

/// Reads what [`encode`] wrote for the same scope.
pub(crate) fn decode(scope: ScopeId, bytes: &[u8]) -> Result<State, Malformed> {
    let mut body = Reader::new(unseal(&scope.0.to_le_bytes(), bytes)?);
    if body.u8()? != VERSION {
        return Err(Malformed("its version is unknown"));
    }
    let lsn = Lsn(body.u64()?);
    let next_point = body.u32()?;
    let metadata_bytes = body.u64()?;
    let extents = read_extents(&mut body)?;
    let dead_len = body.u32()? as usize;
    let dead = RoaringBitmap::deserialize_from(body.bytes(dead_len)?).map_err(|_| Malformed("its bitmap is bad"))?;
    let mut expiries = Expiries::default();
    for _ in 0..body.u32()? {
        let (point, moment) = (PointId(body.u32()?), body.i64()?);
        expiries.insert(moment, point);
    }
    body.end()?;
    let capacity = extents
        .iter()
        .try_fold(0_u32, |sum, extent| sum.checked_add(extent.len))
        .ok_or(Malformed("its extents are too long"))?;
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
        metadata_bytes,
        ops_since_checkpoint: 0,
        is_dropped: false,
    };
    state.check().map_err(|_| Malformed("it contradicts itself"))?;
    Ok(state)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ids::{Extent, Slot};
    use crate::op::{Op, PointChange};

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
                ..Op::default()
            },
        );
        state.ops_since_checkpoint = 0;
        let bytes = encode(ScopeId(5), &state);
        let read = decode(ScopeId(5), &bytes).unwrap();
        assert_eq!(format!("{read:?}"), format!("{state:?}"));
        assert!(decode(ScopeId(6), &bytes).is_err());
        for len in 0..bytes.len() {
            assert!(decode(ScopeId(5), &bytes[..len]).is_err());
        }
    }
}
