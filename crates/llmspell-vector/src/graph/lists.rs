//! Lists of links that several threads write while others read.
//!
//! Readers take no lock: they read word by word what is there. While a list is replaced they may see parts of the old
//! and of the new one; each word by itself is a vertex that was written, and that is all a walk needs. Nothing else is
//! published by a link: the record of a vertex was there before the first link was. So relaxed loads and stores do.
//! Writers of one list exclude each other.

#[cfg(loom)]
use loom::sync::{
    Mutex, MutexGuard,
    atomic::{AtomicU32, Ordering},
};
use std::sync::PoisonError;
#[cfg(not(loom))]
use std::sync::{
    Mutex, MutexGuard,
    atomic::{AtomicU32, Ordering},
};

use crate::graph::nodes::NONE;

/// Lists that share a lock, at most.
const STRIPES: usize = 1 << 12;

/// One list of links per vertex, each with the same room.
pub(crate) struct Lists {
    room: usize,
    links: Vec<AtomicU32>,
    locks: Vec<Mutex<()>>,
}

/// One list, held by its only writer.
pub(crate) struct List<'a> {
    places: &'a [AtomicU32],
    _lock: MutexGuard<'a, ()>,
}

/// What became of a link that was to be added.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Added {
    /// It is in the list, now or since before.
    Yes,
    /// There is no room.
    Full,
}

impl Lists {
    /// Empty lists.
    pub(crate) fn new(vertices: usize, room: usize) -> Self {
        Self {
            room,
            links: (0..vertices * room).map(|_| AtomicU32::new(NONE)).collect(),
            locks: (0..vertices.min(STRIPES)).map(|_| Mutex::new(())).collect(),
        }
    }

    /// Places per list.
    pub(crate) fn room(&self) -> usize {
        self.room
    }

    /// The places of a list, as memory.
    #[inline]
    pub(crate) fn places(&self, vertex: u32) -> &[AtomicU32] {
        &self.links[vertex as usize * self.room..][..self.room]
    }

    /// Appends the links of a vertex, as they are at this moment.
    #[inline]
    pub(crate) fn read(&self, vertex: u32, out: &mut Vec<u32>) {
        out.extend(links(self.places(vertex)));
    }

    /// Waits until no other thread writes the list.
    pub(crate) fn lock(&self, vertex: u32) -> List<'_> {
        let lock = &self.locks[vertex as usize % self.locks.len()];
        List {
            places: self.places(vertex),
            _lock: lock.lock().unwrap_or_else(PoisonError::into_inner),
        }
    }
}

impl List<'_> {
    pub(crate) fn links(&self) -> impl Iterator<Item = u32> {
        links(self.places)
    }

    /// Puts a link into the first free place, unless it stands there already.
    pub(crate) fn add(&self, link: u32) -> Added {
        for place in self.places {
            let there = place.load(Ordering::Relaxed);
            if there == NONE {
                place.store(link, Ordering::Relaxed);
            }
            if there == NONE || there == link {
                return Added::Yes;
            }
        }
        Added::Full
    }

    /// Replaces the list. What is beyond the room is left out.
    pub(crate) fn replace(&self, links: impl Iterator<Item = u32>) {
        let links = links.chain(std::iter::repeat(NONE));
        for (place, link) in self.places.iter().zip(links) {
            place.store(link, Ordering::Relaxed);
        }
    }
}

#[inline]
fn links(places: &[AtomicU32]) -> impl Iterator<Item = u32> {
    places
        .iter()
        .map(|place| place.load(Ordering::Relaxed))
        .take_while(|link| *link != NONE)
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    #[test]
    fn a_list_holds_each_link_once_and_no_more_than_it_has_room_for() {
        let lists = Lists::new(2, 3);
        let list = lists.lock(1);
        assert_eq!([7, 8, 7, 9].map(|link| list.add(link)), [Added::Yes; 4]);
        assert_eq!((list.add(10), list.add(8)), (Added::Full, Added::Yes));
        list.replace([1, 2].into_iter());
        let mut read = Vec::new();
        lists.read(1, &mut read);
        lists.read(0, &mut read);
        assert_eq!(read, [1, 2]);
    }
}

/// `cargo xtask loom`: every interleaving that the memory model allows.
#[cfg(all(test, loom))]
mod interleavings {
    use loom::sync::Arc;
    use loom::thread;

    use super::*;

    fn read(lists: &Lists) -> Vec<u32> {
        let mut links = Vec::new();
        lists.read(0, &mut links);
        links
    }

    #[test]
    fn two_writers_lose_nothing_and_a_reader_sees_only_what_was_written() {
        loom::model(|| {
            let lists = Arc::new(Lists::new(1, 2));
            let writers = [5, 6].map(|link| {
                let lists = Arc::clone(&lists);
                thread::spawn(move || assert_eq!(lists.lock(0).add(link), Added::Yes))
            });
            assert!(read(&lists).iter().all(|link| [5, 6].contains(link)));
            writers.into_iter().for_each(|writer| writer.join().unwrap());
            let mut links = read(&lists);
            links.sort_unstable();
            assert_eq!(links, [5, 6]);
        });
    }

    #[test]
    fn a_reader_of_a_list_that_is_replaced_sees_links_of_either() {
        loom::model(|| {
            let lists = Arc::new(Lists::new(1, 3));
            lists.lock(0).replace([1, 2, 3].into_iter());
            let writer = {
                let lists = Arc::clone(&lists);
                thread::spawn(move || lists.lock(0).replace([4, 5].into_iter()))
            };
            assert!(read(&lists).iter().all(|link| (1..=5).contains(link)));
            writer.join().unwrap();
            assert_eq!(read(&lists), [4, 5]);
        });
    }
}
