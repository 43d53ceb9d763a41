//! [`terms`]: the words of a text.

use std::borrow::Cow;

/// The terms of a text, in order, with repetitions: its longest runs of letters and digits, in lower case.
///
/// Letters and digits are the alphanumeric characters of Unicode ([`char::is_alphanumeric`]); all others separate, so
/// `don't` has two terms, and a language without spaces one per phrase. Each character is converted to lower case alone
/// ([`char::to_lowercase`]), and a Greek final sigma becomes an ordinary sigma. Text is not normalized or stemmed: an
/// accent written as a character of its own separates too. The only term of a term is itself.
///
/// Takes time in proportion to the text; a run of lower-case ASCII is borrowed.
///
/// ```
/// # use llmspell_core::filter::terms;
/// assert_eq!(terms("Größe: 3.5 µm, ΟΔΟΣ").collect::<Vec<_>>(), ["größe", "3", "5", "µm", "οδοσ"]);
/// ```
#[must_use]
pub fn terms(text: &str) -> Terms<'_> {
    Terms { rest: text }
}

/// Iterator of [`terms`].
#[derive(Debug, Clone)]
pub struct Terms<'a> {
    rest: &'a str,
}

impl<'a> Iterator for Terms<'a> {
    type Item = Cow<'a, str>;

    fn next(&mut self) -> Option<Cow<'a, str>> {
        let start = self.rest.find(char::is_alphanumeric)?;
        let from_start = &self.rest[start..];
        let end = from_start.find(|character: char| !character.is_alphanumeric());
        let (run, rest) = from_start.split_at(end.unwrap_or(from_start.len()));
        self.rest = rest;
        Some(lower_case(run))
    }
}

fn lower_case(run: &str) -> Cow<'_, str> {
    if run
        .bytes()
        .all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit())
    {
        return Cow::Borrowed(run);
    }
    if run.is_ascii() {
        return Cow::Owned(run.to_ascii_lowercase());
    }
    let lower = run.chars().flat_map(char::to_lowercase);
    // One letter (İ) becomes two characters. The second is no letter and would separate, so it is dropped.
    let letters = lower.filter(|character| character.is_alphanumeric());
    Cow::Owned(letters.map(|letter| if letter == 'ς' { 'σ' } else { letter }).collect())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn collected(text: &str) -> Vec<String> {
        terms(text).map(Cow::into_owned).collect()
    }

    proptest! {
        #[test]
        fn terms_of_terms_are_the_same(text in "[a-zA-ZİıΣςσßẞéÀ0-9 .,'_日本\u{301}]{0,20}|\\PC*") {
            let once = collected(&text);
            prop_assert!(once.iter().all(|term| !term.is_empty() && term.chars().all(char::is_alphanumeric)));
            prop_assert_eq!(collected(&once.join(" ")), once);
        }

        #[test]
        fn ascii_case_does_not_count(text in "[ -~]{0,30}") {
            prop_assert_eq!(collected(&text.to_ascii_uppercase()), collected(&text));
        }
    }

    #[test]
    fn terms_are_runs_of_letters_and_digits_in_lower_case() {
        assert_eq!(
            collected("The quick-brown FOX, don't! x2"),
            ["the", "quick", "brown", "fox", "don", "t", "x2"]
        );
        assert_eq!(
            collected("İstanbul ὈΔΥΣΣΕΎΣ ὀδυσσεύς"),
            ["istanbul", "ὀδυσσεύσ", "ὀδυσσεύσ"]
        );
        assert_eq!(collected("日本語 検索"), ["日本語", "検索"]);
        assert!(collected(" ?!… ").is_empty());
    }
}
