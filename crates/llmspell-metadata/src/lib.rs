//! An index of metadata: from a filter to the points that match, without reading the metadata of each.
//!
//! [`MetadataIndex`] holds for each value of each field the points that have it. If it cannot decide a filter for some
//! points, it names them, and the caller reads their metadata. Points outside of its answer never match.
//!
//! | file           | question                                                         |
//! |----------------|------------------------------------------------------------------|
//! | `lib.rs`       | what goes in, what comes out, and what is given up for memory?   |
//! | `select.rs`    | which points may match a filter?                                 |
//! | `facet.rs`     | which values does a field have?                                  |
//! | `by_time.rs`   | in which order are points by a time?                             |
//! | `field.rs`     | what is indexed of a field?                                      |
//! | `key.rs`       | how is a value written as bytes in order?                        |
//! | `postings.rs`  | which points have which key?                                     |
//! | `page.rs`      | how are neighboring keys and their points packed?                |
//! | `packed.rs`    | how is a list of points packed?                                  |
//! | `point_set.rs` | how are large sets of points held?                               |
//! | `unread.rs`    | how is metadata inserted later, or in bulk?                      |
//! | `gathered.rs`  | which keys are not in pages yet?                                 |
//! | `draft.rs`     | how are keys and their points laid into new pages?               |
//! | `union.rs`     | how are lists and sets of points united?                         |
//! | `stored.rs`    | how is an index written to bytes and read from them?             |
//!
//! A copy shares all pages with the original; a change copies only the pages that it touches. So a writer prepares the
//! next version while readers use theirs.

mod by_time;
mod draft;
mod facet;
mod field;
mod gathered;
mod key;
mod packed;
mod page;
mod point_set;
mod postings;
mod select;
mod stored;
mod union;
mod unread;

use std::collections::BTreeMap;
use std::mem::size_of;
use std::sync::Arc;

use llmspell_core::filter::FilterError;
use llmspell_core::{DateFields, EntryTimes, FieldPath, Filter, Metadata, OwnTime};
use roaring::RoaringBitmap;

pub use by_time::{ByTime, TimeGroup};
use field::{Field, Part, Put};
use point_set::PointSet;
use postings::Postings;
pub use stored::Restored;
pub use unread::Loading;

/// RAM that an index may always use, by default.
pub const DEFAULT_INDEX_BYTES: usize = 1 << 20;
/// RAM that it may use for each point in addition, by default.
pub const DEFAULT_INDEX_BYTES_PER_POINT: usize = 64;
/// Most learned fields; filters on others are evaluated on the metadata.
pub const LEARNED_FIELDS_MAX: usize = 256;

/// The share of different values from which a field is given up before others.
const MOSTLY_DIFFERENT: (u64, u64) = (9, 10);

/// A kind of condition on a field.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum IndexType {
    /// Whether it equals null, a boolean, a number or a string: `eq`, `in`, `is_null`. Answers ranges too. Strings are
    /// indexed by their first 64 bytes; for longer ones the metadata is read.
    Exact,
    /// Ranges of numbers and strings. As [`Exact`](Self::Exact) with only the first 16 bytes of strings, for less memory.
    Range,
    /// Whether a string has words: `matches_text`.
    FullText,
    /// Whether an array has an element: `contains`.
    ArrayContains,
    /// As [`Exact`](Self::Exact) where strings stand for moments; filters are read accordingly.
    Date,
}

/// How much RAM an index may use.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MetadataIndexConfig {
    /// Bytes that are always allowed. Default [`DEFAULT_INDEX_BYTES`].
    pub bytes: usize,
    /// Additional bytes for each point. Default [`DEFAULT_INDEX_BYTES_PER_POINT`].
    pub bytes_per_point: usize,
}

impl Default for MetadataIndexConfig {
    fn default() -> Self {
        Self {
            bytes: DEFAULT_INDEX_BYTES,
            bytes_per_point: DEFAULT_INDEX_BYTES_PER_POINT,
        }
    }
}

/// The index's answer to a filter.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct Candidates {
    /// All points that match, and no others if [`is_exact`](Self::is_exact).
    pub points: RoaringBitmap,
    /// The points among them whose metadata must be read; all others match.
    pub unsure: RoaringBitmap,
    /// Whether no metadata must be read.
    pub is_exact: bool,
}

/// Inverted indices over the metadata of points: roaring bitmaps by value, element and word, in the order of the values.
///
/// ```
/// # use llmspell_core::{Filter, FilterError};
/// # use llmspell_metadata::{MetadataIndex, MetadataIndexConfig};
/// let mut index = MetadataIndex::new(MetadataIndexConfig::default());
/// for (point, size) in [(0, 10), (1, 200), (7, 300)] {
///     let metadata = serde_json::json!({"section": "devel", "size": size});
///     index.insert(point, metadata.as_object().unwrap());
/// }
/// let filter: Filter = r#"section = "devel" and size > 100"#.parse()?;
/// let found = index.candidates(&filter)?.unwrap();
/// assert!(found.is_exact && found.points.iter().eq([1, 7]));
/// # Ok::<(), FilterError>(())
/// ```
///
/// # What is learned
///
/// A field that is not configured is indexed as it appears: null, booleans, numbers, strings, elements of arrays, and
/// fields of objects by their path. Once a string of it has more than 5 terms or 64 bytes, its strings count as text:
/// their words are indexed instead. At most [`LEARNED_FIELDS_MAX`] fields are learned.
///
/// # Times of entries
///
/// Points may have the [times](EntryTimes) of entries beside their metadata. A time is indexed after a call of
/// [`index_time`](Self::index_time), and takes no memory before; until then filters on it read the entries. Times are
/// fields of numbers, and may be given up like others.
///
/// # What is given up
///
/// When an index outgrows its [`MetadataIndexConfig`], parts of fields (strings, words, elements, other values) are
/// given up until it fits: first learned parts of strings that are nearly all different (9 of 10), then other learned
/// ones, then configured ones; the largest of each group first. Filters on them read the metadata: slower, never wrong.
/// A part that was given up stays so.
#[derive(Debug, Clone)]
pub struct MetadataIndex {
    config: MetadataIndexConfig,
    /// All points that were inserted and not removed.
    points: PointSet,
    fields: BTreeMap<Arc<str>, Node>,
    field_count: usize,
    types: BTreeMap<FieldPath, Vec<IndexType>>,
    dates: DateFields,
    /// Whether points may have fields that are not in the tree.
    has_unknown_fields: bool,
    /// Points for which the index cannot be relied on; some do not exist any more.
    distrusted: RoaringBitmap,
    /// Existing points that are not in any field yet.
    unread: RoaringBitmap,
}

/// A field, and the fields of the objects in it.
#[derive(Debug, Clone)]
struct Node {
    field: Arc<Field>,
    inner: BTreeMap<Arc<str>, Node>,
}

impl MetadataIndex {
    /// An index without points.
    #[must_use]
    pub fn new(config: MetadataIndexConfig) -> Self {
        Self {
            config,
            points: PointSet::default(),
            fields: BTreeMap::new(),
            field_count: 0,
            types: BTreeMap::new(),
            dates: DateFields::none(),
            has_unknown_fields: false,
            distrusted: RoaringBitmap::new(),
            unread: RoaringBitmap::new(),
        }
    }

    /// Configures the kind of conditions on a field, instead of learning it; further calls add kinds. Configured fields
    /// are given up last. For points that exist already, conditions on this field read the metadata: configure first.
    ///
    /// # Errors
    ///
    /// [`FilterProblem::BadPath`](llmspell_core::filter::FilterProblem::BadPath) for text that is no path,
    /// [`FilterProblem::NotAField`](llmspell_core::filter::FilterProblem::NotAField) for a time of entries.
    pub fn configure_field(&mut self, field: impl Into<FieldPath>, index_type: IndexType) -> Result<(), FilterError> {
        let path = field.into();
        Filter::exists(path.clone()).validate()?;
        DateFields::of([path.clone()])?;
        let types = self.types.entry(path.clone()).or_default();
        if !types.contains(&index_type) {
            types.push(index_type);
        }
        let field = Field::configured(types, &self.points);
        let of_dates = self.types.iter().filter(|(_, types)| types.contains(&IndexType::Date));
        self.dates = DateFields::of(of_dates.map(|(path, _)| path.clone()))?;
        let keys = key::keys_of(&path);
        let points = &self.points;
        let node = node_mut(&mut self.fields, &keys, &mut |created: &mut Node| {
            // It was not indexed so far, so nothing is known about the objects around it.
            created.field = Arc::new(Field::learned_late(points));
            self.field_count += 1;
        });
        node.field = Arc::new(field);
        Ok(())
    }

    /// Indexes a time of entries from now on. For points that exist already, conditions on it read the entry, until
    /// [`fill_times`](Self::fill_times) adds their times.
    pub fn index_time(&mut self, time: OwnTime) {
        if self.has_time(time) {
            return;
        }
        let node = Node {
            field: Arc::new(Field::of_time(&self.points)),
            inner: BTreeMap::new(),
        };
        self.fields.insert(time.name().into(), node);
        self.field_count += 1;
    }

    /// Whether a time of entries is indexed, or was given up.
    #[must_use]
    pub fn has_time(&self, time: OwnTime) -> bool {
        self.fields.contains_key(time.name())
    }

    /// Adds the times of an existing point for which the index does not have them.
    pub fn fill_times(&mut self, point: u32, times: &EntryTimes) {
        if self.unread.contains(point) {
            return;
        }
        for time in OwnTime::ALL {
            if let Some(node) = self.fields.get_mut(time.name())
                && node.field.is_missing(point)
            {
                let field = Arc::make_mut(&mut node.field);
                field.forget_missing(point);
                if let Some(value) = times.value(time) {
                    field.insert(point, &value, Postings::insert);
                }
            }
        }
        self.give_up_what_does_not_fit();
    }

    /// The fields whose strings stand for moments: those configured as [`IndexType::Date`]. Filters that are evaluated
    /// on the metadata must be [compiled](Filter::compile) with them.
    #[must_use]
    pub fn dates(&self) -> &DateFields {
        &self.dates
    }

    /// Whether a point was inserted and not removed.
    #[must_use]
    pub fn has(&self, point: u32) -> bool {
        self.points.contains(point)
    }

    /// Points that were inserted and not removed.
    #[must_use]
    pub fn points(&self) -> RoaringBitmap {
        self.points.to_bitmap()
    }

    /// Adds a point. An existing point must be [removed](Self::remove) first; otherwise every filter reads its metadata
    /// from now on.
    ///
    /// Takes one or two microseconds per value and word; more when a part is given up.
    pub fn insert(&mut self, point: u32, metadata: &Metadata) {
        self.insert_with_times(point, metadata, &EntryTimes::default());
    }

    /// [`insert`](Self::insert) of a point with times.
    pub fn insert_with_times(&mut self, point: u32, metadata: &Metadata, times: &EntryTimes) {
        self.put(point, metadata, times, Postings::insert);
        self.give_up_what_does_not_fit();
    }

    /// Returns the number of gathered keys.
    fn put(&mut self, point: u32, metadata: &Metadata, times: &EntryTimes, put: Put) -> usize {
        if self.unread.remove(point) {
            forget_missing(&mut self.fields, point);
        } else if !self.points.insert(point) {
            self.distrusted.insert(point);
        }
        let (fields, field_count) = (&mut self.fields, &mut self.field_count);
        let (mut has_unknown_fields, mut gathered) = (self.has_unknown_fields, 0);
        key::fields(metadata, &mut |path, value| {
            let is_known = find(fields, path).is_some();
            if !is_known && (has_unknown_fields || *field_count >= LEARNED_FIELDS_MAX) {
                has_unknown_fields = true;
                return;
            }
            let node = node_mut(fields, path, &mut |_| *field_count += 1);
            let field = Arc::make_mut(&mut node.field);
            let before = field.postings.gathered();
            field.insert(point, value, put);
            gathered += field.postings.gathered().saturating_sub(before);
        });
        self.has_unknown_fields = has_unknown_fields;
        self.change_times(times, |field, value| field.insert(point, value, put));
        gathered + OwnTime::ALL.len()
    }

    /// Removes a point with the metadata that it was inserted with.
    pub fn remove(&mut self, point: u32, metadata: &Metadata) {
        self.remove_with_times(point, metadata, &EntryTimes::default());
    }

    /// [`remove`](Self::remove) of a point with the times that it was inserted with.
    pub fn remove_with_times(&mut self, point: u32, metadata: &Metadata, times: &EntryTimes) {
        self.points.remove(point);
        if self.unread.remove(point) {
            forget_missing(&mut self.fields, point);
            return;
        }
        let fields = &mut self.fields;
        key::fields(metadata, &mut |path, value| {
            if find(fields, path).is_some() {
                let node = node_mut(fields, path, &mut |_| {});
                Arc::make_mut(&mut node.field).remove(point, value);
            }
        });
        self.change_times(times, |field, value| field.remove(point, value));
        forget_missing(&mut self.fields, point);
    }

    /// Changes the field of each time that is indexed, by its value.
    fn change_times(&mut self, times: &EntryTimes, mut change: impl FnMut(&mut Field, &serde_json::Value)) {
        for time in OwnTime::ALL {
            if let Some(value) = times.value(time)
                && let Some(node) = self.fields.get_mut(time.name())
            {
                change(Arc::make_mut(&mut node.field), &value);
            }
        }
    }

    /// All points that the index knows in any way: none once each was [removed](Self::remove) with its metadata.
    #[must_use]
    pub fn remains(&self) -> RoaringBitmap {
        let mut sum = self.points.to_bitmap();
        add_points(&self.fields, &mut sum);
        sum
    }

    /// The points that may match; none if these are all points and the metadata of all must be read.
    ///
    /// Conjunctions begin with the condition that has the fewest matches. Values, elements and words are look-ups of
    /// some microseconds each; ranges take some microseconds per thousand points.
    ///
    /// # Errors
    ///
    /// As [`Filter::validate_with`], with the [`dates`](Self::dates) of this index.
    pub fn candidates(&self, filter: &Filter) -> Result<Option<Candidates>, FilterError> {
        filter.validate_with(&self.dates)?;
        let mut hits = self.select(&filter.in_millis());
        if !self.distrusted.is_empty() || !self.unread.is_empty() {
            let there = self.looked_at();
            hits.possible -= &self.distrusted;
            hits.unsure -= &self.distrusted;
            hits.possible |= &there;
            hits.unsure |= there;
        }
        let knows_nothing = !hits.unsure.is_empty() && hits.unsure.len() == self.points.len();
        Ok((!knows_nothing).then(|| Candidates {
            is_exact: hits.unsure.is_empty(),
            points: hits.possible,
            unsure: hits.unsure,
        }))
    }

    /// Number of matches; none if the metadata of some points must be read.
    ///
    /// # Errors
    ///
    /// As [`candidates`](Self::candidates), and in the same time.
    pub fn cardinality(&self, filter: &Filter) -> Result<Option<u64>, FilterError> {
        let exact = self.candidates(filter)?.filter(|candidates| candidates.is_exact);
        Ok(exact.map(|candidates| candidates.points.len()))
    }

    /// Bytes of RAM of the index, shared with its copies or not, without the overhead of the allocator.
    #[must_use]
    pub fn memory_bytes(&self) -> usize {
        let looked_at = self.distrusted.serialized_size() + self.unread.serialized_size();
        size_of::<Self>() + self.points.bytes() + looked_at + bytes_of(&self.fields)
    }

    /// Bytes of RAM of one field, without those of the objects in it.
    #[must_use]
    pub fn field_bytes(&self, field: &FieldPath) -> Option<usize> {
        self.field(field).map(Field::bytes)
    }

    fn field(&self, path: &FieldPath) -> Option<&Field> {
        let is_plain = path.keys().first().is_some_and(|key| !key.starts_with('@'));
        match is_plain {
            true => find(&self.fields, path.keys()),
            false => find(&self.fields, &key::keys_of(path)),
        }
    }

    /// Whether points may have this field although it is not in the tree.
    fn is_unknown(&self, path: &FieldPath) -> bool {
        self.has_unknown_fields || path.own_time().is_some()
    }

    fn bytes_max(&self) -> usize {
        let points = usize::try_from(self.points.len()).unwrap_or(usize::MAX);
        let for_points = self.config.bytes_per_point.saturating_mul(points);
        self.config.bytes.saturating_add(for_points)
    }

    fn give_up_what_does_not_fit(&mut self) {
        while self.memory_bytes() > self.bytes_max() {
            let mut worst = None;
            worst_part(&self.fields, &mut Vec::new(), &mut worst);
            let Some(Worst { path, part, .. }) = worst else {
                return;
            };
            let node = node_mut(&mut self.fields, &path, &mut |_| {});
            Arc::make_mut(&mut node.field).drop_part(part);
        }
    }
}

/// The part to be given up next.
struct Worst {
    rank: (bool, bool, u64),
    path: Vec<Arc<str>>,
    part: Part,
}

fn worst_part(fields: &BTreeMap<Arc<str>, Node>, path: &mut Vec<Arc<str>>, worst: &mut Option<Worst>) {
    for (key, node) in fields {
        path.push(Arc::clone(key));
        let field = &node.field;
        for part in Part::ALL.into_iter().filter(|part| field.part(*part).is_indexed) {
            let range = part.keys();
            let (keys, points) = (field.postings.key_count(&range), field.postings.point_count(&range));
            let is_text = matches!(part, Part::Strings | Part::Terms);
            let is_different = is_text && keys > 1 && keys * MOSTLY_DIFFERENT.1 >= points * MOSTLY_DIFFERENT.0;
            let is_learned = !field.is_configured();
            // An estimate of their bytes: lists, and keys of some bytes.
            let size = 4 * points + 16 * keys + 1;
            let rank = (is_learned, is_learned && is_different, size);
            if worst.as_ref().is_none_or(|worst| worst.rank < rank) {
                let path = path.clone();
                *worst = Some(Worst { rank, path, part });
            }
        }
        worst_part(&node.inner, path, worst);
        path.pop();
    }
}

fn find<'n, K: AsRef<str>>(fields: &'n BTreeMap<Arc<str>, Node>, path: &[K]) -> Option<&'n Field> {
    let (first, inner) = path.split_first()?;
    let node = fields.get(first.as_ref())?;
    match inner {
        [] => Some(&node.field),
        inner => find(&node.inner, inner),
    }
}

/// The node of a path, which has at least one key. `created` is called for each new node.
fn node_mut<'n, K: AsRef<str>>(
    fields: &'n mut BTreeMap<Arc<str>, Node>,
    path: &[K],
    created: &mut impl FnMut(&mut Node),
) -> &'n mut Node {
    let (first, inner) = path.split_first().expect("a path has a key");
    if !fields.contains_key(first.as_ref()) {
        let mut node = Node {
            field: Arc::new(Field::learned()),
            inner: BTreeMap::new(),
        };
        created(&mut node);
        fields.insert(first.as_ref().into(), node);
    }
    let node = fields.get_mut(first.as_ref()).expect("it is there now");
    match inner {
        [] => node,
        inner => node_mut(&mut node.inner, inner, created),
    }
}

fn forget_missing(fields: &mut BTreeMap<Arc<str>, Node>, point: u32) {
    for node in fields.values_mut() {
        if node.field.is_missing(point) {
            Arc::make_mut(&mut node.field).forget_missing(point);
        }
        forget_missing(&mut node.inner, point);
    }
}

fn add_points(fields: &BTreeMap<Arc<str>, Node>, sum: &mut RoaringBitmap) {
    for node in fields.values() {
        *sum |= node.field.postings.collect(&key::all_of(0, u8::MAX - 1));
        for part in Part::ALL {
            *sum |= node.field.part(part).missing.to_bitmap();
        }
        add_points(&node.inner, sum);
    }
}

fn bytes_of(fields: &BTreeMap<Arc<str>, Node>) -> usize {
    let of_node = |(key, node): (&Arc<str>, &Node)| {
        size_of::<(Arc<str>, Node)>() + key.len() + node.field.bytes() + bytes_of(&node.inner)
    };
    fields.iter().map(of_node).sum()
}
