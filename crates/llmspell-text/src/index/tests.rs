//! What an index of damaged bytes is, and that its bytes stay what they are.

use std::sync::Arc;

use llmspell_testkit::Random;
use proptest::prelude::*;

use super::*;
use crate::analyzer::{Analyzer, AnalyzerConfig};
use crate::row::Row;

fn written(kind: RowKind, rows: &[(u32, Arc<Row>)]) -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut output = |piece: &[u8]| {
        bytes.extend_from_slice(piece);
        Ok(())
    };
    merge(kind, &[], rows, &mut output).unwrap();
    bytes
}

fn rows(count: u32, positions: Positions) -> Vec<(u32, Arc<Row>)> {
    let analyzer = Analyzer::new(AnalyzerConfig::default()).unwrap();
    let mut random = Random::new(&[3]);
    let mut text = || {
        let words = (0..random.between(1, 20)).map(|_| format!("w{} ", random.below(40) * random.below(3)));
        words.collect::<String>()
    };
    let row = |point: u32, text: &str| Row::of_texts(&analyzer, positions, [(0, text), (point as u8 % 2, "title")]);
    (0..count)
        .map(|point| (2 * point + 5, Arc::new(row(point, &text()))))
        .collect()
}

fn sparse_rows(count: u32) -> Vec<(u32, Arc<Row>)> {
    let row = |point: u32| Row::of_sparse([(1, 0.5), (point % 20 + 2, 1.5 + point as f32)]).unwrap();
    (0..count).map(|point| (point, Arc::new(row(point)))).collect()
}

/// Puts the right checksums over whatever the sections hold.
fn reseal(bytes: &mut [u8]) -> Option<()> {
    let (body_start, end) = (bytes.len().checked_sub(FOOTER_BYTES)?, bytes.len() - 4);
    let mut start = HEADER_BYTES;
    for section in 0..4 {
        let len = u64::from_le_bytes(bytes[body_start + 8 * section..][..8].try_into().unwrap());
        let section_end = start.checked_add(usize::try_from(len).ok()?)?;
        let sum = sum_of(bytes.get(start..section_end)?);
        bytes[body_start + 40 + 4 * section..][..4].copy_from_slice(&sum.to_le_bytes());
        start = section_end;
    }
    let sum = checksum(&bytes[..HEADER_BYTES], &bytes[body_start..end]);
    bytes[end..].copy_from_slice(&sum.to_le_bytes());
    Some(())
}

/// Reads all that is in an index.
fn read_all(index: &Index) {
    let _ = index.points();
    index.with_prefix(&[], |key, term| {
        let mut cursor = index.cursor(key, &term).unwrap();
        let mut next = cursor.seek(0);
        while let Some(point) = next {
            let _ = (cursor.payload(), cursor.position_bytes());
            next = cursor.seek(point + 1);
        }
        true
    });
}

#[test]
fn the_bytes_of_an_index_never_change() {
    let analyzer = Analyzer::new(AnalyzerConfig::default()).unwrap();
    let row = |text| Arc::new(Row::of_texts(&analyzer, Positions::Kept, [(1, text)]));
    let bytes = written(RowKind::Text(Positions::Kept), &[(2, row("b a")), (4, row("ab a a"))]);
    #[rustfmt::skip]
    let sections = [
        b'L', b'S', b'T', b'X', 1, 1, 0, 0,
        5, 2, 2, 1, 1, 1, 9, 0, 5, 0,
        1, 2, 0, 0, 0, 3, 0, 0, 0, 2, 0, 3,
        0, 0, 0, 0, 0, 0, 0, 0,
        0, 2, 1, b'a', 2, 3, 3, 2, 1, b'b', 1, 1, 1, 1, 1, b'b', 1, 1, 1,
        0, 0, 0, 0,
        10, 0, 0, 0, 0, 0, 0, 0, 12, 0, 0, 0, 0, 0, 0, 0, 27, 0, 0, 0, 0, 0, 0, 0, 4, 0, 0, 0, 0, 0, 0, 0,
        3, 0, 0, 0, 0, 0, 0, 0,
    ];
    assert_eq!(bytes[..bytes.len() - 20], sections);
    let mut resealed = bytes.clone();
    reseal(&mut resealed).unwrap();
    assert_eq!(resealed, bytes);
}

#[test]
fn an_index_has_what_its_rows_have() {
    for positions in [Positions::Kept, Positions::Dropped] {
        let rows = rows(900, positions);
        let index = Index::open(Arc::new(written(RowKind::Text(positions), &rows))).unwrap();
        assert!(index.points().iter().eq(rows.iter().map(|(point, _)| *point)));
        assert!(index.has(7) && !index.has(8) && !index.has(u32::MAX));
        let mut found: Vec<(u32, Vec<u8>, u32, Vec<u8>)> = Vec::new();
        index.with_prefix(&[], |key, term| {
            assert_eq!(index.find(key), Some(term.clone()));
            let mut cursor = index.cursor(key, &term).unwrap();
            let mut next = cursor.seek(0);
            while let Some(point) = next {
                let at = cursor.position_bytes().unwrap_or_default().to_vec();
                found.push((
                    point,
                    key.to_vec(),
                    cursor.payload(),
                    if positions == Positions::Kept { at } else { Vec::new() },
                ));
                next = cursor.seek(point + 1);
            }
            true
        });
        found.sort();
        let of_row = |(point, row): &(u32, Arc<Row>)| {
            let entry = |entry| {
                (
                    *point,
                    row.key(entry).to_vec(),
                    entry.payload,
                    row.positions(entry).to_vec(),
                )
            };
            row.entries.iter().map(entry).collect::<Vec<_>>()
        };
        assert_eq!(found, rows.iter().flat_map(of_row).collect::<Vec<_>>());
        assert_eq!(index.find(b"\x00zz"), None);
    }
}

#[test]
fn an_index_without_points_is_an_index() {
    let index = Index::open(Arc::new(written(RowKind::Sparse, &[]))).unwrap();
    assert!(index.points().is_empty() && index.term_count() == 0 && index.find(b"abcd").is_none());
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1_500))]

    /// Any change is noticed by a checksum; behind right checksums any bytes are an error, or an index that can be read.
    #[test]
    fn damaged_bytes_are_an_error_and_never_a_panic(
        places in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..4),
        cut in prop::option::weighted(0.1, any::<prop::sample::Index>()),
        kind in 0..3usize,
        is_resealed in any::<bool>(),
    ) {
        let original = match kind {
            0 => written(RowKind::Text(Positions::Kept), &rows(200, Positions::Kept)),
            1 => written(RowKind::Text(Positions::Dropped), &rows(40, Positions::Dropped)),
            _ => written(RowKind::Sparse, &sparse_rows(150)),
        };
        let mut bytes = original.clone();
        for (place, byte) in places {
            let place = place.index(bytes.len());
            bytes[place] = byte;
        }
        if let Some(cut) = cut {
            bytes.truncate(cut.index(bytes.len()));
        }
        if !is_resealed {
            prop_assert_eq!(Index::open(Arc::new(bytes.clone())).is_ok(), bytes == original);
        } else if reseal(&mut bytes).is_some() && let Ok(index) = Index::open(Arc::new(bytes)) {
            read_all(&index);
        }
    }
}
