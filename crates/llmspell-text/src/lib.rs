//! An index of words: which texts answer a query best.

mod analyzer;

pub use analyzer::{
    Analyzer, AnalyzerConfig, ConfigError, DEFAULT_TERM_BYTES_MAX, Language, TERM_BYTES_RANGE, Token, TokenKind,
    UnknownLanguage,
};
