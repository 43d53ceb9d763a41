//! Compact codes of vectors, which are compared without being decoded.
//!
//! | file             | question                                                                          |
//! |------------------|-----------------------------------------------------------------------------------|
//! | `rotation.rs`    | how is what a vector holds spread evenly over its components? [`Rotation`]         |
//! | `centroids.rs`   | what is near to many vectors, so that only the rest needs a code?                  |
//! | `projection.rs`  | in which directions do vectors differ most?                                       |
//! | `codec.rs`       | which code does a vertex of a graph get, and how far is it?                        |
//! | `signs.rs`       | which code of single bits does a neighbor get, seen from its point?                |
//! | `levels.rs`      | how do the levels of such a code lie in memory?                                    |
//! | `bytes.rs`       | how far are two vectors from each other, nearly exactly?                           |
//!
//! Codes and estimates are those of RaBitQ (Gao and Long, "RaBitQ: Quantizing High-Dimensional Vectors with a
//! Theoretical Error Bound", SIGMOD 2024; with more bits: Gao et al., SIGMOD 2025): the code is a vector of a grid, and
//! dividing by its inner product with the vector it stands for makes the estimate unbiased.

mod bytes;
mod centroids;
mod codec;
mod levels;
mod projection;
mod rotation;
mod signs;

pub(crate) use bytes::Bytes;
pub(crate) use centroids::{CENTROIDS_MAX, Centroids};
pub(crate) use codec::{CodeShape, Codec, QueryCode};
pub(crate) use projection::{Directions, Projection};
pub(crate) use rotation::{Rotation, padded};
pub(crate) use signs::{SignQuery, Signs};
