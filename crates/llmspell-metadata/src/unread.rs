//! Points whose metadata is not in the index yet, and bulk insertion.
//!
//! A writer that changes many points at once only marks them: filters read the metadata of marked points, until a
//! reader inserts all of it together. That takes a third of the time, and none of the writer's.

use std::collections::BTreeMap;
use std::sync::Arc;

use llmspell_core::{EntryTimes, Metadata};
use roaring::RoaringBitmap;

use super::postings::Postings;
use super::{MetadataIndex, Node, forget_missing};

/// Keys that are gathered for each point of the index, within bounds: 25 to 50 bytes each. The more are gathered, the
/// less often each page is written.
const GATHERED_PER_POINT: u64 = 1;
const GATHERED: (u64, u64) = (1 << 16, 1 << 20);

impl MetadataIndex {
    /// Adds a point whose metadata is inserted later: filters read its metadata until then.
    pub fn insert_unread(&mut self, point: u32) {
        let is_new = self.points.insert(point);
        if self.distrusted.contains(point) || self.unread.contains(point) {
            return;
        }
        match is_new {
            true => self.unread.insert(point),
            false => self.distrusted.insert(point),
        };
    }

    /// Removes a point whose metadata is not known.
    pub fn remove_unknown(&mut self, point: u32) {
        if self.unread.remove(point) {
            self.points.remove(point);
            forget_missing(&mut self.fields, point);
        } else if self.points.remove(point) {
            self.distrusted.insert(point);
        }
    }

    /// From now on filters read the metadata of these points, as long as they exist, because it may differ from the
    /// inserted metadata. They count as inserted.
    pub fn distrust(&mut self, points: &RoaringBitmap) {
        points.iter().for_each(|point| self.insert_unread(point));
    }

    /// Number of points whose metadata every filter reads: unread ones, and distrusted ones, removed or not.
    #[must_use]
    pub fn distrusted_count(&self) -> u64 {
        self.distrusted.len() + self.unread.len()
    }

    /// The distrusted points, some of which may not exist any more.
    #[must_use]
    pub fn distrusted(&self) -> RoaringBitmap {
        &self.distrusted | &self.unread
    }

    /// The existing points whose metadata every filter must read.
    pub(super) fn looked_at(&self) -> RoaringBitmap {
        &self.unread | (&self.distrusted & self.points.to_bitmap())
    }

    /// The points whose metadata is to be read: once each of them is inserted, filters need not read any metadata.
    ///
    /// Takes time in proportion to the index if some are distrusted.
    pub fn begin_reading(&mut self) -> RoaringBitmap {
        if !self.distrusted.is_empty() {
            let gone = std::mem::take(&mut self.distrusted);
            forget(&mut self.fields, &gone);
            self.unread |= gone & self.points.to_bitmap();
        }
        self.unread.clone()
    }

    /// [Inserts](Self::insert) many points, in about a third of the time and with less RAM than one after the other.
    /// Fastest in ascending order of the points. Parts that do not fit are given up meanwhile.
    pub fn insert_all<'m>(&mut self, entries: impl IntoIterator<Item = (u32, &'m Metadata)>) {
        let mut loading = self.loading();
        for (point, metadata) in entries {
            loading.insert(point, metadata, &EntryTimes::default());
        }
    }

    /// Starts a bulk insertion.
    pub fn loading(&mut self) -> Loading<'_> {
        Loading {
            index: self,
            gathered: 0,
        }
    }
}

fn forget(fields: &mut BTreeMap<Arc<str>, Node>, gone: &RoaringBitmap) {
    for node in fields.values_mut() {
        Arc::make_mut(&mut node.field).forget(gone);
        forget(&mut node.inner, gone);
    }
}

/// A bulk insertion; the index has all of its points when this is dropped.
#[derive(Debug)]
pub struct Loading<'a> {
    index: &'a mut MetadataIndex,
    gathered: usize,
}

impl Loading<'_> {
    /// As [`MetadataIndex::insert_with_times`].
    pub fn insert(&mut self, point: u32, metadata: &Metadata, times: &EntryTimes) {
        self.gathered += self.index.put(point, metadata, times, Postings::gather);
        let (min, max) = GATHERED;
        if self.gathered as u64 >= (GATHERED_PER_POINT * self.index.points.len()).clamp(min, max) {
            self.settle();
        }
    }

    fn settle(&mut self) {
        settle(&mut self.index.fields);
        self.index.give_up_what_does_not_fit();
        self.gathered = 0;
    }
}

impl Drop for Loading<'_> {
    fn drop(&mut self) {
        self.settle();
    }
}

fn settle(fields: &mut BTreeMap<Arc<str>, Node>) {
    for node in fields.values_mut() {
        if node.field.postings.gathered() > 0 {
            Arc::make_mut(&mut node.field).postings.settle();
        }
        settle(&mut node.inner);
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use llmspell_core::{DateFields, Filter, OwnTime, Timestamp};
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;
    use crate::{IndexType, MetadataIndexConfig};

    /// A step of the test. Its number selects the metadata of the entry.
    #[derive(Debug, Clone, Copy)]
    enum Step {
        Put(u32, u8),
        PutUnread(u32, u8),
        Remove(u32),
        RemoveUnknown(u32),
        Distrust(u32),
        IndexTime,
        ReadUp,
        /// Keeps a copy of the current index, and continues with another.
        Hold,
    }

    fn steps() -> impl Strategy<Value = Vec<Step>> {
        let point = || 0..30_u32;
        let step = prop_oneof![
            6 => (point(), 0..8_u8).prop_map(|(point, value)| Step::Put(point, value)),
            12 => (point(), 0..8_u8).prop_map(|(point, value)| Step::PutUnread(point, value)),
            4 => point().prop_map(Step::Remove),
            4 => point().prop_map(Step::RemoveUnknown),
            2 => point().prop_map(Step::Distrust),
            1 => Just(Step::IndexTime),
            2 => Just(Step::ReadUp),
            1 => Just(Step::Hold),
        ];
        prop::collection::vec(step, 1..80)
    }

    fn described(value: u8) -> (Metadata, EntryTimes) {
        let metadata = match value {
            0 => json!({}),
            1 => json!({"a": "one two three four five six"}),
            2 => json!({"a": "one"}),
            3 => json!({"a": ["one", 2, 2]}),
            _ => json!({"a": value, "b": {"c": null, "d": format!("a rather long key of {value}")}}),
        };
        let times = EntryTimes {
            event_time: Some(Timestamp::from_millis(i64::from(value))),
            ..EntryTimes::default()
        };
        (metadata.as_object().unwrap().clone(), times)
    }

    fn read_up(index: &mut MetadataIndex, model: &BTreeMap<u32, u8>) {
        let unread = index.begin_reading();
        let mut loading = index.loading();
        for point in unread {
            let (metadata, times) = described(model[&point]);
            loading.insert(point, &metadata, &times);
        }
    }

    fn assert_answers(index: &MetadataIndex, model: &BTreeMap<u32, u8>) {
        for filter in [
            "a = \"one\"",
            "a matches \"one six\"",
            "a contains 2",
            "a >= 5",
            "not a = 6",
            "not exists b.c",
            "b.d starts with \"a rather long key of 7\"",
            "@event_time <= 4",
        ] {
            let filter: Filter = filter.parse().unwrap();
            let compiled = filter.compile(&DateFields::none()).unwrap();
            let matches = |value: u8| {
                let (metadata, times) = described(value);
                compiled.matches_with(&metadata, &times)
            };
            let expected: RoaringBitmap = model
                .iter()
                .filter(|(_, of)| matches(**of))
                .map(|(point, _)| *point)
                .collect();
            let Some(mut found) = index.candidates(&filter).unwrap() else {
                continue;
            };
            let others: RoaringBitmap = found.unsure.iter().filter(|point| !matches(model[point])).collect();
            found.points -= others;
            assert_eq!(found.points, expected, "{filter}");
        }
    }

    proptest! {
        #[test]
        fn a_point_that_is_not_read_yet_is_looked_at_and_found_once_it_is_read(steps in steps()) {
            let mut index = MetadataIndex::new(MetadataIndexConfig::default());
            index.configure_field("b.d", IndexType::Range).unwrap();
            let mut model = BTreeMap::new();
            let mut held = (index.clone(), model.clone());
            for step in steps {
                match step {
                    Step::Put(point, value) | Step::PutUnread(point, value) => {
                        if let Some(before) = model.insert(point, value) {
                            let (metadata, times) = described(before);
                            index.remove_with_times(point, &metadata, &times);
                        }
                        let (metadata, times) = described(value);
                        match step {
                            Step::Put(..) => index.insert_with_times(point, &metadata, &times),
                            _ => index.insert_unread(point),
                        }
                    }
                    Step::Remove(point) => {
                        if let Some(before) = model.remove(&point) {
                            let (metadata, times) = described(before);
                            index.remove_with_times(point, &metadata, &times);
                        }
                    }
                    Step::RemoveUnknown(point) => {
                        model.remove(&point);
                        index.remove_unknown(point);
                    }
                    Step::Distrust(point) if model.contains_key(&point) => index.distrust(&[point].into()),
                    Step::Distrust(_) => {}
                    Step::IndexTime => index.index_time(OwnTime::Event),
                    Step::ReadUp => {
                        read_up(&mut index, &model);
                        prop_assert_eq!(index.distrusted_count(), 0);
                    }
                    Step::Hold => held = (index.clone(), model.clone()),
                }
                prop_assert!(index.points().iter().eq(model.keys().copied()));
            }
            assert_answers(&index, &model);
            assert_answers(&held.0, &held.1);
            read_up(&mut index, &model);
            let filter: Filter = "a = 5".parse().unwrap();
            let found = index.candidates(&filter).unwrap();
            prop_assert!(model.is_empty() || found.is_some_and(|found| found.is_exact), "nothing is looked at any more");
            assert_answers(&index, &model);
            for (point, value) in &model {
                let (metadata, times) = described(*value);
                index.remove_with_times(*point, &metadata, &times);
            }
            prop_assert!(index.remains().is_empty(), "{:?}", index.remains());
        }
    }
}
