//! Which points have which key? An ordered map that is cheap to copy and to change a little.

use std::cmp::Ordering;
use std::mem::size_of;
use std::ops::{Bound, Range};
use std::sync::Arc;

use roaring::RoaringBitmap;

use super::page::{PAGE_KEYS_MAX, Page, Points};
use super::point_set::PointSet;

/// A branch of more pages is cut in two.
const BRANCH_PAGES_MAX: usize = 128;
/// So many points of a range, and more, are collected in a plain bit set: one store each, no sorting.
const BIT_SET_POINTS_MIN: usize = 4_096;

/// Bounds of keys.
pub(super) type KeyRange = (Bound<Vec<u8>>, Bound<Vec<u8>>);

/// A tree of three levels: root, branches, pages of keys. Copies share all of it but the root; a change copies a page
/// and its branch, about 6 KiB.
#[derive(Debug, Clone, Default)]
pub(super) struct Postings {
    branches: Vec<Arc<Branch>>,
    bytes: usize,
}

/// Neighboring pages; none is empty.
#[derive(Debug, Clone, Default)]
struct Branch {
    pages: Vec<Arc<Page>>,
}

impl Postings {
    /// RAM of it, shared or not.
    pub(super) fn bytes(&self) -> usize {
        // Each page has an `Arc` and its place in a branch; branches are few.
        self.bytes + self.branches.capacity() * (size_of::<usize>() + size_of::<Branch>())
    }

    pub(super) fn get(&self, key: &[u8]) -> Option<Points<'_>> {
        let (branch, page) = self.place(key)?;
        self.branches[branch].pages[page].get(key)
    }

    /// The page where a key is or would be; none without pages.
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
        let page = Arc::make_mut(&mut branch.pages[page_place]);
        self.bytes -= page_bytes(page);
        page.insert(key, point);
        if page.len() <= PAGE_KEYS_MAX {
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

    pub(super) fn remove(&mut self, key: &[u8], point: u32) {
        let Some((branch_place, page_place)) = self.place(key) else {
            return;
        };
        if self.branches[branch_place].pages[page_place].get(key).is_none() {
            return;
        }
        let branch = Arc::make_mut(&mut self.branches[branch_place]);
        let page = Arc::make_mut(&mut branch.pages[page_place]);
        self.bytes -= page_bytes(page);
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

    /// The pages with keys within the range, and the numbers of these keys.
    fn runs<'a>(&'a self, (low, high): &'a KeyRange) -> impl Iterator<Item = (&'a Page, Range<usize>)> {
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
        self.runs(range)
            .flat_map(|(page, numbers)| numbers.map(move |number| (page.key(number), page.points(number))))
    }

    /// How many keys within the range.
    pub(super) fn key_count(&self, range: &KeyRange) -> u64 {
        self.runs(range).map(|(_, numbers)| numbers.len() as u64).sum()
    }

    /// Sum of the points of the keys within the range: how many they are, if no point has two of the keys.
    pub(super) fn point_count(&self, range: &KeyRange) -> u64 {
        self.runs(range)
            .map(|(page, numbers)| {
                page.lists(numbers.clone()).len() as u64 + page.sets(&numbers).map(PointSet::len).sum::<u64>()
            })
            .sum()
    }

    /// The points of all keys within the range. Takes time in proportion to their number.
    pub(super) fn collect(&self, range: &KeyRange) -> RoaringBitmap {
        let (mut sum, mut lists, mut count) = (RoaringBitmap::new(), Vec::new(), 0);
        for (page, numbers) in self.runs(range) {
            page.sets(&numbers).for_each(|set| set.add_to(&mut sum));
            let list = page.lists(numbers);
            count += list.len();
            lists.push(list);
        }
        let points = lists.iter().flat_map(|list| list.iter().copied());
        let max = points.clone().max().unwrap_or_default() as usize;
        if count < BIT_SET_POINTS_MIN || max / 64 > count {
            sum.extend(points);
            return sum;
        }
        let mut bits = vec![0_u8; max / 8 + 1];
        for point in points {
            bits[point as usize / 8] |= 1 << (point % 8);
        }
        sum | RoaringBitmap::from_lsb0_bytes(0, &bits)
    }

    /// The keys within the range become unknown. Takes time in proportion to all of them.
    pub(super) fn drop_keys(&mut self, range: &KeyRange) {
        let mut kept = Vec::new();
        for page in self.branches.iter().flat_map(|branch| &branch.pages) {
            let gone = page.within(&range.0, &range.1);
            if gone.is_empty() {
                kept.push(Arc::clone(page));
                continue;
            }
            for numbers in [0..gone.start, gone.end..page.len()] {
                if !numbers.is_empty() {
                    kept.push(Arc::new(page.part(numbers)));
                }
            }
        }
        self.bytes = kept.iter().map(|page| page_bytes(page)).sum();
        self.branches = kept
            .chunks(BRANCH_PAGES_MAX)
            .map(|pages| Arc::new(Branch { pages: pages.to_vec() }))
            .collect();
    }
}

/// A page with its counts of references and its place in a branch.
fn page_bytes(page: &Page) -> usize {
    page.bytes() + 3 * size_of::<usize>()
}
