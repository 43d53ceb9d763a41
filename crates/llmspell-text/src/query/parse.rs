//! What somebody typed, as a query. Any text is one.
//!
//! ```text
//! words          each adds to the score of the texts that have it
//! "a phrase"     must be there, its words one behind the other; one word alone must be there, too
//! -word -"a b"   must not be there
//! begin*         words that begin so
//! title:word     in this field only, if there is one of this name; also title:"a phrase", title:begin*, -title:word
//! ```
//!
//! Everything else is a word: a quote without its partner, operators alone, a name before a colon that no field has.
//! A query of nothing but what must not be there asks for it instead, so that `-v` and `--help` are found.

use super::{Excluded, Phrase, Query, Subject};
use crate::analyzer::{Analyzer, TokenKind};

/// Bytes of a query that are read; what follows is left out.
pub const QUERY_BYTES_MAX: usize = 1 << 16;
/// Different terms of a query, counted in each field; further ones are left out.
pub const QUERY_TERMS_MAX: usize = 1_024;
/// Prefixes of a query; further ones are words.
pub const QUERY_PREFIXES_MAX: usize = 16;

/// The fields of texts: their names in queries, and how much each counts.
#[derive(Debug, Clone, PartialEq)]
pub struct QueryFields {
    fields: Vec<QueryField>,
}

#[derive(Debug, Clone, PartialEq)]
struct QueryField {
    number: u8,
    name: String,
    boost: f32,
}

impl Default for QueryFields {
    /// One field, number 0, named `text`.
    fn default() -> Self {
        Self::new([(0, "text", 1.0)])
    }
}

impl QueryFields {
    /// Fields by their numbers, with the names that queries may use and how much more than others each counts.
    ///
    /// A boost that is not above 0 and finite counts as 1.
    #[must_use]
    pub fn new<'n>(fields: impl IntoIterator<Item = (u8, &'n str, f32)>) -> Self {
        let field = |(number, name, boost): (u8, &str, f32)| QueryField {
            number,
            name: name.to_string(),
            boost: if boost > 0.0 && boost.is_finite() { boost } else { 1.0 },
        };
        Self {
            fields: fields.into_iter().map(field).collect(),
        }
    }
}

/// A part of what was typed.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Piece<'a> {
    /// The field that it names, by its place.
    field: Option<usize>,
    text: &'a str,
    is_negated: bool,
    form: Form,
}

#[derive(Debug, Clone, Copy, PartialEq)]
enum Form {
    Words,
    Phrase,
    Prefix,
}

impl Query {
    /// The query of a text that somebody typed; see the forms above. Never fails: what has no form is words.
    ///
    /// Of texts longer than [`QUERY_BYTES_MAX`] the beginning is read.
    ///
    /// ```
    /// # use llmspell_text::{Analyzer, AnalyzerConfig, Query, QueryFields};
    /// let analyzer = Analyzer::new(AnalyzerConfig::default()).unwrap();
    /// let fields = QueryFields::new([(0, "title", 2.0), (1, "body", 1.0)]);
    /// let query = Query::parse(r#"title:graph "block max" wand* -lucene"#, &analyzer, &fields);
    /// assert!(!query.is_empty());
    /// assert!(Query::parse("\" - * :", &analyzer, &fields).is_empty());
    /// ```
    #[must_use]
    pub fn parse(text: &str, analyzer: &Analyzer, fields: &QueryFields) -> Self {
        let text = &text[..text.floor_char_boundary(QUERY_BYTES_MAX)];
        let mut pieces = pieces(text, fields);
        if pieces.iter().all(|piece| piece.is_negated) {
            pieces.iter_mut().for_each(|piece| piece.is_negated = false);
        }
        let mut query = Self::default();
        for piece in pieces {
            query.add(&piece, analyzer, fields);
        }
        // No piece had words, but what looked like a form may have, the name of a field for example.
        if query.is_empty() {
            return Self::words(text, analyzer, fields);
        }
        query
    }

    /// The query of the words of a text, without operators.
    #[must_use]
    pub fn words(text: &str, analyzer: &Analyzer, fields: &QueryFields) -> Self {
        let text = &text[..text.floor_char_boundary(QUERY_BYTES_MAX)];
        let mut query = Self::default();
        let piece = Piece {
            field: None,
            text,
            is_negated: false,
            form: Form::Words,
        };
        query.add(&piece, analyzer, fields);
        query
    }

    fn add(&mut self, piece: &Piece<'_>, analyzer: &Analyzer, fields: &QueryFields) {
        let named = |(place, _): &(usize, &QueryField)| piece.field.is_none_or(|field| field == *place);
        let fields: Vec<&QueryField> = fields
            .fields
            .iter()
            .enumerate()
            .filter(named)
            .map(|(_, field)| field)
            .collect();
        match (piece.form, piece.is_negated) {
            (Form::Words, false) => self.add_words(piece.text, analyzer, &fields),
            (Form::Prefix, false) => self.add_prefix(piece.text, analyzer, &fields),
            (Form::Phrase, false) => {
                let phrases = self.phrases(piece.text, analyzer, &fields);
                self.required
                    .extend(Some(phrases).filter(|phrases| !phrases.is_empty()));
            }
            (Form::Words | Form::Phrase, true) => {
                let phrases = self.phrases(piece.text, analyzer, &fields);
                self.excluded.extend(phrases.into_iter().map(Excluded::Phrase));
            }
            (Form::Prefix, true) => {
                let prefix = analyzer.fold_prefix(piece.text);
                for field in fields {
                    let place = self.prefix_in(field.number, &prefix);
                    self.excluded.push(Excluded::Prefix(place));
                }
            }
        }
    }

    fn add_words(&mut self, text: &str, analyzer: &Analyzer, fields: &[&QueryField]) {
        for (term, _, _) in asked(text, analyzer) {
            for field in fields {
                if self.terms.len() < QUERY_TERMS_MAX {
                    let place = self.term_in(field.number, &term);
                    self.want(Subject::Term(place), field.boost);
                }
            }
        }
    }

    fn add_prefix(&mut self, text: &str, analyzer: &Analyzer, fields: &[&QueryField]) {
        let prefix = analyzer.fold_prefix(text);
        if prefix.is_empty() || self.prefixes.len() + fields.len() > QUERY_PREFIXES_MAX {
            self.add_words(text, analyzer, fields);
            return;
        }
        for field in fields {
            let place = self.prefix_in(field.number, &prefix);
            self.want(Subject::Prefix(place), field.boost);
        }
    }

    /// The words of a text one behind the other, in each field.
    fn phrases(&mut self, text: &str, analyzer: &Analyzer, fields: &[&QueryField]) -> Vec<Phrase> {
        let words: Vec<_> = asked(text, analyzer)
            .into_iter()
            .filter(|(_, _, kind)| *kind != TokenKind::Joined)
            .collect();
        let Some((_, first, _)) = words.first() else {
            return Vec::new();
        };
        let first = *first;
        if self.terms.len() + words.len() * fields.len() > QUERY_TERMS_MAX {
            return Vec::new();
        }
        let of_field = |field: &&QueryField| Phrase {
            terms: words
                .iter()
                .map(|(term, position, _)| (self.term_in(field.number, term), position - first))
                .collect(),
            boost: field.boost,
        };
        fields.iter().map(of_field).collect()
    }
}

/// The terms that a text asks for, with their positions: of scripts without spaces pairs of characters, and single ones where
/// they stand alone.
pub(crate) fn asked(text: &str, analyzer: &Analyzer) -> Vec<(String, u32, TokenKind)> {
    let mut terms: Vec<(String, u32, TokenKind)> = Vec::new();
    // Where the last pair ended: its second character is no term of its own.
    let mut paired: Option<u32> = None;
    analyzer.each_token(text, |token| {
        match token.kind {
            TokenKind::Pair => {
                if terms
                    .last()
                    .is_some_and(|last| last.2 == TokenKind::Character && last.1 == token.position)
                {
                    terms.pop();
                }
                paired = Some(token.position + 1);
            }
            TokenKind::Character if paired == Some(token.position) => {
                return;
            }
            _ => {}
        }
        terms.push((token.term.to_string(), token.position, token.kind));
    });
    terms
}

/// What was typed, cut into pieces of one form.
fn pieces<'a>(text: &'a str, fields: &QueryFields) -> Vec<Piece<'a>> {
    let mut pieces = Vec::new();
    let mut rest = text.trim_start();
    while !rest.is_empty() {
        let (piece, len) = piece(rest, fields);
        pieces.extend(Some(piece).filter(|piece| piece.text.contains(char::is_alphanumeric)));
        rest = rest[len..].trim_start();
    }
    pieces
}

/// The first piece of a text that does not start with white space, and its length.
fn piece<'a>(text: &'a str, fields: &QueryFields) -> (Piece<'a>, usize) {
    let mut at = 0;
    let is_word = |text: &str| text.starts_with(|c: char| c.is_alphanumeric() || matches!(c, '"' | '_' | '@'));
    let is_negated = text.starts_with('-') && is_word(&text[1..]);
    at += usize::from(is_negated);
    let mut field = None;
    for (place, candidate) in fields.fields.iter().enumerate() {
        let behind = text[at..]
            .strip_prefix(candidate.name.as_str())
            .and_then(|rest| rest.strip_prefix(':'));
        if !candidate.name.is_empty() && behind.is_some_and(is_word) {
            field = Some(place);
            at += candidate.name.len() + 1;
            break;
        }
    }
    let rest = &text[at..];
    let piece = |text: &'a str, form| Piece {
        field,
        text,
        is_negated,
        form,
    };
    if let Some(quoted) = rest.strip_prefix('"')
        && let Some(len) = quoted.find('"')
    {
        return (piece(&quoted[..len], Form::Phrase), at + len + 2);
    }
    let skipped = usize::from(rest.starts_with('"'));
    let len = rest[skipped..]
        .find(|c: char| c.is_whitespace() || c == '"')
        .map_or(rest.len(), |len| skipped + len);
    let word = &rest[skipped..len];
    match word.strip_suffix('*') {
        Some(prefix) if prefix.chars().all(char::is_alphanumeric) && !prefix.is_empty() => {
            (piece(prefix, Form::Prefix), at + len)
        }
        _ => (piece(word, Form::Words), at + len),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::analyzer::AnalyzerConfig;

    fn analyzer() -> Analyzer {
        Analyzer::new(AnalyzerConfig::default()).unwrap()
    }

    fn fields() -> QueryFields {
        QueryFields::new([(0, "title", 2.0), (1, "body", 1.0)])
    }

    /// The query in one line: fields as numbers, `+` before what must be there.
    fn shown(text: &str) -> String {
        let query = Query::parse(text, &analyzer(), &fields());
        let key = |key: &[u8]| format!("{}:{}", key[0], String::from_utf8_lossy(&key[1..]));
        let term = |place: usize| key(&query.terms[place].key);
        let phrase = |phrase: &Phrase| {
            let words = phrase
                .terms
                .iter()
                .map(|(place, offset)| format!("{}@{offset}", term(*place)));
            words.collect::<Vec<_>>().join("_")
        };
        let mut parts = Vec::new();
        for wanted in &query.wanted {
            let subject = match wanted.subject {
                Subject::Term(place) => term(place),
                Subject::Prefix(place) => key(&query.prefixes[place]) + "*",
            };
            parts.push(format!("{subject}^{}", wanted.boost));
        }
        for group in &query.required {
            parts.push(format!("+{}", group.iter().map(phrase).collect::<Vec<_>>().join("|")));
        }
        for excluded in &query.excluded {
            parts.push(match excluded {
                Excluded::Phrase(excluded) => format!("-{}", phrase(excluded)),
                Excluded::Prefix(place) => format!("-{}*", key(&query.prefixes[*place])),
            });
        }
        parts.join(" ")
    }

    #[test]
    fn each_form_asks_for_what_it_says() {
        for (typed, asked) in [
            ("Graph", "0:graph^2 1:graph^1"),
            ("body:graph graph", "1:graph^2 0:graph^2"),
            ("title:\"a b\"", "+0:a@0_0:b@1"),
            ("\"ab\"", "+0:ab@0|1:ab@0"),
            (
                "x -body:y -title:\"a b\" -body:z*",
                "0:x^2 1:x^1 -1:y@0 -0:a@0_0:b@1 -1:z*",
            ),
            ("body:ab*", "1:ab*^1"),
            // What has no form is words.
            ("body:-x", "0:body^2 1:body^1 0:x^2 1:x^1"),
            ("body: x", "0:body^2 1:body^1 0:x^2 1:x^1"),
            ("body:\"x y", "1:x^1 0:y^2 1:y^1"),
            ("-x", "0:x^2 1:x^1"),
            ("-- --x", "0:x^2 1:x^1"),
            ("- -\"…\" -body:x", "1:x^1"),
            ("\"\" * : -", ""),
            // Pairs of characters, without single ones; alone a single one.
            ("body:東京都 body:猫", "1:東京^1 1:京都^1 1:猫^1"),
            ("\"東京都\" body:x", "1:x^1 +0:東京@0_0:京都@1|1:東京@0_1:京都@1"),
            // A phrase is of the parts.
            ("body:\"HNSWConfig of\"", "+1:hnsw@0_1:config@1_1:of@2"),
            ("body:HNSWConfig", "1:hnswconfig^1 1:hnsw^1 1:config^1"),
        ] {
            assert_eq!(shown(typed), asked, "{typed}");
        }
    }

    #[test]
    fn huge_queries_are_bounded() {
        let words: String = (0..100_000)
            .map(|number| format!("w{number}* \"a{number} b{number}\" c{number} "))
            .collect();
        let query = Query::parse(&words, &analyzer(), &fields());
        assert!(query.terms.len() <= QUERY_TERMS_MAX && query.prefixes.len() <= QUERY_PREFIXES_MAX);
        assert!(!query.is_empty());
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(3_000))]

        /// Whatever is typed: if it has words, something is asked for.
        #[test]
        fn any_text_is_a_query(text in "[a-c\" \\-*:]{0,16}|(title:|body:|-|\"|\\*| |a|東京){0,8}|\\PC{0,24}") {
            let query = Query::parse(&text, &analyzer(), &fields());
            let mut has_words = false;
            analyzer().each_token(&text, |_| has_words = true);
            prop_assert_eq!(query.is_empty(), !has_words, "{:?}", query);
        }
    }
}
