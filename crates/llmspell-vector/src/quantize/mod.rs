//! How is a vector made small, and compared without being made large again?
//!
//! | file           | question                                                                  |
//! |----------------|---------------------------------------------------------------------------|
//! | `rotation.rs`  | how is what a vector holds spread evenly over its components?             |
//! | `centroids.rs` | what is near to many vectors, so that only the rest needs a code?         |
//! | `codec.rs`     | which code of half bytes does a vector get, and how far is it?            |
//! | `bytes.rs`     | how far are two vectors from each other, nearly exactly?                  |
//! | `signs.rs`     | which code of single bits does a neighbor get, seen from its point?       |
//!
//! Codes and estimates are those of RaBitQ (Gao and Long, "RaBitQ: Quantizing High-Dimensional Vectors with a
//! Theoretical Error Bound", SIGMOD 2024; with more bits: Gao et al., SIGMOD 2025): the code is a vector of a grid, and
//! dividing by its inner product with the vector it stands for makes the estimate unbiased.

mod bytes;
mod centroids;
mod codec;
mod rotation;
mod signs;

pub(crate) use bytes::Bytes;
pub(crate) use centroids::Centroids;
pub(crate) use codec::{Codec, QueryCode};
pub(crate) use rotation::{Rotation, padded};
pub(crate) use signs::{SignQuery, Signs};
