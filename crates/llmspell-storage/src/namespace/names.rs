//! The ids of a small namespace, kept in memory.
//!
//! A search of a small scope spends most of its time on reading the records of its results. So the ids of a namespace
//! that is searched repeatedly are kept, with the generations of their slots, until it changes.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use parking_lot::RwLock;

use crate::base::ids::{Generation, Lsn, PointId};

/// Namespaces with more living points do not keep their ids.
pub(crate) const NAMED_POINTS_MAX: u64 = 256;

/// The ids of the living points as of one mutation.
#[derive(Debug)]
pub(crate) struct Names {
    lsn: Lsn,
    /// Ascending by point.
    names: Vec<(PointId, Generation, Box<str>)>,
}

impl Names {
    /// From ids in the order of their points.
    pub(crate) fn new(lsn: Lsn, names: Vec<(PointId, Generation, Box<str>)>) -> Self {
        debug_assert!(
            names.is_sorted_by_key(|(point, ..)| *point),
            "names are found by their points"
        );
        Self { lsn, names }
    }

    /// The generation of a point's slot, and its id; none if it does not live.
    pub(crate) fn get(&self, point: PointId) -> Option<(Generation, &str)> {
        let place = self.names.binary_search_by_key(&point, |(point, ..)| *point).ok()?;
        let (_, generation, id) = &self.names[place];
        Some((*generation, id))
    }

    fn bytes(&self) -> usize {
        let ids: usize = self.names.iter().map(|(_, _, id)| id.len() + size_of::<usize>()).sum();
        size_of::<Self>() + size_of_val(&self.names[..]) + ids
    }
}

/// The ids of a namespace, if they are kept.
#[derive(Debug, Default)]
pub(super) struct KnownNames {
    known: RwLock<Option<Arc<Names>>>,
    /// The mutation as of which ids were last read from the truth.
    asked: AtomicU64,
}

impl KnownNames {
    /// The ids as of a mutation.
    pub(super) fn get(&self, lsn: Lsn) -> Option<Arc<Names>> {
        self.known.read().as_ref().filter(|names| names.lsn == lsn).cloned()
    }

    /// Notes that a search reads ids from the truth as of `lsn`. Returns whether it is not the first.
    pub(super) fn ask(&self, lsn: Lsn) -> bool {
        self.asked.swap(lsn.0, Ordering::Relaxed) == lsn.0
    }

    /// Sets the ids to keep.
    pub(super) fn set(&self, names: Option<Names>) {
        *self.known.write() = names.map(Arc::new);
    }

    /// Approximate bytes of RAM.
    pub(super) fn bytes(&self) -> usize {
        self.known.read().as_ref().map_or(0, |names| names.bytes())
    }
}
