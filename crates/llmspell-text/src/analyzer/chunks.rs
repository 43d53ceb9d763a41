//! Texts in pieces between white space, in normal form, with the places that they came from.

use std::borrow::Cow;
use std::ops::Range;

use unicode_normalization::{UnicodeNormalization, is_nfkc};
use unicode_segmentation::UnicodeSegmentation;

/// A piece of a text without ASCII white space: no word crosses it.
pub(super) struct Chunk<'a> {
    /// In normal form NFKC.
    pub(super) normal: Cow<'a, str>,
    /// Where the piece starts in the text.
    start: usize,
    /// Where clusters of characters start, in the normal form and in the piece; none where both are the same.
    clusters: Vec<(usize, usize)>,
}

impl<'a> Chunk<'a> {
    fn new(piece: &'a str, start: usize) -> Self {
        if piece.is_ascii() || is_nfkc(piece) {
            return Self {
                normal: Cow::Borrowed(piece),
                start,
                clusters: Vec::new(),
            };
        }
        let mut normal = String::with_capacity(piece.len());
        let mut clusters = Vec::new();
        for (place, cluster) in piece.grapheme_indices(true) {
            clusters.push((normal.len(), place));
            normal.extend(cluster.nfkc());
        }
        clusters.push((normal.len(), piece.len()));
        Self {
            normal: Cow::Owned(normal),
            start,
            clusters,
        }
    }

    /// The bytes of the text that a range of the normal form, not empty, stands for.
    pub(super) fn source(&self, range: &Range<usize>) -> Range<usize> {
        if self.clusters.is_empty() {
            return self.start + range.start..self.start + range.end;
        }
        // The last cluster that starts there or before, and the first that starts at the end or after.
        let first = self.clusters.partition_point(|(normal, _)| *normal <= range.start) - 1;
        let end = self.clusters.partition_point(|(normal, _)| *normal < range.end);
        let place = |cluster: usize| self.clusters[cluster.min(self.clusters.len() - 1)].1;
        self.start + place(first)..self.start + place(end)
    }
}

/// The chunks of a text.
pub(super) fn chunks(text: &str) -> impl Iterator<Item = Chunk<'_>> {
    let mut start = 0;
    let pieces = text.split(|c: char| c.is_ascii_whitespace());
    pieces.filter_map(move |piece| {
        let place = start;
        start += piece.len() + 1;
        (!piece.is_empty()).then(|| Chunk::new(piece, place))
    })
}

/// The words of ASCII, as Unicode tells them (UAX #29): runs of letters, digits and `_`, with `.` and `'` between two
/// letters or two digits, `:` between letters, and `,` and `;` between digits. Those without a letter or digit are left out.
pub(super) fn ascii_words(text: &str) -> impl Iterator<Item = Range<usize>> {
    let bytes = text.as_bytes();
    let mut at = 0;
    std::iter::from_fn(move || {
        loop {
            at += bytes[at..].iter().position(|byte| is_word(*byte))?;
            let start = at;
            let mut has_letter = false;
            while let Some(byte) = bytes.get(at) {
                if is_word(*byte) {
                    has_letter |= *byte != b'_';
                    at += 1;
                } else if joins(bytes[at - 1], *byte, bytes.get(at + 1).copied()) {
                    at += 1;
                } else {
                    break;
                }
            }
            if has_letter {
                return Some(start..at);
            }
        }
    })
}

fn is_word(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || byte == b'_'
}

/// Whether a character between two others does not separate them.
fn joins(before: u8, between: u8, after: Option<u8>) -> bool {
    let Some(after) = after else {
        return false;
    };
    let are_letters = before.is_ascii_alphabetic() && after.is_ascii_alphabetic();
    let are_digits = before.is_ascii_digit() && after.is_ascii_digit();
    match between {
        b'.' | b'\'' => are_letters || are_digits,
        b':' => are_letters,
        b',' | b';' => are_digits,
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(4_000))]

        #[test]
        fn words_of_ascii_are_those_of_unicode(text in "[a-zA-Z0-9 _.,:;'\"\\-]{0,24}|[ -~]{0,24}") {
            let expected: Vec<_> = text.unicode_word_indices().map(|(start, word)| start..start + word.len()).collect();
            prop_assert_eq!(ascii_words(&text).collect::<Vec<_>>(), expected);
        }

        /// Between white space no word is cut, and each range of a chunk names text that the normal form came from.
        #[test]
        fn chunks_are_the_text_without_white_space(text in "\\PC{0,20}|[a가e\u{301}ｶﾞ ﬁ１㍿\n\t.]{0,20}") {
            let mut whole = String::new();
            for chunk in chunks(&text) {
                whole.push_str(&chunk.normal);
                let source = chunk.source(&(0..chunk.normal.len()));
                prop_assert!(text[source.clone()].nfkc().eq(chunk.normal.chars()) || !is_nfkc(&text[source]));
                for (start, word) in chunk.normal.unicode_word_indices() {
                    let source = chunk.source(&(start..start + word.len()));
                    prop_assert!(text.get(source.clone()).is_some_and(|part| !part.is_empty()));
                    if chunk.clusters.is_empty() {
                        prop_assert_eq!(&text[source], word);
                    }
                }
            }
            let expected: String = text.split_ascii_whitespace().map(|piece| piece.nfkc().collect::<String>()).collect();
            prop_assert_eq!(whole.nfkc().collect::<String>(), expected.nfkc().collect::<String>());
        }
    }
}
