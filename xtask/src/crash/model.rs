//! What must be there?
//!
//! Each writer has a [`Territory`] that only it changes, one call after the other, so what is in it follows from what was
//! acknowledged. Only of the last call, if it was under way at the kill, it is unknown whether it happened; then the
//! whole territory must be as before it or as after it.
//!
//! Times are known to the interval between the start of a call and its return.

use std::collections::BTreeMap;
use std::ops::RangeInclusive;

use llmspell_storage::StateScope;

use super::content::{Value, tag_number};
use super::operation::{EntriesKind, KeyChange, Life, NewEntry, Operation, Outcome, StoredEntry};
use super::workload::{Owner, scope_owner};

/// `from..=to`, in milliseconds since 1970.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Span {
    pub(super) from: i64,
    pub(super) to: i64,
}

/// A scope of a space.
pub(super) type Place = (usize, StateScope);

/// What one writer owns.
#[derive(Debug, Clone, Default)]
pub(super) struct Territory {
    pairs: BTreeMap<String, Value>,
    /// Keys that expire.
    mortal: BTreeMap<String, (Value, Option<Span>)>,
    /// Some may be empty: those are not there.
    scopes: BTreeMap<Place, BTreeMap<String, Entry>>,
    /// How many entries a scope may hold. It outlives the scope.
    quotas: BTreeMap<StateScope, u64>,
}

#[derive(Debug, Clone)]
struct Entry {
    vector: u32,
    metadata: u32,
    created_at: Span,
    updated_at: Span,
    event_time: Option<i64>,
    expires_at: Option<Span>,
}

/// What the checker found of it.
#[derive(Debug, Clone, Default)]
pub(super) struct Found {
    pub(super) pairs: BTreeMap<String, Value>,
    /// Keys that expire, and when.
    pub(super) mortal: BTreeMap<String, (Value, Option<i64>)>,
    /// When keys were read.
    pub(super) keys_read: Span,
    pub(super) scopes: BTreeMap<Place, FoundScope>,
    pub(super) quotas: BTreeMap<StateScope, u64>,
    /// When it was read which scopes a space has.
    pub(super) listed: BTreeMap<usize, Span>,
}

#[derive(Debug, Clone)]
pub(super) struct FoundScope {
    pub(super) when: Span,
    pub(super) entries: BTreeMap<String, StoredEntry>,
}

/// Whether an entry can be seen at some time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Sight {
    Seen,
    Unknown,
    Gone,
}

impl Span {
    /// Whether a moment lies inside.
    fn has(self, moment: i64) -> bool {
        (self.from..=self.to).contains(&moment)
    }

    fn later_by(self, millis: i64) -> Self {
        Self {
            from: self.from + millis,
            to: self.to + millis,
        }
    }
}

impl Entry {
    fn sight(&self, when: Span) -> Sight {
        sight(self.expires_at, when)
    }
}

impl Life {
    /// When something ends that is written at `when`.
    fn expires_at(self, when: Span) -> Option<Span> {
        match self {
            Self::Forever => None,
            Self::For(millis) => Some(when.later_by(millis.into())),
            Self::Until(moment) => Some(Span {
                from: moment,
                to: moment,
            }),
        }
    }
}

fn sight(expires_at: Option<Span>, when: Span) -> Sight {
    match expires_at {
        Some(end) if when.from >= end.to => Sight::Gone,
        Some(end) if when.to >= end.from => Sight::Unknown,
        Some(_) | None => Sight::Seen,
    }
}

/// How many of so many can be seen: at least, and at most.
fn span_of(sights: impl Iterator<Item = Sight>) -> RangeInclusive<u64> {
    let (mut least, mut most) = (0, 0);
    for sight in sights {
        least += u64::from(sight == Sight::Seen);
        most += u64::from(sight != Sight::Gone);
    }
    least..=most
}

impl Territory {
    /// Does what a call does. `outcome` is what it returned; none if it was under way at the kill.
    ///
    /// # Errors
    ///
    /// If it cannot have returned that.
    pub(super) fn apply(&mut self, operation: &Operation, when: Span, outcome: Option<&Outcome>) -> Result<(), String> {
        let possible: Vec<Outcome> = match operation {
            Operation::Write(changes) => vec![Outcome::Count(self.write(changes, when))],
            Operation::Swap { key, expected, new } => {
                let is_expected = self.pairs.get(key) == expected.as_ref();
                if is_expected {
                    match new {
                        Some(value) => drop(self.pairs.insert(key.clone(), value.clone())),
                        None => drop(self.pairs.remove(key)),
                    }
                }
                vec![Outcome::Swapped(is_expected)]
            }
            Operation::Entries { space, kind, entries } => {
                if *kind == EntriesKind::Insert && entries.iter().any(|new| self.has(*space, new, when)) {
                    vec![Outcome::Exists]
                } else {
                    let possible = self.admissions(*space, entries, when);
                    // Where both are possible it is as it is said; unsaid, it may have been written.
                    let is_written = match outcome {
                        Some(outcome) => *outcome == Outcome::Done,
                        None => possible.contains(&Outcome::Done),
                    };
                    if is_written {
                        entries.iter().for_each(|new| self.put(*space, new, when));
                    }
                    possible
                }
            }
            Operation::Metadata {
                space,
                scope,
                id,
                metadata,
            } => {
                let place = (*space, scope.clone());
                let entry = self.scopes.get_mut(&place).and_then(|scope| scope.get_mut(id));
                match entry {
                    Some(entry) => {
                        entry.metadata = *metadata;
                        entry.updated_at = when;
                        vec![Outcome::Done]
                    }
                    None => vec![Outcome::NotFound],
                }
            }
            Operation::Touch {
                space,
                scope,
                ids,
                life,
            } => {
                let scope = self.scopes.entry((*space, scope.clone()));
                match scope {
                    std::collections::btree_map::Entry::Occupied(mut scope) => {
                        touch(scope.get_mut(), ids, life.expires_at(when), when, outcome)
                    }
                    std::collections::btree_map::Entry::Vacant(_) => {
                        touch(&mut BTreeMap::new(), ids, None, when, outcome)
                    }
                }
            }
            Operation::Remove { space, scope, ids } => {
                let mut removed: Vec<Entry> = Vec::new();
                if let Some(scope) = self.scopes.get_mut(&(*space, scope.clone())) {
                    removed.extend(ids.iter().filter_map(|id| scope.remove(id)));
                }
                counts(&removed, when)
            }
            Operation::RemoveMatching { space, scope, tag } => {
                let mut removed: Vec<Entry> = Vec::new();
                if let Some(scope) = self.scopes.get_mut(&(*space, scope.clone())) {
                    let matching = scope.extract_if(.., |_, entry| tag_number(entry.metadata) == *tag);
                    removed.extend(matching.map(|(_, entry)| entry));
                }
                counts(&removed, when)
            }
            Operation::Quota { scope, vectors } => {
                match vectors {
                    Some(count) => drop(self.quotas.insert(scope.clone(), *count)),
                    None => drop(self.quotas.remove(scope)),
                }
                vec![Outcome::Done]
            }
            Operation::DropScope { space, scope } => {
                let dropped = self.scopes.remove(&(*space, scope.clone())).unwrap_or_default();
                counts(&dropped.into_values().collect::<Vec<_>>(), when)
            }
            Operation::DropScopes { space, scopes } => {
                let dropped = scopes
                    .iter()
                    .filter_map(|scope| self.scopes.remove(&(*space, scope.clone())));
                let entries: Vec<Entry> = dropped.flat_map(BTreeMap::into_values).collect();
                counts(&entries, when)
            }
            Operation::DropSpace { space } => {
                self.scopes.retain(|(of, _), _| of != space);
                vec![Outcome::Done]
            }
        };
        match outcome {
            Some(outcome) if !possible.contains(outcome) => Err(format!(
                "a call returned {outcome:?}, not one of {possible:?}: {operation:?}"
            )),
            Some(_) | None => Ok(()),
        }
    }

    fn write(&mut self, changes: &[KeyChange], when: Span) -> u64 {
        let mut deleted = 0;
        for change in changes {
            match change {
                KeyChange::Set(key, value) => drop(self.pairs.insert(key.clone(), value.clone())),
                KeyChange::SetMortal(key, value, life) => {
                    self.mortal.insert(key.clone(), (value.clone(), life.expires_at(when)));
                }
                KeyChange::Delete(key) => deleted += u64::from(self.pairs.remove(key).is_some()),
                KeyChange::DeletePrefix(prefix) => {
                    let before = self.pairs.len();
                    self.pairs.retain(|key, _| !key.starts_with(prefix));
                    deleted += (before - self.pairs.len()) as u64;
                }
            }
        }
        deleted
    }

    /// Whether an id exists. Those that are inserted never expire, so it is known.
    fn has(&self, space: usize, new: &NewEntry, when: Span) -> bool {
        let scope = self.scopes.get(&(space, new.scope.clone()));
        let entry = scope.and_then(|scope| scope.get(&new.id));
        entry.is_some_and(|entry| entry.sight(when) == Sight::Seen)
    }

    /// What may come of writing entries, by the quotas of their scopes: what expires about now counts, or does not.
    fn admissions(&self, space: usize, entries: &[NewEntry], when: Span) -> Vec<Outcome> {
        let (mut is_admitted, mut is_refused) = (true, false);
        for (scope, limit) in &self.quotas {
            let new: Vec<&NewEntry> = entries.iter().filter(|new| new.scope == *scope).collect();
            if new.is_empty() {
                continue;
            }
            let nothing = BTreeMap::new();
            let old = self.scopes.get(&(space, scope.clone())).unwrap_or(&nothing);
            let is_new = |id: &String| new.iter().any(|new| new.id == *id);
            let sights = |replaced: bool| {
                let those = old.iter().filter(move |(id, _)| is_new(id) == replaced);
                span_of(those.map(|(_, entry)| entry.sight(when)))
            };
            let (others, replaced) = (sights(false), sights(true));
            let came = span_of(
                new.iter()
                    .map(|new| new.life.expires_at(when))
                    .map(|end| sight(end, when)),
            );
            let mut verdicts = (false, false);
            for others in others.clone() {
                for (replaced, came) in replaced.clone().flat_map(|r| came.clone().map(move |c| (r, c))) {
                    let is_over = others + came > *limit && came > replaced;
                    verdicts = (verdicts.0 || !is_over, verdicts.1 || is_over);
                }
            }
            is_admitted &= verdicts.0;
            is_refused |= verdicts.1;
        }
        let possible = [(is_admitted, Outcome::Done), (is_refused, Outcome::Exceeded)];
        possible
            .into_iter()
            .filter_map(|(is_possible, outcome)| is_possible.then_some(outcome))
            .collect()
    }

    fn put(&mut self, space: usize, new: &NewEntry, when: Span) {
        let scope = self.scopes.entry((space, new.scope.clone())).or_default();
        let created_at = match scope.get(&new.id) {
            Some(old) => match old.sight(when) {
                Sight::Seen => old.created_at,
                Sight::Unknown => Span {
                    from: old.created_at.from,
                    to: when.to,
                },
                Sight::Gone => when,
            },
            None => when,
        };
        let entry = Entry {
            vector: new.vector,
            metadata: new.metadata,
            created_at,
            updated_at: when,
            event_time: new.event_time,
            expires_at: new.life.expires_at(when),
        };
        scope.insert(new.id.clone(), entry);
    }

    /// The first thing in which what was found is not this.
    pub(super) fn difference(&self, found: &Found) -> Option<String> {
        for key in self.pairs.keys().chain(found.pairs.keys()) {
            let (owed, got) = (self.pairs.get(key), found.pairs.get(key));
            if owed != got {
                return Some(format!("key `{key}`: owed {owed:?}, found {got:?}"));
            }
        }
        for key in self.mortal.keys().chain(found.mortal.keys()) {
            let (owed, got) = (self.mortal.get(key), found.mortal.get(key));
            let sight = owed.map_or(Sight::Gone, |(_, end)| sight(*end, found.keys_read));
            let is_right = match (owed, got) {
                (_, None) => sight != Sight::Seen,
                (Some((value, end)), Some((got, moment))) => {
                    let is_end = match (end, moment) {
                        (Some(span), Some(moment)) => span.has(*moment),
                        (end, moment) => end.is_none() && moment.is_none(),
                    };
                    sight != Sight::Gone && value == got && is_end
                }
                (None, Some(_)) => false,
            };
            if !is_right {
                let when = found.keys_read;
                return Some(format!("key `{key}` at {when:?}: owed {owed:?}, found {got:?}"));
            }
        }
        if self.quotas != found.quotas {
            return Some(format!("quotas: owed {:?}, found {:?}", self.quotas, found.quotas));
        }
        for place in self.scopes.keys().chain(found.scopes.keys()) {
            let (space, scope) = place;
            let in_place = |detail: String| Some(format!("space {space}, scope {scope}: {detail}"));
            let none = BTreeMap::new();
            let owed = self.scopes.get(place).unwrap_or(&none);
            let listed = found.listed.get(space).copied();
            let may_be_gone = |entry: &Entry| listed.is_some_and(|when| entry.sight(when) != Sight::Seen);
            let must_be_gone = |entry: &Entry| listed.is_some_and(|when| entry.sight(when) == Sight::Gone);
            let got = match found.scopes.get(place) {
                None if owed.values().all(may_be_gone) => continue,
                None => return in_place("the scope is missing".to_string()),
                // The scope of all is there as long as anybody has something in it.
                Some(got) if scope_owner(scope) == Owner::All => got,
                Some(_) if owed.values().all(must_be_gone) => return in_place("the scope is there again".to_string()),
                Some(got) => got,
            };
            for id in owed.keys().chain(got.entries.keys()) {
                if let Some(detail) = entry_difference(owed.get(id), got.entries.get(id), got.when) {
                    return in_place(format!("entry `{id}`: {detail}"));
                }
            }
        }
        None
    }

    /// What was found, which is this: so times are known exactly from now on, and what has expired must never be seen
    /// again.
    pub(super) fn settle(&mut self, found: &Found) {
        self.mortal.retain(|key, (_, end)| {
            let got = found.mortal.get(key);
            *end = got.and_then(|(_, moment)| *moment).map(|moment| Span {
                from: moment,
                to: moment,
            });
            got.is_some()
        });
        for (place, scope) in &mut self.scopes {
            let got = found.scopes.get(place).map(|scope| &scope.entries);
            scope.retain(|id, entry| {
                let Some(stored) = got.and_then(|entries| entries.get(id)) else {
                    return false;
                };
                let exactly = |moment| Span {
                    from: moment,
                    to: moment,
                };
                entry.created_at = exactly(stored.created_at);
                entry.updated_at = exactly(stored.updated_at);
                entry.expires_at = stored.expires_at.map(exactly);
                true
            });
        }
    }

    /// Keys and entries that are owed.
    pub(super) fn len(&self) -> usize {
        self.pairs.len() + self.mortal.len() + self.scopes.values().map(BTreeMap::len).sum::<usize>()
    }
}

/// Gives entries another end, and says what that may return. Of what may have ended before it is what the call said.
fn touch(
    scope: &mut BTreeMap<String, Entry>,
    ids: &[String],
    end: Option<Span>,
    when: Span,
    outcome: Option<&Outcome>,
) -> Vec<Outcome> {
    let mut different: Vec<&String> = Vec::new();
    ids.iter().for_each(|id| {
        if !different.contains(&id) {
            different.push(id);
        }
    });
    let mut possible: Vec<Vec<String>> = vec![Vec::new()];
    for id in different {
        let sight = scope.get(id).map_or(Sight::Gone, |entry| entry.sight(when));
        possible = match sight {
            Sight::Seen => possible,
            Sight::Gone => possible
                .into_iter()
                .map(|ids| [ids, vec![id.clone()]].concat())
                .collect(),
            Sight::Unknown => {
                let either = |ids: Vec<String>| [ids.clone(), [ids, vec![id.clone()]].concat()];
                possible.into_iter().flat_map(either).collect()
            }
        };
        let is_missing = match outcome {
            Some(Outcome::Missing(missing)) => missing.contains(id),
            _ => sight == Sight::Gone,
        };
        if is_missing {
            scope.remove(id);
        } else if let Some(entry) = scope.get_mut(id) {
            // In flight, and perhaps over: then it may have either end.
            entry.expires_at = match (outcome, sight, entry.expires_at, end) {
                (None, Sight::Unknown, Some(before), Some(after)) => Some(Span {
                    from: before.from.min(after.from),
                    to: before.to.max(after.to),
                }),
                _ => end,
            };
        }
    }
    possible.into_iter().map(Outcome::Missing).collect()
}

fn counts(removed: &[Entry], when: Span) -> Vec<Outcome> {
    let count = |sight| removed.iter().filter(|entry| entry.sight(when) == sight).count() as u64;
    let least = count(Sight::Seen);
    (least..=least + count(Sight::Unknown)).map(Outcome::Count).collect()
}

fn entry_difference(owed: Option<&Entry>, got: Option<&StoredEntry>, when: Span) -> Option<String> {
    let (owed, got) = match (owed, got) {
        (None, None) => return None,
        (None, Some(got)) => return Some(format!("nobody owes it, found {got:?}")),
        (Some(owed), None) if owed.sight(when) == Sight::Seen => return Some(format!("it is missing, owed {owed:?}")),
        (Some(_), None) => return None,
        (Some(owed), Some(got)) => (owed, got),
    };
    let has_expired = owed.sight(when) == Sight::Gone;
    let is_same = got.vector == Some(owed.vector)
        && got.metadata == Some(owed.metadata)
        && owed.created_at.has(got.created_at)
        && owed.updated_at.has(got.updated_at)
        && owed.event_time == got.event_time
        && match (owed.expires_at, got.expires_at) {
            (None, None) => true,
            (Some(span), Some(moment)) => span.has(moment),
            (None, Some(_)) | (Some(_), None) => false,
        };
    (has_expired || !is_same).then(|| format!("owed {owed:?} at {when:?}, found {got:?}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    const WHEN: Span = Span { from: 1_000, to: 1_010 };
    const LATER: Span = Span { from: 5_000, to: 5_010 };

    fn set(key: &str, seed: u64) -> KeyChange {
        KeyChange::Set(key.to_string(), Value::made(seed, 8))
    }

    fn scope() -> StateScope {
        StateScope::User("0/a".to_string())
    }

    fn upsert(ids: &[&str], life: Life) -> Operation {
        let entry = |id: &&str| NewEntry {
            scope: scope(),
            id: id.to_string(),
            vector: 7,
            metadata: 8,
            event_time: None,
            life,
        };
        Operation::Entries {
            space: 0,
            kind: EntriesKind::Upsert,
            entries: ids.iter().map(entry).collect(),
        }
    }

    fn territory(operations: &[Operation]) -> Territory {
        let mut territory = Territory::default();
        for operation in operations {
            territory.apply(operation, WHEN, None).unwrap();
        }
        territory
    }

    /// What a store has that kept all of it, read at `when`.
    fn kept(territory: &Territory, when: Span) -> Found {
        let stored = |(id, entry): (&String, &Entry)| {
            let stored = StoredEntry {
                id: id.clone(),
                vector: Some(entry.vector),
                metadata: Some(entry.metadata),
                created_at: entry.created_at.from,
                updated_at: entry.updated_at.from,
                event_time: entry.event_time,
                expires_at: entry.expires_at.map(|span| span.from),
            };
            (id.clone(), stored)
        };
        let scopes = territory.scopes.iter().map(|(place, scope)| {
            let entries = scope.iter().map(stored).collect();
            (place.clone(), FoundScope { when, entries })
        });
        Found {
            pairs: territory.pairs.clone(),
            mortal: territory
                .mortal
                .iter()
                .map(|(key, (value, end))| (key.clone(), (value.clone(), end.map(|span| span.from))))
                .collect(),
            keys_read: when,
            scopes: scopes.collect(),
            quotas: territory.quotas.clone(),
            listed: BTreeMap::from([(0, when)]),
        }
    }

    #[test]
    fn a_lost_a_changed_and_a_returned_key_are_found() {
        let owed = territory(&[Operation::Write(vec![set("0/a", 1), set("0/b", 2)])]);
        let good = kept(&owed, LATER);
        assert_eq!(owed.difference(&good), None);

        let mut lost = good.clone();
        lost.pairs.remove("0/b");
        assert!(owed.difference(&lost).unwrap().contains("`0/b`"));
        let mut changed = good.clone();
        changed.pairs.insert("0/a".to_string(), Value::made(3, 8));
        assert!(owed.difference(&changed).unwrap().contains("`0/a`"));
        let mut returned = good;
        returned.pairs.insert("0/c".to_string(), Value::made(1, 8));
        assert!(owed.difference(&returned).unwrap().contains("`0/c`"));
    }

    #[test]
    fn a_lost_a_changed_and_a_returned_entry_are_found_and_so_is_a_dropped_scope() {
        let owed = territory(&[upsert(&["0:1", "0:2"], Life::Forever)]);
        let good = kept(&owed, LATER);
        assert_eq!(owed.difference(&good), None);
        let place = (0, scope());
        let with = |change: &dyn Fn(&mut BTreeMap<String, StoredEntry>)| {
            let mut found = good.clone();
            change(&mut found.scopes.get_mut(&place).unwrap().entries);
            owed.difference(&found).unwrap()
        };
        assert!(with(&|entries| drop(entries.remove("0:2"))).contains("it is missing"));
        assert!(with(&|entries| entries.get_mut("0:1").unwrap().vector = None).contains("owed"));
        assert!(with(&|entries| entries.get_mut("0:1").unwrap().updated_at = 1_011).contains("owed"));
        assert!(
            with(&|entries| {
                let other = entries["0:1"].clone();
                entries.insert("0:3".to_string(), other);
            })
            .contains("nobody owes it")
        );

        let dropped = territory(&[
            upsert(&["0:1"], Life::Forever),
            Operation::DropScope {
                space: 0,
                scope: scope(),
            },
        ]);
        assert!(dropped.difference(&good).unwrap().contains("there again"));
        assert!(owed.difference(&Found::default()).unwrap().contains("missing"));
        for all in [
            Operation::DropScopes {
                space: 0,
                scopes: vec![StateScope::Global, scope()],
            },
            Operation::DropSpace { space: 0 },
        ] {
            let gone = territory(&[upsert(&["0:1"], Life::Forever), all]);
            assert!(gone.difference(&good).unwrap().contains("there again"));
            assert_eq!(gone.difference(&Found::default()), None);
        }
    }

    #[test]
    fn a_scope_may_be_missing_once_its_last_entry_may_have_ended_and_must_be_once_it_has() {
        let owed = territory(&[upsert(&["0:mortal-1"], Life::For(100))]);
        let listed = |from, to| {
            let mut there = kept(&owed, Span { from, to });
            there.scopes.get_mut(&(0, scope())).unwrap().entries.clear();
            let mut missing = there.clone();
            missing.scopes.clear();
            (owed.difference(&missing).is_none(), owed.difference(&there).is_none())
        };
        assert_eq!(listed(1_050, 1_060), (false, false), "it lives, and its entry too");
        assert_eq!(listed(1_095, 1_105), (true, true));
        assert_eq!(listed(1_110, 1_120), (true, false));
        let removed = Operation::Remove {
            space: 0,
            scope: scope(),
            ids: vec!["0:1".to_string()],
        };
        let emptied = territory(&[upsert(&["0:1"], Life::Forever), removed]);
        assert!(
            emptied
                .difference(&kept(&emptied, LATER))
                .unwrap()
                .contains("there again")
        );
        assert_eq!(emptied.difference(&Found::default()), None);
    }

    #[test]
    fn an_entry_is_owed_until_it_may_have_expired_and_forbidden_once_it_must_have() {
        let owed = territory(&[upsert(&["0:mortal-1"], Life::For(100))]);
        let seen_at = |from, to| owed.difference(&kept(&owed, Span { from, to })).is_none();
        let missing_at = |from, to| {
            let mut found = kept(&owed, Span { from, to });
            // Which scopes there are was read before.
            found.listed.insert(0, WHEN);
            found.scopes.get_mut(&(0, scope())).unwrap().entries.clear();
            owed.difference(&found).is_none()
        };
        assert!(seen_at(1_050, 1_060) && !missing_at(1_050, 1_060));
        assert!(seen_at(1_095, 1_105) && missing_at(1_095, 1_105));
        assert!(!seen_at(1_110, 1_120) && missing_at(1_110, 1_120));
    }

    #[test]
    fn what_has_expired_is_not_forgiven_when_it_comes_back() {
        let mut owed = territory(&[upsert(&["0:mortal-1"], Life::For(100))]);
        let back = kept(&owed, LATER);
        let mut gone = back.clone();
        gone.scopes.clear();
        assert_eq!(owed.difference(&gone), None);
        owed.settle(&gone);
        assert!(owed.difference(&back).unwrap().contains("there again"));
    }

    #[test]
    fn a_call_that_returns_what_cannot_be_is_found() {
        let mut owed = territory(&[Operation::Write(vec![set("0/a", 1)])]);
        let delete = Operation::Write(vec![KeyChange::Delete("0/a".to_string())]);
        assert!(owed.clone().apply(&delete, WHEN, Some(&Outcome::Count(0))).is_err());
        assert!(
            owed.clone()
                .apply(&delete, WHEN, Some(&Outcome::Failed("disk".to_string())))
                .is_err()
        );
        owed.apply(&delete, WHEN, Some(&Outcome::Count(1))).unwrap();
        assert_eq!(owed.len(), 0);
    }

    #[test]
    fn a_quota_refuses_what_is_too_much_and_what_expires_about_now_may_count_or_not() {
        let quota = Operation::Quota {
            scope: scope(),
            vectors: Some(2),
        };
        let mut owed = territory(&[
            quota,
            upsert(&["0:1"], Life::Forever),
            upsert(&["0:m"], Life::For(3_995)),
        ]);
        let possible = |ids: &[&str], when| {
            let Operation::Entries { entries, .. } = upsert(ids, Life::Forever) else {
                unreachable!()
            };
            owed.admissions(0, &entries, when)
        };
        let early = Span { from: 2_000, to: 2_001 };
        assert_eq!(possible(&["0:1"], early), [Outcome::Done]);
        assert_eq!(possible(&["0:2"], early), [Outcome::Exceeded]);
        let about = Span { from: 4_999, to: 5_001 };
        assert_eq!(possible(&["0:2"], about), [Outcome::Done, Outcome::Exceeded]);
        let late = Span { from: 6_000, to: 6_001 };
        assert_eq!(possible(&["0:2"], late), [Outcome::Done]);
        assert_eq!(possible(&["0:2", "0:3"], late), [Outcome::Exceeded]);

        let new = upsert(&["0:2"], Life::Forever);
        assert!(owed.clone().apply(&new, early, Some(&Outcome::Done)).is_err());
        owed.apply(&new, early, Some(&Outcome::Exceeded)).unwrap();
        assert!(owed.clone().apply(&new, late, Some(&Outcome::Exceeded)).is_err());
        assert_eq!(owed.len(), 2, "what was refused is not owed");
        let lost = Found {
            quotas: BTreeMap::new(),
            ..kept(&owed, early)
        };
        assert!(owed.difference(&lost).unwrap().contains("quotas"));
    }

    #[test]
    fn a_key_is_owed_until_it_may_have_expired_and_forbidden_once_it_must_have() {
        let mortal = |life| KeyChange::SetMortal("0/mortal-1".to_string(), Value::made(1, 8), life);
        let owed = territory(&[Operation::Write(vec![mortal(Life::For(100))])]);
        let difference = |from, to, is_there: bool| {
            let mut found = kept(&owed, Span { from, to });
            found.mortal.retain(|_, _| is_there);
            owed.difference(&found)
        };
        assert!(difference(1_050, 1_060, true).is_none() && difference(1_050, 1_060, false).is_some());
        assert!(difference(1_095, 1_105, true).is_none() && difference(1_095, 1_105, false).is_none());
        assert!(difference(1_110, 1_120, true).is_some() && difference(1_110, 1_120, false).is_none());
        let cleared = territory(&[Operation::Write(vec![mortal(Life::For(100)), mortal(Life::Forever)])]);
        assert!(cleared.difference(&kept(&owed, WHEN)).is_some(), "its end was cleared");
        assert!(cleared.difference(&kept(&cleared, LATER)).is_none());
    }

    #[test]
    fn a_touch_moves_the_end_and_names_what_is_not_there() {
        let touch = |life| Operation::Touch {
            space: 0,
            scope: scope(),
            ids: ["0:mortal-1", "0:mortal-2", "0:mortal-1"].map(String::from).into(),
            life,
        };
        let mut owed = territory(&[upsert(&["0:mortal-1"], Life::For(100))]);
        let missing = |ids: &[&str]| Outcome::Missing(ids.iter().map(ToString::to_string).collect());
        let later = touch(Life::For(10_000));
        assert!(owed.clone().apply(&later, WHEN, Some(&missing(&[]))).is_err());
        assert!(
            owed.clone()
                .apply(&later, WHEN, Some(&missing(&["0:mortal-1", "0:mortal-2"])))
                .is_err()
        );
        let about = Span { from: 1_095, to: 1_105 };
        owed.clone()
            .apply(&later, about, Some(&missing(&["0:mortal-1", "0:mortal-2"])))
            .unwrap();
        let before = kept(&owed, LATER);
        owed.apply(&later, WHEN, Some(&missing(&["0:mortal-2"]))).unwrap();
        assert!(owed.difference(&before).is_some(), "it has another end");
        assert!(owed.difference(&kept(&owed, LATER)).is_none(), "it lives on");
    }

    #[test]
    fn half_a_batch_is_neither_before_nor_after() {
        let before = Territory::default();
        let mut after = before.clone();
        after
            .apply(&upsert(&["0:1", "0:2"], Life::Forever), WHEN, None)
            .unwrap();
        let mut half = kept(&after, LATER);
        half.scopes.get_mut(&(0, scope())).unwrap().entries.remove("0:2");
        assert!(before.difference(&half).is_some() && after.difference(&half).is_some());
    }
}
