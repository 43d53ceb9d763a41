//! The index of one field: its parts, and what is missing in each.

use std::mem::size_of;

use llmspell_core::filter::terms;
use roaring::RoaringBitmap;
use serde_json::Value;

use super::IndexType;
use super::key::{self, Key, STRING_BYTES_MAX, Strings};
use super::point_set::PointSet;
use super::postings::{KeyRange, Postings};

/// A learned field whose strings have more terms, or more bytes than a key holds, is text: its terms are indexed.
const VALUE_TERMS_MAX: usize = 5;

/// Puts a point under a key.
pub(super) type Put = fn(&mut Postings, &[u8], u32);

/// A part of what is indexed of a field; each serves some conditions.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Part {
    /// Whether the field exists.
    Exists,
    /// Null, booleans and numbers.
    Scalars,
    /// Strings, or the moments that they stand for.
    Strings,
    /// Elements of arrays.
    Elements,
    /// Words of strings.
    Terms,
}

impl Part {
    pub(super) const ALL: [Self; 5] = [Self::Exists, Self::Scalars, Self::Strings, Self::Elements, Self::Terms];

    /// The range of its keys.
    pub(super) fn keys(self) -> KeyRange {
        match self {
            Self::Exists => key::all_of(key::EXISTS, key::EXISTS),
            Self::Scalars => key::all_of(key::EXISTS + 1, key::NUMBER),
            Self::Strings => key::all_of(key::STRING, key::INSTANT),
            Self::Elements => key::all_of(key::ELEMENT, key::ELEMENT + key::INSTANT),
            Self::Terms => key::all_of(key::TERM, key::TERM),
        }
    }
}

/// One part of a field.
#[derive(Debug, Clone, Default)]
pub(super) struct Coverage {
    pub(super) is_indexed: bool,
    /// Points whose values are not in this part, although the part is indexed.
    pub(super) missing: PointSet,
    /// Whether the part was given up to save memory.
    pub(super) was_dropped: bool,
}

/// All values of one field.
#[derive(Debug, Clone)]
pub(super) struct Field {
    pub(super) postings: Postings,
    pub(super) strings: Strings,
    pub(super) parts: [Coverage; 5],
    pub(super) is_configured: bool,
}

impl Field {
    /// A field seen for the first time, which indexes all values.
    pub(super) fn learned() -> Self {
        let mut field = Self::nothing();
        for part in [Part::Exists, Part::Scalars, Part::Strings, Part::Elements] {
            field.parts[part as usize].is_indexed = true;
        }
        field
    }

    /// A learned field that these points, of which nothing is known, may have.
    pub(super) fn learned_late(points: &PointSet) -> Self {
        let mut field = Self::learned();
        for part in field.parts.iter_mut().filter(|part| part.is_indexed) {
            part.missing = points.clone();
        }
        field
    }

    /// A field indexed for these types. Nothing is known of the given points, which exist already.
    pub(super) fn configured(types: &[IndexType], points: &PointSet) -> Self {
        let mut field = Self::nothing();
        field.is_configured = true;
        let is_only_range = types.iter().all(|of| *of != IndexType::Exact);
        if types.contains(&IndexType::Range) && is_only_range {
            field.strings.bytes_max = key::RANGE_STRING_BYTES_MAX;
        }
        field.strings.are_dates = types.contains(&IndexType::Date);
        for index_type in types {
            let parts: &[Part] = match index_type {
                IndexType::Exact | IndexType::Range | IndexType::Date => &[Part::Scalars, Part::Strings],
                IndexType::FullText => &[Part::Terms],
                IndexType::ArrayContains => &[Part::Elements],
            };
            for part in parts.iter().chain(&[Part::Exists]) {
                let coverage = &mut field.parts[*part as usize];
                coverage.is_indexed = true;
                coverage.missing = points.clone();
            }
        }
        field
    }

    /// A time of the entries: numbers. Nothing is known of the given points yet.
    pub(super) fn of_time(points: &PointSet) -> Self {
        let mut field = Self::nothing();
        for part in [Part::Exists, Part::Scalars] {
            let coverage = &mut field.parts[part as usize];
            coverage.is_indexed = true;
            coverage.missing = points.clone();
        }
        field
    }

    fn nothing() -> Self {
        Self {
            postings: Postings::default(),
            strings: Strings {
                are_dates: false,
                bytes_max: STRING_BYTES_MAX,
            },
            parts: Default::default(),
            is_configured: false,
        }
    }

    pub(super) fn is_configured(&self) -> bool {
        self.is_configured
    }

    pub(super) fn part(&self, part: Part) -> &Coverage {
        &self.parts[part as usize]
    }

    /// Bytes of RAM, shared or not.
    pub(super) fn bytes(&self) -> usize {
        let missing: usize = self.parts.iter().map(|part| part.missing.bytes()).sum();
        size_of::<Self>() + self.postings.bytes() + missing
    }

    /// Adds a point with its value; `put` adds a key at once or gathers it.
    pub(super) fn insert(&mut self, point: u32, value: &Value, put: Put) {
        if self.part(Part::Exists).is_indexed {
            put(&mut self.postings, &[key::EXISTS], point);
        }
        let strings = self.strings;
        match value {
            Value::Null | Value::Bool(_) | Value::Number(_) => {
                if self.part(Part::Scalars).is_indexed
                    && let Some(key) = strings.of_value(value)
                {
                    put(&mut self.postings, &key, point);
                }
            }
            Value::String(text) => self.insert_text(point, (value, text), put),
            Value::Array(elements) if self.part(Part::Elements).is_indexed => {
                for key in elements.iter().filter_map(|element| strings.of_element(element)) {
                    put(&mut self.postings, &key, point);
                }
            }
            Value::Array(_) | Value::Object(_) => {}
        }
    }

    fn insert_text(&mut self, point: u32, (value, text): (&Value, &str), put: Put) {
        let is_long = text.len() > STRING_BYTES_MAX || terms(text).nth(VALUE_TERMS_MAX).is_some();
        let is_learned = !self.is_configured;
        if is_learned && is_long && !self.part(Part::Terms).is_indexed && !self.part(Part::Terms).was_dropped {
            self.postings.settle();
            let mut before = self.part(Part::Strings).missing.to_bitmap();
            before |= self.postings.collect(&Part::Strings.keys());
            self.parts[Part::Terms as usize].is_indexed = true;
            self.parts[Part::Terms as usize].missing = PointSet::from(&before);
        }
        let has_terms = self.part(Part::Terms).is_indexed;
        if has_terms {
            for term in terms(text) {
                put(&mut self.postings, key::of_term(&term).bytes(), point);
            }
        }
        if !self.part(Part::Strings).is_indexed {
            return;
        }
        if is_learned && (has_terms || is_long) {
            self.parts[Part::Strings as usize].missing.insert(point);
        } else if let Some(key) = self.strings.of_value(value) {
            put(&mut self.postings, &key, point);
        }
    }

    /// Undoes [`insert`](Self::insert), for all parts that were indexed then and still are.
    pub(super) fn remove(&mut self, point: u32, value: &Value) {
        self.postings.remove(&[key::EXISTS], point);
        let strings = self.strings;
        match value {
            Value::Array(elements) => {
                for key in elements.iter().filter_map(|element| strings.of_element(element)) {
                    self.postings.remove(&key, point);
                }
            }
            scalar => {
                if let Some(key) = strings.of_value(scalar) {
                    self.postings.remove(&key, point);
                }
            }
        }
        if let Value::String(text) = value
            && self.part(Part::Terms).is_indexed
        {
            for term in terms(text) {
                self.postings.remove(key::of_term(&term).bytes(), point);
            }
        }
        for part in &mut self.parts {
            part.missing.remove(point);
        }
    }

    /// Removes points, whatever was inserted of them.
    pub(super) fn forget(&mut self, points: &RoaringBitmap) {
        self.postings.forget(points);
        for part in self.parts.iter_mut().filter(|part| !part.missing.is_empty()) {
            part.missing = PointSet::from(&(part.missing.to_bitmap() - points));
        }
    }

    /// Removes a point of which nothing was inserted.
    pub(super) fn forget_missing(&mut self, point: u32) {
        for part in &mut self.parts {
            part.missing.remove(point);
        }
    }

    /// Whether the point is missing in some part.
    pub(super) fn is_missing(&self, point: u32) -> bool {
        self.parts.iter().any(|part| part.missing.contains(point))
    }

    /// Gives a part up. Conditions on it are evaluated on the metadata from now on.
    pub(super) fn drop_part(&mut self, part: Part) {
        self.postings.drop_keys(&part.keys());
        self.parts[part as usize] = Coverage {
            was_dropped: true,
            ..Coverage::default()
        };
    }
}

impl Key {
    pub(super) fn bytes(&self) -> &[u8] {
        match self {
            Self::Exact(bytes) | Self::Beginning(bytes) => bytes,
        }
    }
}
