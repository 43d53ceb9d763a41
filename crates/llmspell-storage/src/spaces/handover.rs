//! Handing over of a finished index to the committer.
//!
//! Whoever built it hands it over to the committer, which adopts it between two commits: only there nothing changes
//! meanwhile, and only the committer has a [`Publisher`]. What was committed since the builder looked is caught up with, if
//! that is little: adopting takes about a millisecond at most, and no write waits longer for an index. What is too far behind
//! goes back to its builder, which brings it up to what is committed now and hands it over again.

use std::sync::{Arc, OnceLock, mpsc};
use std::time::Duration;

use llmspell_core::{Result, StorageError};

use crate::indexes::builds::Noted;
use crate::indexes::files::Kind;
use crate::indexes::graph::Index;
use crate::namespace::{Namespace, Publisher, State};
use llmspell_metadata::MetadataIndex;

/// Changed points that the committer catches up with: about a tenth of a microsecond for each that an index is only told
/// of, and a few for each that is taken out of it.
pub(crate) const CAUGHT_UP_MAX: u64 = 8_192;

/// What was built.
#[derive(Debug)]
pub(crate) enum Built {
    /// Of this state, which is held until now, so that none of its points was given out again meanwhile.
    Graph { index: Arc<Index>, of: Arc<State> },
    /// Of a state after which all changes were noted.
    Metadata {
        index: Box<MetadataIndex>,
        noted: Arc<Noted>,
        /// The file of the one before was found to be of no use.
        is_file_bad: bool,
    },
    /// The index of this kind is of no use, and goes.
    Nothing(Kind),
}

/// What came of it.
#[derive(Debug)]
pub(crate) enum Answer {
    /// Searches use it.
    Adopted,
    /// Too much has changed since: it is to be brought up to what is committed now.
    Behind(Box<MetadataIndex>),
    /// The scope was dropped, or has another index by now.
    Refused,
}

/// What was built, for which namespace, and the way back to whoever built it.
#[derive(Debug)]
pub(crate) struct HandOver {
    namespace: Arc<Namespace>,
    built: Built,
    reply: mpsc::Sender<Answer>,
}

impl HandOver {
    /// Does it, between two commits, and answers.
    pub(crate) fn adopt(self, publisher: &mut Publisher) {
        let answer = adopt(&self.namespace, self.built, publisher);
        // Whoever went away finds the index there.
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
        Built::Nothing(Kind::Graph) => before.with_index(None),
        Built::Nothing(Kind::Metadata) => State {
            metadata: None,
            ..(*before).clone()
        },
    };
    namespace.show_indexes(publisher, state);
    Answer::Adopted
}

/// The way of builders to the committer, once there is one.
#[derive(Default)]
pub(crate) struct Door(OnceLock<Box<Submit>>);

type Submit = dyn Fn(HandOver) -> Result<()> + Send + Sync;

impl Door {
    /// From now on it leads to the committer.
    pub(crate) fn open(&self, submit: impl Fn(HandOver) -> Result<()> + Send + Sync + 'static) {
        // There is one committer.
        let _ = self.0.set(Box::new(submit));
    }

    /// Hands over what was built and waits for the answer, no longer than `patience` if there is one: none if that was not
    /// enough. Then the index comes a little later.
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
