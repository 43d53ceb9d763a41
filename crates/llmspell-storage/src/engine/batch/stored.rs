//! Changes of entries that are stored: their metadata, their end, their deletion.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use llmspell_core::{CompiledFilter, Filter, StateScope, StorageError, Timestamp};

use super::entries::{Stored, of_record, sum_bytes};
use super::pending::ScopeRef;
use super::quotas::Entries;
use super::{Batch, Fail, changing, looking};
use crate::base::ids::{PointId, Slot};
use crate::base::op::{Op, PointChange, Touched};
use crate::base::record::Record;
use crate::engine::request::{NewMetadata, Spaces};
use crate::indexes::texts::Words;
use crate::spaces::registry::Space;

impl Batch<'_> {
    pub(in crate::engine) fn update_metadata(
        &mut self,
        spaces: &Spaces,
        scope: &StateScope,
        id: &str,
        metadata: &NewMetadata,
        now: i64,
    ) -> Result<(), Fail> {
        let is_visible = |(_, record): &(_, Record)| !record.is_expired(Timestamp::from_millis(now));
        let mut found = None;
        for space in self.spaces.of_write(spaces)? {
            if let Some(at) = self.find(&space, scope)?
                && let Some((point, record)) = self.existing(at, id)?.filter(is_visible)
            {
                found = Some((at, point, record));
                break;
            }
        }
        let Some((at, point, mut record)) = found else {
            return Err(Fail::Request(StorageError::NotFound { id: id.to_string() }));
        };
        // Nothing was changed yet: a patch whose result is refused ends this request alone.
        let (metadata, fields) = metadata
            .instead_of(&record, self.shared.truth.path())
            .map_err(looking)?;
        self.admit_metadata(at, (metadata.len(), record.metadata.len()), now)?;
        let op = Op {
            updated: vec![point],
            metadata_bytes_added: sum_bytes([metadata.len()]),
            metadata_bytes_removed: sum_bytes([record.metadata.len()]),
            ..Op::default()
        };
        let scope_id = self.apply(at, &op, now)?;
        let times = record.times();
        let before = std::mem::replace(&mut record.metadata, metadata);
        record.updated_at = Timestamp::from_millis(now);
        self.index_metadata(
            at,
            [(point, &*before, times)],
            [(point, Some(&*fields), record.times())],
        );
        // Texts may be in the metadata: they are read again when words are searched for.
        self.index_texts(at, [], [(point, &Words::Later)]);
        let space = self.scopes[at].space.id;
        self.rows.put_entry(space, scope_id, point, &record).map_err(changing)?;
        self.remove_copies(at, [id], now)
    }

    /// Gives entries another end, or none. Returns the ids that are not there, in their order; what has expired is not. An
    /// end that is no later than before needs no room: what has ended gives room back.
    pub(in crate::engine) fn touch(
        &mut self,
        spaces: &Spaces,
        scope: &StateScope,
        ids: &[String],
        expires_at: Option<Timestamp>,
        now: i64,
    ) -> Result<Vec<String>, Fail> {
        let is_visible = |(_, record): &(_, Record)| !record.is_expired(Timestamp::from_millis(now));
        // Each space with its scope, once that was looked for, and the entries that are found there.
        let spaces = self.spaces.of_write(spaces)?.into_iter();
        let mut found: Vec<(Arc<Space>, Option<ScopeRef>, Stored)> =
            spaces.map(|space| (space, None, Vec::new())).collect();
        let (mut seen, mut missing) = (HashSet::new(), Vec::new());
        'ids: for id in ids.iter().filter(|id| seen.insert(id.as_str())) {
            for (space, at, found) in &mut found {
                if at.is_none() {
                    *at = self.find(space, scope)?;
                }
                if let Some(at) = *at
                    && let Some(entry) = self.existing(at, id)?.filter(is_visible)
                {
                    found.push(entry);
                    continue 'ids;
                }
            }
            missing.push(id.clone());
        }
        let end = |expires_at: Option<Timestamp>| expires_at.map_or(i64::MAX, Timestamp::as_millis);
        let is_longer = |(_, record): &(_, Record)| end(record.expires_at) < end(expires_at);
        if found.iter().flat_map(|(_, _, found)| found).any(is_longer) {
            self.check_room_for_changes()?;
        }
        for (space, at, mut found) in found {
            found.retain(|(_, record)| record.expires_at != expires_at);
            let Some(at) = at.filter(|_| !found.is_empty()) else {
                continue;
            };
            found.sort_by_key(|(point, _)| *point);
            let after = expires_at.map(Timestamp::as_millis);
            let touched = found.iter().map(|(point, record)| Touched {
                point: *point,
                before: record.expires_at.map(Timestamp::as_millis),
                after,
            });
            let op = Op {
                touched: touched.collect(),
                ..Op::default()
            };
            let scope_id = self.apply(at, &op, now)?;
            for (point, record) in &mut found {
                let before = std::mem::replace(&mut record.expires_at, expires_at);
                self.rows
                    .touch_entry(space.id, scope_id, *point, record, before)
                    .map_err(changing)?;
            }
            self.note_expiry(after);
            self.remove_copies(at, found.iter().map(|(_, record)| record.id.as_str()), now)?;
        }
        Ok(missing)
    }

    pub(in crate::engine) fn delete(
        &mut self,
        spaces: &Spaces,
        scope: &StateScope,
        ids: &[String],
        only: Option<&Filter>,
        now: i64,
    ) -> Result<u64, Fail> {
        let mut found = Vec::new();
        for space in self.spaces.of_write(spaces)? {
            let Some(at) = self.find(&space, scope)? else {
                continue;
            };
            let dates = space.dates();
            let only = only.map(|filter| filter.compile(&dates).map_err(|error| Fail::Request(error.into())));
            let of_space = self.matching(at, ids, only.transpose()?.as_ref(), now)?;
            if !of_space.is_empty() {
                self.prepare_to_count(at)?;
                found.push((at, of_space));
            }
        }
        let is_visible = |(_, record): &&(_, Record)| !record.is_expired(Timestamp::from_millis(now));
        let visible = found.iter().flat_map(|(_, found)| found).filter(is_visible).count();
        for (at, found) in found {
            self.remove(at, &found, now).map_err(Fail::of_batch)?;
        }
        Ok(visible as u64)
    }

    /// The entries of a scope that have these ids, and match.
    fn matching(
        &mut self,
        at: ScopeRef,
        ids: &[String],
        only: Option<&CompiledFilter>,
        now: i64,
    ) -> Result<Stored, Fail> {
        let mut found: HashMap<PointId, Record> = HashMap::new();
        for id in ids {
            let Some((point, record)) = self.existing(at, id)? else {
                continue;
            };
            if let Some(filter) = only {
                let metadata = serde_json::from_slice(&record.metadata).map_err(|error| Fail::Request(error.into()))?;
                let matches = filter.matches_with(&metadata, &record.times());
                if record.is_expired(Timestamp::from_millis(now)) || !matches {
                    continue;
                }
            }
            found.insert(point, record);
        }
        let mut found: Stored = found.into_iter().collect();
        found.sort_by_key(|(point, _)| *point);
        Ok(found)
    }

    /// Removes entries that were found in this scope.
    pub(super) fn remove(&mut self, at: ScopeRef, found: &[(PointId, Record)], now: i64) -> Result<(), Fail> {
        if found.is_empty() {
            return Ok(());
        }
        self.prepare_to_count(at)?;
        let op = Op {
            removed: found
                .iter()
                .map(|(point, record)| PointChange {
                    point: *point,
                    expires_at: record.expires_at.map(Timestamp::as_millis),
                })
                .collect(),
            metadata_bytes_removed: sum_bytes(found.iter().map(|(_, record)| record.metadata.len())),
            text_bytes_removed: sum_bytes(found.iter().map(|(_, record)| record.text.bytes())),
            ..Op::default()
        };
        let scope_id = self.apply(at, &op, now)?;
        let removed = found.iter().map(|(point, record)| of_record(*point, record));
        self.index_metadata(at, removed, []);
        self.index_texts(at, found.iter().map(|(point, _)| *point), []);
        for (point, record) in found {
            self.rows.remove_entry(scope_id, *point, record).map_err(changing)?;
        }
        self.count_entries(at, Entries::default(), Entries::stored(found));
        self.remove_copies(at, found.iter().map(|(_, record)| record.id.as_str()), now)
    }

    /// Gives back the slots of a purged scope.
    pub(in crate::engine) fn give_back_slots(&mut self, space: &Space, runs: &[(Slot, u32)]) -> Result<(), Fail> {
        self.slots.give_back(&mut self.rows, space, runs)?;
        self.is_changed = true;
        Ok(())
    }
}
