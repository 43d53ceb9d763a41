//! State that a forked process inherits and must not clean up.

use std::ops::Deref;
use std::sync::Arc;

use crate::slots::ForkMark;

/// Dropped only by the process that made it. A forked one has a copy of the memory but none of the threads: waiting for
/// them would never end.
#[derive(Debug)]
pub(crate) struct Owned<T> {
    value: Option<T>,
    mark: Arc<ForkMark>,
}

impl<T> Owned<T> {
    /// For the process in which `mark` was made.
    pub(crate) fn new(value: T, mark: &Arc<ForkMark>) -> Self {
        Self {
            value: Some(value),
            mark: Arc::clone(mark),
        }
    }
}

impl<T> Deref for Owned<T> {
    type Target = T;

    fn deref(&self) -> &T {
        self.value.as_ref().expect("only dropping takes it")
    }
}

impl<T> Drop for Owned<T> {
    fn drop(&mut self) {
        if self.mark.is_forked() {
            std::mem::forget(self.value.take());
        }
    }
}
