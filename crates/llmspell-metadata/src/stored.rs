//! The stored form of an index: writing and reading it.
//!
//! ```text
//! index    config: bytes u64, bytes_per_point u64 │ has_unknown_fields u8 │ points: set │ distrusted: set
//!          configured: count u32, per field: path: count u16, per key: string; types: count u8, u8 each
//!          nodes
//! nodes    count u32, per node: key: string │ field │ nodes
//! field    flags u8: 1 configured, 2 its strings are dates │ bytes of a string u8
//!          parts, 5 of: flags u8: 1 indexed, 2 was dropped; missing: set
//!          keys: count u64, per key, in order: shared with the one before u8, length of the rest u8, rest; set
//! string   length u32, UTF-8
//! set      length in bytes u64, points as in `packed.rs`
//! ```
//!
//! Types are `Exact` 0, `Range` 1, `FullText` 2, `ArrayContains` 3, `Date` 4; parts in the order of `Part::ALL`; keys as
//! in `key.rs`. v1 (0.1.0): as above.

use std::collections::BTreeMap;
use std::io;
use std::sync::Arc;

use llmspell_core::{DateFields, FieldPath, limits::METADATA_DEPTH_MAX};
use roaring::RoaringBitmap;

use super::field::{Coverage, Field, Part};
use super::key::{self, KEY_BYTES_MAX, Strings};
use super::packed;
use super::point_set::PointSet;
use super::postings::{Postings, PostingsBuilder};
use super::{IndexType, MetadataIndex, MetadataIndexConfig, Node};
use llmspell_codec::{Malformed, Reader, Writer};

const CONFIGURED: u8 = 1;
const DATES: u8 = 2;
const INDEXED: u8 = 1;
const DROPPED: u8 = 2;
const TYPES: [IndexType; 5] = [
    IndexType::Exact,
    IndexType::Range,
    IndexType::FullText,
    IndexType::ArrayContains,
    IndexType::Date,
];

/// An index that was read from bytes.
#[derive(Debug)]
pub struct Restored {
    /// The index.
    pub index: MetadataIndex,
    /// Points that the index left out although they may exist: they must be inserted with their current metadata.
    pub stale: RoaringBitmap,
}

/// Receives bytes piece by piece.
type Output<'a> = &'a mut dyn FnMut(&[u8]) -> io::Result<()>;

impl MetadataIndex {
    /// Writes the bytes of the index to `output`, piece by piece.
    ///
    /// # Errors
    ///
    /// The error of `output`.
    ///
    /// # Panics
    ///
    /// Never: the fields of a valid index have short paths.
    pub fn store(&self, output: Output<'_>) -> io::Result<()> {
        let mut head = Writer::default();
        head.u64(self.config.bytes as u64)
            .u64(self.config.bytes_per_point as u64);
        head.u8(self.has_unknown_fields.into());
        output(&head.finish())?;
        store_set(self.points.iter(), output)?;
        store_set((&self.distrusted | &self.unread).iter(), output)?;
        let mut types = Writer::default();
        types.u32(count_of(self.types.len()));
        for (path, of_field) in &self.types {
            types.u16(u16::try_from(path.keys().len()).expect("paths are short"));
            for key in path.keys() {
                string(&mut types, key);
            }
            types.u8(u8::try_from(of_field.len()).expect("there are five types"));
            for index_type in of_field {
                let place = TYPES
                    .iter()
                    .position(|of| of == index_type)
                    .expect("all types are listed");
                types.u8(place as u8);
            }
        }
        output(&types.finish())?;
        store_nodes(&self.fields, output)
    }

    /// Reads the bytes of [`store`](Self::store), leaving out points that changed since.
    ///
    /// # Errors
    ///
    /// The fault in the bytes.
    pub fn restore(bytes: &[u8], changed: &RoaringBitmap) -> Result<Restored, Malformed> {
        let mut reader = Reader::new(bytes);
        let size = |number: u64| usize::try_from(number).map_err(|_| Malformed("it is for a larger machine"));
        let config = MetadataIndexConfig {
            bytes: size(reader.u64()?)?,
            bytes_per_point: size(reader.u64()?)?,
        };
        let has_unknown_fields = reader.u8()? != 0;
        let mut input = Input {
            reader,
            stale: RoaringBitmap::new(),
        };
        let points = input.list()?;
        let distrusted: RoaringBitmap = packed::points(&input.list()?).collect();
        input.stale = distrusted | changed;
        let points = PointSet::of_sorted(packed::points(&points).filter(|point| !input.stale.contains(*point)));
        let types = input.types()?;
        let of_dates = types.iter().filter(|(_, types)| types.contains(&IndexType::Date));
        let dates =
            DateFields::of(of_dates.map(|(path, _)| path.clone())).map_err(|_| Malformed("it has a bad path"))?;
        let (mut field_count, fields) = (0, input.nodes(0)?);
        count_fields(&fields, &mut field_count);
        input.reader.end()?;
        Ok(Restored {
            index: Self {
                config,
                points,
                fields,
                field_count,
                types,
                dates,
                has_unknown_fields,
                distrusted: RoaringBitmap::new(),
                unread: RoaringBitmap::new(),
            },
            stale: input.stale,
        })
    }

    /// Whether it has the same configuration as another.
    #[must_use]
    pub fn is_configured_as(&self, other: &Self) -> bool {
        self.config == other.config && self.types == other.types
    }
}

fn store_nodes(nodes: &BTreeMap<Arc<str>, Node>, output: Output<'_>) -> io::Result<()> {
    output(&count_of(nodes.len()).to_le_bytes())?;
    for (key, node) in nodes {
        let mut head = Writer::default();
        string(&mut head, key);
        output(&head.finish())?;
        store_field(&node.field, output)?;
        store_nodes(&node.inner, output)?;
    }
    Ok(())
}

fn store_field(field: &Field, output: Output<'_>) -> io::Result<()> {
    let flags = if field.is_configured() { CONFIGURED } else { 0 } | if field.strings.are_dates { DATES } else { 0 };
    let bytes_max = u8::try_from(field.strings.bytes_max).expect("keys are short");
    output(&[flags, bytes_max])?;
    for part in Part::ALL {
        let coverage = field.part(part);
        let flags = if coverage.is_indexed { INDEXED } else { 0 } | if coverage.was_dropped { DROPPED } else { 0 };
        output(&[flags])?;
        store_set(coverage.missing.iter(), output)?;
    }
    let all = key::all_of(0, u8::MAX - 1);
    output(&field.postings.key_count(&all).to_le_bytes())?;
    let mut last = Vec::new();
    for (key, points) in field.postings.entries(&all) {
        let shared = last.iter().zip(&key).take_while(|(a, b)| a == b).count();
        let short = |len: usize| u8::try_from(len).expect("keys are short");
        output(&[short(shared), short(key.len() - shared)])?;
        output(&key[shared..])?;
        store_set(points.iter(), output)?;
        last = key;
    }
    Ok(())
}

fn store_set(points: impl IntoIterator<Item = u32>, output: Output<'_>) -> io::Result<()> {
    let list = packed::pack(points);
    output(&(list.len() as u64).to_le_bytes())?;
    output(&list)
}

fn string(writer: &mut Writer, text: &str) {
    writer.u32(count_of(text.len())).bytes(text.as_bytes());
}

fn count_of(len: usize) -> u32 {
    u32::try_from(len).expect("keys of metadata are short, and learned ones few")
}

fn count_fields(nodes: &BTreeMap<Arc<str>, Node>, count: &mut usize) {
    for node in nodes.values() {
        *count += 1;
        count_fields(&node.inner, count);
    }
}

/// The bytes to read, and the points to leave out.
struct Input<'a> {
    reader: Reader<'a>,
    stale: RoaringBitmap,
}

impl Input<'_> {
    fn string(&mut self) -> Result<String, Malformed> {
        let len = self.reader.u32()? as usize;
        let bytes = self.reader.bytes(len)?.to_vec();
        String::from_utf8(bytes).map_err(|_| Malformed("a name in it is not UTF-8"))
    }

    /// A packed list, without the points to leave out.
    fn list(&mut self) -> Result<Vec<u8>, Malformed> {
        let len = usize::try_from(self.reader.u64()?).map_err(|_| Malformed("it ends early"))?;
        let list = self.reader.bytes(len)?;
        let (mut start, mut last, mut has_stale) = (0, None, false);
        while start < list.len() {
            let (gap, end) = packed::number(list, start).ok_or(Malformed("a number in it is bad"))?;
            let point = match last {
                None => gap,
                Some(_) if gap == 0 => return Err(Malformed("a point in it occurs twice")),
                Some(last) => gap.checked_add(last).ok_or(Malformed("a point in it is too large"))?,
            };
            has_stale |= self.stale.contains(point);
            (start, last) = (end, Some(point));
        }
        Ok(match has_stale {
            false => list.to_vec(),
            true => packed::pack(packed::points(list).filter(|point| !self.stale.contains(*point))),
        })
    }

    fn types(&mut self) -> Result<BTreeMap<FieldPath, Vec<IndexType>>, Malformed> {
        let mut types = BTreeMap::new();
        for _ in 0..self.reader.u32()? {
            let mut keys = Vec::new();
            for _ in 0..self.reader.u16()? {
                keys.push(self.string()?);
            }
            let mut of_field = Vec::new();
            for _ in 0..self.reader.u8()? {
                let index_type = TYPES.get(usize::from(self.reader.u8()?));
                of_field.push(*index_type.ok_or(Malformed("a type in it is unknown"))?);
            }
            types.insert(FieldPath::of_keys(keys), of_field);
        }
        Ok(types)
    }

    fn nodes(&mut self, depth: usize) -> Result<BTreeMap<Arc<str>, Node>, Malformed> {
        let mut nodes = BTreeMap::new();
        let count = self.reader.u32()?;
        if count > 0 && depth > METADATA_DEPTH_MAX {
            return Err(Malformed("it is too deep"));
        }
        for _ in 0..count {
            let key = self.string()?;
            let node = Node {
                field: Arc::new(self.field()?),
                inner: self.nodes(depth + 1)?,
            };
            if nodes.insert(key.into(), node).is_some() {
                return Err(Malformed("a field in it occurs twice"));
            }
        }
        Ok(nodes)
    }

    fn field(&mut self) -> Result<Field, Malformed> {
        let flags = self.reader.u8()?;
        let strings = Strings {
            are_dates: flags & DATES != 0,
            bytes_max: usize::from(self.reader.u8()?),
        };
        if strings.bytes_max >= KEY_BYTES_MAX {
            return Err(Malformed("its keys are too long"));
        }
        let mut parts: [Coverage; 5] = Default::default();
        for part in &mut parts {
            let flags = self.reader.u8()?;
            let missing = self.list()?;
            *part = Coverage {
                is_indexed: flags & INDEXED != 0,
                was_dropped: flags & DROPPED != 0,
                missing: PointSet::of_sorted(packed::points(&missing)),
            };
        }
        Ok(Field {
            postings: self.postings()?,
            strings,
            parts,
            is_configured: flags & CONFIGURED != 0,
        })
    }

    fn postings(&mut self) -> Result<Postings, Malformed> {
        let mut postings = PostingsBuilder::default();
        let (mut last, mut key) = (Vec::new(), Vec::new());
        for number in 0..self.reader.u64()? {
            let (shared, rest_len) = (usize::from(self.reader.u8()?), usize::from(self.reader.u8()?));
            let rest = self.reader.bytes(rest_len)?;
            if shared > key.len() || shared + rest_len > KEY_BYTES_MAX {
                return Err(Malformed("a key in it is too long"));
            }
            key.truncate(shared);
            key.extend_from_slice(rest);
            if number > 0 && key <= last {
                return Err(Malformed("its keys are not in order"));
            }
            last.clone_from(&key);
            let list = self.list()?;
            if !list.is_empty() {
                postings.push(&key, &list);
            }
        }
        Ok(postings.finish())
    }
}

#[cfg(test)]
mod tests {
    use llmspell_core::Metadata;
    use proptest::prelude::*;
    use serde_json::{Value, json};

    use super::*;

    fn object(value: &Value) -> Metadata {
        value.as_object().unwrap().clone()
    }

    fn bytes_of(index: &MetadataIndex) -> Vec<u8> {
        let mut bytes = Vec::new();
        let mut add = |piece: &[u8]| {
            bytes.extend_from_slice(piece);
            Ok(())
        };
        index.store(&mut add).unwrap();
        bytes
    }

    /// Metadata of many kinds by a number.
    fn metadata(number: u32) -> Metadata {
        let text = format!("the {number}th of a great many texts with a word like w{}", number % 17);
        object(&match number % 4 {
            0 => json!({"a": number, "b": {"c": [number % 5, "x", null], "d": true}}),
            1 => json!({"a": format!("s{}", number % 7), "when": "2025-01-02T03:04:05Z"}),
            2 => json!({"a": text, "b": number % 3}),
            _ => json!({"a": null, "when": format!("2024-01-{:02}", number % 28 + 1)}),
        })
    }

    fn index_of(points: impl Iterator<Item = u32>) -> MetadataIndex {
        let mut index = MetadataIndex::new(MetadataIndexConfig::default());
        index.configure_field("when", IndexType::Date).unwrap();
        for point in points {
            index.insert(point, &metadata(point));
        }
        index
    }

    #[test]
    fn the_bytes_of_an_index_never_change() {
        let mut index = MetadataIndex::new(MetadataIndexConfig {
            bytes: 1,
            bytes_per_point: 0x0203,
        });
        index.configure_field("a", IndexType::Exact).unwrap();
        index.config.bytes = 1 << 20;
        index.insert(5, &object(&json!({"a": "x", "b": {"c": 1}})));
        index.insert(300, &object(&json!({"a": "xy"})));
        index.distrust(&RoaringBitmap::from([300]));
        let set = |bytes: &[u8]| [&(bytes.len() as u64).to_le_bytes(), bytes].concat();
        let none = [vec![0], set(&[])].concat();
        let here = [vec![1], set(&[])].concat();
        // The key of a field that is there, and its points.
        let exists = |points: &[u8]| [vec![0, 1, 0], set(points)].concat();
        let learned = [&[0, 64][..], &here, &here, &here, &here, &none].concat();
        #[rustfmt::skip]
        let expected = [
            vec![0, 0, 16, 0, 0, 0, 0, 0, 3, 2, 0, 0, 0, 0, 0, 0, 0],
            set(&[5, 0xa7, 2]), set(&[0xac, 2]),
            vec![1, 0, 0, 0, 1, 0, 1, 0, 0, 0, b'a', 1, 0],
            vec![2, 0, 0, 0],
            vec![1, 0, 0, 0, b'a', 1, 64], here.clone(), here.clone(), here.clone(), none.clone(), none.clone(),
            vec![3, 0, 0, 0, 0, 0, 0, 0], exists(&[5, 0xa7, 2]),
            vec![0, 2, 5, b'x'], set(&[5]), vec![2, 1, b'y'], set(&[0xac, 2]),
            vec![0, 0, 0, 0],
            vec![1, 0, 0, 0, b'b'], learned.clone(), vec![1, 0, 0, 0, 0, 0, 0, 0], exists(&[5]),
            vec![1, 0, 0, 0],
            vec![1, 0, 0, 0, b'c'], learned, vec![2, 0, 0, 0, 0, 0, 0, 0], exists(&[5]),
            vec![0, 3, 4, 0xbf, 0xf0], set(&[5]),
            vec![0, 0, 0, 0],
        ].concat();
        assert_eq!(bytes_of(&index), expected);
    }

    #[test]
    fn an_index_reads_back_as_the_same_without_what_changed() {
        let mut index = index_of(0..3_000);
        index.distrust(&RoaringBitmap::from([7]));
        let changed = RoaringBitmap::from([1, 10, 2_999, 5_000]);
        let restored = MetadataIndex::restore(&bytes_of(&index), &changed).unwrap();
        assert_eq!(restored.stale, RoaringBitmap::from([1, 7, 10, 2_999, 5_000]));
        let expected = index_of((0..3_000).filter(|point| !restored.stale.contains(*point)));
        assert!(bytes_of(&restored.index) == bytes_of(&expected));
        assert!(restored.index.is_configured_as(&expected));
        assert!(
            !restored
                .index
                .is_configured_as(&MetadataIndex::new(MetadataIndexConfig::default()))
        );
        assert_eq!(restored.index.field_count, expected.field_count);
        // Filled pages take no more memory than pages that grew.
        assert!(restored.index.memory_bytes() <= expected.memory_bytes() * 11 / 10);

        let none = MetadataIndex::restore(&bytes_of(&index), &RoaringBitmap::new()).unwrap();
        let mut whole = none.index;
        whole.insert(7, &metadata(7));
        assert!(bytes_of(&whole) == bytes_of(&index_of(0..3_000)));
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(2_000))]

        /// Any bytes give an error or a usable index.
        #[test]
        fn damaged_bytes_never_panic(
            cut in any::<Option<prop::sample::Index>>(),
            places in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..4),
        ) {
            let mut bytes = bytes_of(&index_of(0..40));
            for (place, byte) in places {
                let place = place.index(bytes.len());
                bytes[place] = byte;
            }
            if let Some(cut) = cut {
                bytes.truncate(cut.index(bytes.len()));
            }
            if let Ok(restored) = MetadataIndex::restore(&bytes, &RoaringBitmap::new()) {
                let mut index = restored.index;
                index.insert(40, &metadata(40));
                index.remove(8, &metadata(8));
                let filter: llmspell_core::Filter = r#"a >= 3 or a matches "texts" or when > "2024-01-05""#.parse().unwrap();
                let _ = index.candidates(&filter);
                bytes_of(&index);
            }
        }
    }
}
