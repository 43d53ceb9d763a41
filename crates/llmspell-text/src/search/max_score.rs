//! The best points of several lists, without reading what cannot be among them.
//!
//! `MaxScore` (Turtle and Flood, "Query evaluation: strategies and optimizations", 1995) in windows of points: lists whose
//! bounds together cannot lift a point among the best are only asked about points of the others, the *essential* ones. Bounds are
//! those of the blocks in the window (Ding and Suel, "Faster top-k document retrieval using block-max indexes", 2011), as in
//! Lucene's scorer of this name.

use super::lists::List;
use super::top::Top;

/// Points of a window in which several lists are added up.
const WINDOW: usize = 4096;
/// Blocks whose bounds are looked at for one window; where there are more, the bound of the list counts.
const BLOCKS_LOOKED_AT_MAX: usize = 16;

/// Adds to `top` the best points that `accepts` lets through, which is asked for points in rising order.
pub(super) fn search(lists: &mut [List<'_>], top: &mut Top, mut accepts: impl FnMut(u32) -> bool) {
    lists.sort_by(|a, b| a.bound.total_cmp(&b.bound));
    let mut window = Window::new(lists.len());
    let mut low = Some(0);
    while let Some(start) = low {
        let Some(last) = window.place(lists, start, top) else {
            return;
        };
        let start = window.start;
        if top.competes(window.total(), start) {
            window.split(top);
            if window.essential().len() == 1 {
                window.one_list(lists, last, top, &mut accepts);
            } else {
                window.several_lists(lists, last, top, &mut accepts);
            }
        }
        low = last.checked_add(1);
    }
}

/// A range of points, and what lists add in it.
struct Window {
    start: u32,
    /// Lists in the order of their bounds here, the lowest first, with those bounds.
    order: Vec<(f32, usize)>,
    /// Sums of the bounds up to each place in the order.
    sums: Vec<f64>,
    /// How many lists of the order are only asked.
    asked: usize,
    scores: Vec<f64>,
    is_there: Vec<u64>,
    /// Points that may be among the best, and what essential lists add to them.
    candidates: Vec<(u32, f64)>,
}

impl Window {
    fn new(lists: usize) -> Self {
        Self {
            start: 0,
            order: Vec::with_capacity(lists),
            sums: Vec::with_capacity(lists),
            asked: 0,
            scores: Vec::new(),
            is_there: Vec::new(),
            candidates: Vec::new(),
        }
    }

    /// Places the window at the first points from `start` on that may be among the best, and says its last point.
    fn place(&mut self, lists: &mut [List<'_>], start: u32, top: &Top) -> Option<u32> {
        let mut sum = 0.0;
        let essential = lists.iter().position(|list| {
            sum += f64::from(list.bound);
            top.competes(sum, start)
        })?;
        let (mut last, mut first) = (u32::MAX, u32::MAX);
        let many = lists.len() - essential > 1;
        for list in &mut lists[essential..] {
            list.cursor.seek_block(start);
            if !list.cursor.is_done() {
                last = last.min(list.cursor.block_last());
                first = if many {
                    first.min(list.cursor.seek(start).unwrap_or(u32::MAX))
                } else {
                    start
                };
            }
        }
        if first == u32::MAX && last == u32::MAX && lists[essential..].iter().all(|list| list.cursor.is_done()) {
            return None;
        }
        self.start = first.max(start);
        let mut last = last.max(self.start);
        if many {
            last = last.min(self.start.saturating_add(WINDOW as u32 - 1));
        }
        self.order.clear();
        for (place, list) in lists.iter_mut().enumerate() {
            list.cursor.seek_block(self.start);
            if !list.cursor.is_done() {
                self.order.push((bound_until(list, last), place));
            }
        }
        self.order
            .sort_unstable_by(|a, b| a.0.total_cmp(&b.0).then(a.1.cmp(&b.1)));
        self.sums.clear();
        let mut sum = 0.0;
        for (bound, _) in &self.order {
            sum += f64::from(*bound);
            self.sums.push(sum);
        }
        Some(last)
    }

    fn total(&self) -> f64 {
        self.sums.last().copied().unwrap_or(0.0)
    }

    /// What the lists that are only asked add at most.
    fn asked_total(&self) -> f64 {
        self.asked.checked_sub(1).map_or(0.0, |last| self.sums[last])
    }

    /// Finds the lists that are only asked.
    fn split(&mut self, top: &Top) {
        self.asked = self
            .sums
            .iter()
            .take_while(|sum| !top.competes(**sum, self.start))
            .count();
    }

    fn essential(&self) -> &[(f32, usize)] {
        &self.order[self.asked..]
    }

    /// Goes through the blocks of the only essential list.
    fn one_list(&mut self, lists: &mut [List<'_>], last: u32, top: &mut Top, accepts: &mut impl FnMut(u32) -> bool) {
        let place = self.essential()[0].1;
        let asked = self.asked_total();
        let mut next = Some(self.start);
        while let Some(from) = next {
            let List { cursor, weigh, .. } = &mut lists[place];
            if cursor.seek(from).is_none_or(|point| point > last) {
                return;
            }
            self.candidates.clear();
            let (points, payloads) = cursor.rest_of_block();
            let count = points.partition_point(|point| *point <= last);
            for (point, payload) in points[..count].iter().zip(payloads) {
                let score = f64::from(weigh.of(*point, *payload));
                if top.competes(score + asked, *point) {
                    self.candidates.push((*point, score));
                }
            }
            next = points[count - 1].checked_add(1);
            cursor.advance_in_block(count);
            self.ask(lists, top, accepts);
        }
    }

    /// Adds up the essential lists in the window.
    fn several_lists(
        &mut self,
        lists: &mut [List<'_>],
        last: u32,
        top: &mut Top,
        accepts: &mut impl FnMut(u32) -> bool,
    ) {
        self.scores.resize(WINDOW, 0.0);
        self.is_there.resize(WINDOW / 64, 0);
        let start = self.start;
        for (_, place) in &self.order[self.asked..] {
            let List { cursor, weigh, .. } = &mut lists[*place];
            let mut next = Some(start);
            while next
                .and_then(|from| cursor.seek(from))
                .is_some_and(|point| point <= last)
            {
                let (points, payloads) = cursor.rest_of_block();
                let count = points.partition_point(|point| *point <= last);
                for (point, payload) in points[..count].iter().zip(payloads) {
                    let offset = (point - start) as usize % WINDOW;
                    self.scores[offset] += f64::from(weigh.of(*point, *payload));
                    self.is_there[offset / 64] |= 1 << (offset % 64);
                }
                next = points[count - 1].checked_add(1);
                cursor.advance_in_block(count);
            }
        }
        self.candidates.clear();
        let asked = self.asked_total();
        for word in 0..((last - start) as usize / 64 + 1).min(self.is_there.len()) {
            let mut bits = std::mem::take(&mut self.is_there[word]);
            while bits != 0 {
                let offset = 64 * word + bits.trailing_zeros() as usize;
                bits &= bits - 1;
                let score = std::mem::take(&mut self.scores[offset]);
                let point = start + offset as u32;
                if top.competes(score + asked, point) {
                    self.candidates.push((point, score));
                }
            }
        }
        self.ask(lists, top, accepts);
    }

    /// Asks the other lists about each candidate, those that may add most first.
    fn ask(&mut self, lists: &mut [List<'_>], top: &mut Top, accepts: &mut impl FnMut(u32) -> bool) {
        'candidates: for (point, score) in &self.candidates {
            let mut score = *score;
            for place in (0..self.asked).rev() {
                if !top.competes(score + self.sums[place], *point) {
                    continue 'candidates;
                }
                score += lists[self.order[place].1].of(*point).map_or(0.0, f64::from);
            }
            if top.competes(score, *point) && accepts(*point) {
                top.push(score as f32, *point);
            }
        }
    }
}

/// What a list adds at most up to a point.
fn bound_until(list: &List<'_>, last: u32) -> f32 {
    let mut most = 0.0_f32;
    for number in 0..BLOCKS_LOOKED_AT_MAX {
        let Some((bound, block_last)) = list.cursor.block_ahead(number) else {
            return most;
        };
        most = most.max(list.weigh.bound(bound));
        if block_last >= last {
            return most;
        }
    }
    list.bound
}
