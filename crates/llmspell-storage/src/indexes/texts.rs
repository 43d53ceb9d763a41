//! The index of words of a namespace: which terms each living entry has, and which are not read yet.
//!
//! The terms of an entry follow from what is stored of it: its text or the terms of it (`base/stored_text.rs`), and the
//! fields of its metadata that the space declares. So an index can be made from the rows at any time, also after other
//! fields were declared.

use std::sync::Arc;

use llmspell_core::{Metadata, Result, Snippet, TextConfig};
use llmspell_text::{Analyzer, Index, Kind, Merge, Positions, Query, QueryFields, Row, Texts};
use roaring::RoaringBitmap;

use crate::base::ids::PointId;
use crate::base::stored_text::StoredText;
use crate::indexes::files::IndexRow;

/// Places of words are kept, for phrases.
const POSITIONS: Positions = Positions::Kept;

/// How the texts of a space become terms.
#[derive(Debug)]
pub(crate) struct TextRules {
    pub(crate) config: TextConfig,
    analyzer: Analyzer,
    fields: QueryFields,
}

impl TextRules {
    /// # Errors
    ///
    /// `Analyzer` for a choice that this build cannot follow.
    pub(crate) fn new(config: &TextConfig) -> Result<Self> {
        Ok(Self {
            analyzer: Analyzer::new(config.analyzer().clone())?,
            fields: config.query_fields(),
            config: config.clone(),
        })
    }

    /// Whether entries have the same terms by the other rules.
    fn agrees_with(&self, other: &Self) -> bool {
        let terms = |rules: &Self| (rules.config.analyzer().clone(), rules.config.fields().to_vec());
        terms(self) == terms(other)
    }

    /// What terms depend on, as it is stored beside them.
    pub(crate) fn encoded(&self) -> Vec<u8> {
        let fields: Vec<String> = self.config.fields().iter().map(ToString::to_string).collect();
        serde_json::to_vec(&(self.config.analyzer(), fields)).expect("plain fields become JSON")
    }

    /// What somebody typed, as a query.
    pub(crate) fn query(&self, typed: &str) -> Query {
        Query::parse(typed, &self.analyzer, &self.fields)
    }

    /// What is stored of an entry's own text.
    pub(crate) fn stored(&self, text: String) -> StoredText {
        if self.config.keep() {
            return StoredText::Text(text);
        }
        let row = Row::of_texts(
            &self.analyzer,
            POSITIONS,
            self.config.texts_of(Some(&text), &Metadata::new()),
        );
        StoredText::Terms(row)
    }

    /// The terms of an entry. Takes some microseconds per kilobyte of text.
    pub(crate) fn row(&self, own: Option<&StoredText>, metadata: &Metadata) -> Row {
        let of = |text| Row::of_texts(&self.analyzer, POSITIONS, self.config.texts_of(text, metadata));
        match own {
            None => of(None),
            Some(StoredText::Text(text)) => of(Some(text)),
            Some(StoredText::Terms(row)) if self.config.fields().is_empty() => row.clone(),
            Some(StoredText::Terms(row)) => row.joined(&of(None)),
        }
    }

    /// Whether metadata may have texts.
    pub(crate) fn reads_metadata(&self) -> bool {
        !self.config.fields().is_empty()
    }

    /// The part of an entry's texts that answers a query best.
    pub(crate) fn snippet(
        &self,
        own: Option<&StoredText>,
        metadata: &Metadata,
        query: &Query,
        bytes_max: usize,
    ) -> Option<Snippet> {
        let own = match own {
            Some(StoredText::Text(text)) => Some(text.as_str()),
            Some(StoredText::Terms(_)) | None => None,
        };
        self.config.snippet(own, metadata, query, &self.analyzer, bytes_max)
    }
}

/// The terms of an entry that is written, with the rules that they are by.
#[derive(Debug, Clone)]
pub(crate) enum Words {
    /// The space does not index words.
    None,
    Known(Arc<Row>, Arc<TextRules>),
    /// They are read when they are needed: those of many entries at once.
    Later,
}

/// The words of a namespace as of one state. A copy costs about a microsecond.
#[derive(Debug, Clone)]
pub(crate) struct TextIndex {
    pub(crate) texts: Texts,
    /// Living points whose terms are not in it yet.
    pub(crate) unread: RoaringBitmap,
    rules: Arc<TextRules>,
    /// The files of indexes that have one.
    files: Vec<(Index, IndexRow)>,
}

impl TextIndex {
    /// An index of living points, none of which is read yet.
    pub(crate) fn new(rules: &Arc<TextRules>, unread: RoaringBitmap) -> Self {
        Self {
            texts: Texts::new(Kind::Texts(POSITIONS)),
            unread,
            rules: Arc::clone(rules),
            files: Vec::new(),
        }
    }

    /// Whether its terms are those by these rules.
    pub(crate) fn is_by(&self, rules: &Arc<TextRules>) -> bool {
        Arc::ptr_eq(&self.rules, rules) || self.rules.agrees_with(rules)
    }

    /// Whether both have the same terms of the same entry.
    pub(crate) fn agrees_with(&self, other: &Self) -> bool {
        self.is_by(&other.rules)
    }

    /// A point has an entry, or another one than before.
    pub(crate) fn put(&mut self, point: PointId, words: &Words) {
        match words {
            Words::Known(row, rules) if self.is_by(rules) => self.read(point, Arc::clone(row)),
            Words::Known(..) | Words::None | Words::Later => {
                self.texts.remove(point.0);
                self.unread.insert(point.0);
            }
        }
    }

    /// The terms of a point were read.
    pub(crate) fn read(&mut self, point: PointId, row: Arc<Row>) {
        self.texts.insert(point.0, row);
        self.unread.remove(point.0);
    }

    /// A point has no entry any more.
    pub(crate) fn remove(&mut self, point: PointId) {
        self.texts.remove(point.0);
        self.unread.remove(point.0);
    }

    /// Adds an index from its file, without points that have changed since.
    pub(crate) fn add(&mut self, index: Index, row: IndexRow, changed: &RoaringBitmap) {
        self.files.push((index.clone(), row));
        self.texts.add_index(index, changed);
    }

    /// Takes an index, and its file if it has one, in place of what it was merged of. False if that is not there any more.
    pub(crate) fn adopt(&mut self, merge: &Merge, index: Index, row: Option<IndexRow>) -> bool {
        if !self.texts.adopt(merge, index.clone()) {
            return false;
        }
        self.files.extend(row.map(|row| (index, row)));
        let texts = &self.texts;
        self.files
            .retain(|(index, _)| texts.indexes().any(|used| used.is_same(index)));
        true
    }

    /// The files that it uses.
    pub(crate) fn rows(&self) -> impl Iterator<Item = IndexRow> + '_ {
        self.files.iter().map(|(_, row)| *row)
    }

    /// The points for which its files are out of date.
    pub(crate) fn out_of_files(&self) -> RoaringBitmap {
        let tail: RoaringBitmap = self.texts.tail_points().collect();
        tail | self.texts.removed_points() | &self.unread
    }

    /// RAM of its parts, and the bytes of indexes that lie in files.
    pub(crate) fn bytes(&self) -> usize {
        let in_files: usize = self.files.iter().map(|(index, _)| index.byte_count()).sum();
        self.memory_bytes() + in_files
    }

    /// RAM of its parts.
    pub(crate) fn memory_bytes(&self) -> usize {
        let has_file = |index: &Index| self.files.iter().any(|(with_file, _)| with_file.is_same(index));
        let in_ram = self.texts.indexes().filter(|index| !has_file(index));
        let in_ram: usize = in_ram.map(Index::byte_count).sum();
        size_of::<Self>() + self.texts.memory_bytes() + in_ram + self.unread.serialized_size()
    }
}
