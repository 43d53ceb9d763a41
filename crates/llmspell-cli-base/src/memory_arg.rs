//! Memory tiers on the command line.

use clap::ValueEnum;
use llmspell_storage::Memory;
use serde::Serialize;

/// What of an index is kept in RAM.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum MemoryArg {
    /// Codes of all neighbors beside every point: the fastest
    Speed,
    /// A code and the links of every point
    Balanced,
    /// At most 200 bytes per vector up to 1,536 components; searches read more vectors from the disk
    Lean,
}

impl From<MemoryArg> for Memory {
    fn from(arg: MemoryArg) -> Self {
        match arg {
            MemoryArg::Speed => Self::Speed,
            MemoryArg::Balanced => Self::Balanced,
            MemoryArg::Lean => Self::Lean,
        }
    }
}
