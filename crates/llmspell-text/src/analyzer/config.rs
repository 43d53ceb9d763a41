//! How texts are analyzed: chosen once, and stored with what was analyzed so.
//!
//! ```text
//! byte 0        1       2        3                4
//!      │version │flags  │stemmer │stop words      │term_bytes_max │
//!      │ u8     │ u8    │ u8     │ u8             │ u8            │
//! ```
//!
//! * `flags`: bit 0, identifiers are split; bit 1, diacritics are folded; the others are zero and refused when set.
//! * `stemmer`, `stop words`: 0 for none, else the place of the language in [`Language::ALL`], from 1.
//!
//! v1 (0.1.0): as above.
//!
//! As JSON it is an object with the same version.

use std::fmt;
use std::ops::RangeInclusive;
use std::str::FromStr;

use llmspell_codec::{Malformed, Reader, Writer};
use serde::{Deserialize, Serialize};

use super::language::{Language, UnknownLanguage};

/// Bytes of a term unless the configuration says otherwise. 64 is the length of a SHA-256 in hexadecimal digits.
pub const DEFAULT_TERM_BYTES_MAX: u8 = 64;
/// Longest terms that may be chosen. Below 16 bytes different words of some scripts would fall together.
pub const TERM_BYTES_RANGE: RangeInclusive<u8> = 16..=255;

const VERSION: u8 = 1;
const SPLITS: u8 = 1;
const FOLDS: u8 = 2;

/// How texts become terms.
///
/// Texts and queries must be analyzed in the same way, so it is chosen before the first text and stored.
///
/// ```
/// # use llmspell_text::{AnalyzerConfig, ConfigError, Language};
/// let config = AnalyzerConfig::default().with_stemmer(Language::German).with_stop_words(Language::German);
/// assert_eq!(AnalyzerConfig::from_bytes(&config.to_bytes())?, config);
/// # Ok::<(), ConfigError>(())
/// ```
///
/// # JSON
///
/// All fields may be left out. Those of a later version are refused.
///
/// ```
/// # use llmspell_text::{AnalyzerConfig, Language};
/// # let json =
/// r#"{"version": 1, "stemmer": "german", "stop_words": "german", "split_identifiers": true, "fold_diacritics": false,
///     "term_bytes_max": 64}"#
/// # ;
/// # let config = AnalyzerConfig::default().with_stemmer(Language::German).with_stop_words(Language::German);
/// # assert_eq!(serde_json::to_value(&config)?, serde_json::from_str::<serde_json::Value>(json)?);
/// # assert_eq!(serde_json::from_str::<AnalyzerConfig>(json)?, config);
/// # assert_eq!(serde_json::from_str::<AnalyzerConfig>("{}")?, AnalyzerConfig::default());
/// # Ok::<(), serde_json::Error>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(into = "Written", try_from = "Written")]
pub struct AnalyzerConfig {
    pub(super) stemmer: Option<Language>,
    pub(super) stop_words: Option<Language>,
    pub(super) splits_identifiers: bool,
    pub(super) folds_diacritics: bool,
    pub(super) term_bytes_max: u8,
}

/// The form of JSON.
#[derive(Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct Written {
    version: u8,
    #[serde(skip_serializing_if = "Option::is_none")]
    stemmer: Option<Language>,
    #[serde(skip_serializing_if = "Option::is_none")]
    stop_words: Option<Language>,
    split_identifiers: bool,
    fold_diacritics: bool,
    term_bytes_max: u8,
}

impl Default for Written {
    fn default() -> Self {
        AnalyzerConfig::default().into()
    }
}

impl From<AnalyzerConfig> for Written {
    fn from(config: AnalyzerConfig) -> Self {
        Self {
            version: VERSION,
            stemmer: config.stemmer,
            stop_words: config.stop_words,
            split_identifiers: config.splits_identifiers,
            fold_diacritics: config.folds_diacritics,
            term_bytes_max: config.term_bytes_max,
        }
    }
}

impl TryFrom<Written> for AnalyzerConfig {
    type Error = ConfigError;

    fn try_from(written: Written) -> Result<Self, ConfigError> {
        if written.version != VERSION {
            return Err(ConfigError::Version { got: written.version });
        }
        let config = Self {
            stemmer: written.stemmer,
            stop_words: written.stop_words,
            splits_identifiers: written.split_identifiers,
            folds_diacritics: written.fold_diacritics,
            term_bytes_max: written.term_bytes_max,
        };
        config.validate()?;
        Ok(config)
    }
}

impl Default for AnalyzerConfig {
    fn default() -> Self {
        Self {
            stemmer: None,
            stop_words: None,
            splits_identifiers: true,
            folds_diacritics: false,
            term_bytes_max: DEFAULT_TERM_BYTES_MAX,
        }
    }
}

impl AnalyzerConfig {
    /// Reduces words to their stems by the rules of a language (Snowball): `houses` is found by `house`. Off by default.
    #[must_use]
    pub fn with_stemmer(mut self, language: Language) -> Self {
        self.stemmer = Some(language);
        self
    }

    /// Leaves out the words of a language that nearly each text has, `the` or `und`. Off by default.
    #[must_use]
    pub fn with_stop_words(mut self, language: Language) -> Self {
        self.stop_words = Some(language);
        self
    }

    /// Whether `HNSWConfig` is also found by `hnsw` and by `config`. Default `true`.
    #[must_use]
    pub fn with_split_identifiers(mut self, splits: bool) -> Self {
        self.splits_identifiers = splits;
        self
    }

    /// Whether `café` is found by `cafe`, and `أحمد` by `احمد`. Default `false`. The optional vowel points of Arabic and
    /// Hebrew are folded in any case.
    #[must_use]
    pub fn with_folded_diacritics(mut self, folds: bool) -> Self {
        self.folds_diacritics = folds;
        self
    }

    /// Bytes after which terms are cut, within [`TERM_BYTES_RANGE`]. Default [`DEFAULT_TERM_BYTES_MAX`].
    #[must_use]
    pub fn with_term_bytes_max(mut self, bytes: u8) -> Self {
        self.term_bytes_max = bytes;
        self
    }

    /// Checks each choice; [`Analyzer::new`](super::Analyzer::new) does so too.
    ///
    /// # Errors
    ///
    /// [`ConfigError`] for the first choice that this build cannot follow.
    pub fn validate(&self) -> Result<(), ConfigError> {
        if !TERM_BYTES_RANGE.contains(&self.term_bytes_max) {
            return Err(ConfigError::TermBytes {
                got: self.term_bytes_max,
            });
        }
        if let Some(language) = self.stop_words
            && language.stop_words().is_empty()
        {
            return Err(ConfigError::NoStopWords { language });
        }
        match self.stemmer {
            Some(language) if !cfg!(feature = "stemmers") => Err(ConfigError::NoStemmer { language }),
            _ => Ok(()),
        }
    }

    /// The bytes of the configuration.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        let place = |language: Option<Language>| language.map_or(0, Language::number);
        let flags = if self.splits_identifiers { SPLITS } else { 0 } | if self.folds_diacritics { FOLDS } else { 0 };
        let mut writer = Writer::default();
        writer.u8(VERSION).u8(flags);
        writer.u8(place(self.stemmer)).u8(place(self.stop_words));
        writer.u8(self.term_bytes_max);
        writer.finish()
    }

    /// Reads what [`to_bytes`](Self::to_bytes) wrote.
    ///
    /// # Errors
    ///
    /// [`ConfigError::Version`] for bytes of a later version, [`ConfigError::Malformed`] for other bytes that are none,
    /// or what this build cannot follow.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, ConfigError> {
        let mut reader = Reader::new(bytes);
        let version = reader.u8()?;
        if version != VERSION {
            return Err(ConfigError::Version { got: version });
        }
        let flags = reader.u8()?;
        if flags & !(SPLITS | FOLDS) != 0 {
            return Err(Malformed("a flag of it is unknown").into());
        }
        let mut language = || match reader.u8()? {
            0 => Ok(None),
            number => Language::of_number(number)
                .map(Some)
                .ok_or(Malformed("a language of it is unknown")),
        };
        let config = Self {
            stemmer: language()?,
            stop_words: language()?,
            splits_identifiers: flags & SPLITS != 0,
            folds_diacritics: flags & FOLDS != 0,
            term_bytes_max: reader.u8()?,
        };
        reader.end()?;
        config.validate()?;
        Ok(config)
    }
}

/// Why texts cannot be analyzed as a configuration says.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ConfigError {
    /// A length of terms outside of [`TERM_BYTES_RANGE`].
    #[error(
        "terms of at most {got} bytes: choose {} to {}",
        TERM_BYTES_RANGE.start(),
        TERM_BYTES_RANGE.end()
    )]
    TermBytes {
        /// What was chosen.
        got: u8,
    },
    /// There is no list of stop words for a language.
    #[error(
        "there are no stop words for {language}; languages that have them: {}",
        having_stop_words()
    )]
    NoStopWords {
        /// What was chosen.
        language: Language,
    },
    /// The crate was built without the feature `stemmers`.
    #[error("a stemmer for {language} needs the feature `stemmers`, which this build lacks")]
    NoStemmer {
        /// What was chosen.
        language: Language,
    },
    /// A language that is none of [`Language::ALL`].
    #[error(transparent)]
    Language(#[from] UnknownLanguage),
    /// It was written by a later version.
    #[error("the configuration of the analyzer has version {got}; this build reads version {VERSION}")]
    Version {
        /// The version in the bytes.
        got: u8,
    },
    /// The bytes are no configuration.
    #[error("the configuration of the analyzer is damaged: {0}")]
    Malformed(&'static str),
}

impl From<Malformed> for ConfigError {
    fn from(Malformed(detail): Malformed) -> Self {
        Self::Malformed(detail)
    }
}

fn having_stop_words() -> String {
    let having = Language::ALL
        .into_iter()
        .filter(|language| !language.stop_words().is_empty());
    having.map(Language::name).collect::<Vec<_>>().join(", ")
}

impl fmt::Display for Language {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for Language {
    type Err = UnknownLanguage;

    /// The language of a name such as `german`, or of a code of ISO 639-1 such as `de`, in any case.
    fn from_str(text: &str) -> Result<Self, UnknownLanguage> {
        let is_it =
            |language: &Self| language.name().eq_ignore_ascii_case(text) || language.code().eq_ignore_ascii_case(text);
        Self::ALL
            .into_iter()
            .find(is_it)
            .ok_or_else(|| UnknownLanguage::of(text))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_bytes_of_a_configuration_never_change() {
        assert_eq!(AnalyzerConfig::default().to_bytes(), [1, 1, 0, 0, 64]);
        let config = AnalyzerConfig::default()
            .with_split_identifiers(false)
            .with_folded_diacritics(true)
            .with_stemmer(Language::Arabic)
            .with_stop_words(Language::German)
            .with_term_bytes_max(255);
        assert_eq!(config.to_bytes(), [1, 2, 1, 7, 255]);
    }

    #[test]
    fn bytes_that_are_no_configuration_are_refused() {
        let refused = |bytes: &[u8]| AnalyzerConfig::from_bytes(bytes).unwrap_err().to_string();
        assert_eq!(
            refused(&[2, 1, 0, 0, 64]),
            "the configuration of the analyzer has version 2; this build reads version 1"
        );
        assert_eq!(
            refused(&[1, 1, 0, 0, 15]),
            "terms of at most 15 bytes: choose 16 to 255"
        );
        for bytes in [
            &[1, 4, 0, 0, 64][..],
            &[1, 1, 99, 0, 64],
            &[1, 1, 0, 0],
            &[1, 1, 0, 0, 64, 0],
            &[],
        ] {
            assert!(refused(bytes).contains("damaged"), "{bytes:?}");
        }
        assert!(refused(&[1, 1, 0, Language::Tamil.number(), 64]).starts_with("there are no stop words for tamil; "));
    }

    #[test]
    fn json_that_is_no_configuration_is_refused() {
        let refused = |json: &str| serde_json::from_str::<AnalyzerConfig>(json).unwrap_err().to_string();
        assert!(refused(r#"{"version": 2}"#).contains("has version 2; this build reads version 1"));
        assert!(refused(r#"{"stemmer": "klingon"}"#).contains("unknown variant `klingon`"));
        assert!(refused(r#"{"stop_words": "tamil"}"#).starts_with("there are no stop words for tamil; "));
        assert!(refused(r#"{"term_bytes_max": 15}"#).contains("choose 16 to 255"));
        assert!(refused(r#"{"stemer": "german"}"#).contains("unknown field `stemer`"));
        for language in Language::ALL {
            let json = serde_json::to_string(&language).unwrap();
            assert_eq!(json, format!("\"{language}\""));
            assert_eq!(serde_json::from_str::<Language>(&json).unwrap(), language);
        }
    }

    #[test]
    fn a_language_is_named_in_full_or_by_its_code() {
        assert_eq!("German".parse(), Ok(Language::German));
        assert_eq!("DE".parse(), Ok(Language::German));
        let unknown = "klingon".parse::<Language>().unwrap_err().to_string();
        assert!(
            unknown.starts_with("`klingon` is no language of the analyzer: arabic, danish, "),
            "{unknown}"
        );
    }
}
