//! Reading of the words of a namespace into its index: by a search, or by the indexer.

use std::sync::Arc;
use std::time::Duration;

use llmspell_core::{Metadata, Result, StateScope, StorageError};
use llmspell_text::{Bm25, Kind as TextKind, Positions, Query, Statistics, Texts};
use roaring::RoaringBitmap;

use super::handover::Built;
use crate::base::ids::PointId;
use crate::base::record::Record;
use crate::base::stored_text::StoredText;
use crate::indexes::files::Kind;
use crate::indexes::queue::Due;
use crate::indexes::texts::{Asked, Terms, TextIndex, TextRules};
use crate::namespace::{Namespace, State};
use crate::spaces::registry::Space;
use crate::spaces::snapshot::Snapshot;
use crate::truth::Truth;

/// How long a search waits for the commit under way, after which what it read can be adopted. It has its answer either way.
const PATIENCE: Duration = Duration::from_millis(250);
/// The same where it has read at most [`FEW`] entries, which takes less than a commit.
const PATIENCE_FOR_FEW: Duration = Duration::from_millis(1);
const FEW: usize = 256;
/// Rows that a search reads at a time where it does not keep them.
const SCANNED_AT_ONCE: usize = 4_096;

/// Terms that were read, by their points.
pub(crate) type ReadTerms = Vec<(PointId, Terms)>;

/// Reads the words that the index of a namespace lacks, so that the next search finds them there. If these are many, the
/// indexer does it, and searches read them one by one until then.
///
/// # Errors
///
/// `Data` or `Io` if rows cannot be read.
pub(crate) fn index_for_search(
    truth: &Truth,
    space: &Space,
    scope: &StateScope,
    namespace: &Arc<Namespace>,
    rules: &Arc<TextRules>,
) -> Result<()> {
    let state = namespace.state();
    if is_complete(&state, rules) {
        return Ok(());
    }
    if unread_count(&state, rules) > space.text_rows_max() as u64 {
        space.queue.note(space.id, scope, Due::Now);
        if state.texts.is_some() {
            return Ok(());
        }
    }
    drop(state);
    match read_up(
        truth,
        space,
        namespace,
        rules,
        (space.text_rows_max(), Some(PATIENCE)),
        &|| false,
    ) {
        // There is no committer any more, and committed data are still found.
        Err(StorageError::Closed) => return Ok(()),
        done => done?,
    };
    space.note(scope, namespace);
    Ok(())
}

/// Reads the words of at most `rows_max` entries that the index of a namespace lacks. False if there are none.
///
/// # Errors
///
/// `Data` or `Io` if rows cannot be read.
pub(crate) fn read_some(
    truth: &Truth,
    space: &Space,
    namespace: &Arc<Namespace>,
    rules: &Arc<TextRules>,
    rows_max: usize,
    is_cancelled: &dyn Fn() -> bool,
) -> Result<bool> {
    read_up(truth, space, namespace, rules, (rows_max, None), is_cancelled)
}

fn read_up(
    truth: &Truth,
    space: &Space,
    namespace: &Arc<Namespace>,
    rules: &Arc<TextRules>,
    (rows_max, patience): (usize, Option<Duration>),
    is_cancelled: &dyn Fn() -> bool,
) -> Result<bool> {
    // A second search waits: reading the same would take as long.
    let _turn = namespace.builds.begin_after_others(Kind::Texts);
    if is_complete(&namespace.state(), rules) {
        return Ok(false);
    }
    let Some((snapshot, noted)) = Snapshot::take_noted(truth, &space.slots, namespace)? else {
        return Ok(false);
    };
    let Known {
        mut index,
        are_files_bad,
    } = snapshot.known_texts(space, rules);
    let points = index.unread.iter().take(rows_max).collect();
    let Some(read) = snapshot.read_texts(&points, rules, is_cancelled)? else {
        return Ok(false);
    };
    for (point, terms) in &read {
        index.read(*point, terms);
    }
    let is_few = read.len() <= FEW;
    // A held snapshot keeps pages from being reused, which the committer may wait for.
    drop(snapshot);
    let built = Built::Texts {
        index: Box::new(index),
        read,
        noted,
        are_files_bad,
    };
    let patience = patience.map(|patience| if is_few { PATIENCE_FOR_FEW } else { patience });
    space.door.hand_over(namespace, built, patience)?;
    space.weigh(namespace);
    Ok(true)
}

/// Whether the index has all words.
fn is_complete(state: &State, rules: &Arc<TextRules>) -> bool {
    let index = state.texts.as_ref().filter(|index| index.is_by(rules));
    state.is_dropped || index.is_some_and(|index| index.unread.is_empty())
}

/// About how many rows a search would have to read.
fn unread_count(state: &State, rules: &Arc<TextRules>) -> u64 {
    match (&state.texts, state.files.get(Kind::Texts)) {
        (Some(index), _) if index.is_by(rules) => index.unread.len(),
        (None, Some(file)) if !file.is_bad => file.changed.len(),
        _ => state.live_count(),
    }
}

/// An index of a state, as far as it is there.
struct Known {
    index: TextIndex,
    are_files_bad: bool,
}

/// All words of a snapshot, as far as they are asked for.
pub(crate) struct SnapshotTexts {
    pub(crate) index: Arc<TextIndex>,
    /// Of entries that no index has.
    rest: Option<Rest>,
    /// How many entries were looked at for these, and how many of them have words.
    pub(crate) scanned: (u64, u64),
}

/// The rows of entries that have what a query asks for, and the statistics of all words.
struct Rest {
    words: Texts,
    sparse: Texts,
    statistics: Statistics,
}

impl SnapshotTexts {
    /// What the scores of words depend on; `words` are those that the query asks for.
    pub(crate) fn statistics(&self, words: &Query) -> Statistics {
        let mut statistics = self.index.words.statistics(words);
        if let Some(rest) = &self.rest {
            statistics.add(&rest.statistics);
        }
        statistics
    }

    /// All that words may find.
    pub(crate) fn words(&self) -> impl Iterator<Item = &Texts> {
        std::iter::once(&self.index.words).chain(self.rest.as_ref().map(|rest| &rest.words))
    }

    /// All that sparse vectors may find.
    pub(crate) fn sparse(&self) -> impl Iterator<Item = &Texts> {
        std::iter::once(&self.index.sparse).chain(self.rest.as_ref().map(|rest| &rest.sparse))
    }
}

impl Snapshot<'_> {
    /// All words of the snapshot that a query asks for. What is in no index yet is read now: few entries into a copy of the
    /// index; many are looked at one by one.
    pub(crate) fn texts_for(&self, space: &Space, rules: &Arc<TextRules>, asked: &Asked) -> Result<SnapshotTexts> {
        let mut found = SnapshotTexts {
            index: self.texts(space, rules)?,
            rest: None,
            scanned: (0, 0),
        };
        let unread = &found.index.unread;
        if unread.is_empty() {
            return Ok(found);
        }
        let none = || Rest {
            words: Texts::new(TextKind::Texts(Positions::Kept)),
            sparse: Texts::new(TextKind::SparseVectors),
            statistics: Statistics::default(),
        };
        let mut rest = none();
        let points: Vec<u32> = unread.iter().collect();
        for points in points.chunks(SCANNED_AT_ONCE) {
            let points: RoaringBitmap = points.iter().copied().collect();
            let rows = self.read_texts(&points, rules, &|| false)?.unwrap_or_default();
            let mut all = none();
            for (point, terms) in &rows {
                all.words.insert(point.0, Arc::clone(&terms.words));
                if let Some(row) = &terms.sparse {
                    all.sparse.insert(point.0, Arc::clone(row));
                }
            }
            found.scanned.0 += points.len();
            found.scanned.1 += all.words.text_count();
            let mut by_words = RoaringBitmap::new();
            if let Some(words) = &asked.words {
                let own = all.words.statistics(words);
                let hits = all.words.scores(words, &own, Bm25::default(), &points);
                by_words.extend(hits.iter().map(|hit| hit.point));
                rest.statistics.add(&own);
            }
            let mut by_sparse = RoaringBitmap::new();
            for (_, query) in &asked.sparse {
                let hits = all
                    .sparse
                    .scores(query, &Statistics::none(query), Bm25::default(), &points);
                by_sparse.extend(hits.iter().map(|hit| hit.point));
            }
            for (point, terms) in rows {
                if by_words.contains(point.0) {
                    rest.words.insert(point.0, terms.words);
                }
                if let Some(row) = terms.sparse.filter(|_| by_sparse.contains(point.0)) {
                    rest.sparse.insert(point.0, row);
                }
            }
        }
        found.rest = Some(rest);
        Ok(found)
    }

    /// The index of the words of the snapshot: of all, unless it lacks more than a search keeps in memory.
    pub(crate) fn texts(&self, space: &Space, rules: &Arc<TextRules>) -> Result<Arc<TextIndex>> {
        if let Some(index) = &self.state.texts
            && is_complete(&self.state, rules)
        {
            return Ok(Arc::clone(index));
        }
        let Known { mut index, .. } = self.known_texts(space, rules);
        if index.unread.len() <= space.text_rows_max() as u64 {
            let points = index.unread.clone();
            let read = self.read_texts(&points, rules, &|| false)?;
            for (point, terms) in read.unwrap_or_default() {
                index.read(point, &terms);
            }
        }
        Ok(Arc::new(index))
    }

    /// How many entries are visible at `now`, in milliseconds since 1970, that have words.
    pub(crate) fn text_count(&self, space: &Space, rules: &Arc<TextRules>, now: i64) -> Result<u64> {
        let index = self.texts(space, rules)?;
        let mut count = index.words.text_count();
        let expired = self.state.expiries.expired(now);
        count -= expired.iter().filter(|point| index.words.has(*point)).count() as u64;
        self.visit(&(&index.unread - expired), &|| false, &mut |point, record| {
            count += u64::from(!self.terms(point, record, rules)?.words.is_empty());
            Ok(())
        })?;
        Ok(count)
    }

    /// The index of the state, of the files, or an empty one.
    fn known_texts(&self, space: &Space, rules: &Arc<TextRules>) -> Known {
        if let Some(known) = self.state.texts.as_ref().filter(|index| index.is_by(rules)) {
            return Known {
                index: (**known).clone(),
                are_files_bad: false,
            };
        }
        let opened = space.open_texts(self.namespace.scope_id, &self.state, rules);
        let are_files_bad = opened.is_err();
        let index = opened.ok().flatten();
        Known {
            index: index.unwrap_or_else(|| TextIndex::new(rules, self.state.living())),
            are_files_bad,
        }
    }

    /// The terms of living points; none if that was cancelled.
    fn read_texts(
        &self,
        points: &RoaringBitmap,
        rules: &Arc<TextRules>,
        is_cancelled: &dyn Fn() -> bool,
    ) -> Result<Option<ReadTerms>> {
        let mut read = Vec::with_capacity(usize::try_from(points.len()).expect("points are u32"));
        let is_done = self.visit(points, is_cancelled, &mut |point, record| {
            read.push((point, self.terms(point, record, rules)?));
            Ok(())
        })?;
        Ok(is_done.then_some(read))
    }

    /// The terms of an entry.
    pub(crate) fn terms(&self, point: PointId, record: &Record, rules: &TextRules) -> Result<Terms> {
        let metadata = match rules.reads_metadata() {
            true => self.metadata(point, record)?,
            false => Metadata::new(),
        };
        Ok(rules.terms(self.stored_text(point, record)?.as_ref(), &metadata))
    }

    /// What is stored of the text and the sparse vectors of an entry.
    pub(crate) fn stored_text(&self, point: PointId, record: &Record) -> Result<Option<StoredText>> {
        match record.text.is_nothing() {
            true => Ok(None),
            false => self.read.text(self.namespace.scope_id, point).map(Some),
        }
    }
}
