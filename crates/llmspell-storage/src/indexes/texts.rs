//! The index of words and of sparse vectors of a namespace: which terms each living entry has, and which are not read yet.
//!
//! The terms of an entry follow from what is stored of it: its text or the terms of it (`base/stored_text.rs`), and the
//! fields of its metadata that the space declares. So an index can be made from the rows at any time, also after other
//! fields were declared.

use std::collections::BTreeMap;
use std::sync::Arc;

use llmspell_core::{Metadata, Result, Snippet, SparseVector, TextConfig, VectorQuery};
use llmspell_text::{Analyzer, Index, Kind, Merge, Positions, Query, QueryFields, Row, Texts};
use roaring::RoaringBitmap;

use crate::base::ids::PointId;
use crate::base::stored_text::{OwnText, StoredText};
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
        let (own, others) = (&self.config, &other.config);
        own.analyzer() == others.analyzer() && own.fields() == others.fields() && own.sparse() == others.sparse()
    }

    /// What terms depend on, as it is stored beside them.
    pub(crate) fn encoded(&self) -> Vec<u8> {
        let fields: Vec<String> = self.config.fields().iter().map(ToString::to_string).collect();
        let encoded = match self.config.sparse() {
            [] => serde_json::to_vec(&(self.config.analyzer(), fields)),
            names => serde_json::to_vec(&(self.config.analyzer(), fields, names)),
        };
        encoded.expect("plain fields become JSON")
    }

    /// What somebody typed, as a query.
    pub(crate) fn typed(&self, words: &str) -> Query {
        Query::parse(words, &self.analyzer, &self.fields)
    }

    /// What a query asks of the index.
    pub(crate) fn asked(&self, query: &VectorQuery) -> Asked {
        let sparse = |(name, vector): (&String, &SparseVector)| (name.clone(), self.config.sparse_query(name, vector));
        Asked {
            words: query.text.as_deref().map(|words| self.typed(words)),
            sparse: query.sparse.iter().map(sparse).collect(),
        }
    }

    /// What is stored of an entry's own text and sparse vectors; none if it has neither.
    pub(crate) fn stored(&self, text: Option<String>, sparse: BTreeMap<String, SparseVector>) -> Option<StoredText> {
        let own = text.map(|text| {
            if self.config.keep() {
                return OwnText::Text(text);
            }
            let nothing = Metadata::new();
            let texts = self.config.texts_of(Some(&text), &nothing);
            OwnText::Terms(Row::of_texts(&self.analyzer, POSITIONS, texts))
        });
        StoredText::new(own, sparse)
    }

    /// The terms of an entry. Takes some microseconds per kilobyte of text.
    pub(crate) fn terms(&self, stored: Option<&StoredText>, metadata: &Metadata) -> Terms {
        let of = |text| Row::of_texts(&self.analyzer, POSITIONS, self.config.texts_of(text, metadata));
        let words = match stored.and_then(|stored| stored.own.as_ref()) {
            None => of(None),
            Some(OwnText::Text(text)) => of(Some(text)),
            Some(OwnText::Terms(row)) if self.config.fields().is_empty() => row.clone(),
            Some(OwnText::Terms(row)) => row.joined(&of(None)),
        };
        let vectors = stored.into_iter().flat_map(|stored| &stored.sparse);
        let sparse = self
            .config
            .sparse_row(vectors.map(|(name, vector)| (name.as_str(), vector)));
        Terms {
            words: Arc::new(words),
            sparse: (!sparse.is_empty()).then(|| Arc::new(sparse)),
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
        let own = own.and_then(StoredText::text);
        self.config.snippet(own, metadata, query, &self.analyzer, bytes_max)
    }
}

/// What a query asks of the index.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Asked {
    pub(crate) words: Option<Query>,
    /// In the order of their names.
    pub(crate) sparse: Vec<(String, Query)>,
}

/// What an entry is found by.
#[derive(Debug, Clone)]
pub(crate) struct Terms {
    pub(crate) words: Arc<Row>,
    /// The components of its sparse vectors; none if it has none that are indexed.
    pub(crate) sparse: Option<Arc<Row>>,
}

/// The terms of an entry that is written, with the rules that they are by.
#[derive(Debug, Clone)]
pub(crate) enum Words {
    /// The space does not index words.
    None,
    Known(Terms, Arc<TextRules>),
    /// They are read when they are needed: those of many entries at once.
    Later,
}

/// The words of a namespace as of one state. A copy costs about a microsecond.
#[derive(Debug, Clone)]
pub(crate) struct TextIndex {
    pub(crate) words: Texts,
    pub(crate) sparse: Texts,
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
            words: Texts::new(Kind::Texts(POSITIONS)),
            sparse: Texts::new(Kind::SparseVectors),
            unread,
            rules: Arc::clone(rules),
            files: Vec::new(),
        }
    }

    /// Its words and its sparse vectors.
    pub(crate) fn parts(&self) -> [&Texts; 2] {
        [&self.words, &self.sparse]
    }

    /// Rows that are in no index of its parts.
    pub(crate) fn tail_len(&self) -> usize {
        self.parts().iter().map(|texts| texts.tail_len()).sum()
    }

    /// Whether one of its parts has more rows than these, or an index that is to be merged.
    pub(crate) fn is_merge_due(&self, rows_max: usize) -> bool {
        self.parts().iter().any(|texts| texts.is_merge_due(rows_max))
    }

    /// Whether all is read, and there was nothing to index: then a file without terms says so, and nothing is read again.
    pub(crate) fn is_of_nothing(&self) -> bool {
        self.unread.is_empty() && self.files.is_empty() && self.parts().iter().all(|texts| texts.text_count() == 0)
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
            Words::Known(terms, rules) if self.is_by(rules) => self.read(point, terms),
            Words::Known(..) | Words::None | Words::Later => {
                self.remove(point);
                self.unread.insert(point.0);
            }
        }
    }

    /// The terms of a point were read.
    pub(crate) fn read(&mut self, point: PointId, terms: &Terms) {
        self.words.insert(point.0, Arc::clone(&terms.words));
        match &terms.sparse {
            Some(row) => self.sparse.insert(point.0, Arc::clone(row)),
            None => drop(self.sparse.remove(point.0)),
        }
        self.unread.remove(point.0);
    }

    /// A point has no entry any more.
    pub(crate) fn remove(&mut self, point: PointId) {
        self.words.remove(point.0);
        self.sparse.remove(point.0);
        self.unread.remove(point.0);
    }

    /// Adds an index from its file, without points that have changed since.
    pub(crate) fn add(&mut self, index: Index, row: IndexRow, changed: &RoaringBitmap) {
        self.files.push((index.clone(), row));
        if index.term_count() > 0 {
            self.part_of(&index).add_index(index, changed);
        }
    }

    /// Takes an index, and its file if it has one, in place of what it was merged of. False if that is not there any more.
    pub(crate) fn adopt(&mut self, merge: &Merge, index: Index, row: Option<IndexRow>) -> bool {
        if !self.part_of(&index).adopt(merge, index.clone()) {
            return false;
        }
        self.files.extend(row.map(|row| (index, row)));
        let Self {
            words, sparse, files, ..
        } = self;
        let is_used = |index: &Index| words.indexes().chain(sparse.indexes()).any(|used| used.is_same(index));
        match files.iter().any(|(index, _)| is_used(index)) {
            true => files.retain(|(index, _)| is_used(index)),
            // One of no terms says that there are none.
            false => drop(files.drain(..files.len().saturating_sub(1))),
        }
        true
    }

    /// The part that an index belongs to.
    fn part_of(&mut self, index: &Index) -> &mut Texts {
        match index.is_sparse() {
            true => &mut self.sparse,
            false => &mut self.words,
        }
    }

    /// The files that it uses.
    pub(crate) fn rows(&self) -> impl Iterator<Item = IndexRow> + '_ {
        self.files.iter().map(|(_, row)| *row)
    }

    /// The points for which its files are out of date.
    pub(crate) fn out_of_files(&self) -> RoaringBitmap {
        let mut points = self.unread.clone();
        for texts in self.parts() {
            points.extend(texts.tail_points());
            points |= texts.removed_points();
        }
        points
    }

    /// RAM of its parts, and the bytes of indexes that lie in files.
    pub(crate) fn bytes(&self) -> usize {
        let in_files: usize = self.files.iter().map(|(index, _)| index.byte_count()).sum();
        self.memory_bytes() + in_files
    }

    /// RAM of its parts.
    pub(crate) fn memory_bytes(&self) -> usize {
        let has_file = |index: &Index| self.files.iter().any(|(with_file, _)| with_file.is_same(index));
        let indexes = self.parts().into_iter().flat_map(Texts::indexes);
        let in_ram: usize = indexes.filter(|index| !has_file(index)).map(Index::byte_count).sum();
        let rows: usize = self.parts().iter().map(|texts| texts.memory_bytes()).sum();
        size_of::<Self>() + rows + in_ram + self.unread.serialized_size()
    }
}
