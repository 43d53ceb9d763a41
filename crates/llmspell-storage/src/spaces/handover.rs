//! Handing over of a finished index to the committer.
//!
//! A builder hands its index over to the committer, which adopts it between two commits: only then nothing changes
//! meanwhile, and only the committer has a [`Publisher`]. The committer catches up with what was committed since the
//! build began, if that is little: adopting takes about a millisecond at most, and no write waits longer for an index.
//! An index that is too far behind goes back to its builder, which brings it up to the current state and hands it over
//! again.

use std::sync::{Arc, OnceLock, mpsc};
use std::time::Duration;

use llmspell_core::{Result, StorageError};

use crate::indexes::builds::Noted;
use crate::indexes::files::{IndexRow, Kind};
use crate::indexes::graph::Index;
use crate::indexes::texts::TextIndex;
use crate::namespace::{Namespace, Publisher, State};
use crate::spaces::texts::ReadTerms;
use llmspell_metadata::MetadataIndex;
use llmspell_text::{Index as TextPart, Merge};

/// Changed points that the committer catches up with: about a tenth of a microsecond for each that is only marked in
/// the index, and a few for each that is taken out of it.
pub(crate) const CAUGHT_UP_MAX: u64 = 8_192;

/// A finished index, or the lack of one.
#[derive(Debug)]
pub(crate) enum Built {
    /// A graph of this state, which is held until now, so that none of its points was reused meanwhile.
    Graph { index: Arc<Index>, of: Arc<State> },
    /// A metadata index of a state after which all changes were noted.
    Metadata {
        index: Box<MetadataIndex>,
        noted: Arc<Noted>,
        /// Whether the file of the previous index was found to be useless.
        is_file_bad: bool,
    },
    /// An index of words of a state after which all changes were noted, and what was read for it.
    Texts {
        index: Box<TextIndex>,
        read: ReadTerms,
        noted: Arc<Noted>,
        /// Whether files of earlier indexes were found to be useless.
        are_files_bad: bool,
    },
    /// An index of words that was merged of others or of rows of an earlier state, and its file, if it has one.
    MergedTexts {
        merge: Box<Merge>,
        index: TextPart,
        row: Option<IndexRow>,
    },
    /// The index of this kind is useless and is removed.
    Nothing(Kind),
}

/// The committer's answer.
#[derive(Debug)]
pub(crate) enum Answer {
    /// Searches use it.
    Adopted,
    /// Too much has changed since: it must be brought up to the current state.
    Behind(Box<MetadataIndex>),
    /// The scope was dropped, or has another index by now.
    Refused,
}

/// A finished index, its namespace, and the channel for the answer to its builder.
#[derive(Debug)]
pub(crate) struct HandOver {
    namespace: Arc<Namespace>,
    built: Built,
    reply: mpsc::Sender<Answer>,
}

impl HandOver {
    /// Adopts it, between two commits, and answers.
    pub(crate) fn adopt(self, publisher: &mut Publisher) {
        let answer = adopt(&self.namespace, self.built, publisher);
        // A builder that has given up finds the index in the state.
        let _ = self.reply.send(answer);
    }
}

fn adopt(namespace: &Namespace, built: Built, publisher: &mut Publisher) -> Answer {
    let before = namespace.state();
    if before.is_dropped {
        return Answer::Refused;
    }
    let state = match built {
        Built::Graph { of, .. } if !before.has_graph_of(&of) => return Answer::Refused,
        Built::Graph { index, .. } => before.with_index(Some(index)),
        Built::Metadata {
            index,
            noted,
            is_file_bad,
        } => {
            let changes = noted.so_far();
            if changes.points.len() > CAUGHT_UP_MAX {
                return Answer::Behind(index);
            }
            let mut state = (*before).clone().with_metadata(*index, &changes);
            if is_file_bad {
                state.files.set_bad(Kind::Metadata);
            }
            state
        }
        Built::Texts {
            index,
            read,
            noted,
            are_files_bad,
        } => {
            let changed = noted.so_far().points;
            let mut state = (*before).clone().with_texts(*index, read, &changed);
            if are_files_bad {
                state.files.set_bad(Kind::Texts);
            }
            state
        }
        Built::MergedTexts { merge, index, row } => {
            let mut state = (*before).clone();
            // What was removed or replaced since is removed from the new one, too.
            let is_adopted = state
                .texts
                .as_mut()
                .is_some_and(|texts| Arc::make_mut(texts).adopt(&merge, index, row));
            if !is_adopted {
                return Answer::Refused;
            }
            state
        }
        Built::Nothing(Kind::Graph) => before.with_index(None),
        Built::Nothing(Kind::Metadata) => State {
            metadata: None,
            ..(*before).clone()
        },
        Built::Nothing(Kind::Texts) => State {
            texts: None,
            ..(*before).clone()
        },
    };
    namespace.show_indexes(publisher, state);
    Answer::Adopted
}

/// The builders' way to the committer, once there is one.
#[derive(Default)]
pub(crate) struct Door(OnceLock<Box<Submit>>);

type Submit = dyn Fn(HandOver) -> Result<()> + Send + Sync;

impl Door {
    /// Connects it to the committer.
    pub(crate) fn open(&self, submit: impl Fn(HandOver) -> Result<()> + Send + Sync + 'static) {
        // There is one committer.
        let _ = self.0.set(Box::new(submit));
    }

    /// Hands an index over and waits for the answer, at most for `patience` if there is one: none if that was not
    /// enough. Then the index is adopted a little later.
    ///
    /// # Errors
    ///
    /// [`Closed`](StorageError::Closed) once the committer was closed.
    pub(crate) fn hand_over(
        &self,
        namespace: &Arc<Namespace>,
        built: Built,
        patience: Option<Duration>,
    ) -> Result<Option<Answer>> {
        let (reply, answer) = mpsc::channel();
        let submit = self.0.get().ok_or(StorageError::Closed)?;
        submit(HandOver {
            namespace: Arc::clone(namespace),
            built,
            reply,
        })?;
        match patience {
            None => answer.recv().map(Some).map_err(|_| StorageError::Closed),
            Some(patience) => match answer.recv_timeout(patience) {
                Ok(answer) => Ok(Some(answer)),
                Err(mpsc::RecvTimeoutError::Timeout) => Ok(None),
                Err(mpsc::RecvTimeoutError::Disconnected) => Err(StorageError::Closed),
            },
        }
    }
}

impl std::fmt::Debug for Door {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Door")
            .field("is_open", &self.0.get().is_some())
            .finish()
    }
}
