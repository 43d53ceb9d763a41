//! Differences between the store's content and the expected content.

use std::collections::BTreeMap;

use super::super::operation::StoredEntry;
use super::super::workload::{Owner, scope_owner};
use super::sight::{Sight, Span, sight};
use super::{Entry, Found, Territory};

impl Territory {
    /// The first difference between the content found and this model.
    pub(in crate::crash) fn difference(&self, found: &Found) -> Option<String> {
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
                // The shared scope exists as long as any writer has entries in it.
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

    /// Takes over times from the content found, which equals the model: from now on they are known exactly, and expired
    /// data must never be seen again.
    pub(in crate::crash) fn settle(&mut self, found: &Found) {
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
