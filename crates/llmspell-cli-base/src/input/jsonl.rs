//! JSON Lines: an entry for each line.
//!
//! ```json
//! {"id": "note-1", "vector": [0.1, 0.2], "metadata": {"lang": "en"}, "scope": "user:ada",
//!  "sparse": {"splade": {"indices": [1012, 2054], "values": [1.5, 0.5]}},
//!  "created_at": "2026-11-22T10:00:00Z", "expires_at": 1795341600000}
//! ```
//!
//! Only the vector must be there, or a text or sparse vectors in its place where the space takes that. A row without id gets its number, counted from 0, as id: so a second run over the
//! same file means the same entries. Lines of white space do not count. A file that begins with `[` is one array, whose
//! elements are rows.

use std::collections::BTreeMap;
use std::str::FromStr;

use clap::ValueEnum;
use llmspell_storage::{SparseVector, StateScope, Timestamp, VectorEntry};
use serde::de::DeserializeOwned;
use serde_json::value::RawValue;
use serde_json::{Map, Value};

use super::elements::Elements;
pub use super::lines::Lines;
use super::lines::NumberedBytes;
use super::shapes::{self, Shape};
use super::times::Moments;
use super::{BadRow, InputRow, RowSource, Step};
use crate::errors::{CliError, Place};
use crate::scope_arg::scope_from_json;

/// What a row can say, by the names that `--field` uses.
pub const FIELDS: [&str; 10] = [
    "id",
    "vector",
    "text",
    "sparse",
    "metadata",
    "scope",
    "created_at",
    "updated_at",
    "event_time",
    "expires_at",
];

/// `--field NAME=FIELD`: the field of the file that holds what we call `name`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FieldArg {
    name: &'static str,
    field: String,
}

impl FieldArg {
    /// The field that holds the vector.
    #[must_use]
    pub fn vector(field: &str) -> Self {
        Self {
            name: "vector",
            field: field.to_string(),
        }
    }

    /// Whether it names the field of the entry's own text.
    #[must_use]
    pub fn is_text(&self) -> bool {
        self.name == "text"
    }

    /// The field that holds the entry's own text.
    #[must_use]
    pub fn text(field: &str) -> Self {
        Self {
            name: "text",
            field: field.to_string(),
        }
    }
}

impl FromStr for FieldArg {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let expected = || format!("write NAME=FIELD with NAME one of {}", FIELDS.join(", "));
        let (name, field) = text.split_once('=').ok_or_else(expected)?;
        let name = FIELDS.into_iter().find(|known| *known == name).ok_or_else(expected)?;
        Ok(Self {
            name,
            field: field.to_string(),
        })
    }
}

/// What happens to fields that no option names.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, ValueEnum)]
pub enum OtherFields {
    /// The row is bad: nothing gets lost unnoticed
    #[default]
    Refuse,
    /// They become metadata
    Metadata,
    /// They are left out
    Drop,
}

/// How rows become entries.
#[derive(Debug, Clone, Default)]
pub struct RowRules {
    /// Which fields of a row hold the id, the vector and so on, where their names do not say it.
    pub fields: Vec<FieldArg>,
    /// What becomes of the other fields.
    pub other_fields: OtherFields,
    /// The field, in the metadata or beside it, whose text stands for a vector. The text always becomes metadata, whatever
    /// becomes of other fields.
    pub text_field: Option<String>,
    /// Whether a row may have no vector, because its words are found.
    pub may_lack_vector: bool,
    /// Before the number that a row without id gets.
    pub id_prefix: String,
    /// Scope of a row that names none.
    pub default_scope: StateScope,
    /// Whether the first row may tell which store wrote it.
    pub may_recognize: bool,
    /// Fields that are left out, whatever happens to others.
    pub dropped: &'static [&'static str],
    /// Reads the times.
    pub moments: Moments,
}

impl RowRules {
    /// For entries as `export` writes them.
    #[must_use]
    pub fn of_export() -> Self {
        Self {
            dropped: &["type", "space"],
            ..Self::default()
        }
    }

    /// Reads rows as a store writes them, and says so.
    fn adopt(&mut self, shape: &Shape) {
        let theirs = shape.fields.iter().map(|(name, field)| FieldArg {
            name,
            field: (*field).to_string(),
        });
        self.fields.extend(theirs);
        self.other_fields = shape.other_fields;
        self.dropped = shape.dropped;
        eprintln!(
            "note: the rows look like those of {}: {}; --field and --other-fields say otherwise",
            shape.store, shape.reading
        );
    }

    /// Whether a row may have sparse vectors: where a field is named for them, and where a field that means nothing is
    /// refused.
    fn has_sparse(&self) -> bool {
        self.names("sparse") || self.other_fields == OtherFields::Refuse
    }

    /// Whether an option names the field that holds this.
    fn names(&self, name: &str) -> bool {
        self.fields.iter().any(|renamed| renamed.name == name)
    }

    /// The field that holds the vector.
    pub(super) fn vector_field(&self) -> &str {
        self.field("vector")
    }

    /// Whether the vector is looked for there.
    pub(super) fn may_be_vector(&self, field: &str) -> bool {
        let vector = self.vector_field();
        field == vector || (vector == "vector" && field == "embedding")
    }

    /// Whether the field holds text, also if it looks like a number.
    pub(super) fn is_text(&self, field: &str) -> bool {
        let is_own_text = self.has_own_text() && self.field("text") == field;
        is_own_text
            || [self.field("id"), self.field("scope")].contains(&field)
            || self.text_field.as_deref() == Some(field)
    }

    /// Whether the field holds all the metadata.
    pub(super) fn is_metadata(&self, field: &str) -> bool {
        self.field("metadata") == field
    }

    /// The field that is named as that of the own text, if one is.
    pub(super) fn named_text(&self) -> Option<&str> {
        let named = self.fields.iter().rev().find(|renamed| renamed.name == "text");
        named.map(|renamed| renamed.field.as_str())
    }

    /// Whether a row has its own text in a field: where one is named, and where a field that means nothing is refused.
    fn has_own_text(&self) -> bool {
        self.named_text().is_some() || (self.other_fields == OtherFields::Refuse && self.text_field.is_none())
    }

    fn field<'a>(&'a self, name: &'a str) -> &'a str {
        self.fields
            .iter()
            .rev()
            .find(|renamed| renamed.name == name)
            .map_or(name, |renamed| &renamed.field)
    }

    /// The entry that a line describes; `vector` if the vector comes from elsewhere.
    pub fn entry(&self, line: &str, number: u64, vector: Option<Vec<f32>>) -> Result<VectorEntry, String> {
        let mut fields = Fields(serde_json::from_str(line).map_err(|error| format!("not a JSON object: {error}"))?);

        let text = match self.has_own_text() {
            true => fields.take::<Option<String>>(self.field("text"))?.flatten(),
            false => None,
        };
        let sparse = match self.has_sparse() {
            true => fields
                .take::<Option<BTreeMap<String, SparseVector>>>(self.field("sparse"))?
                .flatten()
                .unwrap_or_default(),
            false => BTreeMap::new(),
        };
        let may_lack_vector = text.is_some() || !sparse.is_empty();
        let vector = match (vector, &self.text_field) {
            (Some(vector), _) => vector,
            (None, Some(_)) => self.no_vector(&mut fields)?,
            (None, None) => self.vector(&mut fields, may_lack_vector)?,
        };
        let id = match fields.take::<Value>(self.field("id"))? {
            None | Some(Value::Null) => self.numbered_id(number),
            Some(Value::String(id)) if id.is_empty() => {
                let field = self.field("id");
                return Err(format!(
                    "field `{field}` is empty; leave it out, and the row gets its number"
                ));
            }
            Some(Value::String(id)) => id,
            Some(Value::Number(id)) if !id.is_f64() => id.to_string(),
            Some(other) => return Err(format!("field `{}`: {other} is no id", self.field("id"))),
        };
        let scope = match fields.take::<Value>(self.field("scope"))? {
            None | Some(Value::Null) => self.default_scope.clone(),
            Some(scope) => {
                scope_from_json(scope).map_err(|reason| format!("field `{}`: {reason}", self.field("scope")))?
            }
        };
        let mut entry = VectorEntry::new(id, vector).with_scope(scope);
        (entry.text, entry.sparse) = (text, sparse);
        entry.created_at = self.time(&mut fields, "created_at")?;
        entry.updated_at = self.time(&mut fields, "updated_at")?;
        entry.event_time = self.time(&mut fields, "event_time")?;
        entry.expires_at = self.time(&mut fields, "expires_at")?;

        entry.metadata = match fields.take::<Value>(self.field("metadata"))? {
            None | Some(Value::Null) => Value::Object(Map::new()),
            Some(metadata) => metadata,
        };
        self.place_others(fields, &mut entry.metadata)?;
        Ok(entry)
    }

    /// The id of a row that has none.
    pub fn numbered_id(&self, number: u64) -> String {
        format!("{}{number}", self.id_prefix)
    }

    /// Whether a line that accompanies a vector has an object of metadata inside.
    pub fn has_metadata(&self, fields: &Map<String, Value>) -> bool {
        fields.get(self.field("metadata")).is_some_and(Value::is_object)
    }

    /// Whether such a line has no field but those of a row.
    pub fn are_known(&self, fields: &Map<String, Value>) -> bool {
        // A text beside nothing else is metadata, unless it is named; so is what is called sparse.
        let names = FIELDS
            .into_iter()
            .filter(|name| !["text", "sparse"].contains(name) || self.names(name));
        let is_known = |field: &String| names.clone().any(|name| self.field(name) == field);
        fields.keys().all(is_known)
    }

    fn vector(&self, fields: &mut Fields<'_>, may_lack_it: bool) -> Result<Vec<f32>, String> {
        let field = self.field("vector");
        let vector = fields.take(field)?;
        // The name that `VectorEntry` has for it.
        let vector = if vector.is_none() && field == "vector" {
            fields.take("embedding")?
        } else {
            vector
        };
        match vector {
            None if may_lack_it || self.may_lack_vector => Ok(Vec::new()),
            vector => vector.ok_or_else(|| format!("there is no field `{field}`")),
        }
    }

    /// That a row of text has no vector, which would have to be that of the model of the others.
    fn no_vector(&self, fields: &mut Fields<'_>) -> Result<Vec<f32>, String> {
        let named: Vec<String> = fields
            .0
            .keys()
            .filter(|field| self.may_be_vector(field))
            .cloned()
            .collect();
        for field in named {
            if fields.take::<Value>(&field)?.is_some_and(|value| !value.is_null()) {
                return Err(format!(
                    "the row has a vector already, in field `{field}`; --with is for rows without"
                ));
            }
        }
        Ok(Vec::new())
    }

    fn time(&self, fields: &mut Fields<'_>, name: &str) -> Result<Option<Timestamp>, String> {
        let field = self.field(name);
        let Some(value) = fields.take::<Value>(field)? else {
            return Ok(None);
        };
        let moment = self.moments.read(field, &value);
        moment.map_err(|reason| format!("field `{field}`: {reason}"))
    }

    fn place_others(&self, mut fields: Fields<'_>, metadata: &mut Value) -> Result<(), String> {
        let is_embedded = |field: &str| self.text_field.as_deref() == Some(field);
        fields.0.retain(|field, _| !self.dropped.contains(&field.as_str()));
        match self.other_fields {
            OtherFields::Refuse => {
                if let Some(first) = fields.0.keys().find(|field| !is_embedded(field)) {
                    return Err(format!("no option says what field `{first}` means"));
                }
            }
            OtherFields::Drop => fields.0.retain(|field, _| is_embedded(field)),
            OtherFields::Metadata => {}
        }
        if fields.0.is_empty() {
            return Ok(());
        }
        let inner = self.field("metadata");
        let Value::Object(metadata) = metadata else {
            return Err(format!("field `{inner}` is no object"));
        };
        for (field, value) in fields.0 {
            let value = serde_json::from_str(value.get()).map_err(|error| format!("field `{field}`: {error}"))?;
            if metadata.contains_key(&field) {
                return Err(format!(
                    "field `{field}` stands in `{inner}` and beside it; which one is meant?"
                ));
            }
            metadata.insert(field, value);
        }
        Ok(())
    }
}

/// The fields of a line that were not read yet.
struct Fields<'a>(BTreeMap<String, &'a RawValue>);

impl Fields<'_> {
    fn take<T: DeserializeOwned>(&mut self, field: &str) -> Result<Option<T>, String> {
        let Some(value) = self.0.remove(field) else {
            return Ok(None);
        };
        serde_json::from_str(value.get())
            .map(Some)
            .map_err(|error| format!("field `{field}`: {error}"))
    }
}

/// Entries from JSON lines, or from the elements of one array.
#[derive(Debug)]
pub struct JsonLines {
    lines: Lines,
    /// Whether the input is an array, once that is known.
    elements: Option<Option<Elements>>,
    rules: RowRules,
    rows: u64,
}

impl JsonLines {
    /// Rows of these lines, read by these rules.
    #[must_use]
    pub fn new(lines: Lines, rules: RowRules) -> Self {
        Self {
            lines,
            elements: None,
            rules,
            rows: 0,
        }
    }

    /// The bytes of the next row with the line where it begins, or why there are none.
    fn next_bytes(&mut self) -> Result<Option<NumberedBytes>, CliError> {
        let elements = match self.elements.take() {
            Some(elements) => elements,
            None => self.lines.begins_array()?.then(Elements::default),
        };
        let Some(elements) = self.elements.insert(elements) else {
            return self.lines.next_row();
        };
        let next = elements
            .next(&mut self.lines.reader)
            .map_err(|source| CliError::file("read", self.lines.name.as_ref(), source))?;
        self.lines.bytes_read = elements.bytes_read;
        Ok(next.map(|(line, element)| (line, element.map_err(str::to_string))))
    }

    /// Whose form the rows have, as far as the first one that is an object tells.
    fn recognize(&mut self, line: &str) {
        if !self.rules.may_recognize {
            return;
        }
        let Ok(fields) = serde_json::from_str(line) else { return };
        self.rules.may_recognize = false;
        if let Some(shape) = shapes::recognized(&fields) {
            self.rules.adopt(shape);
        }
    }
}

impl RowSource for JsonLines {
    fn next_row(&mut self) -> Result<Step, CliError> {
        let Some((number, bytes)) = self.next_bytes()? else {
            return Ok(Step::End);
        };
        let place = Place::Line(number);
        let row = self.rows;
        self.rows += 1;
        let bytes = match bytes {
            Ok(bytes) => bytes,
            Err(reason) => {
                let line = None;
                return Ok(Step::Bad(BadRow { place, reason, line }));
            }
        };
        let line = match String::from_utf8(bytes) {
            Ok(line) => line,
            Err(error) => {
                return Ok(Step::Bad(BadRow {
                    place,
                    reason: format!("not UTF-8 from byte {} on", error.utf8_error().valid_up_to()),
                    line: Some(String::from_utf8_lossy(error.as_bytes()).trim().to_string()),
                }));
            }
        };
        let line = line.trim().to_string();
        self.recognize(&line);
        Ok(match self.rules.entry(&line, row, None) {
            Ok(entry) => Step::Row(Box::new(InputRow {
                place,
                entry,
                line: Some(line),
            })),
            Err(reason) => Step::Bad(BadRow {
                place,
                reason,
                line: Some(line),
            }),
        })
    }

    fn position(&self) -> u64 {
        self.lines.bytes_read
    }

    fn total(&self) -> Option<u64> {
        self.lines.len_bytes
    }

    fn unit(&self) -> &'static str {
        "bytes"
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::super::Source;
    use super::*;

    fn rules(fields: &[&str]) -> RowRules {
        RowRules {
            fields: fields.iter().map(|field| field.parse().unwrap()).collect(),
            ..RowRules::default()
        }
    }

    #[test]
    fn a_row_may_say_everything_under_names_of_its_own() {
        let rules = rules(&[
            "id=_id",
            "vector=emb",
            "metadata=payload",
            "scope=owner",
            "event_time=at",
        ]);
        let line = r#"{"_id": 7, "emb": [1, 2.5], "payload": {"a": 1}, "owner": {"User": "ada"},
                       "at": "2026-11-22T10:00:00Z", "expires_at": 5}"#;
        let entry = rules.entry(line, 0, None).unwrap();
        assert_eq!(entry.id, "7");
        assert_eq!(entry.embedding, [1.0, 2.5]);
        assert_eq!(entry.metadata, json!({"a": 1}));
        assert_eq!(entry.scope, StateScope::User("ada".into()));
        assert_eq!(entry.event_time.unwrap().to_string(), "2026-11-22T10:00:00Z");
        assert_eq!(entry.expires_at, Some(Timestamp::from_millis(5)));
    }

    #[test]
    fn a_row_may_say_almost_nothing() {
        let rules = RowRules {
            id_prefix: "doc-".into(),
            default_scope: StateScope::Agent("a".into()),
            ..RowRules::default()
        };
        let entry = rules.entry(r#"{"embedding": [1]}"#, 41, None).unwrap();
        assert_eq!((entry.id.as_str(), entry.metadata), ("doc-41", json!({})));
        assert_eq!(entry.scope, StateScope::Agent("a".into()));
    }

    #[test]
    fn a_field_that_nobody_named_does_not_get_lost_unnoticed() {
        let line = r#"{"id": "a", "vector": [1], "metadata": {"x": 1}, "lang": "en"}"#;
        let twice = r#"{"id": "a", "vector": [1], "metadata": {"x": 1}, "x": 2}"#;
        let with = |other_fields| {
            RowRules {
                other_fields,
                ..RowRules::default()
            }
            .entry(line, 0, None)
        };
        assert!(with(OtherFields::Refuse).unwrap_err().contains("`lang`"));
        assert_eq!(with(OtherFields::Drop).unwrap().metadata, json!({"x": 1}));
        assert_eq!(
            with(OtherFields::Metadata).unwrap().metadata,
            json!({"x": 1, "lang": "en"})
        );
        let rules = RowRules {
            other_fields: OtherFields::Metadata,
            ..RowRules::default()
        };
        assert!(
            rules
                .entry(twice, 0, None)
                .unwrap_err()
                .contains("`x` stands in `metadata` and beside it")
        );
    }

    #[test]
    fn bad_rows_say_what_is_wrong() {
        for (line, part) in [
            ("[1]", "not a JSON object"),
            ("{", "not a JSON object"),
            (r#"{"id": "a"}"#, "no field `vector`"),
            (r#"{"id": "a", "vector": ["x"]}"#, "field `vector`"),
            (r#"{"id": "a", "vector": [NaN]}"#, "not a JSON object"),
            (r#"{"id": 1.5, "vector": [1]}"#, "is no id"),
            (r#"{"id": "", "vector": [1]}"#, "field `id` is empty"),
            (r#"{"id": "a", "vector": [1], "scope": "user:"}"#, "field `scope`"),
            (
                r#"{"id": "a", "vector": [1], "expires_at": "soon"}"#,
                "field `expires_at`",
            ),
        ] {
            let reason = RowRules::default().entry(line, 0, None).unwrap_err();
            assert!(reason.contains(part), "{line}: {reason}");
        }
    }

    proptest! {
        #[test]
        fn any_text_is_a_row_or_a_reason(line in any::<String>()) {
            let _ = RowRules::default().entry(&line, 0, None);
        }

        #[test]
        fn any_bytes_come_to_an_end(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
            let len = bytes.len();
            let source = Source { reader: Box::new(std::io::Cursor::new(bytes)), name: "test".into(), len_bytes: None };
            let mut rows = JsonLines::new(Lines::new(source), RowRules::default());
            let mut steps = 0;
            while !matches!(rows.next_row().unwrap(), Step::End) {
                steps += 1;
                prop_assert!(steps <= len);
            }
        }
    }
}
