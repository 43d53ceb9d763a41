//! The clock of a database: the system's time, which is accepted for good only if it is plausible.
//!
//! Expiry must not be undone by a clock that is set back: *confirmed* time never goes back, and a commit stores it. Nor
//! may a clock that is wrong for a moment, years ahead, remove living entries: its time hides entries at once, but only
//! confirmed time removes them for good and is stored.
//!
//! The system clock is compared with the time since the machine was started, which cannot be set. From a confirmed
//! moment the latter gives the next one, within [`SLACK_MS`]. A larger difference is a *jump*:
//!
//! * While it lasts, [`Clock::now`] is the system's time, and [`Clock::confirmed`] advances with the machine's own
//!   clock. Once the system clock is corrected, so is `now`: hidden entries return.
//! * It is confirmed once it has lasted for [`LASTING_MS`] and the database was opened again meanwhile, or for
//!   [`LASTING_ALONE_MS`] without that.
//! * After a start of the machine it is not known how long it was off. Then the opening counts as the second one: a
//!   clock that is ahead is confirmed after [`LASTING_MS`].
//!
//! By steps below the slack, at most one an hour, a clock can run ahead of the machine's own by less than two percent.

use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering};
use std::time::{Duration, SystemTime};

use llmspell_core::Timestamp;
use parking_lot::Mutex;

use crate::base::options::{BootSource, DatabaseOptions, TimeSource};
use crate::truth::{ClockJump, ClockRow};

/// How far the system clock may be ahead of the machine's own clock, in milliseconds.
const SLACK_MS: i64 = 60_000;
/// How long a jump must last, in milliseconds, to be confirmed by another opening.
const LASTING_MS: i64 = 3_600_000;
/// How long it must last to be confirmed without one.
const LASTING_ALONE_MS: i64 = 24 * LASTING_MS;
/// How often the two clocks are aligned, in milliseconds.
const ALIGN_EVERY_MS: i64 = 3_600_000;

/// The clock of a database, in milliseconds since 1970.
#[derive(Debug)]
pub(crate) struct Clock {
    /// None: the clock of the system.
    wall: Option<TimeSource>,
    boot: Boot,
    /// Latest confirmed moment.
    latest: AtomicI64,
    /// Confirmed time when the machine was started.
    offset: AtomicI64,
    /// Time since that start at which the clocks are aligned next.
    align_at: AtomicI64,
    is_jumping: AtomicBool,
    jump: Mutex<Option<Jump>>,
    /// Incremented with each change of the row to store, from 1 on.
    version: AtomicU64,
    saved_version: AtomicU64,
}

/// The time since the machine was started.
#[derive(Debug, Clone)]
pub(crate) struct Boot {
    source: Option<BootSource>,
    /// The id of the start; none if it is not known.
    id: Option<[u8; 16]>,
}

#[derive(Debug, Clone, Copy)]
struct Jump {
    /// The system's time minus the time since the start of the machine.
    offset: i64,
    /// The time since that start when the jump was first seen.
    since: i64,
    /// The system's time then.
    wall: i64,
    /// Whether it was seen before the database was opened.
    is_older: bool,
}

impl Boot {
    /// The clock of the machine, or the one of the options.
    pub(crate) fn of(options: &DatabaseOptions) -> Self {
        options.boot.clone().map_or_else(Self::of_machine, Self::given)
    }

    /// The clock of the machine; none if another clock replaces that of the system: that one is always confirmed.
    pub(crate) fn beside(wall: Option<&TimeSource>) -> Self {
        match wall.cloned() {
            Some(wall) => Self {
                source: Some(BootSource::new(move || {
                    Duration::from_millis(wall.now().as_millis().unsigned_abs())
                })),
                id: None,
            },
            None => Self::of_machine(),
        }
    }

    fn of_machine() -> Self {
        Self {
            source: None,
            id: crate::disk::boot_id(),
        }
    }

    /// What tests give, always as of the same start of the machine.
    pub(crate) fn given(source: BootSource) -> Self {
        Self {
            source: Some(source),
            id: Some([1; 16]),
        }
    }

    fn elapsed_ms(&self) -> i64 {
        let elapsed = match &self.source {
            Some(source) => source.elapsed(),
            None => since_boot(),
        };
        i64::try_from(elapsed.as_millis()).unwrap_or(i64::MAX)
    }
}

/// Time since the machine was started, its sleep included.
#[cfg(target_os = "linux")]
fn since_boot() -> std::time::Duration {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::Boottime);
    std::time::Duration::new(
        u64::try_from(time.tv_sec).unwrap_or(0),
        u32::try_from(time.tv_nsec).unwrap_or(0),
    )
}

/// Time since the first call: other systems have no such clock that counts sleep.
#[cfg(not(target_os = "linux"))]
fn since_boot() -> std::time::Duration {
    static START: std::sync::OnceLock<std::time::Instant> = std::sync::OnceLock::new();
    START.get_or_init(std::time::Instant::now).elapsed()
}

fn wall_ms(wall: Option<&TimeSource>) -> i64 {
    match wall {
        Some(source) => source.now(),
        None => Timestamp::from(SystemTime::now()),
    }
    .as_millis()
}

/// The system's time, or that of the options' clock.
pub(crate) fn system_ms(options: &DatabaseOptions) -> i64 {
    wall_ms(options.time.as_ref())
}

impl Clock {
    /// A clock that does not go back before `stored`, and continues from the stored relation of the two clocks.
    pub(crate) fn new(wall: Option<TimeSource>, boot: Boot, stored: i64, row: Option<ClockRow>) -> Self {
        let (wall_ms, boot_ms) = (wall_ms(wall.as_ref()), boot.elapsed_ms());
        let system = wall_ms.saturating_sub(boot_ms);
        let is_same_start = row.is_some_and(|row| boot.id == Some(row.boot_id));
        let mut jump = None;
        let offset = match row {
            Some(row) if is_same_start => {
                jump = row.jump.map(|jump| Jump {
                    offset: jump.offset,
                    since: jump.since,
                    wall: jump.wall,
                    is_older: true,
                });
                row.offset
            }
            // No entry expires by a time that was never seen.
            _ if stored == i64::MIN => system,
            // It was stored before this start.
            _ if system <= stored.saturating_add(SLACK_MS) => stored.min(system),
            Some(ClockRow {
                jump: Some(ClockJump { wall, .. }),
                ..
            }) if wall_ms >= wall.saturating_add(LASTING_MS) => system,
            _ => {
                jump = Some(Jump {
                    offset: system,
                    since: boot_ms,
                    wall: wall_ms,
                    is_older: true,
                });
                stored
            }
        };
        let is_saved = is_same_start && row.is_some_and(|row| row.offset == offset);
        let clock = Self {
            wall,
            boot,
            latest: AtomicI64::new(stored),
            offset: AtomicI64::new(offset),
            align_at: AtomicI64::new(boot_ms.saturating_add(ALIGN_EVERY_MS)),
            is_jumping: AtomicBool::new(jump.is_some()),
            jump: Mutex::new(jump),
            version: AtomicU64::new(1),
            saved_version: AtomicU64::new(u64::from(is_saved)),
        };
        clock.now();
        clock
    }

    /// Now, as callers see it: the later of confirmed time and the system's time.
    pub(crate) fn now(&self) -> i64 {
        let wall = wall_ms(self.wall.as_ref());
        let boot = self.boot.elapsed_ms();
        if self.is_plain(wall, boot) {
            return self.advance_to(wall);
        }
        if self.compare(wall, boot) {
            return self.advance_to(wall);
        }
        // The machine's own clock goes on meanwhile.
        self.advance_to(self.offset.load(Ordering::SeqCst).saturating_add(boot))
            .max(wall)
    }

    /// The latest confirmed moment: entries that expired by then have expired for good.
    pub(crate) fn confirmed(&self) -> i64 {
        self.now();
        self.latest()
    }

    /// As [`confirmed`](Self::confirmed), as of the last call that read the time.
    pub(crate) fn latest(&self) -> i64 {
        self.latest.load(Ordering::SeqCst)
    }

    /// What the system says.
    pub(crate) fn system(&self) -> i64 {
        wall_ms(self.wall.as_ref())
    }

    /// Whether the system's time is confirmed.
    pub(crate) fn is_confirmed(&self) -> bool {
        self.now();
        !self.is_jumping.load(Ordering::SeqCst)
    }

    /// The row to store, and its version; none if it is stored already, or the start of the machine is not known.
    pub(crate) fn unsaved(&self) -> Option<(u64, ClockRow)> {
        let version = self.version.load(Ordering::SeqCst);
        if version <= self.saved_version.load(Ordering::SeqCst) {
            return None;
        }
        let jump = self.jump.lock();
        let row = ClockRow {
            // Never equal to that of a machine.
            boot_id: self.boot.id.unwrap_or([0; 16]),
            offset: self.offset.load(Ordering::SeqCst),
            jump: jump.map(|jump| ClockJump {
                offset: jump.offset,
                since: jump.since,
                wall: jump.wall,
            }),
        };
        Some((version, row))
    }

    /// Whether there is a jump that is not stored: the next opening must know of it.
    pub(crate) fn has_unsaved_jump(&self) -> bool {
        self.unsaved().is_some_and(|(_, row)| row.jump.is_some())
    }

    /// Notes that a version is durable.
    pub(crate) fn saved(&self, version: u64) {
        self.saved_version.fetch_max(version, Ordering::SeqCst);
    }

    /// Whether there is nothing to do: the clocks agree, there is no jump, and no alignment is due.
    fn is_plain(&self, wall: i64, boot: i64) -> bool {
        !self.is_jumping.load(Ordering::SeqCst)
            && boot < self.align_at.load(Ordering::SeqCst)
            && !self.is_ahead(wall, boot)
    }

    fn is_ahead(&self, wall: i64, boot: i64) -> bool {
        let expected = self.offset.load(Ordering::SeqCst).saturating_add(boot);
        wall > expected.saturating_add(SLACK_MS) && wall > self.latest()
    }

    /// Compares the two clocks. Returns whether the system's time is confirmed.
    fn compare(&self, wall: i64, boot: i64) -> bool {
        let mut jump = self.jump.lock();
        let system = wall.saturating_sub(boot);
        if !self.is_ahead(wall, boot) {
            let is_behind = system < self.offset.load(Ordering::SeqCst).saturating_sub(SLACK_MS);
            if boot >= self.align_at.load(Ordering::SeqCst) {
                self.align_at
                    .store(boot.saturating_add(ALIGN_EVERY_MS), Ordering::SeqCst);
                // A clock that was set back may be corrected again: the known relation stays.
                if !is_behind && self.offset.swap(system, Ordering::SeqCst) != system {
                    self.version.fetch_add(1, Ordering::SeqCst);
                }
            }
            if jump.take().is_some() {
                self.version.fetch_add(1, Ordering::SeqCst);
            }
            self.is_jumping.store(false, Ordering::SeqCst);
            return true;
        }
        let same = jump.filter(|jump| jump.offset.abs_diff(system) <= SLACK_MS.unsigned_abs());
        let Some(Jump { since, is_older, .. }) = same else {
            *jump = Some(Jump {
                offset: system,
                since: boot,
                wall,
                is_older: false,
            });
            self.is_jumping.store(true, Ordering::SeqCst);
            self.version.fetch_add(1, Ordering::SeqCst);
            return false;
        };
        let lasting = boot.saturating_sub(since);
        if lasting < if is_older { LASTING_MS } else { LASTING_ALONE_MS } {
            return false;
        }
        self.offset.store(system, Ordering::SeqCst);
        *jump = None;
        self.is_jumping.store(false, Ordering::SeqCst);
        self.version.fetch_add(1, Ordering::SeqCst);
        true
    }

    fn advance_to(&self, moment: i64) -> i64 {
        let latest = self.latest();
        if latest >= moment {
            // Most calls come within a millisecond of another: they need not write.
            return latest;
        }
        self.latest.fetch_max(moment, Ordering::SeqCst).max(moment)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::time::Duration;

    use super::*;

    const BEGIN: i64 = 1_750_000_000_000;
    const YEAR_MS: i64 = 365 * 24 * LASTING_MS;

    /// A machine: what its clock says, and how long it is on.
    #[derive(Clone)]
    struct Machine {
        wall: Arc<AtomicI64>,
        boot: Arc<AtomicI64>,
        starts: u8,
    }

    impl Machine {
        fn new() -> Self {
            Self {
                wall: Arc::new(AtomicI64::new(BEGIN)),
                boot: Arc::new(AtomicI64::new(5_000)),
                starts: 1,
            }
        }

        fn pass(&self, ms: i64) {
            self.wall.fetch_add(ms, Ordering::SeqCst);
            self.boot.fetch_add(ms, Ordering::SeqCst);
        }

        /// Somebody sets the clock.
        fn jump(&self, ms: i64) {
            self.wall.fetch_add(ms, Ordering::SeqCst);
        }

        /// It is off for a while.
        fn restart(&mut self, off_ms: i64) {
            self.wall.fetch_add(off_ms, Ordering::SeqCst);
            self.boot.store(0, Ordering::SeqCst);
            self.starts += 1;
        }

        fn wall(&self) -> i64 {
            self.wall.load(Ordering::SeqCst)
        }

        /// A clock that goes on from what another one stored.
        fn open(&self, before: Stored) -> Clock {
            let (wall, boot) = (Arc::clone(&self.wall), Arc::clone(&self.boot));
            let options = DatabaseOptions::new()
                .clock(move || Timestamp::from_millis(wall.load(Ordering::SeqCst)))
                .boot_clock(move || Duration::from_millis(boot.load(Ordering::SeqCst).unsigned_abs()));
            let boot = Boot {
                id: Some([self.starts; 16]),
                ..Boot::of(&options)
            };
            Clock::new(options.time, boot, before.0, before.1)
        }
    }

    /// What is stored of a clock.
    type Stored = (i64, Option<ClockRow>);

    const NOTHING: Stored = (i64::MIN, None);

    fn close(clock: &Clock) -> Stored {
        clock.saved_version.store(0, Ordering::SeqCst);
        (clock.confirmed(), clock.unsaved().map(|(_, row)| row))
    }

    #[test]
    fn time_does_not_go_back_when_the_clock_is_set_back_not_after_opening_again_either() {
        let machine = Machine::new();
        let clock = machine.open(NOTHING);
        machine.pass(1_000);
        assert_eq!(clock.now(), BEGIN + 1_000);
        machine.jump(-YEAR_MS);
        assert_eq!((clock.now(), clock.confirmed()), (BEGIN + 1_000, BEGIN + 1_000));
        let clock = machine.open(close(&clock));
        assert_eq!(clock.now(), BEGIN + 1_000);
        machine.jump(YEAR_MS);
        machine.pass(1_000);
        assert_eq!((clock.now(), clock.is_confirmed()), (BEGIN + 2_000, true));
    }

    #[test]
    fn a_jump_ahead_is_seen_at_once_is_not_confirmed_and_goes_when_it_is_mended() {
        for years in [1, 10, 1_000] {
            let machine = Machine::new();
            let clock = machine.open(NOTHING);
            machine.jump(years * YEAR_MS);
            assert_eq!(clock.now(), machine.wall());
            assert_eq!(clock.confirmed(), BEGIN, "only the machine's own clock goes on");
            machine.pass(30_000);
            assert_eq!((clock.confirmed(), clock.is_confirmed()), (BEGIN + 30_000, false));
            // Opening again at once confirms nothing.
            let clock = machine.open(close(&clock));
            assert_eq!((clock.now(), clock.confirmed()), (machine.wall(), BEGIN + 30_000));
            machine.jump(-years * YEAR_MS);
            assert_eq!((clock.now(), clock.is_confirmed()), (BEGIN + 30_000, true));
        }
    }

    #[test]
    fn a_jump_is_confirmed_by_an_hour_over_two_openings_or_by_a_day() {
        let machine = Machine::new();
        let clock = machine.open(NOTHING);
        machine.jump(YEAR_MS);
        clock.now();
        machine.pass(2 * LASTING_MS);
        assert!(!clock.is_confirmed(), "nobody has opened it again");
        let again = machine.open(close(&clock));
        assert_eq!((again.confirmed(), again.is_confirmed()), (machine.wall(), true));
        machine.pass(LASTING_ALONE_MS - 3 * LASTING_MS);
        assert!(!clock.is_confirmed());
        machine.pass(LASTING_MS);
        assert_eq!((clock.confirmed(), clock.is_confirmed()), (machine.wall(), true));
    }

    #[test]
    fn an_hour_counts_only_while_the_jump_stays_the_same() {
        let machine = Machine::new();
        let clock = machine.open(NOTHING);
        machine.jump(YEAR_MS);
        let clock = machine.open(close(&clock));
        machine.pass(LASTING_MS / 2);
        assert!(!clock.is_confirmed());
        machine.jump(YEAR_MS);
        machine.pass(LASTING_MS);
        assert!(!clock.is_confirmed(), "another jump begins anew");
    }

    #[test]
    fn what_the_machine_agrees_with_is_confirmed_however_long_the_database_was_closed() {
        let machine = Machine::new();
        let clock = machine.open(NOTHING);
        machine.pass(YEAR_MS);
        let clock = machine.open(close(&clock));
        assert_eq!((clock.confirmed(), clock.is_confirmed()), (BEGIN + YEAR_MS, true));
    }

    #[test]
    fn after_a_start_of_the_machine_a_late_clock_is_confirmed_by_an_hour() {
        let mut machine = Machine::new();
        let clock = machine.open(NOTHING);
        let stored = close(&clock);
        machine.restart(20_000);
        let clock = machine.open(stored);
        assert_eq!((clock.confirmed(), clock.is_confirmed()), (machine.wall(), true));
        let stored = close(&clock);
        machine.restart(YEAR_MS);
        let clock = machine.open(stored);
        assert_eq!((clock.now(), clock.is_confirmed()), (machine.wall(), false));
        machine.pass(LASTING_MS);
        assert_eq!((clock.confirmed(), clock.is_confirmed()), (machine.wall(), true));
    }

    #[test]
    fn over_starts_of_the_machine_an_hour_by_the_clock_confirms() {
        let mut machine = Machine::new();
        let clock = machine.open(NOTHING);
        let stored = close(&clock);
        machine.restart(YEAR_MS);
        let clock = machine.open(stored);
        assert!(!clock.is_confirmed());
        let stored = close(&clock);
        machine.restart(2 * LASTING_MS);
        let clock = machine.open(stored);
        assert_eq!((clock.confirmed(), clock.is_confirmed()), (machine.wall(), true));
    }

    #[test]
    fn small_steps_ahead_are_followed_one_an_hour() {
        let machine = Machine::new();
        let clock = machine.open(NOTHING);
        machine.jump(SLACK_MS - 1_000);
        assert!(clock.is_confirmed());
        machine.jump(SLACK_MS - 1_000);
        assert!(!clock.is_confirmed());
        machine.jump(1_000 - SLACK_MS);
        machine.pass(ALIGN_EVERY_MS);
        assert!(clock.is_confirmed());
        machine.jump(SLACK_MS - 1_000);
        assert_eq!((clock.confirmed(), clock.is_confirmed()), (machine.wall(), true));
    }
}
