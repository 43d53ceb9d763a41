//! The beam of a walk: the nearest vertices so far, and which of them are still to be expanded.

/// Set in the number of a vertex that was expanded.
const EXPANDED: u32 = 1 << 31;
/// Set in the number of a vertex that is hidden: it leads on to others, but takes no place of theirs.
const HIDDEN: u32 = 1 << 30;
/// Vertices of a graph, at most.
pub(crate) const VERTICES_MAX: usize = 1 << 30;
/// Hidden vertices that are held, for each place.
const HIDDEN_PER_PLACE: usize = 4;

/// The nearest `capacity` vertices seen, in order, each expanded or not, and the hidden ones that are nearer than the last
/// of them. An array: for the widths of beams in use, shifting it is faster than two heaps.
#[derive(Debug, Clone, Default)]
pub(crate) struct Pool {
    capacity: usize,
    /// Distance and vertex; ascending. If the pool is full, the last one is not hidden.
    entries: Vec<(f32, u32)>,
    /// How many of them are hidden.
    hidden: usize,
    /// All before this are expanded.
    next: usize,
    /// The place that was expanded last.
    last: usize,
}

impl Pool {
    pub(crate) fn reset(&mut self, capacity: usize) {
        self.capacity = capacity;
        self.entries.clear();
        self.entries.reserve(capacity + 1);
        self.hidden = 0;
        self.next = 0;
    }

    fn is_full(&self) -> bool {
        self.entries.len() - self.hidden >= self.capacity
    }

    /// What is not nearer than this need not be offered.
    #[inline]
    pub(crate) fn bound(&self) -> f32 {
        if self.is_full() {
            self.entries.last().map_or(f32::NEG_INFINITY, |(distance, _)| *distance)
        } else {
            f32::INFINITY
        }
    }

    /// Takes a vertex in, if it is nearer than the bound.
    #[inline]
    pub(crate) fn offer(&mut self, distance: f32, vertex: u32, is_hidden: impl Fn(u32) -> bool) {
        self.offer_among_equals(distance, vertex, usize::MAX, is_hidden);
    }

    /// Takes a vertex in, if it is nearer than the bound and fewer than `equals_max` are held at exactly its distance:
    /// equal vectors have equal codes, and a crowd of them would be all that a walk sees.
    #[inline]
    pub(crate) fn offer_among_equals(
        &mut self,
        distance: f32,
        vertex: u32,
        equals_max: usize,
        is_hidden: impl Fn(u32) -> bool,
    ) {
        let is_nearer = distance < self.bound();
        if !is_nearer {
            return;
        }
        let place = self.entries.partition_point(|(other, _)| *other <= distance);
        let is_one_too_many = place >= equals_max && self.entries[place - equals_max].0 == distance;
        if is_one_too_many {
            return;
        }
        if is_hidden(vertex) {
            self.insert_hidden(distance, vertex, place);
            return;
        }
        if self.hidden > 0 {
            self.insert_among_hidden(distance, vertex, place);
            return;
        }
        if self.is_full() {
            // Nearer than the last, so `place` is not beyond it.
            self.entries.pop();
        }
        self.entries.insert(place, (distance, vertex));
        self.next = self.next.min(place);
    }

    /// Takes a vertex in where hidden ones are held: if the pool is full then, those go that are the last.
    #[cold]
    fn insert_among_hidden(&mut self, distance: f32, vertex: u32, place: usize) {
        if self.is_full() {
            self.entries.pop();
        }
        // Not beyond the end: what was taken away is farther.
        self.entries.insert(place, (distance, vertex));
        self.next = self.next.min(place);
        while self.is_full() && self.entries.last().is_some_and(|(_, vertex)| vertex & HIDDEN != 0) {
            self.entries.pop();
            self.hidden -= 1;
        }
    }

    #[cold]
    fn insert_hidden(&mut self, distance: f32, vertex: u32, place: usize) {
        self.entries.insert(place, (distance, vertex | HIDDEN));
        self.next = self.next.min(place);
        self.hidden += 1;
        if self.hidden > HIDDEN_PER_PLACE * self.capacity
            && let Some(farthest) = self.entries.iter().rposition(|(_, vertex)| vertex & HIDDEN != 0)
        {
            self.entries.remove(farthest);
            self.hidden -= 1;
            if self.next > farthest {
                self.next -= 1;
            }
            // It may have been the next one, as the one that just came often is; behind it are some that were expanded.
            self.skip_expanded();
        }
    }

    #[inline]
    fn skip_expanded(&mut self) {
        let is_expanded = |entry: Option<&(f32, u32)>| entry.is_some_and(|(_, vertex)| vertex & EXPANDED != 0);
        while is_expanded(self.entries.get(self.next)) {
            self.next += 1;
        }
    }

    /// The nearest vertex that was not expanded, and whether it is hidden; it is expanded from now on.
    #[inline]
    pub(crate) fn expand(&mut self) -> Option<(u32, bool)> {
        self.last = self.next;
        let (_, vertex) = self.entries.get_mut(self.next)?;
        let found = *vertex;
        *vertex |= EXPANDED;
        self.next += 1;
        self.skip_expanded();
        Some((found & !HIDDEN, found & HIDDEN != 0))
    }

    /// Gives the place of what was expanded last to others. Nothing may have been offered since.
    pub(crate) fn drop_expanded(&mut self) {
        if self.last < self.entries.len() {
            let (_, vertex) = self.entries.remove(self.last);
            self.hidden -= usize::from(vertex & HIDDEN != 0);
            self.next -= 1;
        }
    }

    /// The vertex that [`expand`](Self::expand) would give.
    #[inline]
    pub(crate) fn peek(&self) -> Option<u32> {
        self.entries.get(self.next).map(|(_, vertex)| *vertex & !HIDDEN)
    }

    /// One behind that, which may be expanded.
    #[inline]
    pub(crate) fn peek_second(&self) -> Option<u32> {
        let second = self.entries.get(self.next + 1);
        second.map(|(_, vertex)| *vertex & !(EXPANDED | HIDDEN))
    }

    /// What is held and not hidden, nearest first.
    pub(crate) fn held(&self) -> impl Iterator<Item = (f32, u32)> + '_ {
        let seen = self.entries.iter().filter(|(_, vertex)| vertex & HIDDEN == 0);
        seen.map(|(distance, vertex)| (*distance, vertex & !EXPANDED))
    }

    /// How many hidden vertices are held.
    pub(crate) fn hidden(&self) -> usize {
        self.hidden
    }
}

/// Which vertices a walk has met.
#[derive(Debug, Clone, Default)]
pub(crate) struct Visited {
    words: Vec<u64>,
    /// Those met, to be forgotten one by one: a walk meets few of all.
    met: Vec<u32>,
}

impl Visited {
    pub(crate) fn reset(&mut self, vertices: u32) {
        for vertex in self.met.drain(..) {
            self.words[vertex as usize / 64] = 0;
        }
        let words = (vertices as usize).div_ceil(64);
        if self.words.len() < words {
            self.words.resize(words, 0);
        }
    }

    /// How many were met.
    pub(crate) fn count(&self) -> usize {
        self.met.len()
    }

    /// Whether a vertex was met before.
    #[inline]
    pub(crate) fn contains(&self, vertex: u32) -> bool {
        self.words[vertex as usize / 64] >> (vertex % 64) & 1 == 1
    }

    /// Meets a vertex; says whether for the first time.
    #[inline]
    pub(crate) fn insert(&mut self, vertex: u32) -> bool {
        let word = &mut self.words[vertex as usize / 64];
        let bit = 1 << (vertex % 64);
        let is_new = *word & bit == 0;
        if is_new {
            *word |= bit;
            self.met.push(vertex);
        }
        is_new
    }

    /// Keeps those of `vertices` that were met. Without branches, like the next.
    #[inline]
    pub(crate) fn keep_met(&self, vertices: &mut Vec<u32>) {
        self.keep(vertices, true);
    }

    /// Keeps those of `vertices` that were not met.
    #[inline]
    pub(crate) fn keep_unmet(&self, vertices: &mut Vec<u32>) {
        self.keep(vertices, false);
    }

    #[inline]
    fn keep(&self, vertices: &mut Vec<u32>, met: bool) {
        let mut kept = 0;
        for place in 0..vertices.len() {
            let vertex = vertices[place];
            vertices[kept] = vertex;
            kept += usize::from(self.contains(vertex) == met);
        }
        vertices.truncate(kept);
    }

    /// Meets all of `vertices`, and keeps those met for the first time. Without branches: which are new is chance.
    #[inline]
    pub(crate) fn keep_new(&mut self, vertices: &mut Vec<u32>) {
        let mut kept = 0;
        for place in 0..vertices.len() {
            let vertex = vertices[place];
            let word = &mut self.words[vertex as usize / 64];
            let bit = 1 << (vertex % 64);
            vertices[kept] = vertex;
            kept += usize::from(*word & bit == 0);
            *word |= bit;
        }
        vertices.truncate(kept);
        self.met.extend_from_slice(vertices);
    }
}

#[cfg(test)]
mod tests {
    use proptest::collection::vec;
    use proptest::prelude::*;

    use super::*;

    /// Distances, whether one is expanded then, and whether what is offered is hidden: now and then, or most of it.
    fn steps() -> impl Strategy<Value = Vec<(u8, bool, bool)>> {
        let some = vec((0..30_u8, any::<bool>(), prop::bool::weighted(0.3)), 0..60);
        let many = vec((0..30_u8, any::<bool>(), prop::bool::weighted(0.9)), 0..200);
        prop_oneof![some, many]
    }

    proptest! {
        /// Whatever the order of offers and expansions, it holds the nearest and gives the nearest that is left; hidden ones
        /// take no place of others, and are there as long as they are nearer than the last.
        #[test]
        fn a_pool_is_a_sorted_list(
            capacity in 1..9_usize,
            steps in steps(),
        ) {
            let mut pool = Pool::default();
            pool.reset(capacity);
            let mut model: Vec<(f32, u32, bool, bool)> = Vec::new();
            for (vertex, (distance, expand, is_hidden)) in (0..).zip(steps) {
                let distance = f32::from(distance);
                // Equals come after those that were there, so one as far as the last place is not taken.
                let seen = model.iter().filter(|entry| !entry.3).count();
                if seen < capacity || model.last().is_some_and(|last| distance < last.0) {
                    model.push((distance, vertex, false, is_hidden));
                }
                pool.offer(distance, vertex, |_| is_hidden);
                model.sort_by(|a, b| a.0.total_cmp(&b.0).then(a.1.cmp(&b.1)));
                let places = model.iter().enumerate().filter(|(_, entry)| !entry.3).map(|(place, _)| place);
                if let Some(last) = places.clone().nth(capacity - 1) {
                    model.truncate(last + 1);
                }
                while model.iter().filter(|entry| entry.3).count() > HIDDEN_PER_PLACE * capacity {
                    let farthest = model.iter().rposition(|entry| entry.3);
                    model.remove(farthest.expect("there are some"));
                }
                if expand {
                    let expected = model.iter_mut().find(|entry| !entry.2);
                    let expected = expected.map(|entry| { entry.2 = true; (entry.1, entry.3) });
                    prop_assert_eq!(pool.peek(), expected.map(|(vertex, _)| vertex));
                    prop_assert_eq!(pool.expand(), expected);
                }
                let held: Vec<_> = pool.held().collect();
                let seen = model.iter().filter(|entry| !entry.3);
                let expected: Vec<_> = seen.map(|(distance, vertex, ..)| (*distance, *vertex)).collect();
                prop_assert_eq!(held, expected);
                prop_assert_eq!(pool.hidden(), model.iter().filter(|entry| entry.3).count());
            }
        }
    }

    #[test]
    fn a_hidden_vertex_that_is_not_kept_leaves_expanded_ones_expanded() {
        let mut pool = Pool::default();
        pool.reset(1);
        for vertex in 0..HIDDEN_PER_PLACE as u32 {
            pool.offer(1.0, vertex, |_| true);
        }
        pool.offer(9.0, 100, |_| false);
        while pool.expand().is_some() {}
        // Farther than the others that are hidden, so it goes at once; behind it is one that was expanded.
        pool.offer(8.0, 200, |_| true);
        assert_eq!((pool.peek(), pool.expand()), (None, None));
        assert_eq!(pool.held().collect::<Vec<_>>(), [(9.0, 100)]);
    }

    #[test]
    fn what_is_dropped_gives_its_place_to_others() {
        let mut pool = Pool::default();
        pool.reset(2);
        pool.offer(1.0, 7, |_| false);
        pool.offer(1.5, 7, |_| false);
        pool.offer(2.0, 8, |_| false);
        assert_eq!((pool.expand(), pool.expand()), (Some((7, false)), Some((7, false))));
        pool.drop_expanded();
        pool.offer(2.0, 8, |_| false);
        assert_eq!(pool.held().collect::<Vec<_>>(), [(1.0, 7), (2.0, 8)]);
        assert_eq!((pool.expand(), pool.expand()), (Some((8, false)), None));
    }

    #[test]
    fn of_equal_distances_only_so_many_are_held() {
        let held = |equals_max| {
            let mut pool = Pool::default();
            pool.reset(4);
            for (distance, vertex) in [(2.0, 0), (1.0, 1), (2.0, 2), (1.0, 3), (2.0, 4), (3.0, 5)] {
                pool.offer_among_equals(distance, vertex, equals_max, |_| false);
            }
            pool.held().collect::<Vec<_>>()
        };
        assert_eq!(held(1), [(1.0, 1), (2.0, 0), (3.0, 5)]);
        assert_eq!(held(2), [(1.0, 1), (1.0, 3), (2.0, 0), (2.0, 2)]);
        assert_eq!(held(9), [(1.0, 1), (1.0, 3), (2.0, 0), (2.0, 2)]);
    }

    #[test]
    fn a_new_walk_has_met_nothing() {
        let mut visited = Visited::default();
        visited.reset(200);
        assert!(visited.insert(3) && visited.insert(199) && !visited.insert(3));
        let mut some = vec![3, 64, 3, 65, 64];
        visited.keep_new(&mut some);
        assert_eq!(some, [64, 65]);
        visited.reset(300);
        assert!(visited.insert(64));
        assert!(visited.insert(3) && !visited.contains(199) && visited.insert(299));
    }
}
