//! What a Python object holds of an open database: [`Slot`]s, which closing the database empties.
//!
//! Python frees an object some time after its last use, and a variable may keep it for long. A directory could not be
//! opened again until then, if objects owned their part of the database.

use std::sync::{Arc, Mutex, Weak};

use pyo3::prelude::*;

use crate::call::lock;
use crate::entry::closed;

/// A part of a database, until the database is closed.
pub(crate) struct Slot<T>(Mutex<Option<T>>);

impl<T: Clone> Slot<T> {
    /// The part.
    ///
    /// # Errors
    ///
    /// `ClosedError` after the database was closed.
    pub(crate) fn get(&self) -> PyResult<T> {
        lock(&self.0).clone().ok_or_else(closed)
    }
}

/// What can be emptied, whatever is in it.
trait Empty: Send + Sync {
    fn empty(&self);
}

impl<T: Send> Empty for Slot<T> {
    fn empty(&self) {
        let part = lock(&self.0).take();
        drop(part);
    }
}

/// All slots of one database.
#[derive(Clone, Default)]
pub(crate) struct Slots(Arc<Mutex<Vec<Weak<dyn Empty>>>>);

impl Slots {
    /// A slot that is emptied with the others.
    pub(crate) fn hold<T: Send + 'static>(&self, part: T) -> Arc<Slot<T>> {
        let slot = Arc::new(Slot(Mutex::new(Some(part))));
        let mut slots = lock(&self.0);
        if slots.len() == slots.capacity() {
            slots.retain(|slot| slot.strong_count() > 0);
        }
        let slot_too: Arc<dyn Empty> = Arc::<Slot<T>>::clone(&slot);
        slots.push(Arc::downgrade(&slot_too));
        slot
    }

    /// Empties all slots.
    pub(crate) fn empty(&self) {
        let slots = std::mem::take(&mut *lock(&self.0));
        slots.iter().filter_map(Weak::upgrade).for_each(|slot| slot.empty());
    }
}
