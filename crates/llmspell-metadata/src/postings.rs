//! Postings: an ordered map from keys to points that is cheap to copy and to change a little.

use std::cmp::Ordering;
use std::mem::size_of;
use std::ops::Bound;
use std::sync::Arc;

use roaring::RoaringBitmap;

use super::draft::Draft;
use super::gathered::Gathered;
use super::page::{Page, Points, Span};
use super::union::Union;

/// A branch with more pages is cut in two.
const BRANCH_PAGES_MAX: usize = 128;

/// Bounds of keys.
pub(super) type KeyRange = (Bound<Vec<u8>>, Bound<Vec<u8>>);

/// A tree of three levels: root, branches, pages of keys. Copies share everything but the root; a change copies a page
/// and its branch, about 2 KiB.
#[derive(Debug, Clone, Default)]
pub(super) struct Postings {
    branches: Vec<Arc<Branch>>,
    bytes: usize,
    /// Keys to be put in; empty except during a bulk insertion.
    gathered: Gathered,
}

/// Neighboring pages; none is empty.
#[derive(Debug, Clone, Default)]
struct Branch {
    pages: Vec<Arc<Page>>,
}

impl Postings {
    /// Bytes of RAM, shared or not.
    pub(super) fn bytes(&self) -> usize {
        // Each page has an `Arc` and a pointer in a branch; there are few branches.
        self.bytes + self.branches.capacity() * (size_of::<usize>() + size_of::<Branch>())
    }

    pub(super) fn get(&self, key: &[u8]) -> Option<Points<'_>> {
        let (branch, page) = self.place(key)?;
        self.branches[branch].pages[page].get(key)
    }

    /// The page in which a key is or would be; none if there are no pages.
    fn place(&self, key: &[u8]) -> Option<(usize, usize)> {
        let starts_by = |page: &Page| page.cmp_first(key) != Ordering::Greater;
        let branch = self
            .branches
            .partition_point(|branch| starts_by(&branch.pages[0]))
            .saturating_sub(1);
        let pages = &self.branches.get(branch)?.pages;
        Some((branch, pages.partition_point(|page| starts_by(page)).saturating_sub(1)))
    }

    pub(super) fn insert(&mut self, key: &[u8], point: u32) {
        let (branch_place, page_place) = self.place(key).unwrap_or_else(|| {
            let branch = Branch {
                pages: vec![Arc::default()],
            };
            self.bytes += page_bytes(&branch.pages[0]);
            self.branches.push(Arc::new(branch));
            (0, 0)
        });
        let branch = Arc::make_mut(&mut self.branches[branch_place]);
        let page = &mut branch.pages[page_place];
        // Before it is copied: a copy has no room to spare.
        self.bytes -= page_bytes(page);
        let page = Arc::make_mut(page);
        page.insert(key, point);
        if !page.is_too_large() {
            self.bytes += page_bytes(page);
            return;
        }
        let second = page.split();
        self.bytes += page_bytes(page) + page_bytes(&second);
        branch.pages.insert(page_place + 1, Arc::new(second));
        if branch.pages.len() > BRANCH_PAGES_MAX {
            let pages = branch.pages.split_off(BRANCH_PAGES_MAX / 2);
            self.branches.insert(branch_place + 1, Arc::new(Branch { pages }));
        }
    }

    /// As [`insert`](Self::insert), but the key is found only after [`settle`](Self::settle).
    pub(super) fn gather(&mut self, key: &[u8], point: u32) {
        self.gathered.push(key, point);
        if self.gathered.is_full() {
            self.settle();
        }
    }

    /// Number of gathered pairs.
    pub(super) fn gathered(&self) -> usize {
        self.gathered.len()
    }

    /// Puts the gathered keys in. Takes time in proportion to them and to the pages that they change.
    pub(super) fn settle(&mut self) {
        if self.gathered.len() == 0 {
            return;
        }
        let mut added = std::mem::take(&mut self.gathered).sorted();
        let branches = std::mem::take(&mut self.branches);
        let before: Vec<&Arc<Page>> = branches.iter().flat_map(|branch| &branch.pages).collect();
        let (mut draft, mut pages, mut points) = (Draft::default(), Vec::with_capacity(before.len()), Vec::new());
        for (number, page) in before.iter().enumerate() {
            let end = before.get(number + 1).map(|next| next.first_key());
            let is_before_end = |key: &[u8]| end.is_none_or(|end| key < end);
            if draft.is_empty() && !added.key().is_some_and(is_before_end) {
                pages.push(Arc::clone(page));
                continue;
            }
            page.visit(&mut |key, kept| {
                while added.key().is_some_and(|next| next < key) {
                    let next = added.take(&mut points);
                    draft.push_points(next, &points);
                }
                if added.key() == Some(key) {
                    added.take(&mut points);
                    draft.push_joined(key, kept, &points);
                } else {
                    draft.push(key, kept);
                }
            });
            while added.key().is_some_and(is_before_end) {
                let key = added.take(&mut points);
                draft.push_points(key, &points);
            }
            if !draft.is_small() {
                draft.finish(&mut pages);
            }
        }
        while added.key().is_some() {
            let key = added.take(&mut points);
            draft.push_points(key, &points);
        }
        draft.finish(&mut pages);
        self.set_pages(&pages);
    }

    /// Removes these points from all keys. Takes time in proportion to the whole map.
    pub(super) fn forget(&mut self, gone: &RoaringBitmap) {
        let (mut draft, mut pages) = (Draft::default(), Vec::new());
        for page in self.branches.iter().flat_map(|branch| &branch.pages) {
            if draft.is_empty() && !page.has_any(gone) {
                pages.push(Arc::clone(page));
                continue;
            }
            page.visit(&mut |key, kept| draft.push_without(key, kept, gone));
            if !draft.is_small() {
                draft.finish(&mut pages);
            }
        }
        draft.finish(&mut pages);
        self.set_pages(&pages);
    }

    pub(super) fn remove(&mut self, key: &[u8], point: u32) {
        let Some((branch_place, page_place)) = self.place(key) else {
            return;
        };
        if self.branches[branch_place].pages[page_place].get(key).is_none() {
            return;
        }
        let branch = Arc::make_mut(&mut self.branches[branch_place]);
        let page = &mut branch.pages[page_place];
        // Before it is copied: a copy has no room to spare.
        self.bytes -= page_bytes(page);
        let page = Arc::make_mut(page);
        page.remove(key, point);
        if page.len() > 0 {
            self.bytes += page_bytes(page);
            return;
        }
        branch.pages.remove(page_place);
        if branch.pages.is_empty() {
            self.branches.remove(branch_place);
        }
    }

    /// The pages with keys within the range, and these keys.
    fn runs<'a>(&'a self, (low, high): &'a KeyRange) -> impl Iterator<Item = (&'a Page, Span)> {
        let (branch, page) = match low {
            Bound::Unbounded => (0, 0),
            Bound::Included(key) | Bound::Excluded(key) => self.place(key).unwrap_or_default(),
        };
        let first = self.branches.get(branch).map_or(&[][..], |first| &first.pages[page..]);
        let others = self.branches.iter().skip(branch + 1).flat_map(|branch| &branch.pages);
        let is_before_end = |page: &Page| match high {
            Bound::Unbounded => true,
            Bound::Included(key) => page.cmp_first(key) != Ordering::Greater,
            Bound::Excluded(key) => page.cmp_first(key) == Ordering::Less,
        };
        first
            .iter()
            .chain(others)
            .map(|page| &**page)
            .take_while(move |page| is_before_end(page))
            .map(move |page| (page, page.within(low, high)))
    }

    /// The keys within the range, in order, and their points.
    pub(super) fn entries<'a>(&'a self, range: &'a KeyRange) -> impl Iterator<Item = (Vec<u8>, Points<'a>)> {
        self.runs(range).flat_map(|(page, span)| page.keys(&span))
    }

    /// [`entries`](Self::entries) as an iterator that owns the range.
    pub(super) fn entries_within(&self, range: KeyRange) -> impl Iterator<Item = (Vec<u8>, Points<'_>)> {
        let (branch, page) = match &range.0 {
            Bound::Unbounded => (0, 0),
            Bound::Included(key) | Bound::Excluded(key) => self.place(key).unwrap_or_default(),
        };
        let first = self.branches.get(branch).map_or(&[][..], |first| &first.pages[page..]);
        let others = self.branches.iter().skip(branch + 1).flat_map(|branch| &branch.pages);
        let keys = move |page: &'_ Arc<Page>| {
            let is_before_end = match &range.1 {
                Bound::Unbounded => true,
                Bound::Included(key) => page.cmp_first(key) != Ordering::Greater,
                Bound::Excluded(key) => page.cmp_first(key) == Ordering::Less,
            };
            is_before_end.then(|| page.within(&range.0, &range.1))
        };
        let runs = first.iter().chain(others);
        runs.map_while(move |page| keys(page).map(|span| page.keys(&span)))
            .flatten()
    }

    /// The same from the last key to the first.
    pub(super) fn entries_backwards(&self, range: KeyRange) -> impl Iterator<Item = (Vec<u8>, Points<'_>)> {
        let last_page = |branch: &Branch| branch.pages.len() - 1;
        let (branch, page) = match &range.1 {
            Bound::Unbounded => {
                let branch = self.branches.len().saturating_sub(1);
                (branch, self.branches.get(branch).map_or(0, |branch| last_page(branch)))
            }
            Bound::Included(key) | Bound::Excluded(key) => self.place(key).unwrap_or_default(),
        };
        let last = self.branches.get(branch).map_or(&[][..], |last| &last.pages[..=page]);
        let others = self.branches[..branch].iter().rev();
        let others = others.flat_map(|branch| branch.pages.iter().rev());
        let mut is_done = false;
        let runs = last.iter().rev().chain(others).map_while(move |page| {
            if is_done {
                return None;
            }
            is_done = match &range.0 {
                Bound::Unbounded => false,
                Bound::Included(key) | Bound::Excluded(key) => page.cmp_first(key) != Ordering::Greater,
            };
            let mut keys: Vec<_> = page.keys(&page.within(&range.0, &range.1)).collect();
            keys.reverse();
            Some(keys)
        });
        runs.flatten()
    }

    /// Number of keys within the range.
    pub(super) fn key_count(&self, range: &KeyRange) -> u64 {
        self.runs(range).map(|(_, span)| span.len() as u64).sum()
    }

    /// Sum of the points of the keys within the range, which is their number if no point has two of the keys.
    pub(super) fn point_count(&self, range: &KeyRange) -> u64 {
        let points = self.runs(range).flat_map(|(page, span)| page.points(span));
        points.map(|points| points.len()).sum()
    }

    /// The points of all keys within the range. Takes time in proportion to their number.
    pub(super) fn collect(&self, range: &KeyRange) -> RoaringBitmap {
        let mut union = Union::default();
        for (page, span) in self.runs(range) {
            page.add_to(span, &mut union);
        }
        union.finish()
    }

    /// Removes the keys within the range. Takes time in proportion to all of them.
    pub(super) fn drop_keys(&mut self, range: &KeyRange) {
        let mut kept = Vec::new();
        for page in self.branches.iter().flat_map(|branch| &branch.pages) {
            let gone = page.within(&range.0, &range.1);
            if gone.len() == 0 {
                kept.push(Arc::clone(page));
            } else {
                kept.extend(page.without(&gone).into_iter().flatten().map(Arc::new));
            }
        }
        self.set_pages(&kept);
    }

    fn set_pages(&mut self, pages: &[Arc<Page>]) {
        self.bytes = pages.iter().map(|page| page_bytes(page)).sum();
        self.branches = pages
            .chunks(BRANCH_PAGES_MAX)
            .map(|pages| Arc::new(Branch { pages: pages.to_vec() }))
            .collect();
    }
}

/// Builds postings from keys in order.
#[derive(Debug, Default)]
pub(super) struct PostingsBuilder {
    pages: Vec<Arc<Page>>,
    page: Page,
    last_key: Vec<u8>,
}

impl PostingsBuilder {
    /// Adds a key that is greater than all before it, with its packed points, at least one.
    pub(super) fn push(&mut self, key: &[u8], list: &[u8]) {
        self.page.push(&self.last_key, key, list);
        self.last_key.clear();
        self.last_key.extend_from_slice(key);
        if self.page.is_full() {
            self.finish_page();
        }
    }

    fn finish_page(&mut self) {
        let mut page = std::mem::take(&mut self.page);
        page.shrink();
        self.pages.push(Arc::new(page));
    }

    pub(super) fn finish(mut self) -> Postings {
        if self.page.len() > 0 {
            self.finish_page();
        }
        let mut postings = Postings::default();
        postings.set_pages(&self.pages);
        postings
    }
}

/// Bytes of a page with its reference counts and its pointer in a branch.
fn page_bytes(page: &Page) -> usize {
    page.bytes() + 3 * size_of::<usize>()
}

#[cfg(test)]
mod tests {
    use std::collections::{BTreeMap, BTreeSet};

    use proptest::prelude::*;

    use super::*;

    fn key() -> impl Strategy<Value = Vec<u8>> {
        let long = (0..40_u8, 0..9_u8).prop_map(|(len, end)| [vec![7; usize::from(len)], vec![end]].concat());
        let spread = (0..200_u8, 0..4_u8).prop_map(|(first, second)| vec![first, 5, second]);
        prop_oneof![3 => spread, 1 => long]
    }

    /// A change of points, in tests.
    #[derive(Debug, Clone, Copy)]
    enum Change {
        Added,
        Gathered,
        TakenOut,
        /// Whatever keys they have.
        Forgotten,
    }

    /// Keys, and the first of some points.
    fn steps() -> impl Strategy<Value = Vec<(Change, Vec<u8>, u32, u32)>> {
        let count = prop_oneof![6 => Just(1_u32), 1 => 200..900_u32];
        let change = prop_oneof![
            30 => Just(Change::Added),
            40 => Just(Change::Gathered),
            30 => Just(Change::TakenOut),
            1 => Just(Change::Forgotten),
        ];
        prop::collection::vec((change, key(), 0..9_000_u32, count), 1..600)
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        #[test]
        fn postings_are_an_ordered_map_of_sets(steps in steps(), bounds in (key(), key())) {
            let mut postings = Postings::default();
            let mut model = BTreeMap::<Vec<u8>, BTreeSet<u32>>::new();
            let mut held = postings.clone();
            for (number, (change, key, first, count)) in steps.into_iter().enumerate() {
                if number % 50 == 0 {
                    // From here on changes copy the pages.
                    postings.settle();
                    held = postings.clone();
                }
                let points = (0..count).map(|point| first + 7 * point);
                match change {
                    Change::Added => points.clone().for_each(|point| postings.insert(&key, point)),
                    Change::Gathered => points.clone().for_each(|point| postings.gather(&key, point)),
                    Change::TakenOut => {
                        postings.settle();
                        points.clone().for_each(|point| postings.remove(&key, point));
                    }
                    Change::Forgotten => {
                        postings.settle();
                        postings.forget(&points.clone().collect());
                    }
                }
                match change {
                    Change::Added | Change::Gathered => model.entry(key).or_default().extend(points),
                    Change::TakenOut => {
                        let of_key = model.entry(key).or_default();
                        let gone: BTreeSet<u32> = points.collect();
                        of_key.retain(|point| !gone.contains(point));
                    }
                    Change::Forgotten => {
                        let gone: BTreeSet<u32> = points.collect();
                        model.values_mut().for_each(|of_key| of_key.retain(|point| !gone.contains(point)));
                    }
                }
                model.retain(|_, points| !points.is_empty());
            }
            postings.settle();
            let pages = || postings.branches.iter().flat_map(|branch| &branch.pages);
            prop_assert!(pages().all(|page| page.len() > 0 && !page.is_too_large()));
            prop_assert_eq!(postings.bytes, pages().map(|page| page_bytes(page)).sum::<usize>());
            drop(held);

            let (low, high) = if bounds.0 <= bounds.1 { bounds } else { (bounds.1, bounds.0) };
            for range in [
                (Bound::Unbounded, Bound::Unbounded),
                (Bound::Included(low.clone()), Bound::Included(high.clone())),
                (Bound::Excluded(low.clone()), Bound::Unbounded),
                (Bound::Unbounded, Bound::Excluded(high)),
            ] {
                let got: Vec<_> = postings.entries(&range).map(|(key, points)| (key, points.iter().collect())).collect();
                let expected: Vec<_> = model.range::<Vec<u8>, _>(range.clone()).map(|(k, v)| (k.clone(), v.clone())).collect();
                prop_assert!(got == expected, "{:?}", range);
                prop_assert_eq!(postings.key_count(&range), expected.len() as u64);
                let points = expected.iter().map(|(_, points)| points.len() as u64).sum::<u64>();
                prop_assert_eq!(postings.point_count(&range), points);
                let union: BTreeSet<u32> = expected.iter().flat_map(|(_, points)| points).copied().collect();
                prop_assert!(postings.collect(&range).iter().eq(union));
            }
            for (key, points) in &model {
                prop_assert!(postings.get(key).is_some_and(|found| found.to_bitmap().iter().eq(points.iter().copied())));
            }
            let mut built = PostingsBuilder::default();
            for (key, points) in &model {
                built.push(key, &super::super::packed::pack(points.iter().copied()));
            }
            let (built, all) = (built.finish(), (Bound::Unbounded, Bound::Unbounded));
            let keys = |postings: &Postings| postings.entries(&all).map(|(key, points)| (key, points.iter().collect::<Vec<_>>())).collect::<Vec<_>>();
            prop_assert!(keys(&built) == keys(&postings));

            let gone = (Bound::Included(low.clone()), Bound::Unbounded);
            postings.drop_keys(&gone);
            model.split_off(&low);
            prop_assert!(keys(&postings).iter().map(|(key, _)| key).eq(model.keys()));
        }
    }
}
