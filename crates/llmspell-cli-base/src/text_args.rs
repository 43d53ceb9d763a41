//! How texts are indexed, as it is written on a command line.

use clap::Args;
use llmspell_storage::{HNSWConfig, Language, TextConfig};

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
        self.names_fields() || self.stemmer.is_some() || self.stop_words.is_some() || self.drop_texts
    }

    /// The configuration with an index of words, if these or `has_texts` ask for one, or the space has one: what the
    /// arguments say, and else what is `known` of the space.
    #[must_use]
    pub fn config(&self, config: HNSWConfig, known: Option<&TextConfig>, has_texts: bool) -> HNSWConfig {
        if !self.ask() && !has_texts && known.is_none() {
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
        args.config(HNSWConfig::fast(), known, has_texts).texts().cloned()
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
