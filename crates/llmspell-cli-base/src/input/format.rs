//! The kinds of files, by name.

use std::path::Path;

use clap::ValueEnum;

use super::compressed::plain_name;

/// What a file is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Format {
    /// JSON lines, or one array of objects
    Jsonl,
    /// Values separated by commas
    Csv,
    /// Values separated by tabs
    Tsv,
    /// A NumPy array, a vector per row
    Npy,
    /// Vectors of `f32`, each after its length
    Fvecs,
}

impl Format {
    /// What the ending of the name says, that of a compressed file set aside.
    pub fn of(file: &Path) -> Self {
        let name = file.to_str().map(plain_name).unwrap_or_default();
        match name
            .rsplit_once('.')
            .map(|(_, ending)| ending.to_ascii_lowercase())
            .as_deref()
        {
            Some("npy") => Self::Npy,
            Some("fvecs") => Self::Fvecs,
            Some("csv") => Self::Csv,
            Some("tsv") => Self::Tsv,
            _ => Self::Jsonl,
        }
    }
}
