//! An entry as JSON, in the form that `import` reads.

use std::collections::BTreeMap;

use llmspell_storage::{Metadata, SparseVector, Timestamp, VectorEntry};
use serde::Serialize;
use serde_json::Value;

/// An entry for `--json`.
#[derive(Debug, Serialize)]
pub(crate) struct EntryView {
    pub(crate) id: String,
    pub(crate) scope: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) text: Option<String>,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub(crate) sparse: BTreeMap<String, SparseVector>,
    pub(crate) metadata: Value,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) created_at: Option<Timestamp>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) updated_at: Option<Timestamp>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) event_time: Option<Timestamp>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) expires_at: Option<Timestamp>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) vector: Option<Vec<f32>>,
}

impl EntryView {
    /// With its vector only if the caller asks for it.
    pub(crate) fn new(entry: VectorEntry, with_vector: bool) -> Self {
        Self {
            id: entry.id,
            scope: entry.scope.to_string(),
            text: entry.text,
            sparse: entry.sparse,
            metadata: entry.metadata,
            created_at: entry.created_at,
            updated_at: entry.updated_at,
            event_time: entry.event_time,
            expires_at: entry.expires_at,
            vector: with_vector.then_some(entry.embedding),
        }
    }
}

/// What an entry is about, for a cell of a table: its own text, then what its metadata say.
pub(crate) fn summary_of(entry: &VectorEntry) -> String {
    let fields = entry.metadata.as_object().map(summary).unwrap_or_default();
    match entry.text.as_deref() {
        None | Some("") => fields,
        Some(own) if fields.is_empty() => own.to_string(),
        Some(own) => format!("{own}  {fields}"),
    }
}

/// What metadata say, for a cell of a table: their `text` if there is one, else their fields.
pub(crate) fn summary(metadata: &Metadata) -> String {
    let text = metadata.get("text").and_then(Value::as_str);
    let others = metadata
        .iter()
        .filter(|(field, _)| text.is_none() || *field != "text")
        .map(|(field, value)| match value {
            Value::String(value) => format!("{field}={value}"),
            other => format!("{field}={other}"),
        });
    text.map(str::to_string)
        .into_iter()
        .chain(others)
        .collect::<Vec<_>>()
        .join("  ")
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn the_text_comes_first() {
        let metadata = json!({"lang": "en", "text": "Hello there", "year": 2026});
        assert_eq!(
            summary(metadata.as_object().unwrap()),
            "Hello there  lang=en  year=2026"
        );
        assert_eq!(summary(&Metadata::new()), "");
        let entry = VectorEntry::text_only("a", "Own words").with_metadata(metadata);
        assert_eq!(summary_of(&entry), "Own words  Hello there  lang=en  year=2026");
        assert_eq!(summary_of(&VectorEntry::text_only("a", "Own words")), "Own words");
        assert_eq!(summary_of(&VectorEntry::new("a", [1.0])), "");
    }
}
