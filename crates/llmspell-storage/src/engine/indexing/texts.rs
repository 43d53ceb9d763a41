//! Indexes of words: reading what is in none yet, a part at a time, and merging of those that there are.
//!
//! ```text
//! read      the terms of at most as many entries as one index is made of at first; the committer adopts them
//! merge     these, or smaller indexes, become one: in a file, or in RAM without a disk
//! adopt     by the committer, between two commits, and named in the truth; then the files before it are removed
//! nothing   where many entries have nothing to index, an index without terms says so, and they are not read again
//! ```
//!
//! Work that is interrupted goes on where the last index was named.

use std::sync::Arc;

use llmspell_core::{Result, StorageError};
use llmspell_text::{Index, Texts};
use tokio::sync::oneshot;

use super::Work;
use crate::base::error::corrupted;
use crate::base::observe;
use crate::engine::calls::NameTexts;
use crate::engine::request::Request;
use crate::indexes::files::{self, IndexRow, Kind, Trust};
use crate::indexes::queue::Goal;
use crate::spaces::handover::{Answer, Built};
use crate::spaces::texts;

impl Work<'_> {
    /// Does all that the words of the namespace need, until it is cancelled.
    pub(super) fn index_texts(&self) -> Result<()> {
        let Some(rules) = self.space.texts() else {
            return self.forget_texts();
        };
        let rows_max = self.space.text_rows_max();
        let (shared, wanted) = (&self.indexing.shared, self.goal.is_some());
        // The parts of an index that are merged into one each.
        let mut rebuilt = if self.goal == Some(Goal::Rebuilt) { 0 } else { 2 };
        loop {
            let state = self.namespace.state();
            if state.is_dropped || self.is_cancelled() {
                return Ok(());
            }
            // Before anything is in RAM that no index has: so little is read at once that it always fits.
            let merge = state
                .texts
                .as_ref()
                .filter(|index| index.is_by(&rules))
                .and_then(|index| {
                    let is_read = index.unread.is_empty();
                    while is_read && rebuilt < index.parts().len() {
                        rebuilt += 1;
                        let texts = index.parts()[rebuilt - 1];
                        if texts.text_count() > 0 || texts.indexes().next().is_some() {
                            return Some(texts.plan_full_merge());
                        }
                    }
                    if self.space.is_worth_saying_nothing(&state, index) {
                        return Some(index.words.plan_full_merge());
                    }
                    index.parts().into_iter().find_map(|texts| match is_read {
                        true if wanted && texts.tail_len() > 0 && self.is_worth_a_file(texts) => texts.plan_merge(0),
                        _ if texts.is_merge_due(rows_max - 1) => texts.plan_merge(rows_max - 1),
                        _ => None,
                    })
                });
            if let Some(merge) = merge {
                if !self.merge_texts(&merge, &rules.encoded(), &state)? {
                    return Ok(());
                }
                continue;
            }
            let is_read = texts::read_some(&shared.truth, self.space, self.namespace, &rules, rows_max, &|| {
                self.is_cancelled()
            })?;
            if !is_read {
                return self.name_texts();
            }
        }
    }

    /// Whether a caller that waits gets an index of all rows: a scope with few is searched faster without.
    fn is_worth_a_file(&self, texts: &Texts) -> bool {
        texts.text_count() >= self.space.text_rows_max() as u64
    }

    /// Writes one index of several, or of rows, which searches use from then on. False if it is of no use any more, or was
    /// cancelled.
    fn merge_texts(&self, merge: &llmspell_text::Merge, rules: &[u8], state: &crate::namespace::State) -> Result<bool> {
        let shared = &self.indexing.shared;
        let scope = self.namespace.scope_id;
        let (index, row) = match &shared.disk {
            Some(disk) => {
                shared.check_writable()?;
                shared.check_free_space()?;
                let content = (scope, state.lsn);
                let is_cancelled = || self.is_cancelled();
                let row = files::write_texts(disk, self.space.id, content, (merge, rules), &is_cancelled)?;
                let Some(row) = row else { return Ok(false) };
                let index = files::open_texts(disk, self.space.id, scope, &row, rules, Trust::Written)
                    .map_err(|unusable| corrupted(disk.full_path(&row.name(scope, Kind::Texts)), unusable.0))
                    .inspect_err(|_| self.remove_text_file(&row))?;
                (index, Some(row))
            }
            None => {
                let mut bytes = Vec::new();
                let written = merge.write(&mut |piece| {
                    bytes.extend_from_slice(piece);
                    match self.is_cancelled() {
                        true => Err(std::io::Error::other("cancelled")),
                        false => Ok(()),
                    }
                });
                if written.is_err() {
                    return Ok(false);
                }
                let damaged = |malformed: llmspell_codec::Malformed| {
                    corrupted(shared.path(), format!("an index of words in memory: {}", malformed.0))
                };
                (Index::open(Arc::new(bytes)).map_err(damaged)?, None)
            }
        };
        let built = Built::MergedTexts {
            merge: Box::new(merge.clone()),
            index,
            row,
        };
        let answer = self.space.door.hand_over(self.namespace, built, None)?;
        if !matches!(answer, Some(Answer::Adopted)) {
            row.iter().for_each(|row| self.remove_text_file(row));
            return Ok(false);
        }
        if let Some(row) = row {
            let state = self.namespace.state();
            // One of nothing is not used beside others.
            match state.texts.iter().any(|texts| texts.rows().any(|used| used == row)) {
                true => observe::file_written(&self.space.name, row.bytes),
                false => self.remove_text_file(&row),
            }
        }
        self.space.weigh(self.namespace);
        self.name_texts()?;
        Ok(true)
    }

    /// Nothing indexes words any more.
    fn forget_texts(&self) -> Result<()> {
        if self.namespace.state().texts.is_some() {
            self.hand_over_built(Built::Nothing(Kind::Texts))?;
        }
        self.name_texts()
    }

    /// Has the truth name the files that searches use, if it names others; then removes the others.
    fn name_texts(&self) -> Result<()> {
        let namespace = self.namespace;
        let shared = &self.indexing.shared;
        if !shared.is_durable() {
            return Ok(());
        }
        let before: Vec<IndexRow> = namespace.state().files.rows_of(Kind::Texts).collect();
        let is_same = |state: &crate::namespace::State| {
            let used = state.texts.iter().flat_map(|index| index.rows());
            // An index that is not loaded uses what is named.
            let is_unloaded = state.texts.is_none() && self.space.texts().is_some();
            let is_named = used.eq(before.iter().copied()) && !state.files.is_bad(Kind::Texts);
            is_unloaded || (is_named && !self.space.is_text_naming_behind(state))
        };
        if is_same(&namespace.state()) {
            return Ok(());
        }
        let named = match shared.truth.read()?.scope_name(namespace.scope_id)? {
            Some((_, scope)) => {
                let (reply, answer) = oneshot::channel();
                let call = NameTexts {
                    space: Arc::clone(self.space),
                    scope,
                    namespace: Arc::clone(namespace),
                };
                self.indexing.committer.submit(Request::new(call, reply))?;
                answer.blocking_recv().unwrap_or(Err(StorageError::Closed))?
            }
            None => None,
        };
        // A scope that was dropped in the same batch does not know of the new files.
        let gone = namespace.state().is_dropped;
        let named = named.unwrap_or_default();
        for row in before.iter().filter(|row| gone || !named.contains(row)) {
            self.remove_text_file(row);
        }
        if gone {
            named.iter().for_each(|row| self.remove_text_file(row));
        }
        Ok(())
    }

    fn remove_text_file(&self, row: &IndexRow) {
        if let Some(disk) = &self.indexing.shared.disk {
            files::remove(disk, self.space.id, self.namespace.scope_id, Kind::Texts, row);
        }
    }
}
