//! How texts are indexed, as it is written on a command line.

use std::collections::BTreeSet;

use clap::Args;
use llmspell_storage::{HNSWConfig, Language, TextConfig, VectorEntry};

/// Which words are indexed, and how.
#[derive(Debug, Clone, Default, Args)]
pub struct TextArgs {
    /// Index the words of this field of the metadata, such as title or meta.tags; may be given several times, and replaces
    /// those that the space had [default: those of the space, else none]
    #[arg(long = "words-of", value_name = "FIELD")]
    words_of: Vec<String>,

    /// Reduce words to their stems by the rules of a language, such as english or de: houses is found by house [default:
    /// as the space does, else not]
    #[arg(long, value_name = "LANGUAGE")]
    stemmer: Option<Language>,

    /// Leave out the words of a language that nearly each text has, such as the and of [default: as the space does, else
    /// not]
    #[arg(long, value_name = "LANGUAGE")]
    stop_words: Option<Language>,

    /// Only index the texts of entries, and do not store them: they are found, and never shown
    #[arg(long)]
    drop_texts: bool,

    /// Index the sparse vectors of this name, such as splade or bge-m3; may be given several times, and replaces those that
    /// the space had [default: those of the space, else those that the first rows have]
    #[arg(long, value_name = "NAME")]
    sparse: Vec<String>,
}

/// What rows have besides vectors.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct RowContents {
    /// Whether any has a text of its own.
    pub has_texts: bool,
    /// The names of their sparse vectors.
    pub sparse: BTreeSet<String>,
}

impl RowContents {
    /// Whether it takes an index of words and sparse vectors to find them by it.
    #[must_use]
    pub fn ask(&self) -> bool {
        self.has_texts || !self.sparse.is_empty()
    }

    /// Adds what an entry has.
    pub fn note(&mut self, entry: &VectorEntry) {
        self.has_texts |= entry.text.is_some();
        let new = entry.sparse.keys().filter(|name| !self.sparse.contains(*name)).cloned();
        let new: Vec<String> = new.collect();
        self.sparse.extend(new);
    }
}

impl TextArgs {
    /// Whether they name fields whose words are indexed.
    #[must_use]
    pub fn names_fields(&self) -> bool {
        !self.words_of.is_empty()
    }

    /// Whether they ask for an index of words.
    #[must_use]
    pub fn ask(&self) -> bool {
        let asks_for_words = self.names_fields() || self.stemmer.is_some() || self.stop_words.is_some();
        asks_for_words || self.drop_texts || self.names_sparse()
    }

    /// Whether they name sparse vectors that are indexed.
    #[must_use]
    pub fn names_sparse(&self) -> bool {
        !self.sparse.is_empty()
    }

    /// The configuration with an index of words and sparse vectors, if these or the `rows` ask for one, or the space has
    /// one: what the arguments say, else what is `known` of the space, else what the rows have.
    #[must_use]
    pub fn config(&self, config: HNSWConfig, known: Option<&TextConfig>, rows: &RowContents) -> HNSWConfig {
        if !self.ask() && !rows.ask() && known.is_none() {
            return config;
        }
        let mut texts = known.cloned().unwrap_or_default();
        let mut analyzer = texts.analyzer().clone();
        if let Some(language) = self.stemmer {
            analyzer = analyzer.with_stemmer(language);
        }
        if let Some(language) = self.stop_words {
            analyzer = analyzer.with_stop_words(language);
        }
        texts = texts.with_analyzer(analyzer);
        if self.names_fields() {
            texts = texts.with_fields(&self.words_of);
        }
        if self.drop_texts {
            texts = texts.with_keep(false);
        }
        if self.names_sparse() {
            texts = texts.with_sparse(&self.sparse);
        } else if known.is_none() {
            texts = texts.with_sparse(&rows.sparse);
        }
        config.with_texts(texts)
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;
    use llmspell_storage::AnalyzerConfig;

    use super::*;

    #[derive(Debug, Parser)]
    struct Call {
        #[command(flatten)]
        texts: TextArgs,
    }

    fn texts(words: &[&str], known: Option<&TextConfig>, has_texts: bool) -> Option<TextConfig> {
        let args = Call::parse_from(["x"].iter().chain(words)).texts;
        let rows = RowContents {
            has_texts,
            ..RowContents::default()
        };
        args.config(HNSWConfig::fast(), known, &rows).texts().cloned()
    }

    #[test]
    fn sparse_vectors_of_rows_are_indexed_unless_names_are_given_or_known() {
        let rows = RowContents {
            has_texts: false,
            sparse: BTreeSet::from(["b".to_string(), "a".to_string()]),
        };
        let names = |words: &[&str], known: Option<&TextConfig>| {
            let args = Call::parse_from(["x"].iter().chain(words)).texts;
            let config = args.config(HNSWConfig::fast(), known, &rows);
            config.texts().unwrap().sparse().to_vec()
        };
        assert_eq!(names(&[], None), ["a", "b"]);
        assert_eq!(names(&["--sparse", "c"], None), ["c"]);
        let known = TextConfig::default().with_sparse(["d"]);
        assert_eq!(names(&[], Some(&known)), ["d"]);
        assert_eq!(names(&["--sparse", "d", "--sparse", "a"], Some(&known)), ["d", "a"]);
    }

    #[test]
    fn what_is_said_comes_before_what_is_known_and_nothing_asks_for_nothing() {
        assert_eq!(texts(&[], None, false), None);
        assert_eq!(texts(&[], None, true), Some(TextConfig::default()));
        let known = TextConfig::default().with_fields(["title"]).with_keep(false);
        assert_eq!(texts(&[], Some(&known), false), Some(known.clone()));
        let english = AnalyzerConfig::default().with_stemmer(Language::English);
        assert_eq!(
            texts(
                &["--stemmer", "en", "--words-of", "a", "--words-of", "b.c"],
                Some(&known),
                false
            ),
            Some(known.with_fields(["a", "b.c"]).with_analyzer(english))
        );
        assert_eq!(
            texts(&["--drop-texts"], None, false),
            Some(TextConfig::default().with_keep(false))
        );
        assert!(Call::try_parse_from(["x", "--stemmer", "klingon"]).is_err());
    }
}
