//! The bytes of a graph.
//!
//! ```text
//! header   128 bytes, see `Header`
//! mean     f32 × dim of the walk
//! directions of a projection, if there is one: i8 × components with codes × padded
//! centroids f32 × centroids × padded
//! points   u32 × vertices
//! entries  u32 × entries, then their batches of sign codes
//! nodes    one after the other; see `nodes.rs`
//! ```
//!
//! Little-endian; every section begins at a multiple of 64. Checksums are the caller's.

use crate::distance::Metric;
use crate::graph::encoder::Encoder;
use crate::graph::nodes::{LINK_BITS, NodeLayout};
use crate::graph::pool::VERTICES_MAX;
use crate::graph::space::WalkSpace;
use crate::graph::walk::Entries;
use crate::graph::{GraphConfig, GraphDamage, GraphLayout};
use crate::kernels::{BATCH, PADDING};
use crate::neighbor::PointId;
use crate::quantize::{CENTROIDS_MAX, Centroids, CodeShape, Projection, Rotation, Signs, padded};

const MAGIC: [u8; 8] = *b"llsgraph";
const VERSION: u32 = 3;
const HEADER_BYTES: usize = 128;
/// Sections begin at cache lines.
const ALIGNMENT: usize = 64;

/// Bytes that begin at a cache line.
#[derive(Debug)]
pub(crate) struct AlignedBytes {
    room: Vec<u8>,
    start: usize,
    len: usize,
}

impl AlignedBytes {
    pub(crate) fn zeros(len: usize) -> Self {
        let room = vec![0; len + ALIGNMENT];
        let start = room.as_ptr().align_offset(ALIGNMENT).min(ALIGNMENT);
        Self { room, start, len }
    }

    pub(crate) fn as_mut(&mut self) -> &mut [u8] {
        &mut self.room[self.start..self.start + self.len]
    }
}

impl AsRef<[u8]> for AlignedBytes {
    fn as_ref(&self) -> &[u8] {
        &self.room[self.start..self.start + self.len]
    }
}

/// Where the sections are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Sections {
    mean: usize,
    directions: usize,
    centroids: usize,
    pub(crate) points: usize,
    entries: usize,
    batches: usize,
    pub(crate) nodes: usize,
    pub(crate) end: usize,
}

impl Sections {
    /// None if the memory cannot be had.
    pub(crate) fn new(
        config: &GraphConfig,
        codes: &Codes,
        vertices: usize,
        entries: usize,
        centroids: usize,
    ) -> Option<Self> {
        let walk_dim = config.dim + usize::from(config.metric == Metric::InnerProduct);
        let coded = codes.shape.padded;
        let stride = NodeLayout::new(config, codes.shape, codes.link_bits).stride();
        let after = |start: usize, count: usize, bytes: usize| {
            let end = count.checked_mul(bytes)?.checked_add(start)?;
            end.checked_next_multiple_of(ALIGNMENT)
        };
        let mean = HEADER_BYTES;
        let directions = after(mean, walk_dim, 4)?;
        let direction_bytes = if codes.is_projected {
            coded.checked_mul(padded(walk_dim))?
        } else {
            0
        };
        let centroids_at = after(directions, direction_bytes, 1)?;
        let points = after(centroids_at, centroids.checked_mul(padded(walk_dim))?, 4)?;
        let entries_at = after(points, vertices, 4)?;
        let batches = after(entries_at, entries, 4)?;
        let nodes = after(batches, entries.div_ceil(BATCH), Signs::batch_bytes(coded))?;
        let end = vertices.checked_mul(stride)?.checked_add(nodes)?;
        Some(Self {
            mean,
            directions,
            centroids: centroids_at,
            points,
            entries: entries_at,
            batches,
            nodes,
            end,
        })
    }
}

/// What the codes and links of a graph look like.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Codes {
    shape: CodeShape,
    is_projected: bool,
    link_bits: u32,
}

impl Codes {
    /// In one number: bits of a component, whether records are packed, bits of a link, whether vectors are projected,
    /// and in the upper half the components.
    fn to_number(self) -> u64 {
        u64::from(self.shape.bits)
            | u64::from(self.shape.is_packed) << 8
            | u64::from(self.link_bits) << 16
            | u64::from(self.is_projected) << 24
            | (self.shape.padded as u64) << 32
    }

    /// None if there are no such codes of vectors of `padded` components.
    fn of_number(number: u64, padded: usize, layout: GraphLayout, vertices: usize) -> Option<Self> {
        let byte = |place: u32| (number >> (8 * place)) as u8;
        let codes = Self {
            shape: CodeShape {
                padded: (number >> 32) as usize,
                bits: byte(0),
                is_packed: byte(1) == 1,
            },
            link_bits: u32::from(byte(2)),
            is_projected: byte(3) == 1,
        };
        let is_lean = layout == GraphLayout::Lean;
        let is_shape = matches!(codes.shape.bits, 1 | 2 | 4)
            && codes.shape.padded.is_multiple_of(PADDING)
            && (1..=padded).contains(&codes.shape.padded)
            && codes.is_projected == (codes.shape.padded < padded);
        let is_of_layout = if is_lean {
            codes.shape.is_packed && (1..LINK_BITS).contains(&codes.link_bits)
        } else {
            codes.shape == CodeShape::half_bytes(padded) && codes.link_bits == LINK_BITS
        };
        let has_room = vertices <= NodeLayout::vertices_max(codes.link_bits.min(LINK_BITS)) as usize;
        (is_shape && is_of_layout && has_room).then_some(codes)
    }
}

/// Everything before the nodes, without points and entry points.
#[derive(Debug, Clone)]
pub(crate) struct Head {
    pub(crate) config: GraphConfig,
    pub(crate) encoder: Encoder,
    /// Bits of a link.
    pub(crate) link_bits: u32,
    /// The largest error of a record.
    pub(crate) error_max: f32,
    /// Estimates are off by this many times as much as the errors of records say.
    pub(crate) error_scale: f32,
}

impl Head {
    /// What codes and links look like.
    pub(crate) fn codes(&self) -> Codes {
        Codes {
            shape: self.encoder.codec.shape(),
            is_projected: self.encoder.projection.is_some(),
            link_bits: self.link_bits,
        }
    }

    pub(crate) fn node_layout(&self) -> NodeLayout {
        NodeLayout::new(&self.config, self.encoder.codec.shape(), self.link_bits)
    }

    pub(crate) fn sections(&self, vertices: usize, entries: &Entries) -> Sections {
        let centroids = self.encoder.codec.centroids.len();
        Sections::new(&self.config, &self.codes(), vertices, entries.vertices.len(), centroids)
            .expect("what is in memory has a size")
    }

    /// Writes everything before the nodes into `out`, which holds zeros.
    pub(crate) fn write(
        &self,
        points: impl ExactSizeIterator<Item = PointId>,
        entries: &Entries,
        error_max: f32,
        out: &mut [u8],
    ) {
        let sections = self.sections(points.len(), entries);
        let space = &self.encoder.space;
        let projection = self.encoder.projection.as_ref();
        let metric = Metric::ALL.iter().position(|metric| *metric == self.config.metric);
        let numbers = [
            points.len() as u64,
            metric.expect("every metric is one of all") as u64,
            match self.config.layout {
                GraphLayout::Compact => 0,
                GraphLayout::Blocks => 1,
                GraphLayout::Lean => 2,
            },
            self.config.dim as u64,
            self.config.m as u64,
            self.config.ef_construction as u64,
            self.config.seed,
            entries.vertices.len() as u64,
            self.encoder.codec.centroids.len() as u64,
            u64::from(space.length_squared_max().to_bits()),
            u64::from(space.scale.to_bits()),
            u64::from(error_max.to_bits()) | u64::from(self.error_scale.to_bits()) << 32,
            self.codes().to_number(),
            projection.map_or(0, |projection| u64::from(projection.step().to_bits())),
        ];
        out[..8].copy_from_slice(&MAGIC);
        out[8..12].copy_from_slice(&VERSION.to_le_bytes());
        put(&mut out[16..], numbers.into_iter().map(u64::to_le_bytes));
        put(
            &mut out[sections.mean..],
            space.mean.iter().map(|value| value.to_le_bytes()),
        );
        if let Some(projection) = projection {
            let levels = projection.levels().iter();
            put(&mut out[sections.directions..], levels.map(|level| level.to_le_bytes()));
        }
        let centroids = self.encoder.centroids().components();
        put(
            &mut out[sections.centroids..],
            centroids.iter().map(|value| value.to_le_bytes()),
        );
        put(&mut out[sections.points..], points.map(|point| point.0.to_le_bytes()));
        let vertices = entries.vertices.iter();
        put(
            &mut out[sections.entries..],
            vertices.map(|vertex| vertex.to_le_bytes()),
        );
        out[sections.batches..][..entries.batches.len()].copy_from_slice(&entries.batches);
    }

    /// Reads it back; with the entry points, and the number of vertices.
    pub(crate) fn read(bytes: &[u8]) -> Result<(Self, Entries, usize), GraphDamage> {
        let damage = |what: &str| GraphDamage(what.to_string());
        let header: &[u8; HEADER_BYTES] = bytes.first_chunk().ok_or_else(|| damage("shorter than a header"))?;
        if header[..8] != MAGIC {
            return Err(damage("these are not the bytes of a graph"));
        }
        let version: [u8; 4] = header[8..12].try_into().expect("four bytes");
        if u32::from_le_bytes(version) != VERSION {
            return Err(GraphDamage(format!(
                "version {}; this build reads {VERSION}",
                u32::from_le_bytes(version)
            )));
        }
        let numbers: Vec<u64> = header[16..]
            .as_chunks()
            .0
            .iter()
            .map(|bytes| u64::from_le_bytes(*bytes))
            .collect();
        let [
            vertices,
            metric,
            layout,
            dim,
            m,
            ef_construction,
            seed,
            entries,
            centroids,
            length,
            scale,
            errors,
            codes,
            projection_step,
        ] = *numbers
        else {
            unreachable!("a header has room for its numbers")
        };
        let number = |value: u64, max: u64, what: &str| match usize::try_from(value) {
            Ok(number) if (1..=max).contains(&value) => Ok(number),
            Ok(_) | Err(_) => Err(GraphDamage(format!("{what} is {value}"))),
        };
        let config = GraphConfig {
            metric: *Metric::ALL
                .get(usize::try_from(metric).unwrap_or(usize::MAX))
                .ok_or_else(|| damage("no such metric"))?,
            dim: number(dim, 1 << 16, "dim")?,
            m: number(m, 1 << 12, "m")?,
            ef_construction: number(ef_construction, 1 << 32, "ef_construction")?,
            seed,
            layout: match layout {
                0 => GraphLayout::Compact,
                1 => GraphLayout::Blocks,
                2 => GraphLayout::Lean,
                _ => return Err(damage("no such layout")),
            },
        };
        let vertices = number(vertices, VERTICES_MAX as u64, "number of vertices")?;
        let entries = number(entries, vertices as u64, "number of entry points")?;
        let centroids = number(centroids, 1 << 16, "number of centroids")?;
        let walk_dim = config.dim + usize::from(config.metric == Metric::InnerProduct);
        let codes = Codes::of_number(codes, padded(walk_dim), config.layout, vertices);
        let codes = codes.ok_or_else(|| damage("no such codes"))?;
        if codes.shape.is_packed && centroids > CENTROIDS_MAX {
            return Err(damage("more centroids than records can name"));
        }
        let sections = Sections::new(&config, &codes, vertices, entries, centroids);
        let sections = sections.filter(|sections| sections.end == bytes.len());
        let sections = sections.ok_or_else(|| damage("its length is not what its header says"))?;

        let float = |bits: u64| f32::from_bits(bits as u32);
        let floats = |start: usize, count: usize| -> Vec<f32> {
            bytes[start..start + 4 * count]
                .as_chunks()
                .0
                .iter()
                .map(|bytes| f32::from_le_bytes(*bytes))
                .collect()
        };
        let mean = floats(sections.mean, walk_dim);
        let space = WalkSpace::stored(config.metric, config.dim, float(length), float(scale), mean);
        let coded = codes.shape.padded;
        let projection = codes.is_projected.then(|| {
            let bytes = bytes[sections.directions..][..coded * padded(walk_dim)].iter();
            // No level is -128, which kernels cannot multiply.
            let levels = bytes.map(|byte| byte.cast_signed().max(-127)).collect();
            Projection::of(padded(walk_dim), levels, float(projection_step))
        });
        let padded = padded(walk_dim);
        let centroids = Centroids::from_components(padded, floats(sections.centroids, centroids * padded));
        let rotation = Rotation::new(walk_dim, seed);
        let encoder = Encoder::of(space, rotation, projection, (codes.shape, centroids));
        let batches = entries.div_ceil(BATCH) * Signs::batch_bytes(coded);
        let entries = Entries {
            vertices: bytes[sections.entries..sections.entries + 4 * entries]
                .as_chunks()
                .0
                .iter()
                .map(|bytes| u32::from_le_bytes(*bytes))
                .collect(),
            batches: bytes[sections.batches..sections.batches + batches].to_vec(),
        };
        if entries.vertices.iter().any(|vertex| *vertex as usize >= vertices) {
            return Err(damage("an entry point is no vertex"));
        }
        // A damaged one must not let a search stop too early.
        let positive = |value: f32| if value >= 0.0 { value } else { f32::INFINITY };
        let head = Self {
            config,
            encoder,
            link_bits: codes.link_bits,
            error_max: positive(float(errors)),
            error_scale: positive(float(errors >> 32)),
        };
        Ok((head, entries, vertices))
    }
}

fn put<const N: usize>(out: &mut [u8], values: impl Iterator<Item = [u8; N]>) {
    for (place, value) in out.as_chunks_mut::<N>().0.iter_mut().zip(values) {
        *place = value;
    }
}
