//! A service that uses the database from threads of its own, and ends before the database does.

use std::any::Any;

use parking_lot::Mutex;

/// At most one service. It ends when it is dropped, and holds no handle to the database but during a call.
#[derive(Debug, Default)]
pub(crate) struct Attached(Mutex<Option<Service>>);

pub(crate) type Service = Box<dyn Any + Send + Sync>;

impl Attached {
    #[cfg(unix)]
    pub(crate) fn is_some(&self) -> bool {
        self.0.lock().is_some()
    }

    /// Attaches a service; gives it back if there is one.
    #[cfg(unix)]
    pub(crate) fn set(&self, service: Service) -> Result<(), Service> {
        let mut attached = self.0.lock();
        if attached.is_some() {
            return Err(service);
        }
        *attached = Some(service);
        Ok(())
    }

    pub(crate) fn take(&self) -> Option<Service> {
        self.0.lock().take()
    }
}
