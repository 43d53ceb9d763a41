//! Which vertices a walk can reach, and links for those that it cannot.

/// The vertices reached so far.
pub(crate) struct Reached {
    is_reached: Vec<bool>,
    to_visit: Vec<u32>,
}

impl Reached {
    /// None of `count` vertices.
    pub(crate) fn new(count: usize) -> Self {
        Self {
            is_reached: vec![false; count],
            to_visit: Vec::new(),
        }
    }

    pub(crate) fn contains(&self, vertex: u32) -> bool {
        self.is_reached[vertex as usize]
    }

    /// Reaches `start`, and all that its links lead to.
    pub(crate) fn spread<I: Iterator<Item = u32>>(&mut self, start: u32, links: impl Fn(u32) -> I) {
        if std::mem::replace(&mut self.is_reached[start as usize], true) {
            return;
        }
        self.to_visit.push(start);
        while let Some(vertex) = self.to_visit.pop() {
            for link in links(vertex) {
                if !std::mem::replace(&mut self.is_reached[link as usize], true) {
                    self.to_visit.push(link);
                }
            }
        }
    }
}
