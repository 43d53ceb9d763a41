//! The forms in which other stores write their rows, recognized by the names of the fields.

use serde_json::{Map, Value};

use super::jsonl::OtherFields;

/// How another store names what a row says.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Shape {
    /// The store.
    pub(super) store: &'static str,
    /// Our name and theirs.
    pub(super) fields: &'static [(&'static str, &'static str)],
    pub(super) other_fields: OtherFields,
    /// Fields that describe an answer of the store, not the entry.
    pub(super) dropped: &'static [&'static str],
    /// What is done, for people.
    pub(super) reading: &'static str,
}

const QDRANT: Shape = Shape {
    store: "Qdrant",
    fields: &[("metadata", "payload")],
    other_fields: OtherFields::Refuse,
    dropped: &["version", "score", "shard_key", "order_value"],
    reading: "`payload` becomes the metadata",
};

const PINECONE: Shape = Shape {
    store: "Pinecone",
    fields: &[("vector", "values")],
    other_fields: OtherFields::Refuse,
    dropped: &["score"],
    reading: "`values` is the vector",
};

const CHROMA: Shape = Shape {
    store: "Chroma",
    fields: &[("vector", "embedding")],
    other_fields: OtherFields::Metadata,
    dropped: &["distance", "data"],
    reading: "`document` and `uri` go into the metadata",
};

const LANCEDB: Shape = Shape {
    store: "LanceDB",
    fields: &[],
    other_fields: OtherFields::Metadata,
    dropped: &["_distance", "_score", "_relevance_score", "_rowid", "_rowaddr"],
    reading: "columns beside `vector` become the metadata",
};

/// The store whose rows look like this, if its names are not ours.
pub(super) fn recognized(fields: &Map<String, Value>) -> Option<&'static Shape> {
    let has = |field: &str| fields.contains_key(field);
    let is_object = |field: &str| {
        fields
            .get(field)
            .is_some_and(|value| value.is_object() || value.is_null())
    };
    let is_array = |field: &str| fields.get(field).is_some_and(Value::is_array);
    if has("vector") && is_object("payload") {
        return Some(&QDRANT);
    }
    if is_array("values") && !has("vector") && !has("embedding") {
        return Some(&PINECONE);
    }
    if is_array("embedding") && (has("document") || has("uri")) {
        return Some(&CHROMA);
    }
    let is_ours = |field: &str| super::jsonl::FIELDS.contains(&field);
    let is_flat = is_array("vector") && !has("metadata") && fields.keys().any(|field| !is_ours(field));
    is_flat.then_some(&LANCEDB)
}
