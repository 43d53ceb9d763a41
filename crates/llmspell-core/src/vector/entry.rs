//! What is stored?

use std::time::Duration;

use llmspell_state_traits::StateScope;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::components::IntoVector;
use super::metadata::{self, Unwritable};
use crate::error::Result;
use crate::fields::Metadata;
use crate::filter::{CompiledFilter, EntryTimes};
use crate::model::ModelRef;
use crate::timestamp::Timestamp;

/// One vector with its id, its scope and its metadata.
///
/// ```
/// # use llmspell_core::{StateScope, VectorEntry};
/// let entry = VectorEntry::new("doc-1", vec![0.1, 0.2, 0.3])
///     .with_scope(StateScope::Custom("tenant:123".to_string()))
///     .with_metadata(serde_json::json!({"lang": "en", "year": 2026}));
/// ```
///
/// # JSON
///
/// The form is that of the command line. Only `vector` must be there; `embedding` is read as that, and a scope is its text or
/// the structured form `{"User": "ada"}`.
///
/// ```
/// # use llmspell_core::VectorEntry;
/// # let json =
/// r#"{"id": "a", "vector": [0.25, 0.5], "metadata": {"lang": "en"}, "scope": "user:ada",
///     "event_time": "2026-11-22T10:00:00Z", "ttl": "7d"}"#
/// # ;
/// # let entry: VectorEntry = serde_json::from_str(json)?;
/// # let written = serde_json::to_value(&entry)?;
/// # assert_eq!(written, serde_json::from_str::<serde_json::Value>(json)?);
/// # Ok::<(), serde_json::Error>(())
/// ```
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct VectorEntry {
    /// Unique within its scope and space. Empty: the store makes a UUID v7.
    #[serde(default)]
    pub id: String,
    /// The vector: as many finite components as the space has dimensions.
    #[serde(rename = "vector", alias = "embedding")]
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
    #[serde(default, with = "crate::duration::option", skip_serializing_if = "Option::is_none")]
    pub ttl: Option<Duration>,
    /// What was given as metadata is none, and why: refused when it is stored.
    #[serde(skip)]
    pub(super) unwritable: Option<Unwritable>,
}

impl VectorEntry {
    /// An entry in [`StateScope::Global`] without metadata. The vector may be a `Vec`, an array or a slice, of `f32` or `f64`;
    /// see [`IntoVector`].
    pub fn new(id: impl Into<String>, embedding: impl IntoVector) -> Self {
        Self {
            id: id.into(),
            embedding: embedding.into_vector(),
            metadata: Value::Object(Map::new()),
            scope: StateScope::Global,
            model: None,
            created_at: None,
            updated_at: None,
            event_time: None,
            expires_at: None,
            ttl: None,
            unwritable: None,
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

    /// The fields: `json!({…})`, a map, or any type that serde writes as an object, by value or by reference. They replace
    /// those that it had.
    ///
    /// ```
    /// # use llmspell_core::VectorEntry;
    /// #[derive(serde::Serialize, serde::Deserialize, PartialEq, Debug)]
    /// struct Note {
    ///     lang: String,
    ///     year: u16,
    /// }
    ///
    /// let note = Note { lang: "en".to_string(), year: 2026 };
    /// let entry = VectorEntry::new("a", [0.1, 0.2]).with_metadata(&note);
    /// assert_eq!(entry.metadata, serde_json::json!({"lang": "en", "year": 2026}));
    /// assert_eq!(entry.metadata_as::<Note>()?, note);
    /// # Ok::<(), llmspell_core::StorageError>(())
    /// ```
    ///
    /// The store refuses an entry whose metadata cannot be written as JSON, such as a map whose keys are no strings.
    #[must_use]
    pub fn with_metadata(mut self, metadata: impl Serialize) -> Self {
        (self.metadata, self.unwritable) = match metadata::value_of(&metadata) {
            Ok(value) => (value, None),
            Err(unwritable) => (Value::Null, Some(unwritable)),
        };
        self
    }

    /// The fields as a type of the application. An entry without metadata reads as one without fields.
    ///
    /// # Errors
    ///
    /// [`Json`](crate::StorageError::Json) if they are not what the type is made of.
    pub fn metadata_as<T: DeserializeOwned>(&self) -> Result<T> {
        metadata::read_as(&self.metadata)
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

    /// When it ends, whatever lifetime it was given before.
    #[must_use]
    pub fn with_expires_at(mut self, moment: impl Into<Timestamp>) -> Self {
        self.expires_at = Some(moment.into());
        self.ttl = None;
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

    /// How long it lives from the moment it is stored, at least a millisecond, whatever end it was given before: so an entry
    /// that was read gets another lifetime, too.
    #[must_use]
    pub fn with_ttl(mut self, lifetime: Duration) -> Self {
        self.ttl = Some(lifetime);
        self.expires_at = None;
        self
    }
}

impl CompiledFilter {
    /// Whether this entry may be found.
    #[must_use]
    pub fn matches_entry(&self, entry: &VectorEntry) -> bool {
        match entry.metadata.as_object() {
            Some(metadata) => self.matches_with(metadata, &entry.times()),
            None => self.matches_with(&Metadata::new(), &entry.times()),
        }
    }
}
