//! The options that every verb takes.

use std::path::PathBuf;

use clap::Args;

use crate::scope_arg::ScopeArg;

/// Options of every verb.
#[derive(Debug, Args)]
pub(crate) struct GlobalArgs {
    /// Directory of the database
    #[arg(
        long,
        global = true,
        env = "LLMSPELL_DB",
        value_name = "DIR",
        help_heading = "Global options"
    )]
    pub(crate) db: Option<PathBuf>,

    /// Print one JSON object a line instead of tables
    #[arg(long, global = true, help_heading = "Global options")]
    pub(crate) json: bool,

    /// Whose data: global, KIND:ID, or a word for custom:WORD; `search` takes several [default: global]
    #[arg(long = "scope", global = true, value_name = "SCOPE", help_heading = "Global options")]
    pub(crate) scopes: Vec<ScopeArg>,

    /// Embedding space [default: default]
    #[arg(long, global = true, value_name = "NAME", help_heading = "Global options")]
    pub(crate) space: Option<String>,

    /// The space of this embedding model, which was added by `model add` or is a preset
    #[arg(
        long,
        global = true,
        value_name = "NAME",
        conflicts_with = "space",
        help_heading = "Global options"
    )]
    pub(crate) model: Option<String>,
}
