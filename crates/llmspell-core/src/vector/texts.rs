//! [`TextConfig`] and [`Snippet`]: which texts of entries are indexed, and which part of one answers a query.

use std::ops::Range;

use llmspell_text::{Analyzer, AnalyzerConfig, Query, QueryFields};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::Value;

use super::entry::VectorEntry;
use super::sparse::check_name;
use super::validate::facet_field;
use crate::check::at_most;
use crate::error::{Result, StorageError};
use crate::fields::Metadata;
use crate::filter::FieldPath;
use crate::limits::{SPARSE_NAMES_MAX, TEXT_FIELDS_MAX};
use crate::text::shortened;

/// The name of the entry's own text in the words of a query: `@text:graph`.
pub const OWN_TEXT: &str = "@text";

/// The number of the entry's own text; declared fields follow.
const OWN_TEXT_NUMBER: u8 = 0;

/// Which texts of the entries of a space are indexed, and how.
///
/// Indexed are the entry's own [text](VectorEntry::text), and the strings of declared fields of its metadata: a string, or
/// each string of an array. Each of them is a field in the words of a query: `title:graph` finds the word in the field
/// `title` only, `@text:graph` in the entry's own text only, and `graph` in all of them.
///
/// ```
/// # use llmspell_core::{AnalyzerConfig, HNSWConfig, Language, TextConfig};
/// let texts = TextConfig::default()
///     .with_analyzer(AnalyzerConfig::default().with_stemmer(Language::English))
///     .with_fields(["title", "meta.tags"]);
/// let config = HNSWConfig::balanced().with_texts(texts);
/// assert_eq!(config, HNSWConfig::balanced().with_texts(config.texts().unwrap().clone()));
/// config.validate()?;
/// # Ok::<(), llmspell_core::StorageError>(())
/// ```
///
/// # JSON
///
/// All fields may be left out.
///
/// ```
/// # use llmspell_core::TextConfig;
/// # let json =
/// r#"{"fields": ["title", "meta.tags"], "keep": false}"#
/// # ;
/// # let texts: TextConfig = serde_json::from_str(json)?;
/// # assert_eq!(texts, TextConfig::default().with_fields(["title", "meta.tags"]).with_keep(false));
/// # let written = serde_json::to_value(&texts)?;
/// # assert_eq!(written["fields"], serde_json::json!(["title", "meta.tags"]));
/// # assert_eq!(serde_json::from_value::<TextConfig>(written)?, texts);
/// # Ok::<(), serde_json::Error>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct TextConfig {
    analyzer: AnalyzerConfig,
    #[serde(
        skip_serializing_if = "Vec::is_empty",
        serialize_with = "write_paths",
        deserialize_with = "read_paths"
    )]
    fields: Vec<FieldPath>,
    keep: bool,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    sparse: Vec<String>,
}

fn write_paths<S: Serializer>(paths: &[FieldPath], serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_seq(paths.iter().map(ToString::to_string))
}

fn read_paths<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<FieldPath>, D::Error> {
    let paths = Vec::<String>::deserialize(deserializer)?;
    Ok(paths.into_iter().map(FieldPath::from).collect())
}

impl Default for TextConfig {
    /// The entry's own text, kept, and analyzed as [`AnalyzerConfig::default`] does.
    fn default() -> Self {
        Self {
            analyzer: AnalyzerConfig::default(),
            fields: Vec::new(),
            keep: true,
            sparse: Vec::new(),
        }
    }
}

impl TextConfig {
    /// How texts become words: stemming, stop words, identifiers.
    #[must_use]
    pub fn with_analyzer(mut self, analyzer: AnalyzerConfig) -> Self {
        self.analyzer = analyzer;
        self
    }

    /// Fields of the metadata whose strings are indexed besides the entry's own text; replaces those set before. None by
    /// default, at most [`TEXT_FIELDS_MAX`], each once.
    #[must_use]
    pub fn with_fields<P: Into<FieldPath>>(mut self, fields: impl IntoIterator<Item = P>) -> Self {
        self.fields = fields.into_iter().map(Into::into).collect();
        self
    }

    /// Whether an entry's own text is stored and returned; true by default. Otherwise it is only indexed: entries come
    /// back without it, there are no snippets of it, and it cannot be analyzed anew. Metadata is always kept.
    #[must_use]
    pub fn with_keep(mut self, keep: bool) -> Self {
        self.keep = keep;
        self
    }

    /// The names of sparse vectors that are indexed; replaces those set before. None by default, at most
    /// [`SPARSE_NAMES_MAX`](crate::limits::SPARSE_NAMES_MAX), each once.
    #[must_use]
    pub fn with_sparse<N: Into<String>>(mut self, names: impl IntoIterator<Item = N>) -> Self {
        self.sparse = names.into_iter().map(Into::into).collect();
        self
    }

    /// The names of sparse vectors that are indexed.
    #[must_use]
    pub fn sparse(&self) -> &[String] {
        &self.sparse
    }

    /// How texts become words.
    #[must_use]
    pub fn analyzer(&self) -> &AnalyzerConfig {
        &self.analyzer
    }

    /// Fields of the metadata whose strings are indexed, in the order of their numbers, from 1.
    #[must_use]
    pub fn fields(&self) -> &[FieldPath] {
        &self.fields
    }

    /// Whether an entry's own text is stored and returned.
    #[must_use]
    pub fn keep(&self) -> bool {
        self.keep
    }

    /// Checks each setting.
    ///
    /// # Errors
    ///
    /// [`Analyzer`](StorageError::Analyzer) for a choice that this build cannot follow, [`Filter`](StorageError::Filter)
    /// for a field that is no path or a time of the entry, [`LimitExceeded`](StorageError::LimitExceeded) for too many
    /// fields or names of sparse vectors, [`InvalidName`](StorageError::InvalidName) for one that is named twice, or a name
    /// that is empty or not visible.
    pub fn validate(&self) -> Result<()> {
        self.analyzer.validate()?;
        at_most(
            "text configuration",
            "fields",
            self.fields.len(),
            TEXT_FIELDS_MAX,
            "fields",
        )?;
        for (place, field) in self.fields.iter().enumerate() {
            facet_field(field)?;
            if self.fields[..place].contains(field) {
                return Err(StorageError::InvalidName {
                    what: "text field",
                    name: shortened(&field.to_string()),
                    reason: "it is named twice",
                });
            }
        }
        at_most(
            "text configuration",
            "sparse vectors",
            self.sparse.len(),
            SPARSE_NAMES_MAX,
            "names",
        )?;
        for (place, name) in self.sparse.iter().enumerate() {
            check_name(name)?;
            if self.sparse[..place].contains(name) {
                return Err(StorageError::InvalidName {
                    what: "name of sparse vectors",
                    name: shortened(name),
                    reason: "it is named twice",
                });
            }
        }
        Ok(())
    }

    /// The fields as they are named in the words of a query. For implementers.
    #[must_use]
    pub fn query_fields(&self) -> QueryFields {
        let names: Vec<String> = self.fields.iter().map(ToString::to_string).collect();
        let declared = (OWN_TEXT_NUMBER + 1..).zip(&names);
        let own = (OWN_TEXT_NUMBER, OWN_TEXT, 1.0);
        QueryFields::new(std::iter::once(own).chain(declared.map(|(number, name)| (number, name.as_str(), 1.0))))
    }

    /// The texts of an entry that are indexed, each with the number of its field: its own 0, those of declared fields
    /// from 1. For implementers: [`llmspell_text::Row::of_texts`] takes them.
    pub fn texts_of<'e>(
        &'e self,
        own: Option<&'e str>,
        metadata: &'e Metadata,
    ) -> impl Iterator<Item = (u8, &'e str)> + 'e {
        let of_field = move |(number, path): (u8, &'e FieldPath)| {
            let values = match path.find(metadata) {
                Some(Value::Array(values)) => values.as_slice(),
                Some(value) => std::slice::from_ref(value),
                None => &[],
            };
            values
                .iter()
                .filter_map(move |value| value.as_str().map(|text| (number, text)))
        };
        let declared = (OWN_TEXT_NUMBER + 1..).zip(&self.fields).flat_map(of_field);
        own.map(|text| (OWN_TEXT_NUMBER, text)).into_iter().chain(declared)
    }

    /// Whether an entry has a text that is indexed, though it may have no words.
    pub(super) fn has_text(&self, entry: &VectorEntry) -> bool {
        let nothing = Metadata::new();
        let metadata = entry.metadata.as_object().unwrap_or(&nothing);
        let mut texts = self.texts_of(entry.text.as_deref(), metadata);
        texts.any(|(_, text)| !text.is_empty())
    }

    /// The part of an entry's texts that answers a query best; see [`Snippet`]. For implementers.
    #[must_use]
    pub fn snippet(
        &self,
        own: Option<&str>,
        metadata: &Metadata,
        query: &Query,
        analyzer: &Analyzer,
        bytes_max: usize,
    ) -> Option<Snippet> {
        let mut best: Option<Snippet> = None;
        for (number, text) in self.texts_of(own, metadata) {
            let Some(found) = llmspell_text::Snippet::of(text, query, analyzer, bytes_max) else {
                continue;
            };
            if best
                .as_ref()
                .is_none_or(|best| found.matches.len() > best.matches.len())
            {
                let start = found.bytes.start;
                let within = |bytes: Range<usize>| bytes.start - start..bytes.end - start;
                best = Some(Snippet {
                    field: match number {
                        OWN_TEXT_NUMBER => OWN_TEXT.to_string(),
                        number => self.fields[usize::from(number) - 1].to_string(),
                    },
                    start,
                    matches: found.matches.into_iter().map(within).collect(),
                    text: text[found.bytes].to_string(),
                });
            }
        }
        best
    }
}

/// The part of a text of an entry that answers the words of a query best: the one with most of them, of equal ones the
/// first; of several texts that with most matches, the entry's own before declared fields in their order.
///
/// The words of all fields are marked, whatever field the query names.
///
/// ```
/// # use llmspell_core::Snippet;
/// fn with_stars(snippet: &Snippet) -> String {
///     let mut marked = snippet.text.clone();
///     for word in snippet.matches.iter().rev() {
///         marked.insert(word.end, '*');
///         marked.insert(word.start, '*');
///     }
///     marked
/// }
/// # let json = r#"{"field": "@text", "start": 8, "text": "an HNSWConfig for it", "matches": [{"start": 3, "end": 13}]}"#;
/// # assert_eq!(with_stars(&serde_json::from_str(json)?), "an *HNSWConfig* for it");
/// # Ok::<(), serde_json::Error>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Snippet {
    /// The field of the text: [`OWN_TEXT`], or the path of a declared field of the metadata.
    pub field: String,
    /// Where the part begins in that text, in bytes.
    pub start: usize,
    /// The part.
    pub text: String,
    /// The words in it that match, in bytes of the part, in order; none overlap.
    pub matches: Vec<Range<usize>>,
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn metadata(value: &serde_json::Value) -> Metadata {
        value.as_object().unwrap().clone()
    }

    #[test]
    fn strings_of_declared_fields_are_texts_and_nothing_else_is() {
        let config = TextConfig::default().with_fields(["title", "meta.tags", "year", "gone"]);
        let metadata = metadata(&json!({
            "title": "a", "meta": {"tags": ["b", 1, null, ["c"], "d"]}, "year": 2026, "other": "e",
        }));
        let texts: Vec<_> = config.texts_of(Some("own"), &metadata).collect();
        assert_eq!(texts, [(0, "own"), (1, "a"), (2, "b"), (2, "d")]);
        assert_eq!(config.texts_of(None, &metadata).count(), 3);
    }

    #[test]
    fn a_field_is_named_by_its_path_and_the_own_text_by_its_sign() {
        let config = TextConfig::default().with_fields(["title", "text"]);
        let analyzer = Analyzer::new(config.analyzer().clone()).unwrap();
        let parse = |text: &str| Query::parse(text, &analyzer, &config.query_fields());
        let own = QueryFields::new([(0, "", 1.0)]);
        let title = QueryFields::new([(1, "", 1.0)]);
        let text = QueryFields::new([(2, "", 1.0)]);
        assert_eq!(parse("@text:graph"), Query::words("graph", &analyzer, &own));
        assert_eq!(parse("title:graph"), Query::words("graph", &analyzer, &title));
        assert_eq!(parse("text:graph"), Query::words("graph", &analyzer, &text));
        let without = parse("graph -@text:slow");
        assert_ne!(without, parse("graph slow"));
        assert_ne!(without, parse("graph -slow"));
    }

    #[test]
    fn a_snippet_is_of_the_text_with_most_matches() {
        let config = TextConfig::default().with_fields(["title", "tags"]);
        let analyzer = Analyzer::new(config.analyzer().clone()).unwrap();
        let query = Query::parse("graph index", &analyzer, &config.query_fields());
        let metadata = metadata(&json!({"title": "the graph", "tags": ["x", "an index of a graph"]}));
        let snippet = |own, bytes_max| config.snippet(own, &metadata, &query, &analyzer, bytes_max).unwrap();
        let of_tags = snippet(Some("a graph"), 100);
        assert_eq!((of_tags.field.as_str(), of_tags.start), ("tags", 0));
        assert_eq!(of_tags.matches, [3..8, 14..19]);
        let own = snippet(Some("nothing, and then: a graph of an index"), 20);
        assert_eq!(
            (own.field.as_str(), own.text.as_str()),
            (OWN_TEXT, "a graph of an index")
        );
        assert_eq!(
            own.matches
                .iter()
                .map(|word| &own.text[word.clone()])
                .collect::<Vec<_>>(),
            ["graph", "index"]
        );
        assert_eq!(own.start, "nothing, and then: ".len());
        let nothing = Query::parse("absent", &analyzer, &config.query_fields());
        assert_eq!(config.snippet(Some("a"), &metadata, &nothing, &analyzer, 100), None);
    }

    #[test]
    fn bad_fields_are_refused() {
        let refused = |config: TextConfig| config.validate().unwrap_err().to_string();
        let of = |fields: &[&str]| refused(TextConfig::default().with_fields(fields.iter().copied()));
        assert_eq!(of(&["a", "b", "a"]), "text field `a` is not allowed: it is named twice");
        assert!(of(&["a..b"]).contains("a..b"));
        assert!(of(&["@created_at"]).contains("@created_at"));
        let many: Vec<String> = (0..16).map(|number| format!("f{number}")).collect();
        assert!(refused(TextConfig::default().with_fields(&many)).contains("16 fields; at most 15"));
        TextConfig::default().with_fields(&many[..15]).validate().unwrap();
    }
}
