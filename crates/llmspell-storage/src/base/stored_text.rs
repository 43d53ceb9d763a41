//! The stored text and sparse vectors of an entry: the value of a row in table `texts`.
//!
//! ```text
//! byte 0        4       5      6
//!      │checksum│version│kind  │ 0: the text, UTF-8 …
//!      │ u32    │ u8 = 1│ u8   │ 1: its terms, as `row.rs` of llmspell-text writes them …
//!                              │ 4, 5, 6: sparse vectors, then the text, its terms, or nothing
//!
//! sparse vectors: count u8, per vector, in order of the names:
//!                 length u8 │ name │ components u32 │ indices u32 … │ values f32 …
//! ```
//!
//! The checksum covers the key of the row (scope id, point) and every byte after it. A text that is kept is analyzed again when an
//! index needs its terms, so they are not stored beside it. v1 (0.1.0): as above.

use std::collections::BTreeMap;

use crate::base::ids::{PointId, ScopeId, place};
use llmspell_codec::{Malformed, Reader, Writer, seal, unseal};
use llmspell_core::{SparseVector, validate_vectors as validate};
use llmspell_text::Row;

const VERSION: u8 = 1;
const TEXT: u8 = 0;
const TERMS: u8 = 1;
const SPARSE_TEXT: u8 = 4;
const SPARSE_TERMS: u8 = 5;
const SPARSE: u8 = 6;

/// What is stored of the text and of the sparse vectors of an entry that has any.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct StoredText {
    pub(crate) own: Option<OwnText>,
    pub(crate) sparse: BTreeMap<String, SparseVector>,
}

/// What is stored of the text of an entry.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum OwnText {
    /// The text itself: it is returned with its entry.
    Text(String),
    /// Its terms alone.
    Terms(Row),
}

impl StoredText {
    /// None for an entry that has neither.
    pub(crate) fn new(own: Option<OwnText>, sparse: BTreeMap<String, SparseVector>) -> Option<Self> {
        (own.is_some() || !sparse.is_empty()).then_some(Self { own, sparse })
    }

    /// The bytes of the row for `point` of `scope`.
    pub(crate) fn encode(&self, scope: ScopeId, point: PointId) -> Vec<u8> {
        let mut body = Writer::default();
        body.u8(VERSION).u8(match (&self.own, self.sparse.is_empty()) {
            (Some(OwnText::Text(_)), true) => TEXT,
            (Some(OwnText::Terms(_)), true) => TERMS,
            (Some(OwnText::Text(_)), false) => SPARSE_TEXT,
            (Some(OwnText::Terms(_)), false) => SPARSE_TERMS,
            (None, _) => SPARSE,
        });
        if !self.sparse.is_empty() {
            self.encode_sparse(&mut body);
        }
        match &self.own {
            Some(OwnText::Text(text)) => body.bytes(text.as_bytes()),
            Some(OwnText::Terms(row)) => body.bytes(&row.to_bytes()),
            None => &mut body,
        };
        seal(&place(scope, point), &body.finish())
    }

    fn encode_sparse(&self, body: &mut Writer) {
        body.u8(u8::try_from(self.sparse.len()).expect("a space has few names"));
        for (name, vector) in &self.sparse {
            body.u8(u8::try_from(name.len()).expect("validate bounds the name"));
            body.bytes(name.as_bytes());
            body.u32(u32::try_from(vector.indices().len()).expect("validate bounds the components"));
            for index in vector.indices() {
                body.u32(*index);
            }
            for value in vector.values() {
                body.u32(value.to_bits());
            }
        }
    }

    /// Reads what [`encode`](Self::encode) wrote for the same point of the same scope.
    pub(crate) fn decode(scope: ScopeId, point: PointId, bytes: &[u8]) -> Result<Self, Malformed> {
        let mut body = Reader::new(unseal(&place(scope, point), bytes)?);
        if body.u8()? != VERSION {
            return Err(Malformed("the version of its text is unknown"));
        }
        let kind = body.u8()?;
        let sparse = match kind {
            SPARSE_TEXT | SPARSE_TERMS | SPARSE => decode_sparse(&mut body)?,
            _ => BTreeMap::new(),
        };
        let own = match kind {
            TEXT | SPARSE_TEXT => match std::str::from_utf8(body.rest()) {
                Ok(text) => Some(OwnText::Text(text.to_string())),
                Err(_) => return Err(Malformed("its text is not UTF-8")),
            },
            TERMS | SPARSE_TERMS => Some(OwnText::Terms(Row::from_bytes(body.rest())?)),
            SPARSE => {
                body.end()?;
                None
            }
            _ => return Err(Malformed("the kind of its text is unknown")),
        };
        Ok(Self { own, sparse })
    }

    /// The text, if it is kept.
    pub(crate) fn into_text(self) -> Option<String> {
        self.into_parts().0
    }

    /// The text, if it is kept, and the sparse vectors.
    pub(crate) fn into_parts(self) -> (Option<String>, BTreeMap<String, SparseVector>) {
        let text = match self.own {
            Some(OwnText::Text(text)) => Some(text),
            Some(OwnText::Terms(_)) | None => None,
        };
        (text, self.sparse)
    }

    /// The text, if it is kept.
    pub(crate) fn text(&self) -> Option<&str> {
        match &self.own {
            Some(OwnText::Text(text)) => Some(text),
            Some(OwnText::Terms(_)) | None => None,
        }
    }

    /// About how many bytes it takes.
    pub(crate) fn len(&self) -> usize {
        let own = match &self.own {
            Some(OwnText::Text(text)) => text.len(),
            Some(OwnText::Terms(row)) => row.memory_bytes(),
            None => 0,
        };
        own + self.sparse_bytes()
    }

    /// Bytes of its sparse vectors, as they count.
    pub(crate) fn sparse_bytes(&self) -> usize {
        self.sparse.values().map(SparseVector::counted_bytes).sum()
    }
}

fn decode_sparse(body: &mut Reader<'_>) -> Result<BTreeMap<String, SparseVector>, Malformed> {
    let damaged = Malformed("its sparse vectors are none");
    let mut vectors = BTreeMap::new();
    for _ in 0..body.u8()? {
        let name_len = body.u8()?;
        let name = std::str::from_utf8(body.bytes(name_len.into())?).map_err(|_| damaged)?;
        let count = body.u32()? as usize;
        let bytes = body.bytes(count.checked_mul(8).ok_or(damaged)?)?;
        let (numbers, _) = bytes.as_chunks::<4>();
        let (indices, values) = numbers.split_at(count);
        let vector = SparseVector::new(
            indices.iter().map(|bytes| u32::from_le_bytes(*bytes)),
            values.iter().map(|bytes| f32::from_le_bytes(*bytes)),
        );
        validate::sparse_vector("", name, &vector).map_err(|_| damaged)?;
        vectors.insert(name.to_string(), vector);
    }
    match vectors.is_empty() {
        true => Err(damaged),
        false => Ok(vectors),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use llmspell_text::{Analyzer, AnalyzerConfig, Positions};

    const PLACE: (ScopeId, PointId) = (ScopeId(7), PointId(9));

    fn of(own: OwnText) -> StoredText {
        StoredText::new(Some(own), BTreeMap::new()).unwrap()
    }

    fn vectors() -> BTreeMap<String, SparseVector> {
        BTreeMap::from([("bm".to_string(), SparseVector::new([1, 256], [1.0, 2.0]))])
    }

    #[test]
    fn the_bytes_of_a_text_never_change() {
        let key = [7, 0, 0, 0, 0, 0, 0, 0, 9, 0, 0, 0];
        let text = of(OwnText::Text("é".to_string()));
        assert_eq!(text.encode(PLACE.0, PLACE.1), seal(&key, &[1, 0, 0xc3, 0xa9]));
        let row = Row::of_texts(
            &Analyzer::new(AnalyzerConfig::default()).unwrap(),
            Positions::Kept,
            [(0, "ab")],
        );
        let body = [&[1, 1][..], &row.to_bytes()].concat();
        assert_eq!(of(OwnText::Terms(row)).encode(PLACE.0, PLACE.1), seal(&key, &body));
        #[rustfmt::skip]
        let sparse = [
            1,                      // vectors
            2, b'b', b'm',          // name
            2, 0, 0, 0,             // components
            1, 0, 0, 0, 0, 1, 0, 0, // indices
            0, 0, 0x80, 0x3f,       // values
            0, 0, 0, 0x40,
        ];
        let body = |kind, own: &[u8]| [&[1, kind][..], &sparse, own].concat();
        let stored = StoredText::new(None, vectors()).unwrap();
        assert_eq!(stored.encode(PLACE.0, PLACE.1), seal(&key, &body(6, &[])));
        let stored = StoredText::new(Some(OwnText::Text("ab".to_string())), vectors()).unwrap();
        assert_eq!(stored.encode(PLACE.0, PLACE.1), seal(&key, &body(4, b"ab")));
    }

    #[test]
    fn a_text_reads_back_in_its_place_and_nowhere_else() {
        let row = Row::of_texts(
            &Analyzer::new(AnalyzerConfig::default()).unwrap(),
            Positions::Kept,
            [(0, "a text")],
        );
        let own = [
            Some(OwnText::Text("a text".to_string())),
            Some(OwnText::Terms(row)),
            None,
        ];
        let with_sparse = own.iter().cloned().filter_map(|own| StoredText::new(own, vectors()));
        for text in own.iter().flatten().cloned().map(of).chain(with_sparse) {
            let bytes = text.encode(PLACE.0, PLACE.1);
            assert_eq!(StoredText::decode(PLACE.0, PLACE.1, &bytes), Ok(text));
            assert!(StoredText::decode(ScopeId(8), PLACE.1, &bytes).is_err());
            assert!(StoredText::decode(PLACE.0, PointId(8), &bytes).is_err());
            for len in 0..bytes.len() {
                assert!(StoredText::decode(PLACE.0, PLACE.1, &bytes[..len]).is_err());
            }
        }
        let refused = |body: &[u8]| {
            let foreign = seal(&place(PLACE.0, PLACE.1), body);
            assert!(StoredText::decode(PLACE.0, PLACE.1, &foreign).is_err(), "{body:?}");
        };
        refused(&[1, 2]);
        refused(&[1, 6, 0]);
        refused(&[1, 6, 1, 1, b'a', 255, 255, 255, 255]);
        // Components that no caller may store: a value of 0, and an index that stands twice.
        refused(&[1, 6, 1, 1, b'a', 1, 0, 0, 0, 9, 0, 0, 0, 0, 0, 0, 0]);
        let twice = [
            &[1, 6, 1, 1, b'a', 2, 0, 0, 0][..],
            &[7, 0, 0, 0].repeat(2),
            &1_f32.to_le_bytes().repeat(2),
        ];
        refused(&twice.concat());
    }
}
