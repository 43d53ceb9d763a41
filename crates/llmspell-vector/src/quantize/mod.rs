//! Compact codes of vectors, which are compared without being decoded.
//!
//! | file             | question                                                                          |
//! |------------------|-----------------------------------------------------------------------------------|
//! | `rotation.rs`    | how is what a vector holds spread evenly over its components? [`Rotation`]         |
//! | `centroids.rs`   | what is near to many vectors, so that only the rest needs a code?                  |
//! | `codec.rs`       | which code of half bytes does a vertex of a graph get, and how far is it?          |
//! | `signs.rs`       | which code of single bits does a neighbor get, seen from its point?                |
//! | `rabitq.rs`      | which code of 1 to 8 bits does a vector get, how far is it, and how sure is that? [`RabitqCodec`] |
//! | `levels.rs`      | how do the levels of such a code lie in memory?                                    |
//! | `store.rs`       | which of many codes are nearest? [`CodeStore`]                                     |
//! | `bytes.rs`       | how far are two vectors from each other, nearly exactly?                           |
//! | `byte_vector.rs` | the same, for anybody: [`ByteVector`]                                              |
//! | `error.rs`       | why is there no code? [`CodeError`]                                                |
//!
//! Codes and estimates are those of RaBitQ (Gao and Long, "RaBitQ: Quantizing High-Dimensional Vectors with a
//! Theoretical Error Bound", SIGMOD 2024; with more bits: Gao et al., SIGMOD 2025): the code is a vector of a grid, and
//! dividing by its inner product with the vector it stands for makes the estimate unbiased.

mod byte_vector;
mod bytes;
mod centroids;
mod codec;
mod error;
mod levels;
mod rabitq;
mod rotation;
mod signs;
mod store;

pub use byte_vector::ByteVector;
pub use error::CodeError;
pub use rabitq::{
    BITS_RANGE, CODE_DIM_RANGE, DEFAULT_DEVIATIONS, Estimate, ProductEstimate, QueryBits, RabitqCodec, RabitqQuery,
};
pub use rotation::Rotation;
pub use store::{CodeCandidate, CodeStore};

pub(crate) use bytes::Bytes;
pub(crate) use centroids::Centroids;
pub(crate) use codec::{Codec, QueryCode};
pub(crate) use rotation::padded;
pub(crate) use signs::{SignQuery, Signs};
