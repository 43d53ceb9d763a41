//! Texts as terms: words in the form in which they are compared, with their positions and bytes.
//!
//! | file            | question                                                    |
//! |-----------------|-------------------------------------------------------------|
//! | `config.rs`     | what can be chosen, and how is it stored?                   |
//! | `language.rs`   | which languages have stems and stop words?                  |
//! | `stop_words.rs` | which are they?                                             |
//! | `chunks.rs`     | where are words in a text, and in its normal form?          |
//! | `script.rs`     | which scripts have no spaces between words?                 |
//! | `parts.rs`      | which parts has an identifier?                              |
//! | `fold.rs`       | in which form are words compared?                           |
//!
//! # What becomes a term
//!
//! * **Words** as Unicode tells them (UAX #29), in normal form NFKC and without the difference of case.
//! * **Parts of identifiers**: `HNSWConfig` is the words `hnsw` and `config`, and the joined form `hnswconfig` at the
//!   position of the first. Punctuation between parts is not in the joined form, so `hnsw_config` has the same one;
//!   between digits it is, so `3.14` is not `314`.
//! * **Scripts without spaces** (Chinese, Japanese, Korean, Thai, Lao, Khmer, Burmese): each character, and each pair of
//!   neighbors. A query asks for pairs only, or for the character if it is alone.
//!
//! Each word, part and character has a position of its own, so phrases can be found; how many there are is the length of the
//! text.

mod chunks;
mod config;
mod fold;
mod language;
mod parts;
mod script;
mod stop_words;

use std::fmt;
use std::ops::Range;

use unicode_segmentation::UnicodeSegmentation;

use chunks::{Chunk, ascii_words, chunks};
pub use config::{AnalyzerConfig, ConfigError, DEFAULT_TERM_BYTES_MAX, TERM_BYTES_RANGE};
use fold::fold_into;
use language::Stemmer;
pub use language::{Language, UnknownLanguage};
use parts::PARTS_MAX;
use script::has_no_spaces;

/// Turns texts into terms.
///
/// ```
/// # use llmspell_text::{Analyzer, AnalyzerConfig, ConfigError};
/// let analyzer = Analyzer::new(AnalyzerConfig::default())?;
/// let mut terms = Vec::new();
/// analyzer.each_token("The HNSWConfig of 猫の", |token| terms.push(token.term.to_string()));
/// assert_eq!(terms, ["the", "hnswconfig", "hnsw", "config", "of", "猫", "猫の", "の"]);
/// # Ok::<(), ConfigError>(())
/// ```
pub struct Analyzer {
    config: AnalyzerConfig,
    stemmer: Option<Stemmer>,
}

/// A term of a text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Token<'a> {
    /// The form in which it is compared.
    pub term: &'a str,
    /// Its place among the words of the text, from 0.
    pub position: u32,
    /// The bytes of the text that it stands for, on boundaries of characters.
    pub bytes: Range<usize>,
    /// What it is.
    pub kind: TokenKind,
}

/// What a term stands for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TokenKind {
    /// A word, or a part of an identifier.
    Word,
    /// All parts of an identifier, at the position of the first.
    Joined,
    /// A character of a script without spaces.
    Character,
    /// Two neighboring characters of such a script, at the position of the first.
    Pair,
}

impl TokenKind {
    /// Whether it counts in the length of a text: each position has one that does, unless it is a stop word.
    #[must_use]
    pub fn counts(self) -> bool {
        matches!(self, Self::Word | Self::Character)
    }
}

impl fmt::Debug for Analyzer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Analyzer")
            .field("config", &self.config)
            .finish_non_exhaustive()
    }
}

impl Analyzer {
    /// An analyzer that does as it is told.
    ///
    /// # Errors
    ///
    /// [`ConfigError`] for a choice out of range, or one that this build cannot follow.
    pub fn new(config: AnalyzerConfig) -> Result<Self, ConfigError> {
        config.validate()?;
        let stemmer = config.stemmer.map(Stemmer::new);
        Ok(Self { config, stemmer })
    }

    /// How it analyzes.
    #[must_use]
    pub fn config(&self) -> &AnalyzerConfig {
        &self.config
    }

    /// Shows each term of a text, by position; at one position the joined form and the character come first.
    ///
    /// Takes some microseconds per kilobyte of ASCII, some ten of other text.
    pub fn each_token(&self, text: &str, see: impl FnMut(Token<'_>)) {
        let mut tokens = Tokens {
            analyzer: self,
            see,
            position: 0,
            term: String::new(),
            parts: Vec::new(),
            run: Vec::new(),
        };
        for chunk in chunks(text) {
            if chunk.normal.is_ascii() {
                ascii_words(&chunk.normal).for_each(|word| tokens.word(&chunk, word));
            } else {
                for (start, word) in chunk.normal.unicode_word_indices() {
                    tokens.mixed(&chunk, start, word);
                }
                tokens.end_run(&chunk);
            }
        }
    }

    /// The form in which the beginning of a word is compared, as [`each_token`](Self::each_token) would give it for the
    /// whole word, without stem.
    pub(crate) fn fold_prefix(&self, text: &str) -> String {
        let mut term = String::new();
        for chunk in chunks(text) {
            fold_into(&chunk.normal, self.config.folds_diacritics, &mut term);
        }
        self.cut(&mut term);
        term
    }

    fn cut(&self, term: &mut String) {
        term.truncate(term.floor_char_boundary(usize::from(self.config.term_bytes_max)));
    }
}

/// The terms of a text as they are found.
struct Tokens<'a, F> {
    analyzer: &'a Analyzer,
    see: F,
    position: u32,
    term: String,
    parts: Vec<Range<usize>>,
    /// Neighboring characters of scripts without spaces, in the normal form of the chunk.
    run: Vec<Range<usize>>,
}

impl<F: FnMut(Token<'_>)> Tokens<'_, F> {
    /// A word of any scripts.
    fn mixed(&mut self, chunk: &Chunk<'_>, start: usize, word: &str) {
        if !word.contains(has_no_spaces) {
            self.end_run(chunk);
            self.word(chunk, start..start + word.len());
            return;
        }
        let mut rest: Option<usize> = None;
        for (place, cluster) in word.grapheme_indices(true) {
            let place = start + place;
            if !cluster.starts_with(has_no_spaces) {
                rest.get_or_insert(place);
                continue;
            }
            if let Some(rest) = rest.take() {
                self.end_run(chunk);
                self.word(chunk, rest..place);
            }
            if self.run.last().is_some_and(|last| last.end != place) {
                self.end_run(chunk);
            }
            self.run.push(place..place + cluster.len());
        }
        if let Some(rest) = rest {
            self.end_run(chunk);
            self.word(chunk, rest..start + word.len());
        }
    }

    /// A word of scripts with spaces.
    fn word(&mut self, chunk: &Chunk<'_>, range: Range<usize>) {
        let word = &chunk.normal[range.clone()];
        if parts::is_plain(word) {
            self.single(chunk, &range);
            return;
        }
        let mut parts = std::mem::take(&mut self.parts);
        parts::split(word, &mut parts);
        let in_chunk = |part: &Range<usize>| range.start + part.start..range.start + part.end;
        match &parts[..] {
            [] => {}
            [part] => self.single(chunk, &in_chunk(part)),
            parts if parts.len() > PARTS_MAX || !self.analyzer.config.splits_identifiers => {
                self.join(word, parts);
                self.emit_word(chunk, &range);
            }
            parts => {
                self.join(word, parts);
                self.emit(chunk, &range, TokenKind::Joined);
                for part in parts {
                    let part = in_chunk(part);
                    self.fold(chunk, &part);
                    self.stem();
                    self.emit_word(chunk, &part);
                }
            }
        }
        self.parts = parts;
    }

    /// A word of one part.
    fn single(&mut self, chunk: &Chunk<'_>, range: &Range<usize>) {
        self.fold(chunk, range);
        let language = self.analyzer.config.stop_words;
        let is_stop_word = language.is_some_and(|language| language.stop_words().binary_search(&&*self.term).is_ok());
        if is_stop_word {
            self.position = self.position.saturating_add(1);
        } else {
            self.stem();
            self.emit_word(chunk, range);
        }
    }

    /// A word has a position of its own if anything of it is left.
    fn emit_word(&mut self, chunk: &Chunk<'_>, range: &Range<usize>) {
        if !self.term.is_empty() {
            self.emit(chunk, range, TokenKind::Word);
            self.position = self.position.saturating_add(1);
        }
    }

    fn fold(&mut self, chunk: &Chunk<'_>, range: &Range<usize>) {
        self.term.clear();
        fold_into(
            &chunk.normal[range.clone()],
            self.analyzer.config.folds_diacritics,
            &mut self.term,
        );
    }

    fn stem(&mut self) {
        self.analyzer.cut(&mut self.term);
        if let Some(stemmer) = &self.analyzer.stemmer
            && self.term.chars().all(char::is_alphabetic)
        {
            let stem = stemmer.stem(&self.term).into_owned();
            self.term = stem;
        }
    }

    /// Makes the joined form of a word: its parts, and what stands between digits.
    fn join(&mut self, word: &str, parts: &[Range<usize>]) {
        self.term.clear();
        let folds = self.analyzer.config.folds_diacritics;
        let mut last: Option<&Range<usize>> = None;
        for part in parts {
            let text = &word[part.clone()];
            if let Some(last) = last
                && word[..last.end].ends_with(char::is_numeric)
                && text.starts_with(char::is_numeric)
            {
                fold_into(&word[last.end..part.start], folds, &mut self.term);
            }
            fold_into(text, folds, &mut self.term);
            last = Some(part);
            if self.term.len() >= usize::from(self.analyzer.config.term_bytes_max) {
                break;
            }
        }
        // A word of too many parts was not split to its end.
        if let Some(last) = last
            && parts.len() > PARTS_MAX
            && self.term.len() < usize::from(self.analyzer.config.term_bytes_max)
        {
            fold_into(&word[last.end..], folds, &mut self.term);
        }
    }

    /// Ends a run of characters of scripts without spaces.
    fn end_run(&mut self, chunk: &Chunk<'_>) {
        let run = std::mem::take(&mut self.run);
        for (number, unit) in run.iter().enumerate() {
            self.fold(chunk, unit);
            if !self.term.is_empty() {
                self.emit(chunk, unit, TokenKind::Character);
                if let Some(next) = run.get(number + 1) {
                    let pair = unit.start..next.end;
                    self.fold(chunk, &pair);
                    self.emit(chunk, &pair, TokenKind::Pair);
                }
                self.position = self.position.saturating_add(1);
            }
        }
        self.run = run;
        self.run.clear();
    }

    fn emit(&mut self, chunk: &Chunk<'_>, range: &Range<usize>, kind: TokenKind) {
        self.analyzer.cut(&mut self.term);
        if !self.term.is_empty() {
            (self.see)(Token {
                term: &self.term,
                position: self.position,
                bytes: chunk.source(range),
                kind,
            });
        }
    }
}

#[cfg(test)]
mod tests;
