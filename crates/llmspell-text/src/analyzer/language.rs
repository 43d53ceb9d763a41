//! Languages whose words the analyzer can stem or leave out.

use std::borrow::Cow;

use serde::{Deserialize, Serialize};

use super::stop_words;

/// A language of stemmers and of stop words.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
#[non_exhaustive]
#[expect(missing_docs, reason = "each is the language that it names")]
pub enum Language {
    Arabic,
    Danish,
    Dutch,
    English,
    Finnish,
    French,
    German,
    Greek,
    Hungarian,
    Italian,
    Norwegian,
    Portuguese,
    Romanian,
    Russian,
    Spanish,
    Swedish,
    Tamil,
    Turkish,
}

/// A text that names no language.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{got}` is no language of the analyzer: {}", Language::ALL.map(Language::name).join(", "))]
pub struct UnknownLanguage {
    got: String,
}

impl UnknownLanguage {
    /// Keeps the first 40 characters of the text.
    pub(super) fn of(text: &str) -> Self {
        let got = text.chars().take(40).collect();
        Self { got }
    }
}

impl Language {
    /// All languages, in the order of their numbers on the disk. New ones come last.
    pub const ALL: [Self; 18] = [
        Self::Arabic,
        Self::Danish,
        Self::Dutch,
        Self::English,
        Self::Finnish,
        Self::French,
        Self::German,
        Self::Greek,
        Self::Hungarian,
        Self::Italian,
        Self::Norwegian,
        Self::Portuguese,
        Self::Romanian,
        Self::Russian,
        Self::Spanish,
        Self::Swedish,
        Self::Tamil,
        Self::Turkish,
    ];

    /// Its English name in lower case.
    #[must_use]
    pub fn name(self) -> &'static str {
        self.names().0
    }

    /// Its code of ISO 639-1.
    #[must_use]
    pub fn code(self) -> &'static str {
        self.names().1
    }

    fn names(self) -> (&'static str, &'static str) {
        match self {
            Self::Arabic => ("arabic", "ar"),
            Self::Danish => ("danish", "da"),
            Self::Dutch => ("dutch", "nl"),
            Self::English => ("english", "en"),
            Self::Finnish => ("finnish", "fi"),
            Self::French => ("french", "fr"),
            Self::German => ("german", "de"),
            Self::Greek => ("greek", "el"),
            Self::Hungarian => ("hungarian", "hu"),
            Self::Italian => ("italian", "it"),
            Self::Norwegian => ("norwegian", "no"),
            Self::Portuguese => ("portuguese", "pt"),
            Self::Romanian => ("romanian", "ro"),
            Self::Russian => ("russian", "ru"),
            Self::Spanish => ("spanish", "es"),
            Self::Swedish => ("swedish", "sv"),
            Self::Tamil => ("tamil", "ta"),
            Self::Turkish => ("turkish", "tr"),
        }
    }

    pub(super) fn number(self) -> u8 {
        let place = Self::ALL.iter().position(|language| *language == self);
        place
            .and_then(|place| u8::try_from(place + 1).ok())
            .expect("all languages are listed")
    }

    pub(super) fn of_number(number: u8) -> Option<Self> {
        Self::ALL.get(usize::from(number).checked_sub(1)?).copied()
    }

    /// Words that nearly each text of the language has, folded, in order; none if there is no list.
    #[must_use]
    pub fn stop_words(self) -> &'static [&'static str] {
        match self {
            Self::Danish => &stop_words::DANISH,
            Self::Dutch => &stop_words::DUTCH,
            Self::English => &stop_words::ENGLISH,
            Self::French => &stop_words::FRENCH,
            Self::German => &stop_words::GERMAN,
            Self::Italian => &stop_words::ITALIAN,
            Self::Norwegian => &stop_words::NORWEGIAN,
            Self::Portuguese => &stop_words::PORTUGUESE,
            Self::Russian => &stop_words::RUSSIAN,
            Self::Spanish => &stop_words::SPANISH,
            Self::Swedish => &stop_words::SWEDISH,
            Self::Arabic
            | Self::Finnish
            | Self::Greek
            | Self::Hungarian
            | Self::Romanian
            | Self::Tamil
            | Self::Turkish => &[],
        }
    }
}

/// The stems of a language.
pub(super) struct Stemmer {
    #[cfg(feature = "stemmers")]
    rules: rust_stemmers::Stemmer,
}

#[cfg(feature = "stemmers")]
impl Stemmer {
    pub(super) fn new(language: Language) -> Self {
        use rust_stemmers::Algorithm;

        let algorithm = match language {
            Language::Arabic => Algorithm::Arabic,
            Language::Danish => Algorithm::Danish,
            Language::Dutch => Algorithm::Dutch,
            Language::English => Algorithm::English,
            Language::Finnish => Algorithm::Finnish,
            Language::French => Algorithm::French,
            Language::German => Algorithm::German,
            Language::Greek => Algorithm::Greek,
            Language::Hungarian => Algorithm::Hungarian,
            Language::Italian => Algorithm::Italian,
            Language::Norwegian => Algorithm::Norwegian,
            Language::Portuguese => Algorithm::Portuguese,
            Language::Romanian => Algorithm::Romanian,
            Language::Russian => Algorithm::Russian,
            Language::Spanish => Algorithm::Spanish,
            Language::Swedish => Algorithm::Swedish,
            Language::Tamil => Algorithm::Tamil,
            Language::Turkish => Algorithm::Turkish,
        };
        Self {
            rules: rust_stemmers::Stemmer::create(algorithm),
        }
    }

    /// The stem of a folded word; the word itself where nothing would be left.
    pub(super) fn stem<'a>(&self, word: &'a str) -> Cow<'a, str> {
        match self.rules.stem(word) {
            stem if stem.is_empty() => Cow::Borrowed(word),
            stem => stem,
        }
    }
}

#[cfg(not(feature = "stemmers"))]
impl Stemmer {
    /// Never called: [`AnalyzerConfig::check`](super::AnalyzerConfig) refuses stemmers in such a build.
    pub(super) fn new(_: Language) -> Self {
        Self {}
    }

    pub(super) fn stem<'a>(&self, word: &'a str) -> Cow<'a, str> {
        Cow::Borrowed(word)
    }
}
