//! What is stored?

use std::collections::HashMap;
use std::time::Duration;

use llmspell_state_traits::StateScope;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::filter::EntryTimes;
use crate::model::ModelRef;
use crate::timestamp::Timestamp;

/// Fields of an entry: a JSON object.
pub type Metadata = Map<String, Value>;

/// One vector with its id, its scope and its metadata.
///
/// ```
/// # use llmspell_core::{StateScope, VectorEntry};
/// let entry = VectorEntry::new("doc-1", vec![0.1, 0.2, 0.3])
///     .with_scope(StateScope::Custom("tenant:123".to_string()))
///     .with_metadata(serde_json::json!({"lang": "en", "year": 2026}));
/// ```
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct VectorEntry {
    /// Unique within its scope and space. Empty: the store makes a UUID v7.
    #[serde(default)]
    pub id: String,
    /// The vector: as many finite components as the space has dimensions.
    #[serde(alias = "vector")]
    pub embedding: Vec<f32>,
    /// A JSON object, or null for none. Anything else is refused when it is stored.
    #[serde(default)]
    pub metadata: Value,
    /// Whose entry it is; [`StateScope::Global`] unless said otherwise.
    #[serde(default)]
    pub scope: StateScope,
    /// The model that made the vector. Stores of several models route by it; a store of one vector space refuses another
    /// than its own. Entries that are read name the model of their space, if it has one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub model: Option<ModelRef>,
    /// When it was first stored. The store fills it in if it is empty.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub created_at: Option<Timestamp>,
    /// When vector or metadata last changed. The store fills it in if it is empty.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub updated_at: Option<Timestamp>,
    /// When what the entry is about happened.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub event_time: Option<Timestamp>,
    /// From this moment on the entry does not exist any more. In the past: it never does.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expires_at: Option<Timestamp>,
    /// Lifetime from the moment it is stored; becomes `expires_at`. Give one of the two.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ttl: Option<Duration>,
}

impl VectorEntry {
    /// An entry in [`StateScope::Global`] without metadata.
    pub fn new(id: impl Into<String>, embedding: Vec<f32>) -> Self {
        Self {
            id: id.into(),
            embedding,
            metadata: Value::Object(Map::new()),
            scope: StateScope::Global,
            model: None,
            created_at: None,
            updated_at: None,
            event_time: None,
            expires_at: None,
            ttl: None,
        }
    }

    /// Whose entry it is.
    #[must_use]
    pub fn with_scope(mut self, scope: StateScope) -> Self {
        self.scope = scope;
        self
    }

    /// The model that made the vector: its name, or an [`EmbeddingModel`](crate::EmbeddingModel), which a store of
    /// several models then knows.
    #[must_use]
    pub fn with_model(mut self, model: impl Into<ModelRef>) -> Self {
        self.model = Some(model.into());
        self
    }

    /// The fields, from a `HashMap<String, Value>`, a `serde_json::Map` or `json!({…})`; replaces those it had.
    #[must_use]
    pub fn with_metadata(mut self, metadata: impl IntoMetadata) -> Self {
        self.metadata = metadata.into_metadata();
        self
    }

    /// When it was first stored, for entries that come from elsewhere.
    #[must_use]
    pub fn with_created_at(mut self, moment: impl Into<Timestamp>) -> Self {
        self.created_at = Some(moment.into());
        self
    }

    /// When it last changed, for entries that come from elsewhere.
    #[must_use]
    pub fn with_updated_at(mut self, moment: impl Into<Timestamp>) -> Self {
        self.updated_at = Some(moment.into());
        self
    }

    /// When what the entry is about happened.
    #[must_use]
    pub fn with_event_time(mut self, moment: impl Into<Timestamp>) -> Self {
        self.event_time = Some(moment.into());
        self
    }

    /// When it ends.
    #[must_use]
    pub fn with_expires_at(mut self, moment: impl Into<Timestamp>) -> Self {
        self.expires_at = Some(moment.into());
        self
    }

    /// The times that filters and ages look at.
    #[must_use]
    pub fn times(&self) -> EntryTimes {
        EntryTimes {
            event_time: self.event_time,
            created_at: self.created_at,
            updated_at: self.updated_at,
        }
    }

    /// How long it lives from the moment it is stored; at least a millisecond.
    #[must_use]
    pub fn with_ttl(mut self, lifetime: Duration) -> Self {
        self.ttl = Some(lifetime);
        self
    }
}

/// What can become the metadata of an entry.
pub trait IntoMetadata {
    /// The JSON value; an entry whose value is neither an object nor null is refused by the store.
    fn into_metadata(self) -> Value;
}

impl IntoMetadata for Value {
    fn into_metadata(self) -> Value {
        self
    }
}

impl IntoMetadata for Map<String, Value> {
    fn into_metadata(self) -> Value {
        Value::Object(self)
    }
}

impl<S: std::hash::BuildHasher> IntoMetadata for HashMap<String, Value, S> {
    fn into_metadata(self) -> Value {
        Value::Object(self.into_iter().collect())
    }
}
