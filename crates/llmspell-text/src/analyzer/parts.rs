//! Words cut where identifiers are made of several: at a change of case, between letters and digits, at punctuation.

use std::ops::Range;

use unicode_normalization::char::is_combining_mark;

/// Parts that a word may have. One of more, of random letters for example, is taken whole.
pub(super) const PARTS_MAX: usize = 32;

#[derive(Clone, Copy, PartialEq, Eq)]
enum Class {
    Upper,
    Lower,
    Digit,
    Mark,
    Separator,
}

fn class(c: char) -> Class {
    match c {
        'a'..='z' => Class::Lower,
        'A'..='Z' => Class::Upper,
        '0'..='9' => Class::Digit,
        _ if c.is_ascii() => Class::Separator,
        _ if c.is_uppercase() => Class::Upper,
        _ if is_combining_mark(c) => Class::Mark,
        _ if c.is_numeric() => Class::Digit,
        _ if c.is_alphabetic() => Class::Lower,
        '\u{ad}' | '\u{200b}'..='\u{200f}' | '\u{2060}' | '\u{feff}' => Class::Mark,
        _ => Class::Separator,
    }
}

/// Whether a word has one part, seen at a glance: ASCII letters, at most the first a capital, or digits.
pub(super) fn is_plain(word: &str) -> bool {
    let rest = &word.as_bytes()[1..];
    match word.as_bytes()[0] {
        b'a'..=b'z' | b'A'..=b'Z' => rest.iter().all(u8::is_ascii_lowercase),
        b'0'..=b'9' => rest.iter().all(u8::is_ascii_digit),
        _ => false,
    }
}

/// Puts the parts of a word into `parts`: all of them, or the first [`PARTS_MAX`] + 1.
pub(super) fn split(word: &str, parts: &mut Vec<Range<usize>>) {
    parts.clear();
    let mut part: Option<usize> = None;
    let mut last = Class::Separator;
    // Where the last capital of a run of at least two begins.
    let (mut capitals, mut last_capital) = (0, 0);
    let mut chars = word.char_indices().peekable();
    while let Some((place, c)) = chars.next() {
        if parts.len() > PARTS_MAX {
            return;
        }
        let class = class(c);
        if class == Class::Mark {
            // Vowel signs of some scripts are marks, and may stand alone.
            if part.is_none() && c.is_alphanumeric() {
                (part, last) = (Some(place), Class::Lower);
            }
            continue;
        }
        let cut = match (last, class) {
            (Class::Separator, _) => None,
            (_, Class::Separator) => Some(place),
            (Class::Lower, Class::Upper) => Some(place),
            (Class::Digit, Class::Upper | Class::Lower) | (Class::Upper | Class::Lower, Class::Digit) => Some(place),
            // The last capital of `HTMLParser` begins a word; a single letter after capitals, as of `URLs`, does not.
            (Class::Upper, Class::Lower) if capitals > 1 => {
                let follows = chars.peek().map(|(_, next)| self::class(*next));
                matches!(follows, Some(Class::Lower | Class::Mark)).then_some(last_capital)
            }
            _ => None,
        };
        if let Some(cut) = cut {
            parts.extend(part.filter(|start| *start < cut).map(|start| start..cut));
            part = Some(cut);
        }
        match class {
            Class::Separator => part = None,
            _ => part = part.or(Some(place)),
        }
        capitals = match class {
            Class::Upper if last == Class::Upper => capitals + 1,
            Class::Upper => 1,
            _ => 0,
        };
        last_capital = place;
        last = class;
    }
    parts.extend(part.map(|start| start..word.len()));
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn parts_of(word: &str) -> Vec<&str> {
        let mut parts = Vec::new();
        split(word, &mut parts);
        parts.into_iter().map(|part| &word[part]).collect()
    }

    #[test]
    fn identifiers_are_cut_at_case_digits_and_punctuation() {
        for (word, parts) in [
            ("HNSWConfig", &["HNSW", "Config"][..]),
            ("foo_bar", &["foo", "bar"]),
            ("E0308", &["E", "0308"]),
            ("example.com", &["example", "com"]),
            ("parseXML2Json", &["parse", "XML", "2", "Json"]),
            ("URLs", &["URLs"]),
            ("userIDs", &["user", "IDs"]),
            ("iPhone", &["i", "Phone"]),
            ("__init__", &["init"]),
            ("don't", &["don", "t"]),
            ("3.14", &["3", "14"]),
            ("МойКласс", &["Мой", "Класс"]),
            ("e\u{301}tatÉtat", &["e\u{301}tat", "État"]),
            ("word", &["word"]),
            ("WORD", &["WORD"]),
            ("Word", &["Word"]),
            ("___", &[]),
        ] {
            assert_eq!(parts_of(word), parts, "{word}");
        }
        assert_eq!(parts_of(&"aB".repeat(1_000)).len(), PARTS_MAX + 1);
    }

    proptest! {
        #[test]
        fn parts_are_in_order_and_hold_each_letter(word in "[a-cA-C0-9_.é\u{301}ÀЖж]{1,12}|\\PC{1,12}") {
            let mut parts = Vec::new();
            split(&word, &mut parts);
            let mut rest = word.clone();
            for part in parts.iter().rev() {
                prop_assert!(part.start < part.end && part.end <= rest.len());
                rest.truncate(part.start);
            }
            let kept: String = parts.iter().map(|part| &word[part.clone()]).collect();
            if parts.len() <= PARTS_MAX {
                let is_letter = |c: &char| c.is_alphanumeric();
                prop_assert!(kept.chars().filter(is_letter).eq(word.chars().filter(is_letter)));
            }
            if is_plain(&word) {
                prop_assert!(parts.len() == 1 && parts[0] == (0..word.len()));
            }
        }
    }
}
