//! Lists and samples what the store holds, by looking at all of it.

use std::cmp::Ordering;

use llmspell_core::limits::PAGE_MAX;
use llmspell_core::{
    DateFields, Filter, ListOrder, ListPage, ListQuery, OwnTime, Result, SampleQuery, StateScope, Timestamp,
    VectorEntry, VectorStorage as _, validate_vectors as validate,
};

use super::faults::Fault;
use super::vectors::NaiveStore;

/// Numbers that look random.
struct Scattered(u64);

impl Scattered {
    fn below(&mut self, bound: usize) -> usize {
        self.0 = self
            .0
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        let mixed = (self.0 >> 33 ^ self.0).wrapping_mul(0xff51_afd7_ed55_8ccd);
        (mixed >> 33) as usize % bound
    }
}

impl NaiveStore {
    async fn all_of(&self, scope: &StateScope, filter: Option<&Filter>) -> Result<Vec<VectorEntry>> {
        let mut all = self.list(scope, None, PAGE_MAX).await?;
        if let Some(filter) = filter.map(|filter| filter.compile(&DateFields::none())).transpose()? {
            all.retain(|entry| filter.matches_entry(entry));
        }
        Ok(all)
    }

    fn millis(&self, query: &ListQuery, entry: &VectorEntry) -> Option<i64> {
        let time = match self.has(Fault::OrderIsAlwaysOfCreation) {
            true => OwnTime::Created,
            false => query.time,
        };
        match query.order {
            ListOrder::Id | ListOrder::IdDescending => Some(0),
            _ => match entry.times().get(time) {
                None => self.has(Fault::MissingTimesAreListed).then_some(0),
                moment => moment.map(Timestamp::as_millis),
            },
        }
    }

    fn compare(&self, query: &ListQuery, one: &VectorEntry, other: &VectorEntry) -> Ordering {
        let by_time = self.millis(query, one).cmp(&self.millis(query, other));
        let by_id = one.id.cmp(&other.id).then_with(|| one.scope.cmp(&other.scope));
        let is_backward = query.order.is_descending();
        match is_backward && self.has(Fault::EqualTimesKeepTheOrderOfIds) && query.order.is_by_time() {
            true => by_time.reverse().then(by_id),
            false if is_backward => by_time.then(by_id).reverse(),
            false => by_time.then(by_id),
        }
    }

    pub(super) async fn listed_page(&self, query: &ListQuery) -> Result<ListPage> {
        let mut checked = query.clone();
        if self.has(Fault::CursorsOfOtherOrdersAreTaken) {
            checked.after = None;
        }
        if self.has(Fault::ZeroPageIsTaken) {
            checked.limit = checked.limit.max(1);
        }
        validate::list_query(&checked)?;
        let mut listed = Vec::new();
        let is_late = self.has(Fault::PagesAreFilteredLate);
        for scope in query.listed_scopes() {
            let mut of_scope = self.all_of(scope, query.filter.as_ref().filter(|_| !is_late)).await?;
            of_scope.retain(|entry| self.millis(query, entry).is_some());
            of_scope.sort_by(|one, other| self.compare(query, one, other));
            listed.extend(of_scope);
        }
        if !self.has(Fault::ScopesAreListedOneAfterTheOther) {
            listed.sort_by(|one, other| self.compare(query, one, other));
        }
        if let Some(cursor) = &query.after {
            let place = listed.iter().position(|entry| match self.fault {
                Some(Fault::PagesRepeatTheirCursor) => {
                    query.cursor_of(entry).as_ref() == Some(cursor) || query.is_listed(entry)
                }
                Some(Fault::PagesPassOverEqualTimes) if query.order.is_by_time() => {
                    let begin = query.begin(&entry.scope).unwrap();
                    query.is_listed(entry) && self.millis(query, entry) != Some(begin.millis)
                }
                _ => query.is_listed(entry),
            });
            listed.drain(..place.unwrap_or(listed.len()));
        }
        let has_more = listed.len() > query.limit;
        listed.truncate(query.limit);
        let last = listed
            .last()
            .filter(|_| has_more || self.has(Fault::TheLastPageHasANext));
        let next = last.and_then(|last| query.cursor_of(last));
        if is_late && let Some(filter) = &query.filter {
            let filter = filter.compile(&DateFields::none())?;
            listed.retain(|entry| filter.matches_entry(entry));
        }
        Ok(ListPage::new(listed, next))
    }

    pub(super) async fn sampled(&self, query: &SampleQuery) -> Result<Vec<VectorEntry>> {
        validate::sample_query(query)?;
        let mut seed = query.seed;
        if self.has(Fault::SamplesIgnoreTheirSeed) {
            seed = self
                .made_id()
                .bytes()
                .fold(7, |sum: u64, byte| sum.wrapping_mul(31) + u64::from(byte));
        }
        let mut random = Scattered(seed);
        let is_late = self.has(Fault::SamplesAreFilteredLate);
        let filter = query.filter.as_ref().filter(|_| !is_late);
        let mut parts = Vec::new();
        for scope in query.sampled_scopes() {
            parts.push(self.all_of(scope, filter).await?);
        }
        if !self.has(Fault::ScopesGiveTheSameToASample) {
            parts = vec![parts.into_iter().flatten().collect()];
        }
        let mut sample = Vec::new();
        while sample.len() < query.size && parts.iter().any(|part| !part.is_empty()) {
            parts.retain(|part| !part.is_empty());
            let of = random.below(parts.len());
            let part = &mut parts[of];
            let place = match self.has(Fault::SamplesAreTheFirst) {
                true => 0,
                false => random.below(part.len()),
            };
            match self.has(Fault::SamplesRepeatEntries) {
                true => sample.push(part[place].clone()),
                false => sample.push(part.remove(place)),
            }
        }
        if self.has(Fault::SamplesAreInOrder) {
            sample.sort_by(|one, other| (&one.scope, &one.id).cmp(&(&other.scope, &other.id)));
        }
        if is_late && let Some(filter) = &query.filter {
            let filter = filter.compile(&DateFields::none())?;
            sample.retain(|entry| filter.matches_entry(entry));
        }
        Ok(sample)
    }
}
