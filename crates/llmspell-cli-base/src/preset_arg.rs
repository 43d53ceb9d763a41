//! The presets of the index, as they are written on a command line.

use clap::ValueEnum;
use llmspell_storage::HNSWConfig;

/// Settings of the index, by name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Preset {
    /// Less memory and time, lower recall
    Fast,
    /// What fits most uses
    Balanced,
    /// The highest recall, more time
    Accurate,
}

impl Preset {
    /// The configuration that the preset stands for.
    #[must_use]
    pub fn config(self) -> HNSWConfig {
        match self {
            Self::Fast => HNSWConfig::fast(),
            Self::Balanced => HNSWConfig::balanced(),
            Self::Accurate => HNSWConfig::accurate(),
        }
    }
}
