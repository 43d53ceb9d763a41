//! The options that every verb takes.

use std::path::PathBuf;
use std::time::Duration;

use clap::Args;

use llmspell_cli_base::scope_arg::ScopeArg;

/// Options of every verb.
#[derive(Debug, Args)]
pub(crate) struct GlobalArgs {
    /// Directory of the database; `kv` also takes `postgres://USER@HOST/NAME` in a build with the feature `postgres`
    #[arg(
        long,
        global = true,
        env = "LLMSPELL_DB",
        value_name = "DIR",
        help_heading = "Global options"
    )]
    pub(crate) db: Option<PathBuf>,

    /// If the database is open elsewhere: wait for it, at most so long [default: 0]
    #[arg(long, global = true, value_name = "SECONDS", value_parser = parse_wait, help_heading = "Global options")]
    pub(crate) wait: Option<Duration>,

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

/// A day at most: a longer wait is a forgotten one.
fn parse_wait(text: &str) -> Result<Duration, String> {
    let seconds = text
        .parse::<f64>()
        .ok()
        .filter(|seconds| (0.0..=86_400.0).contains(seconds));
    seconds
        .map(Duration::from_secs_f64)
        .ok_or_else(|| "write a number of seconds from 0 to 86400".into())
}
