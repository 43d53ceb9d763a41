//! All texts, or sparse vectors, of a scope as of one moment: indexes, what was removed from them, and rows that are in none yet.

use std::cmp::Reverse;
use std::io;
use std::sync::Arc;

use roaring::RoaringBitmap;

use crate::index::{FieldStatistics, Index, Output, Source, Term, merge};
use crate::query::Query;
use crate::row::{Positions, Row, RowKind};
use crate::search::{
    Bm25, Hit, Judge, Statistics, Top, Weights, expansions, removed_among, score_of_row, search_index,
};
use crate::tail::{Slot, Tail};

/// What is kept of entries.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Texts, with or without the positions of words.
    Texts(Positions),
    /// Sparse vectors.
    SparseVectors,
}

impl Kind {
    fn of_rows(self) -> RowKind {
        match self {
            Self::Texts(positions) => RowKind::Text(positions),
            Self::SparseVectors => RowKind::Sparse,
        }
    }
}

/// The texts, or sparse vectors, of a scope as of one moment.
///
/// A copy costs about a microsecond: it shares all that does not change. So a writer prepares the next version while readers keep theirs.
///
/// ```
/// # use std::sync::Arc;
/// # use llmspell_text::{Analyzer, AnalyzerConfig, Bm25, Kind, Positions, Query, QueryFields, Row, Search, Texts};
/// let analyzer = Analyzer::new(AnalyzerConfig::default()).unwrap();
/// let mut texts = Texts::new(Kind::Texts(Positions::Kept));
/// for (point, text) in [(0, "the HNSW graph"), (1, "a graph of words"), (2, "words")] {
///     texts.insert(point, Arc::new(Row::of_texts(&analyzer, Positions::Kept, [(0, text)])));
/// }
/// let query = Query::parse("hnsw graph", &analyzer, &QueryFields::default());
/// let hits = texts.search(&query, &texts.statistics(&query), &Search::best(10));
/// assert_eq!(hits.iter().map(|hit| hit.point).collect::<Vec<_>>(), [0, 1]);
/// ```
#[derive(Debug, Clone)]
pub struct Texts {
    kind: RowKind,
    segments: Vec<Segment>,
    tail: Tail,
}

/// An index, and what is no more of it.
#[derive(Debug, Clone)]
struct Segment {
    index: Index,
    removed: Arc<RoaringBitmap>,
    /// Points that the index has, also of what was removed.
    points: u64,
    /// Of the texts that are left.
    fields: Vec<(u8, FieldStatistics)>,
}

impl Segment {
    fn new(index: Index, removed: &RoaringBitmap) -> Self {
        let mut segment = Self {
            fields: index.fields().collect(),
            points: index.points().len(),
            index,
            removed: Arc::default(),
        };
        for point in removed {
            segment.remove(point);
        }
        segment
    }

    fn has(&self, point: u32) -> bool {
        self.index.has(point) && !self.removed.contains(point)
    }

    fn remove(&mut self, point: u32) -> bool {
        if !self.has(point) {
            return false;
        }
        Arc::make_mut(&mut self.removed).insert(point);
        for (field, statistics) in &mut self.fields {
            statistics.remove(self.index.lengths(*field).code(point));
        }
        true
    }

    /// Whether a quarter of it was removed.
    fn is_worn(&self) -> bool {
        self.removed.len() > self.text_count() / 3
    }

    /// Texts that are left, counted once for each field.
    fn text_count(&self) -> u64 {
        self.fields.iter().map(|(_, statistics)| statistics.texts).sum()
    }
}

/// How many are looked for, and among which.
#[derive(Clone, Copy)]
pub struct Search<'a> {
    k: usize,
    bm25: Bm25,
    among: Option<&'a RoaringBitmap>,
    accepts: Option<&'a dyn Fn(u32) -> bool>,
}

impl std::fmt::Debug for Search<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Search")
            .field("k", &self.k)
            .field("bm25", &self.bm25)
            .field("among", &self.among.map(RoaringBitmap::len))
            .finish_non_exhaustive()
    }
}

impl<'a> Search<'a> {
    /// The best `k` of all.
    #[must_use]
    pub fn best(k: usize) -> Self {
        Self {
            k,
            bm25: Bm25::default(),
            among: None,
            accepts: None,
        }
    }

    /// Other parameters of the score.
    #[must_use]
    pub fn with_bm25(mut self, bm25: Bm25) -> Self {
        self.bm25 = bm25;
        self
    }

    /// Only these points. Few of them are looked at one by one.
    #[must_use]
    pub fn among(mut self, points: &'a RoaringBitmap) -> Self {
        self.among = Some(points);
        self
    }

    /// Only points that this lets through. It is asked about those that come among the best, so it may take its time, and not in any
    /// certain order.
    #[must_use]
    pub fn accepting(mut self, accepts: &'a dyn Fn(u32) -> bool) -> Self {
        self.accepts = Some(accepts);
        self
    }

    fn accepts(&self, point: u32) -> bool {
        self.among.is_none_or(|points| points.contains(point)) && self.accepts.is_none_or(|accepts| accepts(point))
    }
}

impl Texts {
    /// None yet.
    #[must_use]
    pub fn new(kind: Kind) -> Self {
        Self {
            kind: kind.of_rows(),
            segments: Vec::new(),
            tail: Tail::default(),
        }
    }

    /// Whether rows and indexes of this kind go in.
    fn check_kind(&self, kind: RowKind) {
        assert_eq!(kind, self.kind, "rows and indexes of one scope are of one kind");
    }

    /// Adds an index that was read back, without the points that have changed since it was written: what they have now
    /// is [inserted](Self::insert) behind it.
    ///
    /// # Panics
    ///
    /// If the index is of another kind.
    pub fn add_index(&mut self, index: Index, changed: &RoaringBitmap) {
        self.check_kind(index.kind());
        self.segments.push(Segment::new(index, changed));
    }

    /// Adds the row of a point, in place of what it had. Takes some microseconds.
    ///
    /// # Panics
    ///
    /// If the row is of another kind, or the point is `u32::MAX`.
    pub fn insert(&mut self, point: u32, row: Arc<Row>) {
        assert_ne!(point, u32::MAX, "a point is below the largest number");
        self.check_kind(row.kind);
        self.remove(point);
        if !row.is_empty() {
            self.tail.insert(point, row);
        }
    }

    /// Removes what a point has, at once from searches and statistics; its row is not needed. Says whether there was
    /// anything. Takes a microsecond, and more for the first after a copy where many were removed.
    pub fn remove(&mut self, point: u32) -> bool {
        let was_in_tail = self.tail.remove(point).is_some();
        was_in_tail || self.segments.iter_mut().any(|segment| segment.remove(point))
    }

    /// Whether a point has a row with terms.
    #[must_use]
    pub fn has(&self, point: u32) -> bool {
        self.tail.get(point).is_some() || self.segments.iter().any(|segment| segment.has(point))
    }

    /// The points of rows that are in no index.
    pub fn tail_points(&self) -> impl Iterator<Item = u32> + '_ {
        self.tail.iter().map(|slot| slot.point)
    }

    /// Points that an index has and that are no more what they were.
    #[must_use]
    pub fn removed_points(&self) -> RoaringBitmap {
        let removed = self.segments.iter().map(|segment| &*segment.removed);
        removed.fold(RoaringBitmap::new(), |all, removed| all | removed)
    }

    /// Points that have a row with terms. Takes time in proportion to them.
    #[must_use]
    pub fn points(&self) -> RoaringBitmap {
        let of_segment = |segment: &Segment| segment.index.points() - &*segment.removed;
        let mut points: RoaringBitmap = self.tail_points().collect();
        self.segments.iter().for_each(|segment| points |= of_segment(segment));
        points
    }

    /// How many points have a row with terms.
    #[must_use]
    pub fn text_count(&self) -> u64 {
        let left = |segment: &Segment| segment.points.saturating_sub(segment.removed.len());
        self.segments.iter().map(left).sum::<u64>() + self.tail.len() as u64
    }

    /// Rows that are in no index yet. A search looks at each of them: about a microsecond for ten.
    #[must_use]
    pub fn tail_len(&self) -> usize {
        self.tail.len()
    }

    /// RAM of the rows and of what was removed; the bytes of indexes are not counted.
    #[must_use]
    pub fn memory_bytes(&self) -> usize {
        let removed = self.segments.iter().map(|segment| segment.removed.serialized_size());
        self.tail.memory_bytes() + removed.sum::<usize>()
    }

    /// The indexes, in no certain order.
    pub fn indexes(&self) -> impl Iterator<Item = &Index> {
        self.segments.iter().map(|segment| &segment.index)
    }

    /// What scores of a query depend on: of these texts alone, exact as of now.
    #[must_use]
    pub fn statistics(&self, query: &Query) -> Statistics {
        let mut statistics = Statistics::new(query);
        for segment in &self.segments {
            for (field, of_field) in &segment.fields {
                let sum = statistics.field_mut(*field);
                sum.texts += of_field.texts;
                sum.words += of_field.words;
            }
            let living = |key: &[u8], term: Term| {
                u64::from(term.count) - removed_among(&segment.index, key, &term, &segment.removed)
            };
            for (term, count) in query.terms.iter().zip(&mut statistics.terms) {
                *count += segment
                    .index
                    .find(&term.key)
                    .map_or(0, |found| living(&term.key, found));
            }
            for (prefix, count) in query.prefixes.iter().zip(&mut statistics.prefixes) {
                let terms = expansions(&segment.index, prefix);
                *count += terms.into_iter().map(|(key, term)| living(&key, term)).sum::<u64>();
            }
        }
        for (field, of_field) in self.tail.fields() {
            let sum = statistics.field_mut(*field);
            sum.texts += of_field.texts;
            sum.words += of_field.words;
        }
        for slot in self.tail.iter() {
            for (term, count) in query.terms.iter().zip(&mut statistics.terms) {
                *count += u64::from(slot.may_have(term.hash) && slot.row.find(term.hash, &term.key).is_some());
            }
            for (prefix, count) in query.prefixes.iter().zip(&mut statistics.prefixes) {
                *count += slot.row.with_prefix(prefix).count() as u64;
            }
        }
        statistics
    }

    /// The best points of a query, by score and then by point. Scores are exact: what they are does not depend on what is
    /// merged, only rounding of lengths (see [`FieldStatistics`]) makes them differ from the formula.
    ///
    /// `statistics` are those of this query: of [these texts](Self::statistics), or of several scopes together.
    #[must_use]
    pub fn search(&self, query: &Query, statistics: &Statistics, search: &Search<'_>) -> Vec<Hit> {
        let weights = Weights::new(self.kind, query, statistics, search.bm25);
        let mut top = Top::new(search.k);
        for segment in &self.segments {
            let mut accepts = |point| search.accepts(point) && !segment.removed.contains(point);
            search_index(&segment.index, query, &weights, search.among, &mut accepts, &mut top);
        }
        for Slot { point, row, .. } in self.tail.iter().filter(|slot| may_find(query, slot)) {
            if let Some(score) = score_of_row(row, query, &weights)
                && top.competes(f64::from(score), *point)
                && search.accepts(*point)
            {
                top.push(score, *point);
            }
        }
        top.into_sorted()
    }

    /// The scores of some points, those that [`search`](Self::search) would give them: of each that the query finds, in
    /// the order of the points.
    #[must_use]
    pub fn scores(&self, query: &Query, statistics: &Statistics, bm25: Bm25, points: &RoaringBitmap) -> Vec<Hit> {
        let weights = Weights::new(self.kind, query, statistics, bm25);
        let mut hits = Vec::new();
        for segment in &self.segments {
            if let Some(mut judge) = Judge::new(&segment.index, query, &weights) {
                let there = points.iter().filter(|point| !segment.removed.contains(*point));
                hits.extend(there.filter_map(|point| judge.score(point).map(|score| Hit { point, score })));
            }
        }
        for point in points {
            let score = self.tail.get(point).and_then(|row| score_of_row(row, query, &weights));
            hits.extend(score.map(|score| Hit { point, score }));
        }
        hits.sort_by_key(|hit| hit.point);
        hits
    }

    /// Whether [`plan_merge`](Self::plan_merge) has a plan.
    #[must_use]
    pub fn is_merge_due(&self, tail_rows_max: usize) -> bool {
        self.tail.len() > tail_rows_max || self.segments.iter().any(Segment::is_worn)
    }

    /// What should be merged, if anything: the rows once there are more than `tail_rows_max`, with indexes of their size
    /// once there are three, then with three of the next size, or an index of which a quarter was removed.
    ///
    /// A size is four times the one before. So each text is merged once for each size, and a search looks into at most
    /// three indexes of each.
    #[must_use]
    pub fn plan_merge(&self, tail_rows_max: usize) -> Option<Merge> {
        /// Indexes of one size, and how much larger the next size is.
        const FAN_IN: u64 = 4;
        let takes_tail = self.tail.len() > tail_rows_max;
        let size = |texts: u64| (texts / (tail_rows_max as u64 + 1)).max(1).ilog(FAN_IN);
        let mut places: Vec<usize> = (0..self.segments.len())
            .filter(|place| self.segments[*place].is_worn())
            .collect();
        let mut sum = if takes_tail { self.tail.len() as u64 } else { 0 };
        sum += places
            .iter()
            .map(|place| self.segments[*place].text_count())
            .sum::<u64>();
        while sum > 0 {
            let is_like =
                |place: &usize| !places.contains(place) && size(self.segments[*place].text_count()) <= size(sum);
            let like: Vec<usize> = (0..self.segments.len()).filter(is_like).collect();
            if like.len() < FAN_IN as usize - 1 {
                break;
            }
            sum += like.iter().map(|place| self.segments[*place].text_count()).sum::<u64>();
            places.extend(like);
        }
        (takes_tail || !places.is_empty()).then(|| self.merge_of(&places))
    }

    /// The merge of all into one index.
    #[must_use]
    pub fn plan_full_merge(&self) -> Merge {
        self.merge_of(&(0..self.segments.len()).collect::<Vec<_>>())
    }

    fn merge_of(&self, places: &[usize]) -> Merge {
        let mut segments: Vec<_> = places.iter().map(|place| self.segments[*place].clone()).collect();
        // So that points of one are mostly before those of the next.
        segments.sort_by_key(|segment| segment.index.first_point());
        Merge {
            kind: self.kind,
            segments,
            tail: self.tail.clone(),
        }
    }

    /// Takes an index that a [`Merge`] of an earlier version wrote, in place of what it was made of. What was removed or
    /// replaced since then is removed from it.
    ///
    /// Says `false`, and changes nothing, if an index that it was made of is not there any more: the new one is to be
    /// thrown away.
    pub fn adopt(&mut self, merge: &Merge, index: Index) -> bool {
        let mut removed = RoaringBitmap::new();
        let mut rest = self.segments.clone();
        for old in &merge.segments {
            let Some(place) = rest.iter().position(|segment| segment.index.is_same(&old.index)) else {
                return false;
            };
            removed |= &*rest.swap_remove(place).removed - &*old.removed;
        }
        let mut tail = self.tail.clone();
        for Slot { point, row, .. } in merge.tail.iter() {
            match self.tail.get(*point) {
                Some(now) if Arc::ptr_eq(now, row) => drop(tail.remove(*point)),
                _ => drop(removed.insert(*point)),
            }
        }
        if index.term_count() > 0 {
            rest.push(Segment::new(index, &removed));
            // Searched first, the largest finds the most that leave little to look for in the others.
            rest.sort_by_key(|segment| Reverse(segment.text_count()));
        }
        (self.segments, self.tail) = (rest, tail);
        true
    }
}

/// Whether a row may have anything that a query asks for.
fn may_find(query: &Query, slot: &Slot) -> bool {
    !query.prefixes.is_empty() || query.terms.iter().any(|term| slot.may_have(term.hash))
}

/// What is merged into one index: some indexes without what was removed, and rows, as of one moment. It runs beside readers and writers.
#[derive(Debug, Clone)]
pub struct Merge {
    kind: RowKind,
    segments: Vec<Segment>,
    tail: Tail,
}

impl Merge {
    /// The indexes that are merged, no longer needed once the new one was [adopted](Texts::adopt).
    pub fn indexes(&self) -> impl Iterator<Item = &Index> {
        self.segments.iter().map(|segment| &segment.index)
    }

    /// The points of the rows that are merged: their rows are not needed once the new index is durable.
    pub fn tail_points(&self) -> impl Iterator<Item = u32> {
        self.tail.iter().map(|slot| slot.point)
    }

    /// Gives the bytes of the new index to `output`, piece by piece. Takes about ten microseconds a text on one
    /// thread, and memory for the dictionary. Says how many bytes there are.
    ///
    /// # Errors
    ///
    /// What `output` returns.
    pub fn write(&self, output: Output<'_>) -> io::Result<u64> {
        let sources = self.segments.iter().map(|segment| Source {
            index: &segment.index,
            removed: &segment.removed,
        });
        let rows: Vec<_> = self
            .tail
            .iter()
            .map(|slot| (slot.point, Arc::clone(&slot.row)))
            .collect();
        merge(self.kind, &sources.collect::<Vec<_>>(), &rows, output)
    }
}
