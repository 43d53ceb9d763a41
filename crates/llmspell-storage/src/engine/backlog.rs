//! The backlog of the purge: what is to be freed, and how urgently.

use std::collections::{BTreeSet, HashSet, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use llmspell_core::StateScope;

use super::expiring_keys::ExpiringKeys;
use super::survey::Survey;
use crate::base::ids::{ScopeId, SpaceId};
use crate::indexes::files::{IndexRow, Kind};
use crate::namespace::{Namespace, State};

/// Rows that one step of the purge removes; takes a few milliseconds.
pub(super) const STEP_ROWS: usize = 512;
/// How long to wait for searches that still hold a dropped scope.
const RETRY: Duration = Duration::from_millis(200);
/// How long to wait after a failure.
const AFTER_FAILURE: Duration = Duration::from_secs(5);
/// How long to wait for dead points of a living scope that a search or an index still holds.
const LOOK_AGAIN: Duration = Duration::from_secs(1);
/// Expired entries are invisible at once, and are purged after this delay.
pub(super) const EXPIRY_DELAY_MS: i64 = 1_000;
/// With this many rows to purge, the purge may take as long as commits do; with more or fewer in proportion, within
/// bounds. So a backlog under steady writes grows only until the purge keeps pace.
const ROWS_AT_PAR: f64 = 8192.0;
const SHARES: (f64, f64) = (0.25, 2.0);
/// A dropped scope counts as this many rows at least, and at most, however large it is: one large scope is not urgent,
/// many scopes are.
const SCOPE_ROWS: (u64, u64) = (16, 4096);
/// More scopes than this do not make the purge more urgent.
const COUNTED_SCOPES_MAX: usize = 2048;

/// Data that no reader can see any more and that are still stored.
pub(super) struct Backlog {
    /// Dropped scopes, in the order in which they were dropped.
    pub(super) purges: VecDeque<Purge>,
    /// Scopes that could not be purged; set aside so that they do not block others.
    pub(super) set_aside: Vec<Purge>,
    /// Dropped spaces.
    pub(super) spaces: VecDeque<SpaceId>,
    /// The earliest expiry of an entry that can be read.
    pub(super) first_expiry: Option<i64>,
    /// Expired keys to purge.
    pub(super) expiring_keys: ExpiringKeys,
    /// Scopes in which points have died: they may have slots to give back.
    pub(super) shrinking: BTreeSet<(SpaceId, StateScope)>,
    /// Scopes whose dead points a reader may still see.
    pub(super) shrinking_later: BTreeSet<(SpaceId, StateScope)>,
    /// The survey of scopes that are not noted here.
    pub(super) survey: Survey,
    /// Scopes with expired entries that cannot be read.
    pub(super) unreadable: HashSet<ScopeId>,
    /// Number of consecutive steps that found a full step's worth of expired entries.
    pub(super) full_steps: u32,
    /// Whether a backup copies slots: none is freed meanwhile.
    pub(super) is_held: bool,
    /// After a failure: one scope at a time, to find out which causes it.
    pub(super) is_careful: bool,
    has_failed: bool,
    last_turn: Turn,
}

/// A dropped scope that is to be purged.
pub(super) struct Purge {
    pub(super) scope: ScopeId,
    pub(super) space: SpaceId,
    /// The namespace that searches may still hold; none after a restart, and once its slots were freed.
    pub(super) namespace: Option<Arc<Namespace>>,
    /// Its remains, to be dropped in the background: with a large graph that takes longer than a caller should wait.
    pub(super) remains: Option<Remains>,
    /// Whether its slots were freed, so that only rows remain.
    pub(super) has_no_slots: bool,
    /// Approximate number of remaining rows.
    pub(super) rows: u64,
}

/// The remains of a dropped scope in memory and beside the truth.
pub(super) struct Remains {
    /// Its last state, which holds its indexes.
    pub(super) last: Arc<State>,
    pub(super) files: Vec<(Kind, IndexRow)>,
}

/// The work of a step of the purge.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Turn {
    Dropped,
    Expired,
    Space,
    /// Expired keys.
    Keys,
    /// A living scope.
    Living,
    /// The survey.
    Survey,
    /// Work that failed before or had to wait, once there is no other.
    Again,
}

impl Purge {
    /// After a restart, when no search holds it.
    pub(super) fn stored(scope: ScopeId, space: SpaceId) -> Self {
        Self {
            scope,
            space,
            namespace: None,
            remains: None,
            has_no_slots: false,
            rows: STEP_ROWS as u64,
        }
    }

    /// Whether no search can see the scope any more.
    pub(super) fn is_quiet(&self) -> bool {
        self.namespace
            .as_ref()
            .is_none_or(|namespace| namespace.reuse.lock().is_quiet())
    }

    fn weight(&self) -> u64 {
        self.rows.clamp(SCOPE_ROWS.0, SCOPE_ROWS.1)
    }
}

impl Backlog {
    pub(super) fn new(
        purges: impl IntoIterator<Item = Purge>,
        spaces: impl IntoIterator<Item = SpaceId>,
        (first_expiry, first_key_expiry): (Option<i64>, Option<i64>),
        survey: Survey,
    ) -> Self {
        Self {
            purges: purges.into_iter().collect(),
            spaces: spaces.into_iter().collect(),
            set_aside: Vec::new(),
            survey,
            first_expiry,
            expiring_keys: ExpiringKeys::new(first_key_expiry),
            unreadable: HashSet::new(),
            full_steps: 0,
            is_held: false,
            is_careful: false,
            shrinking: BTreeSet::new(),
            shrinking_later: BTreeSet::new(),
            has_failed: false,
            last_turn: Turn::Again,
        }
    }

    /// How long the purge may wait at `now`, in milliseconds since 1970; none if there is nothing to do.
    pub(super) fn due_in(&self, now: i64) -> Option<Duration> {
        let is_ready = |purge: &Purge| purge.remains.is_some() || (!self.is_held && purge.is_quiet());
        let has_space = !self.spaces.is_empty();
        let dropped = if (has_space && !self.is_held) || self.purges.iter().any(is_ready) {
            Some(Duration::ZERO)
        } else {
            (has_space || !self.purges.is_empty()).then_some(RETRY)
        };
        let failed = (!self.set_aside.is_empty() || !self.unreadable.is_empty()).then_some(AFTER_FAILURE);
        let living = if !self.shrinking.is_empty() && !self.is_held {
            Some(Duration::ZERO)
        } else {
            (!self.shrinking.is_empty() || !self.shrinking_later.is_empty()).then_some(LOOK_AGAIN)
        };
        let keys = self.expiring_keys.due_after(now);
        let first = [dropped, self.expiry_in(now), keys, living, self.survey.due_in(), failed]
            .into_iter()
            .flatten()
            .min()?;
        Some(if self.has_failed {
            first.max(AFTER_FAILURE)
        } else {
            first
        })
    }

    fn expiry_in(&self, now: i64) -> Option<Duration> {
        let due_ms = self.first_expiry?.saturating_add(EXPIRY_DELAY_MS).saturating_sub(now);
        Some(Duration::from_millis(u64::try_from(due_ms).unwrap_or(0)))
    }

    /// The next work at `now`: the kinds of work take turns.
    pub(super) fn next_turn(&mut self, now: i64) -> Turn {
        const ORDER: [Turn; 6] = [
            Turn::Dropped,
            Turn::Expired,
            Turn::Keys,
            Turn::Space,
            Turn::Living,
            Turn::Survey,
        ];
        let is_ready = |turn: &Turn| match turn {
            Turn::Dropped => !self.is_held && self.purges.iter().any(Purge::is_quiet),
            Turn::Expired => self.expiry_in(now) == Some(Duration::ZERO),
            Turn::Keys => self.expiring_keys.are_due(now),
            Turn::Space => !self.is_held && !self.spaces.is_empty(),
            Turn::Living => !self.is_held && !self.shrinking.is_empty(),
            Turn::Survey => !self.survey.is_over(),
            Turn::Again => false,
        };
        let after = ORDER
            .iter()
            .position(|turn| *turn == self.last_turn)
            .map_or(0, |last| last + 1);
        let next = ORDER.into_iter().cycle().skip(after).take(ORDER.len()).find(is_ready);
        self.last_turn = next.unwrap_or(Turn::Again);
        self.last_turn
    }

    /// Tries again what failed before or had to wait.
    pub(super) fn try_again(&mut self) {
        self.shrinking.append(&mut self.shrinking_later);
        if !self.purges.is_empty() {
            return;
        }
        self.is_careful |= !self.set_aside.is_empty();
        self.purges.extend(self.set_aside.drain(..));
        if !self.unreadable.is_empty() {
            self.unreadable.clear();
            self.first_expiry = Some(i64::MIN);
        }
    }

    /// Notes the end of a step.
    pub(super) fn set_failed(&mut self, has_failed: bool) {
        self.has_failed = has_failed;
    }

    /// The purge's share of time beside writers that never pause, relative to commits.
    pub(super) fn share(&self) -> f64 {
        let dropped: u64 = self.purges.iter().take(COUNTED_SCOPES_MAX).map(Purge::weight).sum();
        let expired = u64::from(self.full_steps) * STEP_ROWS as u64;
        let spaces = self.spaces.len() as u64 * SCOPE_ROWS.1;
        ((dropped + expired + spaces) as f64 / ROWS_AT_PAR).clamp(SHARES.0, SHARES.1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::ids::Lsn;

    fn scopes(count: u64, rows: u64) -> Backlog {
        let purge = |number| Purge {
            rows,
            ..Purge::stored(ScopeId(number), SpaceId(1))
        };
        Backlog::new((0..count).map(purge), [], (None, None), Survey::new(None, Lsn(0)))
    }

    #[test]
    fn the_share_of_the_purge_grows_with_what_is_left_and_one_large_scope_is_in_no_hurry() {
        assert_eq!(scopes(1, 10).share(), 0.25);
        assert_eq!(scopes(1, 10_000_000).share(), 0.5);
        assert_eq!(scopes(8, 1_024).share(), 1.0);
        assert_eq!(scopes(100_000, 8).share(), 2.0);
        let mut expiring = scopes(0, 0);
        expiring.full_steps = 24;
        assert_eq!(expiring.share(), 1.5);
    }

    #[test]
    fn dropped_scopes_expired_entries_and_keys_spaces_and_living_scopes_take_turns() {
        let mut backlog = scopes(3, 8);
        backlog.first_expiry = Some(i64::MIN);
        backlog.expiring_keys.note(Some(i64::MIN));
        backlog.spaces.push_back(SpaceId(2));
        backlog.shrinking.insert((SpaceId(1), StateScope::Global));
        let turns: Vec<Turn> = (0..6).map(|_| backlog.next_turn(0)).collect();
        let (dropped, expired) = (Turn::Dropped, Turn::Expired);
        assert_eq!(
            turns,
            [dropped, expired, Turn::Keys, Turn::Space, Turn::Living, dropped]
        );
        backlog.purges.clear();
        backlog.expiring_keys = ExpiringKeys::new(None);
        backlog.first_expiry = Some(10_000);
        let turns: Vec<Turn> = (0..3).map(|_| backlog.next_turn(0)).collect();
        assert_eq!(turns, [Turn::Space, Turn::Living, Turn::Space]);
    }

    #[test]
    fn while_a_backup_copies_slots_none_is_freed_and_nothing_is_asked_for_without_a_pause() {
        let mut backlog = scopes(3, 8);
        backlog.spaces.push_back(SpaceId(2));
        backlog.shrinking.insert((SpaceId(1), StateScope::Global));
        backlog.is_held = true;
        assert_eq!(backlog.due_in(0), Some(RETRY));
        assert_eq!(backlog.next_turn(0), Turn::Again);
        backlog.try_again();
        backlog.first_expiry = Some(i64::MIN);
        assert_eq!(backlog.next_turn(0), Turn::Expired, "rows are still removed");
        backlog.is_held = false;
        assert_eq!(backlog.due_in(0), Some(Duration::ZERO));
    }

    #[test]
    fn what_failed_waits_and_is_tried_again_alone_once_there_is_nothing_else() {
        let mut backlog = scopes(1, 8);
        assert_eq!(backlog.due_in(0), Some(Duration::ZERO));
        backlog.set_failed(true);
        assert_eq!(backlog.due_in(0), Some(AFTER_FAILURE));
        backlog.set_failed(false);
        backlog.set_aside.extend(backlog.purges.pop_front());
        backlog.unreadable.insert(ScopeId(9));
        assert_eq!(
            (backlog.due_in(0), backlog.next_turn(0)),
            (Some(AFTER_FAILURE), Turn::Again)
        );
        backlog.try_again();
        assert!(backlog.is_careful && backlog.unreadable.is_empty());
        assert_eq!((backlog.due_in(0), backlog.purges.len()), (Some(Duration::ZERO), 1));
    }
}
