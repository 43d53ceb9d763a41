//! What should come of a call? A map, and a sort.

use std::collections::{BTreeMap, BTreeSet};

use llmspell_storage::{StateScope, StorageError};

use crate::program::{Content, DIM, Entry, Seen, Step, floats, id, scope};

/// What should be there: a map, and a sort.
#[derive(Debug, Default)]
pub(crate) struct Model {
    entries: BTreeMap<(StateScope, String), (Vec<f32>, u8)>,
    values: BTreeMap<String, Vec<u8>>,
    quotas: BTreeMap<u8, u64>,
}

impl Model {
    pub(crate) fn run(&mut self, step: &Step) -> Seen {
        match step {
            Step::Insert(entries) => self.write(entries, true),
            Step::Upsert(entries) => self.write(entries, false),
            Step::Delete { scope: of, ids } => {
                let gone = ids
                    .iter()
                    .filter(|number| self.entries.remove(&(scope(*of), id(**number))).is_some());
                Seen::Count(gone.count() as u64)
            }
            Step::UpdateMetadata {
                scope: of,
                id: number,
                color,
            } => match self.entries.get_mut(&(scope(*of), id(*number))) {
                Some(entry) => {
                    entry.1 = *color;
                    Seen::Done(true)
                }
                None => Seen::Refused(StorageError::NotFound { id: id(*number) }.to_string()),
            },
            Step::DropScope { scope: of } => {
                let before = self.entries.len();
                self.entries.retain(|(owner, _), _| *owner != scope(*of));
                Seen::Count((before - self.entries.len()) as u64)
            }
            Step::Search {
                scope: of,
                query,
                k,
                color,
                threshold,
            } => {
                let mut hits: Vec<(String, f32, f32, u64)> = self
                    .of(*of)
                    .filter(|(_, entry)| color.is_none_or(|color| entry.1 == color))
                    .map(|(id, entry)| {
                        let distance = distance(&entry.0, *query);
                        (id.clone(), 1.0 / (1.0 + distance), distance, u64::from(entry.1))
                    })
                    .filter(|hit| threshold.is_none_or(|threshold| hit.1 >= score(threshold)))
                    .collect();
                hits.sort_by(|a, b| a.2.total_cmp(&b.2).then_with(|| a.0.cmp(&b.0)));
                hits.truncate(*k);
                Seen::Hits(hits)
            }
            Step::SearchScopes { scopes, query, k } => {
                let mut hits = Vec::new();
                for (place, of) in scopes.iter().enumerate() {
                    if !scopes[..place].contains(of) {
                        let found = self
                            .of(*of)
                            .map(|(id, entry)| (distance(&entry.0, *query), place, id.clone()));
                        hits.extend(found);
                    }
                }
                hits.sort_by(|a, b| a.0.total_cmp(&b.0).then_with(|| (a.1, &a.2).cmp(&(b.1, &b.2))));
                hits.truncate(*k);
                let seen = |(distance, place, id)| (scope(scopes[place]), id, distance);
                Seen::HitsOfScopes(hits.into_iter().map(seen).collect())
            }
            Step::Page {
                scope: of,
                after,
                limit,
            } => {
                let after = after.map(id);
                Seen::Entries(
                    self.of(*of)
                        .filter(|(id, _)| after.as_ref().is_none_or(|after| *id > after))
                        .take(*limit)
                        .map(|(id, entry)| (id.clone(), entry.0.clone(), u64::from(entry.1)))
                        .collect(),
                )
            }
            Step::Count { scope: of, colors } => {
                let matching = self.of(*of).filter(|(_, entry)| colors.pass(entry.1));
                Seen::Count(matching.count() as u64)
            }
            Step::PageMatching {
                scope: of,
                colors,
                after,
                limit,
            } => {
                let after = after.map(id);
                let matching = self.of(*of).filter(|(_, entry)| colors.pass(entry.1));
                let later = matching.filter(|(id, _)| after.as_ref().is_none_or(|after| *id > after));
                let page = later.take(*limit);
                Seen::Entries(
                    page.map(|(id, entry)| (id.clone(), entry.0.clone(), u64::from(entry.1)))
                        .collect(),
                )
            }
            Step::DeleteMatching { scope: of, colors } => {
                let before = self.entries.len();
                self.entries
                    .retain(|(owner, _), entry| *owner != scope(*of) || !colors.pass(entry.1));
                Seen::Count((before - self.entries.len()) as u64)
            }
            Step::Facet { scope: of, colors } => {
                let mut counts = BTreeMap::new();
                for (_, entry) in self.of(*of).filter(|(_, entry)| colors.pass(entry.1)) {
                    *counts.entry(entry.1.to_string()).or_default() += 1;
                }
                Seen::Counts(counts)
            }
            Step::Set { key, value } => {
                self.values.insert(id(*key), vec![*value]);
                Seen::Done(true)
            }
            Step::Remove { key } => Seen::Done(self.values.remove(&id(*key)).is_some()),
            Step::Swap { key, expected, new } => {
                let matches = self.values.get(&id(*key)) == expected.map(|value| vec![value]).as_ref();
                if matches {
                    match new {
                        Some(value) => drop(self.values.insert(id(*key), vec![*value])),
                        None => drop(self.values.remove(&id(*key))),
                    }
                }
                Seen::Done(matches)
            }
            Step::SetQuota { scope: of, vectors } => Seen::Done(match vectors {
                Some(count) => {
                    self.quotas.insert(*of, u64::from(*count));
                    true
                }
                None => self.quotas.remove(of).is_some(),
            }),
            Step::Reopen | Step::BuildIndex | Step::OptimizeIndex | Step::DamageIndexes(_) => Seen::Done(true),
        }
    }

    fn write(&mut self, entries: &[Entry], refuse: bool) -> Seen {
        for (second, entry) in entries.iter().enumerate() {
            let is_same = |other: &Entry| (other.scope, other.id) == (entry.scope, entry.id);
            if let Some(first) = entries[..second].iter().position(is_same) {
                return Seen::Refused(
                    StorageError::DuplicateId {
                        id: id(entry.id),
                        first,
                        second,
                    }
                    .to_string(),
                );
            }
        }
        let key = |entry: &Entry| (scope(entry.scope), id(entry.id));
        if let Some(entry) = entries
            .iter()
            .find(|entry| refuse && self.entries.contains_key(&key(entry)))
        {
            return Seen::Refused(StorageError::IdExists { id: id(entry.id) }.to_string());
        }
        // In the order in which the batch names them.
        for (place, Entry { scope: of, .. }) in entries.iter().enumerate() {
            let is_named_before = entries[..place].iter().any(|entry| entry.scope == *of);
            if let (Some(limit), false) = (self.quotas.get(of), is_named_before) {
                let mut after: BTreeSet<String> = self.of(*of).map(|(id, _)| id.clone()).collect();
                let used = after.len() as u64;
                for entry in entries.iter().filter(|entry| entry.scope == *of) {
                    if entry.expires == Some(true) {
                        after.remove(&id(entry.id));
                    } else {
                        after.insert(id(entry.id));
                    }
                }
                let after = after.len() as u64;
                if after > *limit && after > used {
                    let refused = StorageError::QuotaExceeded {
                        scope: scope(*of),
                        what: "vectors",
                        limit: *limit,
                        used,
                        asked: after - used,
                    };
                    return Seen::Refused(refused.to_string());
                }
            }
        }
        for entry in entries {
            if entry.expires == Some(true) {
                self.entries.remove(&key(entry));
            } else {
                self.entries.insert(key(entry), (floats(entry.vector), entry.color));
            }
        }
        Seen::Ids(entries.iter().map(|entry| id(entry.id)).collect())
    }

    fn of(&self, number: u8) -> impl Iterator<Item = (&String, &(Vec<f32>, u8))> {
        self.entries
            .iter()
            .filter(move |((owner, _), _)| *owner == scope(number))
            .map(|((_, id), entry)| (id, entry))
    }

    pub(crate) fn content(&self) -> Content {
        (
            self.entries
                .iter()
                .map(|(key, entry)| (key.clone(), entry.0.clone()))
                .collect(),
            self.values.clone(),
        )
    }
}

/// Whole numbers, so the sum is exact and "equal" means equal.
fn distance(vector: &[f32], query: [i8; DIM]) -> f32 {
    let squares: f32 = vector.iter().zip(floats(query)).map(|(a, b)| (a - b) * (a - b)).sum();
    squares.sqrt()
}

/// Thresholds between the scores of near and far vectors.
pub(crate) fn score(threshold: u8) -> f32 {
    1.0 / (1.0 + f32::from(threshold))
}
