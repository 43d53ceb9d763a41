//! The model of a store: the content that it must have.
//!
//! Each writer has a [`Territory`] that only it changes, one call after the other, so its content follows from the
//! acknowledged calls. Only for the last call, if it was under way at the kill, it is unknown whether it happened; then
//! the whole territory must be as before it or as after it.
//!
//! Times are known to the interval between the start of a call and its return.
//!
//! | file | question |
//! |---|---|
//! | `mod.rs` | what does a call do to a territory, and what may it return? |
//! | `sight.rs` | what can be seen at some time? |
//! | `difference.rs` | how does the content found differ from the model? |

mod difference;
mod sight;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;

use llmspell_storage::StateScope;

use super::content::{Value, tag_number};
use super::operation::{EntriesKind, KeyChange, NewEntry, Operation, Outcome, StoredEntry};
pub(super) use sight::Span;
use sight::{Sight, sight, span_of};

/// A scope of a space.
pub(super) type Place = (usize, StateScope);

/// The data that one writer owns.
#[derive(Debug, Clone, Default)]
pub(super) struct Territory {
    pairs: BTreeMap<String, Value>,
    /// Keys that expire.
    mortal: BTreeMap<String, (Value, Option<Span>)>,
    /// Some may be empty: those do not exist.
    scopes: BTreeMap<Place, BTreeMap<String, Entry>>,
    /// How many entries a scope may hold. A quota outlives its scope.
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

/// The content of a territory that the checker found.
#[derive(Debug, Clone, Default)]
pub(super) struct Found {
    pub(super) pairs: BTreeMap<String, Value>,
    /// Keys that expire, and when.
    pub(super) mortal: BTreeMap<String, (Value, Option<i64>)>,
    /// When keys were read.
    pub(super) keys_read: Span,
    pub(super) scopes: BTreeMap<Place, FoundScope>,
    pub(super) quotas: BTreeMap<StateScope, u64>,
    /// When the list of scopes of each space was read.
    pub(super) listed: BTreeMap<usize, Span>,
}

#[derive(Debug, Clone)]
pub(super) struct FoundScope {
    pub(super) when: Span,
    pub(super) entries: BTreeMap<String, StoredEntry>,
}

impl Entry {
    fn sight(&self, when: Span) -> Sight {
        sight(self.expires_at, when)
    }
}

impl Territory {
    /// Applies a call. `outcome` is its result; none if it was under way at the kill.
    ///
    /// # Errors
    ///
    /// If the call cannot have had that result.
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
                    // If both results are possible, the returned one decides; without one, it may have been written.
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

    /// Whether an id exists. Inserted entries never expire, so this is known.
    fn has(&self, space: usize, new: &NewEntry, when: Span) -> bool {
        let scope = self.scopes.get(&(space, new.scope.clone()));
        let entry = scope.and_then(|scope| scope.get(&new.id));
        entry.is_some_and(|entry| entry.sight(when) == Sight::Seen)
    }

    /// The possible results of writing entries under the quotas of their scopes: entries that expire about now may
    /// count or not.
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

    /// Number of expected keys and entries.
    pub(super) fn len(&self) -> usize {
        self.pairs.len() + self.mortal.len() + self.scopes.values().map(BTreeMap::len).sum::<usize>()
    }
}

/// Changes when entries expire, and gives the possible results. For entries that may have expired before, the call's
/// result decides.
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
            // Under way at the kill, and perhaps expired: then both expiries are possible.
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
