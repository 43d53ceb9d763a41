//! Conversions between metadata and types of the application, and values that cannot become metadata.

use std::io;

use serde::Serialize;
use serde::de::{DeserializeOwned, Error as _};
use serde_json::{Map, Value};

use crate::error::{Result, StorageError};
use crate::text::shortened;

/// Why a value cannot be metadata, in serde's words.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Unwritable(String);

/// Nesting at which writing of metadata stops: more than is allowed, so that the usual check names the limit, and far
/// less than a stack holds.
const WRITTEN_DEPTH_MAX: usize = 100;

/// A JSON writer that stops at a depth: serde recurses into a value only as far as its writer allows.
#[derive(Default)]
struct Shallow {
    json: Vec<u8>,
    depth: usize,
    is_in_string: bool,
    is_escaped: bool,
}

impl io::Write for Shallow {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        for byte in bytes {
            match byte {
                _ if self.is_escaped => self.is_escaped = false,
                b'\\' => self.is_escaped = true,
                b'"' => self.is_in_string = !self.is_in_string,
                b'{' | b'[' if !self.is_in_string => self.depth += 1,
                b'}' | b']' if !self.is_in_string => self.depth -= 1,
                _ => {}
            }
        }
        if self.depth > WRITTEN_DEPTH_MAX {
            return Err(io::Error::other("it has more than 100 levels"));
        }
        self.json.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Any value as the JSON that serde writes for it. Through text, so that endless nesting ends in an error.
pub(super) fn value_of(metadata: &impl Serialize) -> Result<Value, Unwritable> {
    let mut shallow = Shallow::default();
    let written = serde_json::to_writer(&mut shallow, metadata);
    let value = written.and_then(|()| serde_json::from_slice(&shallow.json));
    value.map_err(|error| Unwritable(error.to_string()))
}

impl Unwritable {
    /// The error for an entry with this metadata.
    pub(super) fn error(&self, id: &str) -> StorageError {
        let text = format!("the metadata of `{}` cannot be written: {}", shortened(id), self.0);
        serde_json::Error::custom(text).into()
    }
}

/// Metadata as a type of the application; null reads as an empty object.
pub(super) fn read_as<T: DeserializeOwned>(metadata: &Value) -> Result<T> {
    match metadata {
        Value::Null => of_fields(&Map::new()),
        value => Ok(T::deserialize(value)?),
    }
}

/// Fields as a type of the application.
pub(super) fn of_fields<T: DeserializeOwned>(fields: &Map<String, Value>) -> Result<T> {
    Ok(serde_json::from_value(Value::Object(fields.clone()))?)
}

/// A value as fields, to replace those of an entry.
///
/// # Errors
///
/// [`Json`](StorageError::Json) or [`MetadataNotObject`](StorageError::MetadataNotObject).
pub fn fields(id: &str, metadata: &impl Serialize) -> Result<Map<String, Value>> {
    let value = value_of(metadata).map_err(|unwritable| unwritable.error(id))?;
    super::validate::metadata(id, &value)?;
    match value {
        Value::Object(fields) => Ok(fields),
        _ => Ok(Map::new()),
    }
}

#[cfg(test)]
mod tests {
    use std::collections::{BTreeMap, HashMap};

    use serde::{Deserialize, Serialize};
    use serde_json::json;

    use super::super::{DistanceMetric, VectorEntry, VectorResult, validate};
    use super::*;

    #[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
    struct Note {
        lang: String,
        #[serde(default)]
        pages: Vec<u32>,
    }

    fn entry() -> VectorEntry {
        VectorEntry::new("e", [1.0])
    }

    #[test]
    fn maps_values_and_types_become_the_same_metadata() {
        let note = Note {
            lang: "en".into(),
            pages: vec![1, 2],
        };
        let expected = json!({"lang": "en", "pages": [1, 2]});
        let Value::Object(map) = expected.clone() else {
            unreachable!()
        };
        let hash_map: HashMap<String, Value> = map.clone().into_iter().collect();
        for entry in [
            entry().with_metadata(&note),
            entry().with_metadata(note.clone()),
            entry().with_metadata(expected.clone()),
            entry().with_metadata(map.clone()),
            entry().with_metadata(hash_map),
            entry().with_metadata(BTreeMap::from_iter(map.clone())),
        ] {
            assert_eq!(entry.metadata, expected);
            assert_eq!(entry.metadata_as::<Note>().unwrap(), note);
        }
        let mut hit = VectorResult::new("e".into(), 1.0, 0.0);
        assert_eq!(hit.metadata_as::<Note>().unwrap(), None, "the query did without");
        hit.metadata = Some(map);
        assert_eq!(hit.metadata_as::<Note>().unwrap(), Some(note));
    }

    #[test]
    fn what_is_no_object_or_no_json_is_refused_when_it_is_stored() {
        let refused = |entry: &VectorEntry| {
            validate::entry(entry, 1, DistanceMetric::Cosine, None)
                .unwrap_err()
                .to_string()
        };
        assert!(refused(&entry().with_metadata([1, 2])).contains("metadata of `e` is a JSON array"));
        let no_json = entry().with_metadata(HashMap::from([((1, 2), "a")]));
        assert_eq!(
            refused(&no_json),
            "JSON: the metadata of `e` cannot be written: key must be a string"
        );
        let nested = |levels: usize| (1..levels).fold(json!({}), |inner, _| json!({ "{[\"": [inner] }));
        assert!(refused(&entry().with_metadata(nested(20))).contains("levels; at most 32"));
        assert!(refused(&entry().with_metadata(nested(300))).contains("it has more than 100 levels"));
        validate::entry(&no_json.with_metadata(json!({})), 1, DistanceMetric::Cosine, None).unwrap();
        validate::entry(&entry().with_metadata(None::<Note>), 1, DistanceMetric::Cosine, None).unwrap();
    }

    #[test]
    fn fields_of_another_type_are_an_error() {
        let error = entry()
            .with_metadata(json!({"lang": 1}))
            .metadata_as::<Note>()
            .unwrap_err();
        assert!(
            error
                .to_string()
                .contains("invalid type: integer `1`, expected a string"),
            "{error}"
        );
        assert!(entry().metadata_as::<Note>().is_err());
        assert_eq!(entry().metadata_as::<HashMap<String, Value>>().unwrap(), HashMap::new());
    }
}
