//! Reading of the words of a namespace into its index.

use std::sync::Arc;
use std::time::Duration;

use llmspell_core::{Metadata, Result, StateScope, StorageError};
use llmspell_text::Row;

use super::handover::Built;
use crate::base::ids::PointId;
use crate::base::record::{Record, TextMark};
use crate::base::stored_text::StoredText;
use crate::indexes::files::Kind;
use crate::indexes::texts::{TextIndex, TextRules};
use crate::namespace::{Namespace, State};
use crate::spaces::registry::Space;
use crate::spaces::snapshot::Snapshot;
use crate::truth::Truth;

/// How long a search waits for the commit under way, after which what it read can be adopted. It has its answer either way.
const PATIENCE: Duration = Duration::from_millis(250);

/// Terms that were read, by their points.
pub(crate) type ReadRows = Vec<(PointId, Arc<Row>)>;

/// Reads the words that the index of a namespace lacks, so that the next search finds them there.
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
    if is_complete(&namespace.state(), rules) {
        return Ok(());
    }
    // A second search waits: reading the same would take as long.
    let _turn = namespace.builds.begin_after_others(Kind::Texts);
    if is_complete(&namespace.state(), rules) {
        return Ok(());
    }
    let Some((snapshot, noted)) = Snapshot::take_noted(truth, &space.slots, namespace)? else {
        return Ok(());
    };
    let (index, read) = snapshot.read_texts(rules)?;
    // A held snapshot keeps pages from being reused, which the committer may wait for.
    drop(snapshot);
    let built = Built::Texts {
        index: Box::new(index),
        read,
        noted,
    };
    match space.door.hand_over(namespace, built, Some(PATIENCE)) {
        // There is no committer any more, and committed data are still found.
        Err(StorageError::Closed) => return Ok(()),
        done => done?,
    };
    space.weigh(namespace);
    space.note(scope, namespace);
    Ok(())
}

/// Whether the index has all words.
fn is_complete(state: &State, rules: &Arc<TextRules>) -> bool {
    let index = state.texts.as_ref().filter(|index| index.is_by(rules));
    state.is_dropped || index.is_some_and(|index| index.unread.is_empty())
}

impl Snapshot<'_> {
    /// The index of all words of the snapshot: that of the state, with what it lacks.
    pub(crate) fn texts(&self, rules: &Arc<TextRules>) -> Result<Arc<TextIndex>> {
        match &self.state.texts {
            Some(index) if is_complete(&self.state, rules) => Ok(Arc::clone(index)),
            _ => self.read_texts(rules).map(|(index, _)| Arc::new(index)),
        }
    }

    /// The same, and what was read for it.
    fn read_texts(&self, rules: &Arc<TextRules>) -> Result<(TextIndex, ReadRows)> {
        let known = self.state.texts.as_ref().filter(|index| index.is_by(rules));
        let mut index = match known {
            Some(known) => (**known).clone(),
            None => TextIndex::new(rules, self.state.living()),
        };
        let unread = std::mem::take(&mut index.unread);
        let mut read = Vec::with_capacity(unread.len() as usize);
        self.visit(&unread, &|| false, &mut |point, record| {
            let row = Arc::new(self.row(point, record, rules)?);
            index.read(point, Arc::clone(&row));
            read.push((point, row));
            Ok(())
        })?;
        Ok((index, read))
    }

    /// The terms of an entry.
    fn row(&self, point: PointId, record: &Record, rules: &TextRules) -> Result<Row> {
        let metadata = match rules.reads_metadata() {
            true => self.metadata(point, record)?,
            false => Metadata::new(),
        };
        Ok(rules.row(self.stored_text(point, record)?.as_ref(), &metadata))
    }

    /// What is stored of the text of an entry.
    pub(crate) fn stored_text(&self, point: PointId, record: &Record) -> Result<Option<StoredText>> {
        match record.text {
            TextMark::Nothing => Ok(None),
            TextMark::Kept(_) | TextMark::Terms => self.read.text(self.namespace.scope_id, point).map(Some),
        }
    }
}
