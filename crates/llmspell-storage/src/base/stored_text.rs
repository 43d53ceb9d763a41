//! The stored text of an entry: the value of a row in table `texts`.
//!
//! ```text
//! byte 0        4       5      6
//!      │checksum│version│kind  │ 0: the text, UTF-8 …
//!      │ u32    │ u8 = 1│ u8   │ 1: its terms, as `row.rs` of llmspell-text writes them …
//! ```
//!
//! The checksum covers the key of the row (scope id, point) and every byte after it. A text that is kept is analyzed again when an
//! index needs its terms, so they are not stored beside it. v1 (0.1.0): as above.

use crate::base::ids::{PointId, ScopeId, place};
use llmspell_codec::{Malformed, Reader, Writer, seal, unseal};
use llmspell_text::Row;

const VERSION: u8 = 1;
const TEXT: u8 = 0;
const TERMS: u8 = 1;

/// What is stored of the text of an entry.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum StoredText {
    /// The text itself: it is returned with its entry.
    Text(String),
    /// Its terms alone.
    Terms(Row),
}

impl StoredText {
    /// The bytes of the row for `point` of `scope`.
    pub(crate) fn encode(&self, scope: ScopeId, point: PointId) -> Vec<u8> {
        let mut body = Writer::default();
        body.u8(VERSION);
        match self {
            Self::Text(text) => body.u8(TEXT).bytes(text.as_bytes()),
            Self::Terms(row) => body.u8(TERMS).bytes(&row.to_bytes()),
        };
        seal(&place(scope, point), &body.finish())
    }

    /// Reads what [`encode`](Self::encode) wrote for the same point of the same scope.
    pub(crate) fn decode(scope: ScopeId, point: PointId, bytes: &[u8]) -> Result<Self, Malformed> {
        let mut body = Reader::new(unseal(&place(scope, point), bytes)?);
        if body.u8()? != VERSION {
            return Err(Malformed("the version of its text is unknown"));
        }
        match body.u8()? {
            TEXT => match std::str::from_utf8(body.rest()) {
                Ok(text) => Ok(Self::Text(text.to_string())),
                Err(_) => Err(Malformed("its text is not UTF-8")),
            },
            TERMS => Row::from_bytes(body.rest()).map(Self::Terms),
            _ => Err(Malformed("the kind of its text is unknown")),
        }
    }

    /// The text, if it is kept.
    pub(crate) fn into_text(self) -> Option<String> {
        match self {
            Self::Text(text) => Some(text),
            Self::Terms(_) => None,
        }
    }

    /// About how many bytes it takes.
    pub(crate) fn len(&self) -> usize {
        match self {
            Self::Text(text) => text.len(),
            Self::Terms(row) => row.memory_bytes(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use llmspell_text::{Analyzer, AnalyzerConfig, Positions};

    const PLACE: (ScopeId, PointId) = (ScopeId(7), PointId(9));

    #[test]
    fn the_bytes_of_a_text_never_change() {
        let key = [7, 0, 0, 0, 0, 0, 0, 0, 9, 0, 0, 0];
        let text = StoredText::Text("é".to_string());
        assert_eq!(text.encode(PLACE.0, PLACE.1), seal(&key, &[1, 0, 0xc3, 0xa9]));
        let row = Row::of_texts(
            &Analyzer::new(AnalyzerConfig::default()).unwrap(),
            Positions::Kept,
            [(0, "ab")],
        );
        let body = [&[1, 1][..], &row.to_bytes()].concat();
        assert_eq!(StoredText::Terms(row).encode(PLACE.0, PLACE.1), seal(&key, &body));
    }

    #[test]
    fn a_text_reads_back_in_its_place_and_nowhere_else() {
        let row = Row::of_texts(
            &Analyzer::new(AnalyzerConfig::default()).unwrap(),
            Positions::Kept,
            [(0, "a text")],
        );
        for text in [StoredText::Text("a text".to_string()), StoredText::Terms(row)] {
            let bytes = text.encode(PLACE.0, PLACE.1);
            assert_eq!(StoredText::decode(PLACE.0, PLACE.1, &bytes), Ok(text));
            assert!(StoredText::decode(ScopeId(8), PLACE.1, &bytes).is_err());
            assert!(StoredText::decode(PLACE.0, PointId(8), &bytes).is_err());
            for len in 0..bytes.len() {
                assert!(StoredText::decode(PLACE.0, PLACE.1, &bytes[..len]).is_err());
            }
        }
        let foreign = seal(&place(PLACE.0, PLACE.1), &[1, 2]);
        assert!(StoredText::decode(PLACE.0, PLACE.1, &foreign).is_err());
    }
}
