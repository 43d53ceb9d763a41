//! What is remembered, as it stands in the metadata of an entry, and as it is answered.

use llmspell_storage::{StateScope, StorageError, VectorResult};
use serde::{Deserialize, Serialize};

/// Who said something in a chat.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Role {
    User,
    Assistant,
}

/// Something that was said.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Message {
    pub(crate) role: Role,
    pub(crate) text: String,
}

/// A part of a document, short enough to be quoted.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Chunk {
    pub(crate) document: String,
    pub(crate) title: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) lang: Option<String>,
    /// Which part, from 0.
    pub(crate) part: usize,
    pub(crate) text: String,
}

/// The fields of an entry; `kind` tells which of them there are, and filters may name it.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "lowercase")]
pub(crate) enum Memory {
    Message(Message),
    Chunk(Chunk),
}

/// A memory that was found.
#[derive(Debug, Serialize)]
pub(crate) struct Found {
    id: String,
    scope: Option<StateScope>,
    score: f32,
    #[serde(flatten)]
    memory: Memory,
}

impl TryFrom<VectorResult> for Found {
    type Error = StorageError;

    fn try_from(hit: VectorResult) -> Result<Self, StorageError> {
        let memory = hit
            .metadata_as()?
            .expect("queries ask for metadata unless they say otherwise");
        Ok(Self {
            memory,
            id: hit.id,
            scope: hit.scope,
            score: hit.score,
        })
    }
}
