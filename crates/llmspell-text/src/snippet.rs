//! The part of a text that answers a query best, with the words that match.

use std::collections::HashMap;
use std::ops::Range;

use crate::analyzer::{Analyzer, TokenKind};
use crate::query::{Query, Subject};

/// A part of a text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Snippet {
    /// Its bytes in the text, on boundaries of characters, and of words where there is white space near by.
    pub bytes: Range<usize>,
    /// The words in it that match, as bytes of the text, in order; none overlap.
    pub matches: Vec<Range<usize>>,
}

impl Snippet {
    /// The part of a text, of at most `bytes_max` bytes or one word if that is longer, that has most of the words that a query asks
    /// for; of equal parts the first. None if the text has none of them.
    ///
    /// Fields do not matter: the text is that of one field, which the caller knows. Analyzes the text, so it takes some microseconds per
    /// kilobyte.
    ///
    /// ```
    /// # use llmspell_text::{Analyzer, AnalyzerConfig, Query, QueryFields, Snippet};
    /// let analyzer = Analyzer::new(AnalyzerConfig::default()).unwrap();
    /// let query = Query::parse("hnsw", &analyzer, &QueryFields::default());
    /// let text = "There is a graph, and there is an HNSWConfig for it.";
    /// let snippet = Snippet::of(text, &query, &analyzer, 24).unwrap();
    /// assert_eq!(&text[snippet.bytes], "is an HNSWConfig for");
    /// assert_eq!(&text[snippet.matches[0].clone()], "HNSW");
    /// ```
    #[must_use]
    pub fn of(text: &str, query: &Query, analyzer: &Analyzer, bytes_max: usize) -> Option<Self> {
        let found = matches(text, query, analyzer);
        let best = best_window(&found, bytes_max)?;
        let core = found[best.clone()]
            .iter()
            .fold(found[best.start].0.clone(), |core, (bytes, _)| {
                core.start.min(bytes.start)..core.end.max(bytes.end)
            });
        let bytes = widened(text, &core, bytes_max);
        let mut matches: Vec<Range<usize>> = Vec::new();
        for (range, _) in &found {
            if range.start < bytes.start || range.end > bytes.end {
                continue;
            }
            match matches.last_mut() {
                Some(last) if range.start < last.end => last.end = last.end.max(range.end),
                _ => matches.push(range.clone()),
            }
        }
        Some(Self { bytes, matches })
    }
}

/// The words of a text that a query asks for, with the number of what each matches.
fn matches(text: &str, query: &Query, analyzer: &Analyzer) -> Vec<(Range<usize>, usize)> {
    let phrases = query
        .required
        .iter()
        .flatten()
        .flat_map(|phrase| &phrase.terms)
        .map(|(place, _)| *place);
    let words = query.wanted.iter().filter_map(|wanted| match wanted.subject {
        Subject::Term(place) => Some(place),
        Subject::Prefix(_) => None,
    });
    let mut numbers: HashMap<&[u8], usize> = HashMap::new();
    for place in phrases.chain(words) {
        let next = numbers.len();
        numbers.entry(term_of(&query.terms[place].key)).or_insert(next);
    }
    let prefixes: Vec<&[u8]> = query
        .wanted
        .iter()
        .filter_map(|wanted| match wanted.subject {
            Subject::Prefix(place) => Some(term_of(&query.prefixes[place])),
            Subject::Term(_) => None,
        })
        .collect();
    let mut found = Vec::new();
    analyzer.each_token(text, |token| {
        let term = token.term.as_bytes();
        let of_prefix = || {
            prefixes
                .iter()
                .position(|prefix| term.starts_with(prefix))
                .map(|place| numbers.len() + place)
        };
        // A joined form stands for more than the prefix of its first part.
        let number = numbers.get(term).copied().or_else(|| {
            if token.kind == TokenKind::Joined {
                None
            } else {
                of_prefix()
            }
        });
        found.extend(number.map(|number| (token.bytes, number)));
    });
    found
}

/// A key without its field.
fn term_of(key: &[u8]) -> &[u8] {
    key.get(1..).unwrap_or_default()
}

/// The neighboring matches within `bytes_max` bytes that match most, first different words, then all.
fn best_window(found: &[(Range<usize>, usize)], bytes_max: usize) -> Option<Range<usize>> {
    let mut counts: HashMap<usize, usize> = HashMap::new();
    let (mut start, mut best) = (0, None);
    for (end, (bytes, number)) in found.iter().enumerate() {
        *counts.entry(*number).or_insert(0) += 1;
        while start < end && bytes.end.saturating_sub(found[start].0.start) > bytes_max {
            if let Some(count) = counts.get_mut(&found[start].1) {
                *count -= 1;
                if *count == 0 {
                    counts.remove(&found[start].1);
                }
            }
            start += 1;
        }
        let rank = (counts.len(), end + 1 - start);
        if best.as_ref().is_none_or(|(most, _)| *most < rank) {
            best = Some((rank, start..end + 1));
        }
    }
    best.map(|(_, window)| window)
}

/// A part with what is around it, as long as there is room, cut at white space where there is some.
fn widened(text: &str, core: &Range<usize>, bytes_max: usize) -> Range<usize> {
    let room = bytes_max.saturating_sub(core.len());
    let before = (room / 2)
        .max(room.saturating_sub(text.len() - core.end))
        .min(core.start);
    let from = text.ceil_char_boundary(core.start - before).min(core.start);
    let until = text
        .floor_char_boundary((core.end + (room - before)).min(text.len()))
        .max(core.end);
    let lead = &text[from..core.start];
    let is_cut = from > 0 && !text[..from].ends_with(char::is_whitespace);
    let start = match lead.find(char::is_whitespace) {
        Some(place) if is_cut => from + place,
        _ => from,
    };
    let trail = &text[core.end..until];
    let end = match trail.rfind(char::is_whitespace) {
        Some(place) if until < text.len() && !text[until..].starts_with(char::is_whitespace) => core.end + place,
        _ => until,
    };
    let lead = text[start..core.start].trim_start();
    let trail = text[core.end..end].trim_end();
    core.start - lead.len()..core.end + trail.len()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::analyzer::AnalyzerConfig;
    use crate::query::QueryFields;

    fn snippet(text: &str, query: &str, bytes_max: usize) -> Option<Snippet> {
        let analyzer = Analyzer::new(AnalyzerConfig::default()).unwrap();
        let query = Query::parse(query, &analyzer, &QueryFields::default());
        Snippet::of(text, &query, &analyzer, bytes_max)
    }

    /// The snippet with its matches in brackets.
    fn shown(text: &str, query: &str, bytes_max: usize) -> String {
        let Some(snippet) = snippet(text, query, bytes_max) else {
            return String::new();
        };
        let (mut out, mut at) = (String::new(), snippet.bytes.start);
        for found in &snippet.matches {
            out += &format!("{}[{}]", &text[at..found.start], &text[found.clone()]);
            at = found.end;
        }
        out + &text[at..snippet.bytes.end]
    }

    #[test]
    fn the_part_with_most_words_is_shown() {
        let text = "One apple. Nothing here for a long while, really nothing. Two pears and one apple with a fooBar.";
        assert_eq!(shown(text, "apple pears", 30), "Two [pears] and one [apple] with");
        assert_eq!(shown(text, "apple", 14), "One [apple].");
        assert_eq!(shown(text, "foobar", 20), "apple with a [fooBar].");
        assert_eq!(shown(text, "pea*", 16), "Two [pears] and");
        assert_eq!(
            shown(text, "\"one apple\" -two", 300),
            text.replace("One apple", "[One] [apple]")
                .replace("one apple", "[one] [apple]")
        );
        assert_eq!(shown(text, "durian", 30), "");
        assert_eq!(shown("我昨天在北京大学借书", "北京大学", 18), "在[北京大学]借");
        assert_eq!(shown("short", "short", 2), "[short]");
    }

    proptest! {
        #[test]
        fn a_snippet_lies_in_the_text(text in "[ab東 .é]{0,60}|\\PC{0,40}", query in "[ab東]{1,3}( a\\*)?", bytes_max in 0..40usize) {
            if let Some(snippet) = snippet(&text, &query, bytes_max) {
                prop_assert!(text.get(snippet.bytes.clone()).is_some());
                prop_assert!(snippet.bytes.len() <= bytes_max || snippet.matches.len() == 1);
                prop_assert!(!snippet.matches.is_empty());
                let mut at = snippet.bytes.start;
                for found in snippet.matches {
                    prop_assert!(at <= found.start && found.start < found.end && found.end <= snippet.bytes.end);
                    prop_assert!(text.get(found.clone()).is_some());
                    at = found.end;
                }
            }
        }
    }
}
