//! The floor below which nothing is written over: held while a backup reads a snapshot.
//!
//! Slots that a snapshot names must keep their bytes until they are copied. While the floor is held, dead points are not
//! given out again, and slots of dropped scopes and spaces are not freed, in any scope, loaded or not. A holder raises the
//! floor first and takes its snapshot then: a slot that the snapshot names dies after that, so it is not written over.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

/// Whether anybody reads a snapshot of the slots.
#[derive(Debug, Clone, Default)]
pub(crate) struct Floor(Arc<AtomicUsize>);

/// The floor is held until this is dropped.
#[derive(Debug)]
pub(crate) struct HeldFloor(Arc<AtomicUsize>);

impl Floor {
    /// Raises the floor.
    pub(crate) fn hold(&self) -> HeldFloor {
        self.0.fetch_add(1, Ordering::SeqCst);
        HeldFloor(Arc::clone(&self.0))
    }

    /// Whether slots must not be reused or freed now.
    pub(crate) fn is_held(&self) -> bool {
        self.0.load(Ordering::SeqCst) > 0
    }
}

impl Drop for HeldFloor {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::SeqCst);
    }
}
