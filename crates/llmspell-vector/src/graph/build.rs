//! Building a graph: many points are linked at once, by several threads.
//!
//! Every vertex is inserted as in the HNSW paper, in random order: its neighbors are found by a walk over the codes of
//! those already there, chosen by distances of vectors rounded to bytes, and link back. Lists of links may grow by half
//! beyond their limit before they are pruned, so that a link costs no pruning of its own most of the time.
//!
//! Walks read the lists without locks while others write them; see `lists.rs`.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use crate::distance::{ExactDistance, Metric};
use crate::graph::cover::cover;
use crate::graph::encoder::Encoder;
use crate::graph::lists::{Added, Lists};
use crate::graph::nodes::{NONE, NodeLayout};
use crate::graph::prune::{Exact, prune};
use crate::graph::reach::Reached;
use crate::graph::shortlist::Yardstick;
use crate::graph::walk::{Blocks, Entries, Memory, Nodes, walk_codes};
use crate::graph::{BuildWatch, GraphConfig, GraphLayout, ReadOrder, Rows};
use crate::kernels::prefetch;
use crate::neighbor::PointId;
use crate::quantize::Bytes;
use crate::random::Random;
use crate::threads::share_out;

/// Vertices that a thread takes at once.
const CHUNK: usize = 32;
/// Candidates per link whose distance is computed, beyond the estimate of the walk.
const CANDIDATES_PER_LINK: usize = 3;
/// How often an equal vertex is passed on before it is left to be found by its neighbors.
const EQUALS_DEPTH_MAX: usize = 32;
/// How often links are rearranged for those that no walk reaches: taking a link from one may cut off another.
const CONNECT_ROUNDS: usize = 2;
/// Bytes of rotated vectors that are kept while building. Beyond it they are rotated again for every neighbor.
const PLACES_BYTES_MAX: usize = 2 << 30;

/// Vertices whose neighbors are measured, to see how far estimates are off.
const MEASURED_VERTICES: usize = 512;
const ERROR_SCALE_MIN: f32 = 0.25;
const ERROR_SCALE_MAX: f32 = 8.0;

/// What is built.
pub(crate) struct Built {
    pub(crate) encoder: Encoder,
    pub(crate) entries: Entries,
    /// Bits of a link.
    pub(crate) link_bits: u32,
    /// The largest error of a record.
    pub(crate) error_max: f32,
    /// Estimates are off by this many times as much as errors of records say.
    pub(crate) error_scale: f32,
    /// All nodes, one after the other.
    pub(crate) nodes: Vec<u8>,
}

struct Builder<'a> {
    config: &'a GraphConfig,
    encoder: &'a Encoder,
    exact: Exact<'a>,
    record_bytes: usize,
    records: &'a [u8],
    lists: Lists,
    entries: Entries,
    /// How many of the entries are linked.
    entries_ready: AtomicUsize,
}

impl Nodes for Builder<'_> {
    fn len(&self) -> u32 {
        self.exact.points.len() as u32
    }

    #[inline]
    fn record(&self, vertex: u32) -> &[u8] {
        &self.records[vertex as usize * self.record_bytes..][..self.record_bytes]
    }

    #[inline]
    fn links(&self, vertex: u32, out: &mut Vec<u32>) {
        self.lists.read(vertex, out);
    }

    #[inline]
    fn prefetch_record(&self, vertex: u32) {
        prefetch(self.record(vertex), 16);
    }

    #[inline]
    fn prefetch_links(&self, vertex: u32) {
        prefetch(self.lists.places(vertex), 8);
    }
}

impl Builder<'_> {
    /// Links a vertex with those near to it.
    fn insert(&self, vertex: u32, memory: &mut Memory, candidates: &mut Vec<(f32, u32)>) {
        self.encoder.prepare(self.exact.row(vertex).0, &mut memory.query);
        let ready = self.entries_ready.load(Ordering::Acquire);
        walk_codes(
            self,
            self.encoder,
            &self.entries,
            ready,
            self.config.ef_construction,
            1,
            |_| false,
            memory,
        );
        // The places that are left fill with links back.
        let kept = self.config.m + self.config.m / 2;
        candidates.clear();
        let found = memory
            .pool
            .held()
            .map(|(_, found)| found)
            .filter(|found| *found != vertex);
        for found in found.take(CANDIDATES_PER_LINK * kept) {
            candidates.push((self.exact.distance(vertex, found), found));
        }
        prune(self.exact, candidates, kept);
        {
            let list = self.lists.lock(vertex);
            // Others may have linked here already.
            let is_found = |link: &u32| candidates.iter().any(|(_, found)| found == link);
            let there: Vec<u32> = list.links().filter(|link| !is_found(link)).collect();
            list.replace(candidates.iter().map(|(_, found)| *found).chain(there));
        }
        let found = std::mem::take(candidates);
        for (distance, other) in &found {
            self.link_back(*other, vertex, *distance, candidates);
        }
        *candidates = found;
    }

    /// Adds `vertex` to the links of `from`, if it is near enough.
    ///
    /// An equal one is not worth a link of its own among many; where there is no room for it, it is passed on to a
    /// vertex that is equal too. So equal vectors make a tree, and crowd out nothing else.
    fn link_back(&self, mut from: u32, vertex: u32, distance: f32, candidates: &mut Vec<(f32, u32)>) {
        for _ in 0..EQUALS_DEPTH_MAX {
            let list = self.lists.lock(from);
            if list.add(vertex) == Added::Yes {
                return;
            }
            candidates.clear();
            self.measure(from, candidates);
            if self.exact.space.is_same(distance) {
                drop(list);
                let equals = candidates
                    .iter()
                    .filter(|(distance, _)| self.exact.space.is_same(*distance));
                // Any of them, but not always the same.
                let equals: Vec<u32> = equals.map(|(_, link)| *link).collect();
                match equals.get(vertex as usize % equals.len().max(1)) {
                    Some(equal) => {
                        from = *equal;
                        continue;
                    }
                    None => return,
                }
            }
            candidates.push((distance, vertex));
            prune(self.exact, candidates, self.config.degree_max());
            list.replace(candidates.iter().map(|(_, link)| *link));
            return;
        }
    }

    /// Appends the links of a vertex with their distances.
    fn measure(&self, vertex: u32, candidates: &mut Vec<(f32, u32)>) {
        let mut links = Vec::with_capacity(self.lists.room());
        self.lists.read(vertex, &mut links);
        for link in links {
            candidates.push((self.exact.distance(vertex, link), link));
        }
    }
}

/// Builds the nodes of `points`; none if `watch` cancelled.
pub(crate) fn build(
    config: &GraphConfig,
    points: &[PointId],
    rows: &dyn Rows,
    threads: usize,
    watch: &dyn BuildWatch,
) -> Option<Built> {
    let threads = threads.max(1);
    rows.will_read(ReadOrder::Random);
    let encoder = Encoder::learn(config, points.len(), |place| rows.row(points[place]));
    let padded = encoder.padded();
    let record_bytes = encoder.codec.shape().record_bytes();

    let mut records = vec![0; points.len() * record_bytes];
    let mut norm_terms = vec![0.0; points.len()];
    let keeps_places = config.layout == GraphLayout::Blocks && 4 * points.len() * padded <= PLACES_BYTES_MAX;
    let mut places = vec![
        0.0;
        if keeps_places {
            points.len() * padded
        } else {
            threads * padded
        }
    ];
    // Products are compared as they are: the additional component of the walk says nothing about them.
    let mut bytes = (config.metric != Metric::InnerProduct).then(|| Bytes::zeros(padded, points.len()));
    let share = points.len().div_ceil(threads).max(1);
    rows.will_read(ReadOrder::Given);
    {
        let shares = points.chunks(share).zip(records.chunks_mut(share * record_bytes));
        let place_parts = places.chunks_mut(if keeps_places { share * padded } else { padded });
        let mut byte_parts = bytes.as_mut().map(|bytes| bytes.parts_mut(share));
        let parts = shares.zip(norm_terms.chunks_mut(share)).zip(place_parts);
        share_out(parts.map(|(((points, records), norm_terms), places)| {
            let encoder = &encoder;
            let mut bytes = byte_parts.as_mut().and_then(Iterator::next);
            move || {
                let mut rest = vec![0.0; padded];
                let all = points
                    .iter()
                    .zip(records.chunks_exact_mut(record_bytes))
                    .zip(norm_terms);
                for (i, ((point, record), row_norm)) in all.enumerate() {
                    if watch.is_cancelled() {
                        return;
                    }
                    let row = rows.row(*point);
                    let place = &mut places[if keeps_places { i * padded } else { 0 }..][..padded];
                    *row_norm = encoder.space.norm_term(row);
                    encoder.encode(row, place, &mut rest, record);
                    if let Some((levels, rounded)) = &mut bytes {
                        rounded[i] = Bytes::encode(place, &mut levels[i * padded..][..padded]);
                    }
                }
            }
        }));
    }
    rows.will_read(ReadOrder::Random);
    let places = keeps_places.then_some(places);
    let errors = records
        .chunks_exact(record_bytes)
        .map(|record| encoder.codec.error(record));
    let error_max = errors.fold(0.0, f32::max);

    let mut random = Random::new(config.seed ^ 0x6f72_6465_7200_0001);
    let mut order: Vec<u32> = (0..points.len() as u32).collect();
    random.shuffle(&mut order);
    let entry_count = Entries::count_for(points.len());
    let entries = Entries::encode(&encoder, order[..entry_count].to_vec(), |vertex, place| {
        encoder.place(rows.row(points[vertex as usize]), place);
    });
    let degree_max = config.degree_max();
    let room = degree_max + degree_max.div_ceil(2);
    let mut builder = Builder {
        config,
        encoder: &encoder,
        exact: Exact {
            space: &encoder.space,
            rows,
            points,
            norm_terms: Some(&norm_terms),
            bytes: bytes.as_ref(),
        },
        record_bytes,
        records: &records,
        lists: Lists::new(points.len(), room),
        entries,
        entries_ready: AtomicUsize::new(0),
    };

    // The entries one by one, so that there is something to begin from.
    let (mut memory, mut candidates) = (Memory::default(), Vec::new());
    for (place, vertex) in order[..entry_count].iter().enumerate() {
        builder.insert(*vertex, &mut memory, &mut candidates);
        builder.entries_ready.store(place + 1, Ordering::Release);
    }
    watch.advance(entry_count as u64);
    in_parallel(&order[entry_count..], threads, watch, || {
        let (mut memory, mut candidates) = (Memory::default(), Vec::new());
        let builder = &builder;
        move |vertex: u32| {
            builder.insert(vertex, &mut memory, &mut candidates);
            watch.advance(1);
        }
    })?;

    let link_bits = NodeLayout::link_bits(config.layout, points.len());
    let layout = NodeLayout::new(config, encoder.codec.shape(), link_bits);
    let mut nodes = finish(&builder, layout, places.as_deref(), threads, watch)?;
    connect(&mut builder, layout, &mut nodes);
    let exact = builder.exact;
    let laid_out = LaidOut {
        layout,
        nodes: &nodes,
        count: points.len() as u32,
    };
    let covered = cover(
        &laid_out,
        (&encoder, config.layout),
        &builder.entries,
        0,
        config.seed,
        &|vertex| exact.row(vertex).0.to_vec(),
        &|| watch.is_cancelled(),
    );
    let entries = covered.unwrap_or(builder.entries);
    let error_scale = match config.layout {
        GraphLayout::Compact | GraphLayout::Blocks => 1.0,
        GraphLayout::Lean => error_scale(&laid_out, &encoder, exact),
    };
    Some(Built {
        link_bits,
        error_scale,
        encoder,
        entries,
        error_max,
        nodes,
    })
}

/// Estimates of neighbors are off by this many times as much as the errors of their records say: what lies in directions
/// that are not in the codes is not at random there.
fn error_scale(nodes: &LaidOut<'_>, encoder: &Encoder, exact: Exact<'_>) -> f32 {
    let mut memory = Memory::default();
    let mut links = Vec::new();
    let (mut squares, mut count) = (0.0_f64, 0_u32);
    let step = (nodes.count as usize / MEASURED_VERTICES).max(1);
    for vertex in (0..nodes.count).step_by(step) {
        let row = exact.row(vertex).0;
        encoder.prepare_codes(row, &mut memory.query);
        let yardstick = Yardstick::new(encoder, row, memory.query.code.step());
        let distance = ExactDistance::new(encoder.space.metric(), row);
        links.clear();
        nodes.links(vertex, &mut links);
        for link in &links {
            let record = nodes.record(*link);
            let squared = yardstick.squared(distance.distance(exact.row(*link).0));
            let said = encoder.codec.error(record) * yardstick.deviation(squared);
            let off = encoder.codec.distance(&mut memory.query.code, record) - squared;
            if said > 0.0 && off.is_finite() && squared.is_finite() {
                squares += f64::from(off / said).powi(2);
                count += 1;
            }
        }
    }
    let scale = (squares / f64::from(count.max(1))).sqrt() as f32;
    scale.clamp(ERROR_SCALE_MIN, ERROR_SCALE_MAX)
}

/// Nodes as they will be, one after the other.
struct LaidOut<'a> {
    layout: NodeLayout,
    nodes: &'a [u8],
    count: u32,
}

impl Nodes for LaidOut<'_> {
    fn len(&self) -> u32 {
        self.count
    }

    #[inline]
    fn record(&self, vertex: u32) -> &[u8] {
        self.layout.record(self.node(vertex))
    }

    #[inline]
    fn links(&self, vertex: u32, out: &mut Vec<u32>) {
        self.layout.append_links(self.node(vertex), self.count, out);
    }

    #[inline]
    fn prefetch_record(&self, vertex: u32) {
        self.layout.prefetch_record(self.node(vertex));
    }

    #[inline]
    fn prefetch_links(&self, vertex: u32) {
        self.layout.prefetch(self.node(vertex));
    }
}

impl Blocks for LaidOut<'_> {
    #[inline]
    fn node(&self, vertex: u32) -> &[u8] {
        &self.nodes[vertex as usize * self.layout.stride()..][..self.layout.stride()]
    }

    #[inline]
    fn prefetch_node(&self, vertex: u32) {
        self.layout.prefetch(self.node(vertex));
    }

    #[inline]
    fn neighbors<'a>(&self, node: &'a [u8]) -> (&'a [[u8; 4]], impl Iterator<Item = &'a [u8]>) {
        (self.layout.link_places(node), self.layout.batches(node))
    }
}

/// Prunes every list to its limit and lays out the nodes.
fn finish(
    builder: &Builder<'_>,
    layout: NodeLayout,
    places: Option<&[f32]>,
    threads: usize,
    watch: &dyn BuildWatch,
) -> Option<Vec<u8>> {
    let count = builder.exact.points.len();
    let mut nodes = vec![0; count * layout.stride()];
    let share = count.div_ceil(threads).max(1);
    let was_cancelled = AtomicBool::new(false);
    let parts = nodes.chunks_mut(share * layout.stride()).enumerate();
    share_out(parts.map(|(part, nodes)| {
        let was_cancelled = &was_cancelled;
        move || {
            let mut candidates = Vec::new();
            let mut room = BlockRoom::new(builder.encoder.padded());
            let first = (part * share) as u32;
            for (vertex, node) in (first..).zip(nodes.chunks_exact_mut(layout.stride())) {
                if watch.is_cancelled() {
                    was_cancelled.store(true, Ordering::Relaxed);
                    return;
                }
                candidates.clear();
                builder.measure(vertex, &mut candidates);
                prune(builder.exact, &mut candidates, builder.config.degree_max());
                layout.record_mut(node).copy_from_slice(builder.record(vertex));
                let links: Vec<u32> = candidates.iter().map(|(_, link)| *link).collect();
                layout.write_links(node, &links);
                if layout.has_blocks() {
                    let row = |vertex| builder.exact.row(vertex).0;
                    match places {
                        Some(places) => {
                            let place = |vertex: u32| &places[vertex as usize * room.padded()..][..room.padded()];
                            let neighbors = links.iter().map(|link| place(*link));
                            write_block(builder.encoder, layout, node, place(vertex), neighbors);
                        }
                        None => room.write_block(
                            builder.encoder,
                            layout,
                            node,
                            row(vertex),
                            links.iter().map(|link| row(*link)),
                        ),
                    }
                }
            }
        }
    }));
    (!was_cancelled.into_inner()).then_some(nodes)
}

/// Makes every vertex reachable from the entries: by a link from its nearest neighbor that is reached, in place of one
/// that others have too; where that does not help, by making it an entry.
fn connect(builder: &mut Builder<'_>, layout: NodeLayout, nodes: &mut [u8]) {
    let mut room = BlockRoom::new(builder.encoder.padded());
    for round in 0..=CONNECT_ROUNDS {
        let count = builder.exact.points.len();
        let node_of = |vertex: u32| vertex as usize * layout.stride()..(vertex as usize + 1) * layout.stride();
        let mut incoming = vec![0_u32; count];
        for vertex in 0..count as u32 {
            layout
                .links(&nodes[node_of(vertex)])
                .for_each(|link| incoming[link as usize] += 1);
        }
        let mut reached = Reached::new(count);
        for entry in &builder.entries.vertices {
            reached.spread(*entry, |vertex| layout.links(&nodes[node_of(vertex)]));
        }
        let (mut new_entries, mut all_reached) = (Vec::new(), true);
        for vertex in 0..count as u32 {
            if reached.contains(vertex) {
                continue;
            }
            all_reached = false;
            let links: Vec<u32> = layout.links(&nodes[node_of(vertex)]).collect();
            let mut neighbors = links
                .into_iter()
                .filter(|link| round < CONNECT_ROUNDS && reached.contains(*link));
            if !neighbors.any(|from| {
                link_in(
                    builder,
                    layout,
                    &mut nodes[node_of(from)],
                    from,
                    vertex,
                    &mut incoming,
                    &mut room,
                )
            }) {
                new_entries.push(vertex);
            }
            reached.spread(vertex, |vertex| layout.links(&nodes[node_of(vertex)]));
        }
        if all_reached {
            return;
        }
        if new_entries.is_empty() {
            continue;
        }
        let exact = builder.exact;
        let vertices = std::mem::take(&mut builder.entries.vertices)
            .into_iter()
            .chain(new_entries)
            .collect();
        builder.entries = Entries::encode(builder.encoder, vertices, |vertex, place| {
            builder.encoder.place(exact.row(vertex).0, place);
        });
    }
}

/// Puts `vertex` among the links of `from`, if there is a place; says whether.
fn link_in(
    builder: &Builder<'_>,
    layout: NodeLayout,
    node: &mut [u8],
    from: u32,
    vertex: u32,
    incoming: &mut [u32],
    room: &mut BlockRoom,
) -> bool {
    let links: Vec<u32> = layout.links(node).collect();
    let free = (links.len() < builder.config.degree_max()).then_some(links.len());
    let Some(place) = free.or_else(|| links.iter().rposition(|link| incoming[*link as usize] > 1)) else {
        return false;
    };
    if let Some(link) = links.get(place) {
        incoming[*link as usize] -= 1;
    }
    incoming[vertex as usize] += 1;
    let rows = [from, vertex].map(|vertex| builder.exact.row(vertex).0);
    room.write_link(builder.encoder, layout, node, place, vertex, rows);
    true
}

/// Room for two rotated vectors.
pub(crate) struct BlockRoom {
    center: Vec<f32>,
    neighbor: Vec<f32>,
}

impl BlockRoom {
    pub(crate) fn new(padded: usize) -> Self {
        Self {
            center: vec![0.0; padded],
            neighbor: vec![0.0; padded],
        }
    }

    fn padded(&self) -> usize {
        self.center.len()
    }

    /// Writes the sign codes of the neighbors of a node, whose links are written. The vectors are not rotated yet.
    pub(crate) fn write_block<'a>(
        &mut self,
        encoder: &Encoder,
        layout: NodeLayout,
        node: &mut [u8],
        center: &[f32],
        neighbors: impl Iterator<Item = &'a [f32]>,
    ) {
        encoder.place(center, &mut self.center);
        let mut count = 0;
        for neighbor in neighbors {
            encoder.place(neighbor, &mut self.neighbor);
            let (batch, place) = layout.batch_mut(node, count);
            encoder.signs.encode(&self.center, &self.neighbor, place, batch);
            count += 1;
        }
        clear_places(encoder, layout, node, count);
    }

    /// Writes the record of the code of a vector.
    pub(crate) fn encode_record(&mut self, encoder: &Encoder, row: &[f32], record: &mut [u8]) {
        encoder.encode(row, &mut self.center, &mut self.neighbor, record);
    }

    /// Puts a link to `neighbor` at a place of a node: that of a link, or the first free one. All other places stay as they are.
    pub(crate) fn write_link(
        &mut self,
        encoder: &Encoder,
        layout: NodeLayout,
        node: &mut [u8],
        place: usize,
        link: u32,
        [center, neighbor]: [&[f32]; 2],
    ) {
        layout.write_link(node, place, link);
        if layout.has_blocks() {
            encoder.place(center, &mut self.center);
            encoder.place(neighbor, &mut self.neighbor);
            let (batch, place) = layout.batch_mut(node, place);
            encoder.signs.encode(&self.center, &self.neighbor, place, batch);
        }
    }
}

/// Frees all places of a node from `first` on.
pub(crate) fn clear_links(encoder: &Encoder, layout: NodeLayout, node: &mut [u8], first: usize) {
    for place in first..layout.degree_max() {
        layout.write_link(node, place, NONE);
    }
    clear_places(encoder, layout, node, first);
}

/// Writes the sign codes of the neighbors of a node, whose links are written. All vectors are rotated.
fn write_block<'a>(
    encoder: &Encoder,
    layout: NodeLayout,
    node: &mut [u8],
    center: &[f32],
    neighbors: impl Iterator<Item = &'a [f32]>,
) {
    let mut count = 0;
    for neighbor in neighbors {
        let (batch, place) = layout.batch_mut(node, count);
        encoder.signs.encode(center, neighbor, place, batch);
        count += 1;
    }
    clear_places(encoder, layout, node, count);
}

/// Makes all places of a block from `first` on farther than everything.
fn clear_places(encoder: &Encoder, layout: NodeLayout, node: &mut [u8], first: usize) {
    for place in first..layout.places() {
        let (batch, place) = layout.batch_mut(node, place);
        encoder.signs.clear(place, batch);
    }
}

/// Does `work` on all items, in order, by several threads; none if `watch` cancelled.
fn in_parallel<W: FnMut(u32)>(
    items: &[u32],
    threads: usize,
    watch: &dyn BuildWatch,
    worker: impl Fn() -> W + Sync,
) -> Option<()> {
    let next = AtomicUsize::new(0);
    let was_cancelled = AtomicBool::new(false);
    let job = || {
        let mut work = worker();
        loop {
            let start = next.fetch_add(CHUNK, Ordering::Relaxed);
            if start >= items.len() {
                return;
            }
            for item in &items[start..items.len().min(start + CHUNK)] {
                if watch.is_cancelled() {
                    was_cancelled.store(true, Ordering::Relaxed);
                    return;
                }
                work(*item);
            }
        }
    };
    share_out(std::iter::repeat_n(&job, threads));
    (!was_cancelled.into_inner()).then_some(())
}
