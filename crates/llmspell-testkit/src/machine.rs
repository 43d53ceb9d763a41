//! A machine whose clocks a test can set.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use llmspell_core::Timestamp;

/// The clock of the system, which may be wrong, and the time since the machine was started.
#[derive(Debug, Clone)]
pub struct Machine {
    wall: Arc<AtomicI64>,
    boot: Arc<AtomicI64>,
}

impl Machine {
    /// A machine that was started now, at `wall_ms` milliseconds since 1970.
    #[must_use]
    pub fn new(wall_ms: i64) -> Self {
        Self {
            wall: Arc::new(AtomicI64::new(wall_ms)),
            boot: Arc::new(AtomicI64::new(0)),
        }
    }

    /// Lets time pass, in milliseconds.
    pub fn pass(&self, ms: i64) {
        self.jump(ms);
        self.boot.fetch_add(ms, Ordering::SeqCst);
    }

    /// Sets the clock of the system forward or back by milliseconds that did not pass.
    pub fn jump(&self, ms: i64) {
        self.wall.fetch_add(ms, Ordering::SeqCst);
    }

    /// The time of the system's clock.
    #[must_use]
    pub fn now(&self) -> Timestamp {
        Timestamp::from_millis(self.wall.load(Ordering::SeqCst))
    }

    /// The clock of the system.
    pub fn wall_clock(&self) -> impl Fn() -> Timestamp + Send + Sync + 'static + use<> {
        let machine = self.clone();
        move || machine.now()
    }

    /// The time since the machine was started.
    pub fn boot_clock(&self) -> impl Fn() -> Duration + Send + Sync + 'static + use<> {
        let boot = Arc::clone(&self.boot);
        move || Duration::from_millis(boot.load(Ordering::SeqCst).unsigned_abs())
    }
}
