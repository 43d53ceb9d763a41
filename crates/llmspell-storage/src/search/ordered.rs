//! Lists entries in the order of a time or of their ids, forwards or backwards.
//!
//! ```text
//! by id     a range of the table of ids
//! by time   few candidates: their records
//!           an index of the time: its groups of equal times, one after the other, until there are enough; with what the
//!               index does not know, whose records are read
//!           else: all records, of which the first are kept
//! ```
//!
//! Of a large group of equal times, the first ids are found by going through the ids of the scope, for as many rows as
//! would cost what reading the group costs; then the group is read. So a page costs at most about twice the cheaper way.

use std::collections::BTreeSet;

use llmspell_core::{Draw, ListBegin, ListQuery, Result, Sampling, StateScope, VectorEntry};
use llmspell_metadata::{ByTime, TimeGroup};
use roaring::RoaringBitmap;

use super::Condition;
use crate::base::error::corrupted;
use crate::base::ids::PointId;
use crate::base::record::Record;
use crate::spaces::snapshot::Snapshot;

/// So few records are read without looking for another way.
const READ_MAX: u64 = 64;
/// So many points of an index are passed in the time that reading a record takes, about a microsecond.
const RECORD_POINTS: u64 = 16;
/// And this many rows of the table of ids.
const RECORD_ROWS: u64 = 4;

/// Where an entry stands: its time, which is 0 in an order by id, and its id; and its point.
type Place = (i64, String, PointId);

/// The page of one scope.
struct Listing<'a> {
    snapshot: &'a Snapshot<'a>,
    query: &'a ListQuery,
    begin: Option<ListBegin<'a>>,
    wanted: usize,
    hidden: RoaringBitmap,
    /// The points that match the filter, if there is one.
    candidates: Option<RoaringBitmap>,
}

/// The first of the places that were added.
struct First {
    places: BTreeSet<Place>,
    wanted: usize,
    is_descending: bool,
}

impl First {
    fn add(&mut self, place: Place) {
        self.places.insert(place);
        if self.places.len() > self.wanted {
            match self.is_descending {
                true => self.places.pop_first(),
                false => self.places.pop_last(),
            };
        }
    }

    /// Whether none of this time can be among them any more.
    fn is_closed_to(&self, millis: i64) -> bool {
        let last = match self.is_descending {
            true => self.places.first().is_some_and(|last| millis < last.0),
            false => self.places.last().is_some_and(|last| millis > last.0),
        };
        self.places.len() == self.wanted && last
    }

    fn into_places(self) -> Vec<Place> {
        let mut places: Vec<Place> = self.places.into_iter().collect();
        if self.is_descending {
            places.reverse();
        }
        places
    }
}

impl Snapshot<'_> {
    /// The first entries after the place where a query begins, one more than it wants, at `now`, in milliseconds since 1970.
    pub(crate) fn list_page(
        &self,
        scope: &StateScope,
        query: &ListQuery,
        condition: Option<&Condition>,
        now: i64,
    ) -> Result<Vec<VectorEntry>> {
        let hidden = self.state.hidden(now);
        let candidates = condition.map(|condition| self.candidates(condition, &hidden));
        let listing = Listing {
            snapshot: self,
            query,
            begin: query.begin(scope),
            wanted: query.limit + 1,
            candidates: candidates.transpose()?,
            hidden,
        };
        let places = match query.order.is_by_time() {
            true => listing.by_time()?,
            false => listing.by_id()?,
        };
        let records = self.read.records(self.namespace.scope_id)?;
        let entry = |(_, id, point): Place| self.entry(scope, point, records.get_by_id(id.as_bytes(), point)?);
        places.into_iter().map(entry).collect()
    }

    /// What a sample takes of the entries that match at `now`, in milliseconds since 1970.
    pub(crate) fn draw(
        &self,
        scope: &StateScope,
        sampling: &mut Sampling,
        condition: Option<&Condition>,
        now: i64,
    ) -> Result<(Draw, Vec<VectorEntry>)> {
        let points = match condition {
            Some(condition) => self.candidates(condition, &self.state.hidden(now))?,
            None => self.state.living() - self.state.expiries.expired(now),
        };
        let draw = sampling.draw(points.len());
        let records = self.read.records(self.namespace.scope_id)?;
        let entry = |place: &u64| {
            let point = u32::try_from(*place).ok().and_then(|place| points.select(place));
            let point = PointId(point.expect("a place is less than the number of points"));
            self.entry(scope, point, records.get(point)?)
        };
        let entries = draw.places.iter().map(entry).collect::<Result<_>>()?;
        Ok((draw, entries))
    }
}

impl Listing<'_> {
    fn is_descending(&self) -> bool {
        self.query.order.is_descending()
    }

    fn may_be_listed(&self, point: u32) -> bool {
        let is_candidate = |candidates: &RoaringBitmap| candidates.contains(point);
        !self.hidden.contains(point) && self.candidates.as_ref().is_none_or(is_candidate)
    }

    fn is_after_begin(&self, millis: i64, id: &str) -> bool {
        self.begin.is_none_or(|begin| begin.is_before(millis, id))
    }

    fn first(&self) -> First {
        First {
            places: BTreeSet::new(),
            wanted: self.wanted,
            is_descending: self.is_descending(),
        }
    }

    fn by_id(&self) -> Result<Vec<Place>> {
        let Snapshot {
            namespace, state, read, ..
        } = self.snapshot;
        let (mut places, mut visited) = (Vec::new(), 0);
        let begin = self.begin.map(|begin| (begin.id.as_bytes(), begin.is_included));
        read.visit_ids_from(namespace.scope_id, begin, self.is_descending(), |id, point| {
            // One that does not live belongs to a batch that is not done.
            if state.lives(point) {
                visited += 1;
                if self.may_be_listed(point.0) {
                    places.push((0, String::from_utf8_lossy(id).into_owned(), point));
                }
            }
            Ok(places.len() < self.wanted)
        })?;
        let is_whole = self.begin.is_none() && places.len() < self.wanted;
        // A damaged key in the truth can hide what it leads to.
        if is_whole && visited != state.live_count() {
            let detail = format!(
                "scope {}: {} points are alive, but {visited} ids are found",
                namespace.scope_id.0,
                state.live_count()
            );
            return Err(corrupted(read.path(), detail));
        }
        Ok(places)
    }

    fn by_time(&self) -> Result<Vec<Place>> {
        let index = self.snapshot.state.metadata.as_ref();
        let order = index.and_then(|index| index.by_time(self.query.time));
        let is_few = |candidates: &RoaringBitmap| candidates.len() <= READ_MAX;
        if let Some(order) = order
            && !self.candidates.as_ref().is_some_and(is_few)
            && let Some(places) = self.by_groups(&order)?
        {
            return Ok(places);
        }
        let mut first = self.first();
        self.read_all(self.candidates.as_ref(), &mut first)?;
        Ok(first.into_places())
    }

    /// By the index. None if reading all candidates takes less: they are few, and far from the beginning.
    fn by_groups(&self, order: &ByTime<'_>) -> Result<Option<Vec<Place>>> {
        let budget = self
            .candidates
            .as_ref()
            .map_or(u64::MAX, |candidates| candidates.len().saturating_mul(RECORD_POINTS));
        let begin = self.begin.map(|begin| begin.millis);
        let groups: Box<dyn Iterator<Item = TimeGroup<'_>>> = match self.is_descending() {
            true => Box::new(order.latest_first(begin)),
            false => Box::new(order.earliest_first(begin)),
        };
        let (mut places, mut passed) = (Vec::new(), 0);
        for group in groups {
            passed += group.len();
            if passed > budget {
                return Ok(None);
            }
            self.take_group(&group, order.unknown(), &mut places)?;
            if places.len() >= self.wanted {
                break;
            }
        }
        if order.unknown().is_empty() {
            return Ok(Some(places));
        }
        let mut unknown = order.unknown() & &self.snapshot.state.living();
        unknown -= &self.hidden;
        if let Some(candidates) = &self.candidates {
            unknown &= candidates;
        }
        if unknown.is_empty() {
            return Ok(Some(places));
        }
        let mut first = self.first();
        places.into_iter().for_each(|place| first.add(place));
        self.read_all(Some(&unknown), &mut first)?;
        Ok(Some(first.into_places()))
    }

    /// Adds the first of a group of equal times, in their order, until there are enough.
    fn take_group(&self, group: &TimeGroup<'_>, unknown: &RoaringBitmap, places: &mut Vec<Place>) -> Result<()> {
        let points = if group.len() <= READ_MAX {
            let is_listed = |point: &u32| self.may_be_listed(*point) && !unknown.contains(*point);
            group.points().filter(is_listed).collect()
        } else {
            let mut points = group.to_bitmap() - unknown - &self.hidden;
            if let Some(candidates) = &self.candidates {
                points &= candidates;
            }
            points
        };
        let needed = self.wanted - places.len();
        let is_large = points.len() > READ_MAX.max(2 * needed as u64);
        if is_large && let Some(picked) = self.pick_by_id(group.millis, &points, needed)? {
            places.extend(picked);
            return Ok(());
        }
        let records = self.snapshot.read.records(self.snapshot.namespace.scope_id)?;
        let mut of_group: Vec<Place> = Vec::new();
        for point in points.iter().map(PointId) {
            let id = records.get(point)?.id;
            if self.is_after_begin(group.millis, &id) {
                of_group.push((group.millis, id, point));
            }
        }
        of_group.sort_unstable();
        if self.is_descending() {
            of_group.reverse();
        }
        of_group.truncate(needed);
        places.append(&mut of_group);
        Ok(())
    }

    /// Those of some points of one time that come first by their ids. None if looking for them among all ids would take
    /// longer than reading all of them.
    fn pick_by_id(&self, millis: i64, points: &RoaringBitmap, needed: usize) -> Result<Option<Vec<Place>>> {
        let Snapshot { namespace, read, .. } = self.snapshot;
        let begin = self.begin.filter(|begin| begin.millis == millis);
        let begin = begin.map(|begin| (begin.id.as_bytes(), begin.is_included));
        let (mut picked, mut rows) = (Vec::new(), points.len().saturating_mul(RECORD_ROWS));
        read.visit_ids_from(namespace.scope_id, begin, self.is_descending(), |id, point| {
            if points.contains(point.0) {
                picked.push((millis, String::from_utf8_lossy(id).into_owned(), point));
            }
            rows -= 1;
            Ok(picked.len() < needed && rows > 0)
        })?;
        Ok((picked.len() == needed || rows > 0).then_some(picked))
    }

    /// Adds living points by their records: these, or all.
    fn read_all(&self, points: Option<&RoaringBitmap>, first: &mut First) -> Result<()> {
        let (time, never) = (self.query.time, || false);
        let mut add = |point: PointId, record: &Record| {
            if let Some(moment) = record.times().get(time)
                && !self.hidden.contains(point.0)
            {
                let millis = moment.as_millis();
                if !first.is_closed_to(millis) && self.is_after_begin(millis, &record.id) {
                    first.add((millis, record.id.clone(), point));
                }
            }
            Ok(())
        };
        match points {
            Some(points) => self.snapshot.visit(points, &never, &mut add)?,
            None => self.snapshot.visit_living(&never, &mut add)?,
        };
        Ok(())
    }
}
