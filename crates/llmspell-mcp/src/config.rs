//! What a server is told when it starts.

use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;

use llmspell_storage::StateScope;

/// Makes vectors of texts.
pub trait Embed: Send + Sync + fmt::Debug {
    /// The vector of a text: one that is searched for if `is_query`, else one that is stored. It may block.
    ///
    /// # Errors
    ///
    /// What went wrong, for the agent and its user.
    fn embed(&self, text: &str, scope: &StateScope, is_query: bool) -> Result<Vec<f32>, String>;
}

/// What a server is told when it starts.
#[derive(Debug, Clone)]
pub struct Config {
    /// Directory of the database. It is made unless the server only reads.
    pub directory: PathBuf,
    /// Space of the entries.
    pub space: String,
    /// What the server may see: at least one scope. New entries and values go to the first unless a call names another.
    pub scopes: Vec<StateScope>,
    /// Whether it offers no tool that changes anything.
    pub is_read_only: bool,
    /// Makes vectors; without it, entries are found by their words only.
    pub embed: Option<Arc<dyn Embed>>,
}
