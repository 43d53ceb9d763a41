//! The maths of vector search: floats and `u32` points in, the nearest points out.
//!
//! Nothing here knows of files, scopes or ids of users.
//!
//! | file or folder | question                                              |
//! |----------------|-------------------------------------------------------|
//! | `distance.rs`  | how far is a vector from the query? [`ExactDistance`] |
//! | `scan.rs`      | which of these rows are nearest, exactly? [`scan`]    |
//! | `top_k.rs`     | which `k` are nearest? [`TopK`]                       |
//! | `neighbor.rs`  | what is found? [`Neighbor`], [`PointId`]              |
//! | `aligned.rs`   | how does a query lie in memory?                       |
//! | `kernels/`     | which loop is the fastest on this CPU? [`Kernels`]    |
//! | `quantize/`    | how is a vector made small, and compared?             |
//! | `graph/`       | which points are probably nearest? [`Graph`]          |
//! | `random.rs`    | where do random choices come from?                    |
//! | `threads.rs`   | how is work shared out to threads? [`share_out`]      |
//!
//! A [`Graph`] gives a shortlist of points; [`ExactDistance`] and [`TopK`] rescore it. Threads are started only for the
//! time of a build, as many as are asked for, or as many as the system has.
//!
//! ```
//! use llmspell_vector::{ExactDistance, Metric, PointId, TopK, scan};
//!
//! let vectors = [[1.0, 0.0], [0.6, 0.8], [0.0, 2.0]];
//! let rows = (0..).map(PointId).zip(vectors.iter().map(|vector| vector.as_slice()));
//!
//! let query = ExactDistance::new(Metric::Cosine, &[0.0, 1.0]);
//! let mut top = TopK::new(2);
//! scan(&query, rows, None, &mut top);
//!
//! let (nearest, _) = top.into_sorted();
//! assert_eq!(nearest.iter().map(|neighbor| neighbor.point.0).collect::<Vec<_>>(), [2, 1]);
//! assert_eq!(nearest[0].distance, 0.0); // the same direction; the length does not count
//! ```

mod aligned;
mod distance;
mod graph;
mod kernels;
mod neighbor;
mod quantize;
mod random;
mod scan;
mod threads;
mod top_k;

pub use distance::{ExactDistance, Metric};
pub use graph::{
    Among, BuildWatch, Candidate, Graph, GraphConfig, GraphDamage, GraphLayout, GraphStats, Grouped, IndexBytes,
    ReadOrder, Rows, Scratch, Shortlist, WalkReport,
};
pub use kernels::{Kernels, prefetch_row};
pub use neighbor::{Neighbor, PointId};
pub use scan::{collect_ties, scan};
pub use threads::share_out;
pub use top_k::{TiesDropped, TopK};
