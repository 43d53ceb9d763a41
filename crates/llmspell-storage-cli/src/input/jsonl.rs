//! JSON Lines: an entry for each line.
//!
//! ```json
//! {"id": "note-1", "vector": [0.1, 0.2], "metadata": {"lang": "en"}, "scope": "user:ada",
//!  "created_at": "2026-11-22T10:00:00Z", "expires_at": 1795341600000}
//! ```
//!
//! Only the vector must be there. A row without id gets its number, counted from 0, as id: so a second run over the
//! same file means the same entries. Lines of white space do not count.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Read};
use std::str::FromStr;

use clap::ValueEnum;
use llmspell_storage::{StateScope, Timestamp, VectorEntry};
use serde::de::DeserializeOwned;
use serde_json::value::RawValue;
use serde_json::{Map, Value};

use super::{BadRow, InputRow, RowSource, Source, Step};
use crate::errors::{CliError, Place};
use crate::scope_arg::scope_from_json;

/// Longest line, in bytes; a vector of the highest dimension with its metadata needs a fortieth of it.
const LINE_BYTES_MAX: u64 = 64 << 20;

/// What a row can say, by the names that `--field` uses.
pub(crate) const FIELDS: [&str; 8] = [
    "id",
    "vector",
    "metadata",
    "scope",
    "created_at",
    "updated_at",
    "event_time",
    "expires_at",
];

/// `--field NAME=FIELD`: the field of the file that holds what we call `name`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct FieldArg {
    name: &'static str,
    field: String,
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
pub(crate) enum OtherFields {
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
pub(crate) struct RowRules {
    pub(crate) fields: Vec<FieldArg>,
    pub(crate) other_fields: OtherFields,
    /// Before the number that a row without id gets.
    pub(crate) id_prefix: String,
    /// Scope of a row that names none.
    pub(crate) default_scope: StateScope,
}

impl RowRules {
    fn field<'a>(&'a self, name: &'a str) -> &'a str {
        self.fields
            .iter()
            .rev()
            .find(|renamed| renamed.name == name)
            .map_or(name, |renamed| &renamed.field)
    }

    /// The entry that a line describes; `vector` if the vector comes from elsewhere.
    pub(crate) fn entry(&self, line: &str, number: u64, vector: Option<Vec<f32>>) -> Result<VectorEntry, String> {
        let mut fields = Fields(serde_json::from_str(line).map_err(|error| format!("not a JSON object: {error}"))?);

        let vector = match vector {
            Some(vector) => vector,
            None => self.vector(&mut fields)?,
        };
        let id = match fields.take::<Value>(self.field("id"))? {
            None | Some(Value::Null) => self.numbered_id(number),
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
    pub(crate) fn numbered_id(&self, number: u64) -> String {
        format!("{}{number}", self.id_prefix)
    }

    /// Whether a line that accompanies a vector says more than its metadata.
    pub(crate) fn is_envelope(&self, fields: &Map<String, Value>) -> bool {
        let is_known = |field: &String| FIELDS.into_iter().any(|name| self.field(name) == field);
        fields.get(self.field("metadata")).is_some_and(Value::is_object)
            || (!fields.is_empty() && fields.keys().all(is_known))
    }

    fn vector(&self, fields: &mut Fields<'_>) -> Result<Vec<f32>, String> {
        let field = self.field("vector");
        let vector = fields.take(field)?;
        // The name that `VectorEntry` has for it.
        let vector = if vector.is_none() && field == "vector" {
            fields.take("embedding")?
        } else {
            vector
        };
        vector.ok_or_else(|| format!("there is no field `{field}`"))
    }

    fn time(&self, fields: &mut Fields<'_>, name: &str) -> Result<Option<Timestamp>, String> {
        Ok(fields.take::<Option<Timestamp>>(self.field(name))?.flatten())
    }

    fn place_others(&self, fields: Fields<'_>, metadata: &mut Value) -> Result<(), String> {
        let Some(first) = fields.0.keys().next() else {
            return Ok(());
        };
        match self.other_fields {
            OtherFields::Refuse => Err(format!("no option says what field `{first}` means")),
            OtherFields::Drop => Ok(()),
            OtherFields::Metadata => {
                let Value::Object(metadata) = metadata else {
                    return Err(format!("field `{}` is no object", self.field("metadata")));
                };
                for (field, value) in fields.0 {
                    let value =
                        serde_json::from_str(value.get()).map_err(|error| format!("field `{field}`: {error}"))?;
                    metadata.entry(field).or_insert(value);
                }
                Ok(())
            }
        }
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

/// Lines of text, with their numbers.
pub(crate) struct Lines {
    reader: BufReader<Box<dyn Read>>,
    pub(crate) name: String,
    pub(crate) len_bytes: Option<u64>,
    pub(crate) bytes_read: u64,
    number: u64,
}

impl Lines {
    pub(crate) fn new(source: Source) -> Self {
        Self {
            reader: BufReader::new(source.reader),
            name: source.name,
            len_bytes: source.len_bytes,
            bytes_read: 0,
            number: 0,
        }
    }

    /// The next line that is not empty, as bytes, with its number from 1.
    pub(crate) fn next_line(&mut self) -> Result<Option<(u64, Vec<u8>)>, CliError> {
        loop {
            let mut line = Vec::new();
            let count = (&mut self.reader)
                .take(LINE_BYTES_MAX)
                .read_until(b'\n', &mut line)
                .map_err(|source| CliError::file("read", self.name.as_ref(), source))?;
            if count == 0 {
                return Ok(None);
            }
            self.bytes_read += count as u64;
            self.number += 1;
            if count as u64 == LINE_BYTES_MAX && line.last() != Some(&b'\n') {
                return Err(CliError::Input {
                    source_name: self.name.clone(),
                    place: Some(Place::Line(self.number)),
                    reason: format!("the line is longer than {LINE_BYTES_MAX} bytes"),
                    hint: "write one JSON object a line; or is this another format? see --format".into(),
                });
            }
            if !line.trim_ascii().is_empty() {
                return Ok(Some((self.number, line)));
            }
        }
    }
}

/// Entries from JSON lines.
pub(crate) struct JsonLines {
    lines: Lines,
    rules: RowRules,
    rows: u64,
}

impl JsonLines {
    pub(crate) fn new(source: Source, rules: RowRules) -> Self {
        Self {
            lines: Lines::new(source),
            rules,
            rows: 0,
        }
    }
}

impl RowSource for JsonLines {
    fn next_row(&mut self) -> Result<Step, CliError> {
        let Some((number, bytes)) = self.lines.next_line()? else {
            return Ok(Step::End);
        };
        let place = Place::Line(number);
        let row = self.rows;
        self.rows += 1;
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
        let line = r#"{"id": "a", "vector": [1], "metadata": {"x": 1}, "lang": "en", "x": 2}"#;
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
            let mut rows = JsonLines::new(source, RowRules::default());
            let mut steps = 0;
            while !matches!(rows.next_row().unwrap(), Step::End) {
                steps += 1;
                prop_assert!(steps <= len);
            }
        }
    }
}
