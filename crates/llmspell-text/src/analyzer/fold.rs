//! Words in the form in which they are compared.

use unicode_normalization::UnicodeNormalization;

/// Appends a part of a text in normal form NFKC, without the difference of case.
///
/// Upper case of lower case and back again is Unicode's full case folding except for a few letters that it folds too:
/// `ß` is `ss`, the three sigmas are one, and so are the Turkish `ı` and `i`. What nobody sees (joiners, soft hyphens,
/// selectors of variants) and the optional vowel points of Arabic and Hebrew are left out.
pub(super) fn fold_into(part: &str, folds_diacritics: bool, term: &mut String) {
    if part.is_ascii() {
        term.extend(part.bytes().map(|byte| char::from(byte.to_ascii_lowercase())));
        return;
    }
    let lower = part.chars().filter(|c| !is_optional(*c)).flat_map(char::to_lowercase);
    let folded = lower.flat_map(char::to_uppercase).flat_map(char::to_lowercase);
    let start = term.len();
    if folds_diacritics {
        term.extend(folded.nfkd().filter(|c| !is_diacritic(*c)).nfc());
    } else {
        // The dot that is left of a Turkish capital I.
        let mut last = '\0';
        let without_dot = folded.filter(|c| {
            let is_dot = *c == '\u{307}' && last == 'i';
            if !is_dot {
                last = *c;
            }
            !is_dot
        });
        term.extend(without_dot.nfkc());
    }
    // Normal forms may bring back what was left out, from characters that stand for several.
    if term[start..].contains(is_optional) {
        let kept: String = term[start..].chars().filter(|c| !is_optional(*c)).collect();
        term.truncate(start);
        term.push_str(&kept);
    }
}

/// Whether texts have it or not without meaning another word.
fn is_optional(c: char) -> bool {
    c >= '\u{ad}'
        && matches!(c,
            '\u{ad}' | '\u{34f}' | '\u{61c}' | '\u{180b}'..='\u{180f}' | '\u{200b}'..='\u{200f}' | '\u{202a}'..='\u{202e}'
            | '\u{2060}'..='\u{206f}' | '\u{fe00}'..='\u{fe0f}' | '\u{feff}' | '\u{e0000}'..='\u{e0fff}'
            | '\u{591}'..='\u{5bd}' | '\u{5bf}' | '\u{5c1}'..='\u{5c2}' | '\u{5c4}'..='\u{5c5}' | '\u{5c7}' // Hebrew
            | '\u{640}' | '\u{64b}'..='\u{652}' | '\u{670}' // Arabic
        )
}

/// A mark on a letter of Latin, Greek, Cyrillic or Arabic. Marks of other scripts are letters to their readers.
fn is_diacritic(c: char) -> bool {
    matches!(c, '\u{300}'..='\u{36f}' | '\u{653}'..='\u{655}')
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn fold(text: &str, folds_diacritics: bool) -> String {
        let mut term = String::new();
        let normal: String = text.nfkc().collect();
        fold_into(&normal, folds_diacritics, &mut term);
        term
    }

    #[test]
    fn words_that_differ_in_case_alone_are_the_same() {
        for (a, b) in [
            ("STRASSE", "straße"),
            ("STRAẞE", "straße"),
            ("ΣΊΣΥΦΟΣ", "σίσυφος"),
            ("İSTANBUL", "istanbul"),
            ("ﬁle", "FILE"),
            ("ＨＮＳＷ", "hnsw"),
            ("ЁЖ", "ёж"),
            ("soft\u{ad}hyphen", "SoftHyphen"),
            ("مُحَمَّد", "محمد"),
            ("كـتاب", "كتاب"),
            ("cafe\u{301}", "CAFÉ"),
        ] {
            assert_eq!(fold(a, false), fold(b, false), "{a}");
        }
        assert_ne!(fold("café", false), fold("cafe", false));
    }

    #[test]
    fn diacritics_are_folded_on_request() {
        for (a, b) in [
            ("café", "cafe"),
            ("Ångström", "angstrom"),
            ("أحمد", "احمد"),
            ("Việt", "viet"),
            ("İ", "i"),
        ] {
            assert_eq!(fold(a, true), b, "{a}");
        }
        // Marks that make another letter or another vowel stay.
        for word in ["हिन्दी", "น้ำ", "が"] {
            assert_eq!(fold(word, true), fold(word, false));
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(4_000))]

        #[test]
        fn folding_twice_changes_nothing(text in "\\PC{0,12}|[ßẞİıΣςσŉǰΐﬃÅ\u{301}\u{307}\u{345}ᾳͅ가각ｶﾞ]{0,6}", folds in any::<bool>()) {
            let once = fold(&text, folds);
            prop_assert_eq!(fold(&once, folds), once);
        }
    }
}
