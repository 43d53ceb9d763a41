//! [`VectorEntry`]: a vector, a text or both, with id, scope and metadata.

use std::collections::BTreeMap;
use std::time::Duration;

use llmspell_state_traits::StateScope;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::components::IntoVector;
use super::metadata::{self, Unwritable};
use super::sparse::SparseVector;
use crate::error::Result;
use crate::fields::Metadata;
use crate::filter::{CompiledFilter, EntryTimes};
use crate::model::ModelRef;
use crate::timestamp::Timestamp;

/// One vector, a text or both, with id, scope and metadata.
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
/// The form is that of the command line. Only `vector` is required, and not even that in a space with texts, where an
/// entry has a vector, a text or both; `embedding` is another name for it. A scope is a text or the structured form
/// `{"User": "ada"}`.
///
/// ```
/// # use llmspell_core::VectorEntry;
/// # let json =
/// r#"{"id": "a", "vector": [0.25, 0.5], "text": "What it is about", "metadata": {"lang": "en"}, "scope": "user:ada",
///     "event_time": "2026-11-22T10:00:00Z", "ttl": "7d"}"#
/// # ;
/// # let entry: VectorEntry = serde_json::from_str(json)?;
/// # let written = serde_json::to_value(&entry)?;
/// # assert_eq!(written, serde_json::from_str::<serde_json::Value>(json)?);
/// # let text_only = VectorEntry::text_only("a", "words");
/// # let written = serde_json::to_value(&text_only)?;
/// # assert_eq!(written, serde_json::json!({"id": "a", "text": "words", "metadata": {}, "scope": "global"}));
/// # assert_eq!(serde_json::from_value::<VectorEntry>(written)?, text_only);
/// # Ok::<(), serde_json::Error>(())
/// ```
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct VectorEntry {
    /// Unique within its scope and space. If empty, the store makes a UUID v7.
    #[serde(default)]
    pub id: String,
    /// The vector: one finite component for each dimension of the space. Empty if the entry has none, which a space
    /// with [texts](super::HNSWConfig::with_texts) allows: vector searches never find it.
    #[serde(
        rename = "vector",
        alias = "embedding",
        default,
        skip_serializing_if = "Vec::is_empty"
    )]
    pub embedding: Vec<f32>,
    /// The text whose words the entry is found by, up to [`TEXT_BYTES_MAX`](crate::limits::TEXT_BYTES_MAX) bytes; only in
    /// a space with [texts](super::HNSWConfig::with_texts). An entry that is read has its text, if the space
    /// [keeps](super::TextConfig::with_keep) texts.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub text: Option<String>,
    /// Sparse vectors by their names, each of one that the space [indexes](super::HNSWConfig::with_sparse).
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub sparse: BTreeMap<String, SparseVector>,
    /// A JSON object, or null for none. Other values are refused when the entry is stored.
    #[serde(default)]
    pub metadata: Value,
    /// The scope of the entry; [`StateScope::Global`] by default.
    #[serde(default)]
    pub scope: StateScope,
    /// The model that made the vector. A store of several models chooses the space by it; a store of one vector space
    /// refuses any model but its own. Entries that are read have the model of their space, if it has one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub model: Option<ModelRef>,
    /// When it was first stored. If empty, the store fills it in.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub created_at: Option<Timestamp>,
    /// When vector, text or metadata last changed. If empty, the store fills it in.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub updated_at: Option<Timestamp>,
    /// When the event that the entry describes happened.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub event_time: Option<Timestamp>,
    /// From this moment on the entry does not exist any more. If it lies in the past, the entry is never seen.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expires_at: Option<Timestamp>,
    /// Lifetime from the moment it is stored; the store turns it into `expires_at`. Set at most one of the two.
    #[serde(default, with = "crate::duration::option", skip_serializing_if = "Option::is_none")]
    pub ttl: Option<Duration>,
    /// Why the given metadata cannot be written as JSON: the entry is refused when it is stored.
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
            text: None,
            sparse: BTreeMap::new(),
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

    /// An entry in [`StateScope::Global`] with a text and without a vector.
    pub fn text_only(id: impl Into<String>, text: impl Into<String>) -> Self {
        Self::new(id, Vec::<f32>::new()).with_text(text)
    }

    /// The text whose words the entry is found by.
    ///
    /// ```
    /// # use llmspell_core::VectorEntry;
    /// let entry = VectorEntry::new("note-1", [0.1, 0.2]).with_text("HNSWConfig has presets");
    /// ```
    #[must_use]
    pub fn with_text(mut self, text: impl Into<String>) -> Self {
        self.text = Some(text.into());
        self
    }

    /// A sparse vector, by the name of the model or the purpose, besides those of other names: components by their indices,
    /// in any order; see [`SparseVector`]. The entry may have a vector and a text, too.
    ///
    /// ```
    /// # use llmspell_core::VectorEntry;
    /// let entry = VectorEntry::new("note-1", [0.1, 0.2]).with_sparse("splade", [1_012, 2_054], [1.5, 0.5]);
    /// # let json = serde_json::to_value(&entry)?;
    /// # assert_eq!(json["sparse"], serde_json::json!({"splade": {"indices": [1012, 2054], "values": [1.5, 0.5]}}));
    /// # assert_eq!(serde_json::from_value::<VectorEntry>(json)?, entry);
    /// # Ok::<(), serde_json::Error>(())
    /// ```
    #[must_use]
    pub fn with_sparse(
        mut self,
        name: impl Into<String>,
        indices: impl IntoIterator<Item = u32>,
        values: impl IntoIterator<Item = f32>,
    ) -> Self {
        self.sparse.insert(name.into(), SparseVector::new(indices, values));
        self
    }

    /// The scope of the entry.
    #[must_use]
    pub fn with_scope(mut self, scope: StateScope) -> Self {
        self.scope = scope;
        self
    }

    /// The model that made the vector: its name, or an [`EmbeddingModel`](crate::EmbeddingModel), which a store of
    /// several models then registers.
    #[must_use]
    pub fn with_model(mut self, model: impl Into<ModelRef>) -> Self {
        self.model = Some(model.into());
        self
    }

    /// Sets the metadata: `json!({…})`, a map, or any type that serde writes as an object, by value or by reference.
    /// Replaces all earlier fields.
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
    /// The store refuses an entry whose metadata cannot be written as JSON, such as a map with keys that are not
    /// strings.
    #[must_use]
    pub fn with_metadata(mut self, metadata: impl Serialize) -> Self {
        (self.metadata, self.unwritable) = match metadata::value_of(&metadata) {
            Ok(value) => (value, None),
            Err(unwritable) => (Value::Null, Some(unwritable)),
        };
        self
    }

    /// The metadata as a type of the application. An entry without metadata reads as an empty object.
    ///
    /// # Errors
    ///
    /// [`Json`](crate::StorageError::Json) if they do not fit the type.
    pub fn metadata_as<T: DeserializeOwned>(&self) -> Result<T> {
        metadata::read_as(&self.metadata)
    }

    /// When it was first stored, for entries from another store.
    #[must_use]
    pub fn with_created_at(mut self, moment: impl Into<Timestamp>) -> Self {
        self.created_at = Some(moment.into());
        self
    }

    /// When it last changed, for entries from another store.
    #[must_use]
    pub fn with_updated_at(mut self, moment: impl Into<Timestamp>) -> Self {
        self.updated_at = Some(moment.into());
        self
    }

    /// When the event that the entry describes happened.
    #[must_use]
    pub fn with_event_time(mut self, moment: impl Into<Timestamp>) -> Self {
        self.event_time = Some(moment.into());
        self
    }

    /// When it expires; replaces a lifetime set before.
    #[must_use]
    pub fn with_expires_at(mut self, moment: impl Into<Timestamp>) -> Self {
        self.expires_at = Some(moment.into());
        self.ttl = None;
        self
    }

    /// The times that filters and recency use.
    #[must_use]
    pub fn times(&self) -> EntryTimes {
        EntryTimes {
            event_time: self.event_time,
            created_at: self.created_at,
            updated_at: self.updated_at,
        }
    }

    /// Lifetime from the moment it is stored, at least a millisecond; replaces an expiry set before, so it also works
    /// for an entry that was read.
    #[must_use]
    pub fn with_ttl(mut self, lifetime: Duration) -> Self {
        self.ttl = Some(lifetime);
        self.expires_at = None;
        self
    }
}

impl CompiledFilter {
    /// Whether the filter matches this entry.
    #[must_use]
    pub fn matches_entry(&self, entry: &VectorEntry) -> bool {
        match entry.metadata.as_object() {
            Some(metadata) => self.matches_with(metadata, &entry.times()),
            None => self.matches_with(&Metadata::new(), &entry.times()),
        }
    }
}
