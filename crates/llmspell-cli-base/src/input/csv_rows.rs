//! Comma- or tab-separated values: a row is read as the JSON object that its cells stand for.
//!
//! The first row has the names of the fields. A cell is a number, `true` or `false` if it reads as one, else text; an
//! empty cell says nothing. The vector is a JSON array, or numbers with commas, semicolons or blanks between them.

use std::fmt;
use std::io::Read;

use csv::{ByteRecord, ReaderBuilder};
use serde_json::{Map, Value};

use super::jsonl::RowRules;
use super::{BadRow, InputRow, RowSource, Source, Step};
use crate::errors::{CliError, Place};

/// Entries from a file of separated values.
pub struct CsvRows {
    reader: csv::Reader<Box<dyn Read>>,
    fields: Vec<String>,
    name: String,
    len_bytes: Option<u64>,
    rules: RowRules,
    rows: u64,
}

impl fmt::Debug for CsvRows {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CsvRows")
            .field("name", &self.name)
            .field("fields", &self.fields)
            .field("rows", &self.rows)
            .finish_non_exhaustive()
    }
}

impl CsvRows {
    /// Reads the names of the fields.
    pub fn open(source: Source, delimiter: u8, rules: RowRules) -> Result<Self, CliError> {
        let mut reader = ReaderBuilder::new()
            .delimiter(delimiter)
            .flexible(true)
            .from_reader(source.reader);
        let headers = reader.byte_headers().map_err(|error| failed(&source.name, &error))?;
        let fields = headers
            .iter()
            .map(|field| String::from_utf8_lossy(field).trim().to_string())
            .collect();
        let rows = Self {
            reader,
            fields,
            name: source.name,
            len_bytes: source.len_bytes,
            rules,
            rows: 0,
        };
        rows.check_fields()?;
        Ok(rows)
    }

    fn check_fields(&self) -> Result<(), CliError> {
        let refused = |reason: String, hint: &str| CliError::Input {
            source_name: self.name.clone(),
            place: Some(Place::Line(1)),
            reason,
            hint: hint.into(),
        };
        if let Some(twice) = (1..self.fields.len()).find(|at| self.fields[..*at].contains(&self.fields[*at])) {
            let reason = format!("two columns are named `{}`", self.fields[twice]);
            return Err(refused(reason, "give every column a name of its own"));
        }
        if let Some(text) = &self.rules.text_field {
            if !self
                .fields
                .iter()
                .any(|field| field == text || self.rules.is_metadata(field) || self.rules.named_text() == Some(field))
            {
                let reason = format!("no column is named `{text}`; there are {}", self.fields.join(", "));
                return Err(refused(reason, "name the column of the texts: --embed-field COLUMN"));
            }
            return Ok(());
        }
        let vector = self.rules.vector_field();
        if !self.rules.may_lack_vector && !self.fields.iter().any(|field| self.rules.may_be_vector(field)) {
            let reason = format!("no column is named `{vector}`; there are {}", self.fields.join(", "));
            return Err(refused(reason, "name the column of the vectors: --vector-field COLUMN"));
        }
        Ok(())
    }

    /// The JSON object that a record stands for.
    fn object(&self, record: &ByteRecord) -> Result<String, String> {
        if record.len() != self.fields.len() {
            return Err(format!("{} cells for {} columns", record.len(), self.fields.len()));
        }
        let mut object = Map::new();
        for (field, cell) in self.fields.iter().zip(record) {
            let cell = std::str::from_utf8(cell).map_err(|_| format!("column `{field}` is not UTF-8"))?;
            if let Some(value) = self.value(field, cell) {
                object.insert(field.clone(), value);
            }
        }
        Ok(Value::Object(object).to_string())
    }

    fn value(&self, field: &str, cell: &str) -> Option<Value> {
        let trimmed = cell.trim();
        if trimmed.is_empty() {
            return None;
        }
        if self.rules.may_be_vector(field) {
            return Some(vector_of(trimmed));
        }
        if self.rules.is_text(field) {
            return Some(Value::String(cell.to_string()));
        }
        match serde_json::from_str(trimmed) {
            Ok(value @ (Value::Number(_) | Value::Bool(_))) => Some(value),
            Ok(value @ Value::Object(_)) if self.rules.is_metadata(field) => Some(value),
            _ => Some(Value::String(cell.to_string())),
        }
    }
}

/// Numbers in any of the forms that tables have for them; text that is none stays text, for the error to name it.
fn vector_of(cell: &str) -> Value {
    if let Ok(array @ Value::Array(_)) = serde_json::from_str(cell) {
        return array;
    }
    let numbers = cell
        .trim_start_matches(['[', '(', '{'])
        .trim_end_matches([']', ')', '}']);
    let numbers = numbers
        .split([',', ';', ' ', '\t', '\n'])
        .filter(|number| !number.is_empty())
        .map(|number| number.parse::<f64>().ok().and_then(serde_json::Number::from_f64))
        .map(|number| number.map(Value::Number));
    numbers
        .collect::<Option<Vec<_>>>()
        .map_or_else(|| Value::String(cell.to_string()), Value::Array)
}

impl RowSource for CsvRows {
    fn next_row(&mut self) -> Result<Step, CliError> {
        let mut record = ByteRecord::new();
        if !self
            .reader
            .read_byte_record(&mut record)
            .map_err(|error| failed(&self.name, &error))?
        {
            return Ok(Step::End);
        }
        let place = Place::Line(record.position().map_or(0, csv::Position::line));
        let row = self.rows;
        self.rows += 1;
        let object = match self.object(&record) {
            Ok(object) => object,
            Err(reason) => {
                let cells: Vec<_> = record.iter().map(String::from_utf8_lossy).collect();
                let line = Some(cells.join(","));
                return Ok(Step::Bad(BadRow { place, reason, line }));
            }
        };
        let line = Some(object.clone());
        Ok(match self.rules.entry(&object, row, None) {
            Ok(entry) => Step::Row(Box::new(InputRow { place, entry, line })),
            Err(reason) => Step::Bad(BadRow { place, reason, line }),
        })
    }

    fn position(&self) -> u64 {
        self.reader.position().byte()
    }

    fn total(&self) -> Option<u64> {
        self.len_bytes
    }

    fn unit(&self) -> &'static str {
        "bytes"
    }
}

fn failed(name: &str, error: &csv::Error) -> CliError {
    CliError::Input {
        source_name: name.to_string(),
        place: error.position().map(|position| Place::Line(position.line())),
        reason: error.to_string(),
        hint: "check the file; a table in another form can be converted to JSON lines".into(),
    }
}
