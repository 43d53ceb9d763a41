//! The check of the truth: whether all rows agree.

use std::collections::BTreeMap;

use llmspell_core::{Result, StateScope};
use roaring::RoaringBitmap;

use super::{Read, Truth, tables};
use crate::base::error::{corrupted, io_error};
use crate::base::ids::{Extent, Generation, PointId, ScopeId, Slot, SpaceId};
use crate::base::record::TextMark;
use crate::base::report::CheckSection;
use crate::base::stored_value::StoredValue;
use crate::namespace::State;
use crate::slots::{SlotStore, Waiting, layout};
use redb::ReadableTable;

/// Every key-value pair, and that each that expires will be purged.
pub(crate) fn values(read: &Read) -> Result<CheckSection> {
    let mut section = CheckSection::new("key-value data");
    let mut expiring = 0;
    for row in read.table(tables::KV)?.iter().map_err(read.failed())? {
        let (key, value) = row.map_err(read.failed())?;
        let (scope, key) = key.value();
        let place = || format!("value of key `{}`", String::from_utf8_lossy(key));
        let stored = StoredValue::decode(&tables::kv_place(scope, key), value.value());
        let Some(stored) = section.note(stored.map_err(read.malformed(&place)))? else {
            continue;
        };
        if let Some(moment) = stored.expires_at {
            expiring += 1;
            if !read.is_expiring(ScopeId(scope), key, moment)? {
                let problem = corrupted(read.path(), format!("{} would never be purged", place()));
                section.problems.push(problem.to_string());
            }
        }
    }
    let noted = read.expiring_key_count()?;
    if noted != expiring && section.problems.is_empty() {
        let detail = format!("{expiring} keys expire, {noted} are noted in table `expiring_keys`");
        section.problems.push(corrupted(read.path(), detail).to_string());
    }
    Ok(section)
}

/// That a scope has the name that leads to it.
pub(crate) fn scope_name(read: &Read, space: SpaceId, scope: &StateScope, scope_id: ScopeId) -> Result<()> {
    match read.scope_name(scope_id)? {
        Some((named_space, name)) if named_space == space && name == *scope => Ok(()),
        _ => Err(corrupted(
            read.path(),
            format!("table `scope_names` has no `{scope}` for scope {}", scope_id.0),
        )),
    }
}

/// Every entry of a scope: its row, its id, its slot. Slots are copied: in files, they may be written meanwhile; in RAM the
/// caller holds the published `state`, which keeps them as they are.
pub(crate) fn namespace(
    truth: &Truth,
    read: &Read,
    slots: &SlotStore,
    scope: ScopeId,
    state: &State,
    section: &mut CheckSection,
) -> Result<()> {
    let problem = |detail: String| corrupted(read.path(), format!("scope {}: {detail}", scope.0));
    let (mut entries, mut metadata_bytes, mut text_bytes) = (0, 0, 0);
    let mut marks: BTreeMap<PointId, TextMark> = BTreeMap::new();
    let expiring = read.table(tables::EXPIRING)?;
    // Entries of a large batch that is not complete: no reader sees them.
    let of_scope = read.staged()?.into_iter().filter(|staged| staged.scope == scope);
    let staged: RoaringBitmap = of_scope.flat_map(|staged| staged.points).map(|point| point.0).collect();
    let (view, mut bytes) = (slots.view(), Vec::new());
    read.records(scope)?.visit_each(|point, record| {
        if staged.contains(point.0) {
            return Ok(());
        }
        entries += 1;
        let Some(record) = section.note(record)? else {
            return Ok(());
        };
        metadata_bytes += record.metadata.len() as u64;
        text_bytes += record.text.bytes() as u64;
        if !record.text.is_nothing() {
            marks.insert(point, record.text);
        }
        if record.metadata().is_err() {
            section
                .problems
                .push(problem(format!("metadata of entry {} is no JSON object", point.0)).to_string());
        }
        if point.0 >= state.next_point || state.dead.contains(point.0) {
            section
                .problems
                .push(problem(format!("entry {} is not alive", point.0)).to_string());
        }
        if read.point(scope, &record.id)? != Some(point) {
            section
                .problems
                .push(problem(format!("the id of entry {} does not lead to it", point.0)).to_string());
        }
        if let Some(moment) = record.expires_at
            && expiring
                .get((moment.as_millis(), scope.0, point.0))
                .map_err(read.failed())?
                .is_none()
        {
            section
                .problems
                .push(problem(format!("entry {} would never be purged", point.0)).to_string());
        }
        let damage = match state.slot(point) {
            None if record.generation.is_none() && state.without_vector.contains(point.0) => None,
            Some(_) if record.generation.is_none() => {
                Some(problem(format!("entry {} has a slot and no vector", point.0)))
            }
            None => Some(problem(format!("entry {} has no slot", point.0))),
            Some(slot) => {
                view.read(slot, &mut bytes, Waiting::Allowed)
                    .map_err(|source| io_error("read", &slots.path(slot), source))?;
                match layout::verify(slot, scope, &bytes) {
                    Ok(generation) if Some(generation) == record.generation => None,
                    // Written again since the snapshot was taken: the entry does not exist any more.
                    _ if !is_current(truth, scope, point, record.generation)? => None,
                    Ok(_) => Some(corrupted(
                        slots.path(slot),
                        format!("slot {}: wrong generation", slot.0),
                    )),
                    Err(wrong) => Some(corrupted(slots.path(slot), format!("slot {}: {wrong}", slot.0))),
                }
            }
        };
        section.problems.extend(damage.map(|damage| damage.to_string()));
        Ok(())
    })?;
    let mut ids = 0;
    read.visit_ids(scope, None, |_, point| {
        ids += u64::from(!staged.contains(point.0));
        Ok(true)
    })?;
    let live = state.live_count();
    if entries != live || ids != live {
        let detail = format!("{live} points are alive, but there are {entries} entries and {ids} ids");
        section.problems.push(problem(detail).to_string());
    }
    if let Some(texts) = read.texts(scope)? {
        texts.visit_each(|point, text| {
            if staged.contains(point.0) {
                return Ok(());
            }
            let expected = marks.remove(&point);
            if let Some(text) = section.note(text)?
                && expected != Some(TextMark::of(Some(&text)))
            {
                let detail = format!("the text of entry {} is not the one that the entry has", point.0);
                section.problems.push(problem(detail).to_string());
            }
            Ok(())
        })?;
    }
    if let Some(point) = marks.keys().next() {
        let detail = format!("{} entries lack their text, entry {} for one", marks.len(), point.0);
        section.problems.push(problem(detail).to_string());
    }
    if text_bytes != state.text_bytes {
        let detail = format!("{text_bytes} bytes of texts, counted were {}", state.text_bytes);
        section.problems.push(problem(detail).to_string());
    }
    if metadata_bytes != state.metadata_bytes {
        let detail = format!(
            "{metadata_bytes} bytes of metadata, counted were {}",
            state.metadata_bytes
        );
        section.problems.push(problem(detail).to_string());
    }
    Ok(())
}

fn is_current(truth: &Truth, scope: ScopeId, point: PointId, generation: Option<Generation>) -> Result<bool> {
    let now = truth.read()?;
    // A dropped scope gives back its slots before its rows go.
    let is_dropped = match now.scope_name(scope)? {
        Some((space, name)) => now.scope_id(space, &name)? != Some(scope),
        None => true,
    };
    if is_dropped {
        return Ok(false);
    }
    let record = now.records(scope)?.get(point);
    Ok(record.is_ok_and(|record| record.generation == generation))
}

/// Checks that every slot of a space is free or has exactly one owner.
pub(crate) struct SlotUse {
    end: u64,
    /// First slot, length, whose.
    runs: Vec<(u64, u32, String)>,
}

impl SlotUse {
    /// With the free slots of a space.
    pub(crate) fn new(read: &Read, space: SpaceId) -> Result<Self> {
        let free = read
            .free_slots(space)?
            .into_iter()
            .map(|(first, len)| (first, len, "free".to_string()));
        Ok(Self {
            end: read.slot_end(space)?,
            runs: free.collect(),
        })
    }

    /// Notes the owner of these slots.
    pub(crate) fn add(&mut self, extents: &[Extent], owner: &str) {
        self.runs.extend(extents.iter().map(|extent| {
            let Slot(first) = extent.first_slot;
            (first, extent.len, owner.to_string())
        }));
    }

    /// Notes slots with two owners or none.
    pub(crate) fn finish(mut self, section: &mut CheckSection) {
        self.runs.sort_unstable();
        self.runs.push((self.end, 0, "the end".to_string()));
        let mut next = 0;
        let mut before = "the beginning";
        for (first, len, owner) in &self.runs {
            if *first < next {
                section
                    .problems
                    .push(format!("slot {first} belongs to {before} and to {owner}"));
            } else if *first > next {
                section
                    .problems
                    .push(format!("slots {next} to {} have no owner", first - 1));
            }
            next = next.max(first + u64::from(*len));
            before = owner;
        }
    }
}
